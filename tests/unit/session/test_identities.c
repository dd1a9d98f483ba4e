/* sessions_per_identity: the oldest session of an identity makes room, whoever's worker it is in.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_system.h"
#include "session/identities.h"

static int set_up(void **state)
{
    struct err err;
    *state = identities_new(&err);
    return *state != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    identities_free(*state);
    return 0;
}

static struct identities_key psk_key(struct identities *all, const char *identity)
{
    struct identities_key key;
    identities_make_key(all, 0, CREDENTIAL_PSK, identity, strlen(identity), &key);
    return key;
}

static struct identities_session session(uint32_t worker, uint64_t number)
{
    return (struct identities_session){.worker = worker, .number = number};
}

static void assert_no_victim(struct identities *all, const struct identities_key *key,
                             uint32_t limit, struct identities_session self)
{
    struct identities_session victim = {.worker = 77, .number = 77};
    assert_false(identities_begin(all, key, limit, self, &victim));
}

static void assert_victim(struct identities *all, const struct identities_key *key, uint32_t limit,
                          struct identities_session self, struct identities_session expected)
{
    struct identities_session victim = {.worker = 77, .number = 77};
    assert_true(identities_begin(all, key, limit, self, &victim));
    assert_int_equal(victim.worker, expected.worker);
    assert_int_equal(victim.number, expected.number);
}

static void test_one_session(void **state)
{
    struct identities *all = *state;
    struct identities_key key = psk_key(all, "device"), other = psk_key(all, "another device");
    assert_no_victim(all, &key, 1, session(0, 1));
    assert_no_victim(all, &other, 1, session(0, 2));
    assert_victim(all, &key, 1, session(1, 1), session(0, 1));
    assert_victim(all, &key, 1, session(0, 3), session(1, 1));
    assert_int_equal(identities_count(all), 2);
    identities_end(all, &key, session(1, 1)); /* the victim ends: no matter */
    assert_int_equal(identities_count(all), 2);
    identities_end(all, &key, session(0, 3));
    identities_end(all, &key, session(0, 3));
    assert_int_equal(identities_count(all), 1);
    assert_no_victim(all, &key, 1, session(0, 4));
}

static void test_oldest_first(void **state)
{
    struct identities *all = *state;
    struct identities_key key = psk_key(all, "device");
    for (uint64_t number = 1; number <= 5; number++)
        assert_no_victim(all, &key, 5, session((uint32_t)(number % 2), number));
    identities_end(all, &key, session(1, 1));
    identities_end(all, &key, session(1, 3));
    assert_no_victim(all, &key, 5, session(0, 6));
    assert_no_victim(all, &key, 5, session(0, 7));
    assert_victim(all, &key, 5, session(0, 8), session(0, 2));
    assert_victim(all, &key, 5, session(0, 9), session(0, 4));
    assert_victim(all, &key, 5, session(0, 10), session(1, 5));
    assert_victim(all, &key, 5, session(0, 11), session(0, 6));
}

/* The same number in another worker is another session; another worker's identity is the same. */
static void test_workers_differ(void **state)
{
    struct identities *all = *state;
    struct identities_key key = psk_key(all, "device");
    assert_no_victim(all, &key, 2, session(0, 1));
    assert_no_victim(all, &key, 2, session(1, 1));
    identities_end(all, &key, session(2, 1));
    assert_int_equal(identities_count(all), 2);
    identities_end(all, &key, session(1, 1));
    assert_no_victim(all, &key, 2, session(2, 1));
    assert_victim(all, &key, 2, session(2, 2), session(0, 1));
}

static void test_zero_is_no_limit(void **state)
{
    struct identities *all = *state;
    struct identities_key key = psk_key(all, "device");
    for (uint64_t number = 1; number <= 1000; number++)
        assert_no_victim(all, &key, 0, session(0, number));
    assert_int_equal(identities_count(all), 0);
    identities_end(all, &key, session(0, 1));
}

/* An identity is bytes of any length, of one kind, at one listener. */
static void test_every_part_of_the_key_counts(void **state)
{
    struct identities *all = *state;
    static const uint8_t zeros[1000] = {0}, one[1] = {1};
    struct identities_key keys[8];
    identities_make_key(all, 0, CREDENTIAL_PSK, zeros, 0, &keys[0]);
    identities_make_key(all, 0, CREDENTIAL_PSK, zeros, 1, &keys[1]);
    identities_make_key(all, 1, CREDENTIAL_PSK, zeros, 1, &keys[2]);
    identities_make_key(all, 0, CREDENTIAL_CERTIFICATE, zeros, 1, &keys[3]);
    identities_make_key(all, 0, CREDENTIAL_PSK, one, 1, &keys[4]);
    identities_make_key(all, 0, CREDENTIAL_PSK, zeros, 2, &keys[5]);
    identities_make_key(all, 0, CREDENTIAL_PSK, zeros, 999, &keys[6]);
    identities_make_key(all, 0, CREDENTIAL_PSK, zeros, 1000, &keys[7]);
    for (size_t i = 0; i < 8; i++) {
        struct identities_key again;
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(&keys[i], &keys[j], sizeof(keys[i]));
        assert_no_victim(all, &keys[i], 1, session(0, i));
        if (i == 7) {
            identities_make_key(all, 0, CREDENTIAL_PSK, zeros, 1000, &again);
            assert_victim(all, &again, 1, session(0, 100), session(0, 7));
        }
    }
}

