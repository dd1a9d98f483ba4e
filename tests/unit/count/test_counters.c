#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "count/counters.h"

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t client_sum(const struct counters *counters)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        sum += counter_get(&counters->client[i]);
    return sum;
}

static uint64_t backend_sum(const struct counters *counters)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        sum += counter_get(&counters->backend[i]);
    return sum;
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(client_outcome_name(CLIENT_forwarded), "forwarded");
    assert_string_equal(client_outcome_name(CLIENT_out_of_memory), "out_of_memory");
    assert_string_equal(backend_outcome_name(BACKEND_late), "late");
    assert_string_equal(close_reason_name(CLOSE_closed_by_client), "closed_by_client");
    assert_string_equal(late_reason_name(CLOSE_closed_by_client), "closed_by_client");
    assert_string_equal(late_reason_name(LATE_UNKNOWN), "unknown");
    assert_string_equal(handshake_result_name(HANDSHAKE_established), "established");
    assert_string_equal(dtls_version_name(VERSION_1_2), "1.2");
    assert_string_equal(dtls_version_name(VERSION_1_3), "1.3");
    assert_string_equal(dtls_version_name(VERSION_UNKNOWN), "unknown");
    assert_string_equal(credential_name(CREDENTIAL_PSK), "psk");
    assert_string_equal(credential_name(CREDENTIAL_CERTIFICATE), "certificate");
    assert_string_equal(credential_name(CREDENTIAL_NONE), "none");
    assert_string_equal(credential_name(CREDENTIAL_UNKNOWN), "unknown");
}