/* Nobody can find two identities that are taken for one by trying with a gate of his own. */
static void test_keys_are_of_this_process(void **state)
{
    struct err err;
    struct identities *all = *state, *other = identities_new(&err);
    assert_non_null(other);
    struct identities_key here = psk_key(all, "device"), there = psk_key(other, "device");
    assert_memory_not_equal(&here, &there, sizeof(here));
    identities_free(other);
}

/* Those that began before there was one count in the order of their numbers, each once. */
static void test_a_lower_limit(void **state)
{
    struct identities *all = *state;
    struct identities_key key = psk_key(all, "device");
    struct identities_session victim;
    static const uint64_t numbers[] = {7, 3, 9, 5, 3};
    for (size_t i = 0; i < 5; i++)
        identities_adopt(all, &key, session(0, numbers[i]));
    assert_int_equal(identities_count(all), 4);
    assert_victim(all, &key, 2, session(1, 1), session(0, 3));
    for (uint64_t number = 5; number <= 7; number += 2) {
        assert_true(identities_take_surplus(all, &key, 2, session(1, 1), &victim));
        assert_int_equal(victim.number, number);
    }
    assert_false(identities_take_surplus(all, &key, 2, session(1, 1), &victim));
    assert_false(identities_take_surplus(all, &key, 0, session(1, 1), &victim));
    /* The one that it is for stays, even if another one has come in behind it. */
    assert_true(identities_take_surplus(all, &key, 1, session(0, 9), &victim));
    assert_int_equal(victim.number, 1);
    assert_int_equal(identities_count(all), 1);
}

/* A million devices may come with one identity; were each looked for behind all others, this would
 * take an hour. In whatever order they are adopted, the oldest ends first. */
static void test_many_of_one_identity(void **state)
{
    enum { MANY = 300000, STEP = 7919 /* prime to it */ };
    struct identities *all = *state;
    struct identities_key key = psk_key(all, "device");
    for (int order = 0; order < 3; order++) {
        struct identities_session victim;
        for (uint32_t i = 0; i < MANY; i++) {
            uint32_t number = order == 0   ? i
                              : order == 1 ? MANY - 1 - i
                                           : (uint32_t)((uint64_t)i * STEP % MANY);
            identities_adopt(all, &key, session(number % 2, number));
        }
        assert_int_equal(identities_count(all), MANY);
        assert_victim(all, &key, 1, session(0, MANY), session(0, 0));
        assert_no_victim(all, &key, MANY + 1, session(1, 0)); /* that number begins late */
        for (uint32_t i = 1; i < MANY / 2; i++) {
            assert_true(identities_take_surplus(all, &key, 1, session(0, MANY), &victim));
            assert_int_equal(victim.number, i);
        }
        for (uint32_t i = MANY / 2; i < MANY; i++)
            identities_end(all, &key, session(i % 2, i));
        assert_true(identities_take_surplus(all, &key, 1, session(1, 0), &victim));
        assert_int_equal(victim.number, MANY);
        identities_end(all, &key, session(1, 0));
        assert_int_equal(identities_count(all), 0);
    }
}

static void test_none_without_random_bytes(void **state)
{
    (void)state;
    struct err err = {0};
    fake_system_fail_random(ENOSYS, 1);
    assert_null(identities_new(&err));
    assert_string_not_equal(err.text, "");
    identities_free(NULL);
}

/* ---- against a model --------------------------------------------------------------------------
 */

enum { IDENTITIES = 40, WORKERS = 3, STEPS = 200000, KEPT_MAX = 8 };

struct model {
    struct identities_session sessions[KEPT_MAX]; /* oldest first */
    uint32_t count;
};

static void model_remove(struct model *m, uint32_t at)
{
    memmove(&m->sessions[at], &m->sessions[at + 1], (m->count - at - 1) * sizeof(m->sessions[0]));
    m->count--;
}

static uint32_t limit_of(uint32_t identity)
{
    return 1 + identity % (KEPT_MAX - 1);
}

static void test_random_against_a_model(void **state)
{
    struct identities *all = *state;
    static struct model models[IDENTITIES];
    struct identities_key keys[IDENTITIES];
    uint64_t random = 5, number = 0;
    uint32_t total = 0;
    for (uint32_t i = 0; i < IDENTITIES; i++)
        identities_make_key(all, i % 2, CREDENTIAL_PSK, &i, sizeof(i), &keys[i]);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint64_t bits = fake_system_random(&random);
        uint32_t i = (uint32_t)(bits % IDENTITIES);
        struct model *m = &models[i];
        if (bits >> 32 & 1) {
            struct identities_session self = session((uint32_t)(bits >> 33) % WORKERS, ++number);
            if (m->count == limit_of(i)) {
                assert_victim(all, &keys[i], limit_of(i), self, m->sessions[0]);
                model_remove(m, 0);
            } else {
                assert_no_victim(all, &keys[i], limit_of(i), self);
                total++;
            }
            m->sessions[m->count++] = self;
        } else if (m->count > 0) {
            uint32_t at = (uint32_t)(bits >> 33) % m->count;
            struct identities_session gone = m->sessions[at];
            identities_end(all, &keys[i], gone);
            identities_end(all, &keys[i], session(gone.worker + 1, gone.number)); /* is not there */
            model_remove(m, at);
            total--;
        }
        assert_int_equal(identities_count(all), total);
    }
    assert_in_range(total, 1, IDENTITIES * KEPT_MAX);
}

/* ---- threads ----------------------------------------------------------------------------------
 */

enum { THREADS = 4, ROUNDS = 20000, SHARED = 16, LIMIT = 3 };

struct party {
    struct identities *all;
    const struct identities_key *keys;
    uint32_t worker;
    uint8_t identity_of[ROUNDS];
    bool has_ended[ROUNDS];
    atomic_uint was_victim[ROUNDS];
    struct party *parties;
};

/* Begins and ends sessions like a worker; those of other workers that must go get a mark. */
static void *take_part(void *argument)
{
    struct party *p = argument;
    uint64_t random = p->worker;
    for (uint32_t n = 0; n < ROUNDS; n++) {
        uint64_t bits = fake_system_random(&random);
        struct identities_session victim;
        p->identity_of[n] = (uint8_t)(bits % SHARED);
        if (identities_begin(p->all, &p->keys[p->identity_of[n]], LIMIT, session(p->worker, n),
                             &victim))
            atomic_fetch_add(&p->parties[victim.worker].was_victim[victim.number], 1);
        if (bits >> 40 & 1) {
            uint32_t gone = n - (uint32_t)(bits >> 41) % (n < 20 ? n + 1 : 20);
            p->has_ended[gone] = true;
            identities_end(p->all, &p->keys[p->identity_of[gone]], session(p->worker, gone));
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct identities *all = *state;
    struct party *parties = calloc(THREADS, sizeof(*parties));
    struct identities_key keys[SHARED];
    pthread_t threads[THREADS];
    uint32_t left[SHARED] = {0}, left_over = 0, victims = 0;
    assert_non_null(parties);
    for (uint32_t i = 0; i < SHARED; i++)
        identities_make_key(all, 0, CREDENTIAL_PSK, &i, sizeof(i), &keys[i]);
    for (uint32_t t = 0; t < THREADS; t++) {
        parties[t].all = all;
        parties[t].keys = keys;
        parties[t].worker = t;
        parties[t].parties = parties;
    }
    for (uint32_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, take_part, &parties[t]), 0);
    for (uint32_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    /* Nobody was told to go twice, and those that were not and did not are within the limit. */
    for (uint32_t t = 0; t < THREADS; t++) {
        for (uint32_t n = 0; n < ROUNDS; n++) {
            unsigned told = atomic_load(&parties[t].was_victim[n]);
            assert_in_range(told, 0, 1);
            victims += told;
            if (told == 0 && !parties[t].has_ended[n]) {
                left[parties[t].identity_of[n]]++;
                left_over++;
            }
        }
    }
    for (uint32_t i = 0; i < SHARED; i++)
        assert_in_range(left[i], 0, LIMIT);
    assert_true(victims > THREADS * ROUNDS / 10);
    assert_int_equal(identities_count(all), left_over);
    /* What is left is what the marks say. */
    for (uint32_t t = 0; t < THREADS; t++)
        for (uint32_t n = 0; n < ROUNDS; n++)
            if (atomic_load(&parties[t].was_victim[n]) == 0 && !parties[t].has_ended[n])
                identities_end(all, &keys[parties[t].identity_of[n]], session(t, n));
    assert_int_equal(identities_count(all), 0);
    free(parties);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_session),
        TEST(test_oldest_first),
        TEST(test_workers_differ),
        TEST(test_zero_is_no_limit),
        TEST(test_a_lower_limit),
        TEST(test_many_of_one_identity),
        TEST(test_every_part_of_the_key_counts),
        TEST(test_keys_are_of_this_process),
        TEST(test_none_without_random_bytes),
        TEST(test_random_against_a_model),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