/* Two series with the same labels would make a scrape invalid. */
static void test_names_are_distinct(void **state)
{
    (void)state;
    for (unsigned a = 0; a < CLIENT_OUTCOME_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(client_outcome_name(a), client_outcome_name(b));
    for (unsigned a = 0; a < BACKEND_OUTCOME_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(backend_outcome_name(a), backend_outcome_name(b));
    for (unsigned a = 0; a < LATE_REASON_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(late_reason_name(a), late_reason_name(b));
    for (unsigned a = 0; a < HANDSHAKE_RESULT_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(handshake_result_name(a), handshake_result_name(b));
}

/* What sessions and slots of a gate before this one hold. A code that goes is never used again. */
static void test_codes_are_those_of_older_versions(void **state)
{
    static const struct {
        enum close_reason reason;
        unsigned code;
        const char *name;
    } reasons[] = {
        {CLOSE_closed_by_client, 0, "closed_by_client"},
        {CLOSE_fatal_alert, 1, "fatal_alert"},
        {CLOSE_forgery_limit, 2, "forgery_limit"},
        {CLOSE_key_limit, 3, "key_limit"},
        {CLOSE_idle, 4, "idle"},
        {CLOSE_evicted, 5, "evicted"},
        {CLOSE_replaced, 6, "replaced"},
        {CLOSE_shutdown, 7, "shutdown"},
        {CLOSE_revoked, 8, "revoked"},
        {CLOSE_listener_removed, 9, "listener_removed"},
        {CLOSE_closed_by_operator, 10, "closed_by_operator"},
        {CLOSE_torn, 11, "torn"},
        {CLOSE_cid_length_changed, 12, "cid_length_changed"},
        {CLOSE_other_machine, 13, "other_machine"},
    };
    (void)state;
    assert_int_equal(CLOSE_REASON_COUNT, sizeof(reasons) / sizeof(reasons[0]));
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        assert_int_equal(reasons[i].reason, reasons[i].code);
        assert_string_equal(close_reason_name(reasons[i].reason), reasons[i].name);
    }
    assert_int_equal(VERSION_1_2, 1);
    assert_int_equal(VERSION_1_3, 2);
    assert_int_equal(CREDENTIAL_PSK, 1);
    assert_int_equal(CREDENTIAL_CERTIFICATE, 2);
    assert_int_equal(CREDENTIAL_NONE, 3);
}

static void test_sum_of_workers(void **state)
{
    (void)state;
    static struct counters first[2], second[2];
    struct worker_counters workers[2] = {
        {.listener_count = 1, .by_listener = first},
        {.listener_count = 1, .by_listener = second},
    };
    counters_begin_turn(&workers[0]);
    counter_add(&first[1].client_received, 2);
    counter_add(&first[1].client[CLIENT_forwarded], 2);
    counter_add(&first[1].sessions, 5);
    counter_subtract(&first[1].sessions, 1);
    counters_end_turn(&workers[0]);
    counters_begin_turn(&workers[1]);
    counter_add(&second[0].client_received, 100); /* another listener's */
    counter_add(&second[1].client[CLIENT_forwarded], 3);
    counter_add(&second[1].sessions, 7);
    counter_add(&second[1].handshakes_in_progress, 9); /* the last member */
    counters_end_turn(&workers[1]);

    struct counters sum = {0};
    assert_true(counters_add_copy(&sum, &workers[0], 1, now_ms() + 1000));
    assert_true(counters_add_copy(&sum, &workers[1], 1, now_ms() + 1000));
    assert_int_equal(sum.client_received, 2);
    assert_int_equal(sum.client[CLIENT_forwarded], 5);
    assert_int_equal(sum.sessions, 11);
    assert_int_equal(sum.handshakes_in_progress, 9);
}

static void test_worker_that_hangs_in_its_turn(void **state)
{
    (void)state;
    static struct counters counters[1];
    struct worker_counters worker = {.by_listener = counters};
    counters_begin_turn(&worker);
    counter_add(&counters[0].client_received, 64);
    counter_add(&counters[0].client[CLIENT_forwarded], 10);
    counter_add(&counters[0].backend_received, 3);
    struct counters sum = {0};
    uint64_t begin_ms = now_ms();
    assert_false(counters_add_copy(&sum, &worker, 0, begin_ms + 30));
    assert_true(now_ms() >= begin_ms + 30);
    assert_int_equal(sum.client_received, 10);
    assert_int_equal(sum.client[CLIENT_forwarded], 10);
    assert_int_equal(sum.backend_received, 0);
}

/* --- a worker that counts without pause, a reader that must never see half a batch --- */

struct hammered {
    struct worker_counters worker;
    struct counters counters[2];
    _Atomic bool must_stop;
};

static void count_batch(struct hammered *h, unsigned short seed[3])
{
    struct counters *counters = &h->counters[nrand48(seed) % 2];
    unsigned size = 1 + (unsigned)(nrand48(seed) % 64);
    for (unsigned i = 0; i < size; i++) {
        counter_add(&counters->client_received, 1);
        counter_add(&counters->backend_received, 1);
        counter_add(&counters->client[nrand48(seed) % CLIENT_OUTCOME_COUNT], 1);
        counter_add(&counters->backend[nrand48(seed) % BACKEND_OUTCOME_COUNT], 1);
    }
}

static void *hammer(void *arg)
{
    struct hammered *h = arg;
    unsigned short seed[3] = {4, 5, 6};
    while (!atomic_load_explicit(&h->must_stop, memory_order_relaxed)) {
        counters_begin_turn(&h->worker);
        count_batch(h, seed);
        counters_end_turn(&h->worker);
        /* What a worker does between two batches is a system call; this is much shorter. */
        for (volatile int i = 0; i < 300; i++)
            ;
    }
    return NULL;
}

static void test_received_is_the_sum_of_outcomes_in_every_copy(void **state)
{
    (void)state;
    static struct hammered h;
    h.worker.listener_count = 1;
    h.worker.by_listener = h.counters;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hammer, &h), 0);
    uint64_t last = 0, changes = 0;
    for (uint64_t end_ms = now_ms() + 1000; now_ms() < end_ms || changes < 100;) {
        struct counters sum = {0};
        assert_true(counters_add_copy(&sum, &h.worker, 0, now_ms() + 10000));
        assert_int_equal(sum.client_received, client_sum(&sum));
        assert_int_equal(sum.backend_received, backend_sum(&sum));
        assert_true(sum.client_received >= last);
        changes += sum.client_received != last;
        last = sum.client_received;
    }
    atomic_store(&h.must_stop, true);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_are_distinct),
        cmocka_unit_test(test_codes_are_those_of_older_versions),
        cmocka_unit_test(test_sum_of_workers),
        cmocka_unit_test(test_worker_that_hangs_in_its_turn),
        cmocka_unit_test(test_received_is_the_sum_of_outcomes_in_every_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
