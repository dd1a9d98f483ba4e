/* ticket.c: what is sealed comes back for one to two periods, from the same listener only, and from
 * nothing that was changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "handshake/ticket.h"

enum { STATE_BYTES = 108, BODY_ROOM = 450, START_MS = 5 };

/* A ticket with memory of its own. */
struct sample {
    uint8_t name[TICKET_NAME_BYTES], iv[TICKET_IV_BYTES], body[BODY_ROOM], mac[TICKET_MAC_BYTES];
    size_t body_len;
};

static const uint8_t master[TICKET_MASTER_BYTES] = "this listener's master";
static const uint8_t other_master[TICKET_MASTER_BYTES] = "that listener's master";

static struct ticket parts_of(struct sample *sample, size_t body_room)
{
    return (struct ticket){
        .name = sample->name,
        .iv = sample->iv,
        .mac = sample->mac,
        .body = sample->body,
        .body_len = sample->body_len,
        .body_room = body_room,
    };
}

static struct ticket_holder make_holder_with(size_t identity_len, size_t digest_count)
{
    struct ticket_holder holder = {
        .good_until_ms = UINT64_MAX,
        .credential = CREDENTIAL_CERTIFICATE,
        .identity_len = (uint8_t)identity_len,
    };
    for (size_t i = 0; i < identity_len; i++)
        holder.identity[i] = (uint8_t)(255 - i);
    holder.digests.count = (uint8_t)digest_count;
    for (size_t i = 0; i < digest_count; i++)
        memset(holder.digests.at[i], (int)(200 + i), CREDENTIAL_DIGEST_BYTES);
    return holder;
}

/* As one with a PSK. */
static struct ticket_holder make_holder(size_t identity_len)
{
    return make_holder_with(identity_len, 1);
}

static struct sample seal(const struct ticket_holder *holder, uint64_t now_ms)
{
    struct sample sample = {.body_len = STATE_BYTES};
    for (size_t i = 0; i < STATE_BYTES; i++)
        sample.body[i] = (uint8_t)i;
    struct ticket ticket = parts_of(&sample, BODY_ROOM);
    assert_true(ticket_seal(master, holder, now_ms, &ticket));
    sample.body_len = ticket.body_len;
    return sample;
}

/* Opens a copy. */
static enum ticket_verdict verdict(const uint8_t *key, const struct sample *sample, uint64_t now_ms)
{
    struct sample copy = *sample;
    struct ticket ticket = parts_of(&copy, BODY_ROOM);
    struct ticket_holder holder;
    enum ticket_verdict verdict = ticket_open(key, now_ms, &ticket, &holder);
    if (verdict == TICKET_FOREIGN)
        assert_memory_equal(&copy, sample, sizeof(copy));
    return verdict;
}

static void test_comes_back(void **state)
{
    (void)state;
    for (size_t len = 0; len <= PSK_IDENTITY_MAX; len++) {
        struct ticket_holder holder = make_holder(len), found;
        struct sample sample = seal(&holder, START_MS);
        assert_int_equal(sample.body_len, STATE_BYTES + len + CREDENTIAL_DIGEST_BYTES + 11);
        struct ticket ticket = parts_of(&sample, BODY_ROOM);
        assert_int_equal(ticket_open(master, START_MS, &ticket, &found), TICKET_GOOD);
        assert_int_equal(ticket.body_len, STATE_BYTES);
        for (size_t i = 0; i < STATE_BYTES; i++)
            assert_int_equal(sample.body[i], i);
        assert_true(found.good_until_ms == UINT64_MAX);
        assert_int_equal(found.credential, CREDENTIAL_CERTIFICATE);
        assert_int_equal(found.identity_len, len);
        assert_memory_equal(found.identity, holder.identity, len);
    }
}

static void test_digests_come_back(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 24, PSK_IDENTITY_MAX};
    for (size_t i = 0; i < 4 * (CREDENTIAL_DIGESTS_MAX + 1); i++) {
        struct ticket_holder holder = make_holder_with(lens[i % 4], i / 4), found;
        struct sample sample = seal(&holder, START_MS);
        struct ticket ticket = parts_of(&sample, BODY_ROOM);
        memset(&found, 0x77, sizeof(found));
        assert_int_equal(ticket_open(master, START_MS, &ticket, &found), TICKET_GOOD);
        assert_int_equal(ticket.body_len, STATE_BYTES);
        assert_memory_equal(found.identity, holder.identity, lens[i % 4]);
        assert_int_equal(found.digests.count, i / 4);
        assert_memory_equal(&found.digests, &holder.digests, sizeof(found.digests));
    }
}

/* What the gate does not write is not read either, authentic or not. */
static void test_a_holder_that_cannot_be(void **state)
{
    (void)state;
    static union {
        struct ticket_holder holder;
        uint8_t room[1024]; /* for reading behind its parts */
    } u;
    u.holder = make_holder_with(8, CREDENTIAL_DIGESTS_MAX);
    struct sample sample = seal(&u.holder, START_MS);
    assert_int_equal(verdict(master, &sample, START_MS), TICKET_GOOD);
    u.holder.digests.count++;
    sample = seal(&u.holder, START_MS);
    assert_int_equal(verdict(master, &sample, START_MS), TICKET_FOREIGN);
    u.holder = make_holder_with(PSK_IDENTITY_MAX, 1);
    u.holder.identity_len++;
    sample = seal(&u.holder, START_MS);
    assert_int_equal(verdict(master, &sample, START_MS), TICKET_FOREIGN);
    u.holder = make_holder_with(8, 1);
    u.holder.credential = CREDENTIAL_COUNT;
    sample = seal(&u.holder, START_MS);
    assert_int_equal(verdict(master, &sample, START_MS), TICKET_FOREIGN);
}

static void test_nothing_is_readable(void **state)
{
    (void)state;
    struct ticket_holder holder = make_holder(0);
    memcpy(holder.identity, "urn:imei:490154203237518", 24);
    holder.identity_len = 24;
    struct sample one = seal(&holder, START_MS), two = seal(&holder, START_MS);
    assert_null(memmem(one.body, one.body_len, "490154203237518", 15));
    static const uint8_t state_bytes[] = {10, 11, 12, 13, 14, 15, 16, 17};
    assert_null(memmem(one.body, one.body_len, state_bytes, sizeof(state_bytes)));
    /* Two tickets of one device have nothing in common but the key's name. */
    assert_memory_equal(one.name, two.name, TICKET_NAME_BYTES);
    assert_memory_not_equal(one.iv, two.iv, TICKET_IV_BYTES);
    assert_memory_not_equal(one.body, two.body, 16);
}

/* wolfSSL passes a ticket that it cannot open to the PSK callback as a string. */
static void test_is_no_identity(void **state)
{
    (void)state;
    struct ticket_holder holder = make_holder(8);
    assert_int_equal(seal(&holder, START_MS).name[0], 0);
    assert_int_equal(seal(&holder, 3 * (uint64_t)TICKET_PERIOD_MS).name[0], 0);
}

static void test_of_this_listener_only(void **state)
{
    (void)state;
    struct ticket_holder holder = make_holder(8);
    struct sample sample = seal(&holder, START_MS);
    assert_int_equal(verdict(master, &sample, START_MS), TICKET_GOOD);
    assert_int_equal(verdict(other_master, &sample, START_MS), TICKET_FOREIGN);
}

static void test_keys_rotate(void **state)
{
    (void)state;
    const uint64_t period = TICKET_PERIOD_MS;
    struct ticket_holder holder = make_holder(8);
    struct sample early = seal(&holder, 7 * period), late = seal(&holder, 8 * period - 1);
    struct sample next = seal(&holder, 8 * period);
    assert_memory_equal(early.name, late.name, TICKET_NAME_BYTES);
    assert_memory_not_equal(late.name, next.name, TICKET_NAME_BYTES);
    assert_int_equal(verdict(master, &early, 8 * period - 1), TICKET_GOOD);
    assert_int_equal(verdict(master, &early, 8 * period), TICKET_AGEING);
    assert_int_equal(verdict(master, &late, 9 * period - 1), TICKET_AGEING);
    assert_int_equal(verdict(master, &late, 9 * period), TICKET_FOREIGN);
    assert_int_equal(verdict(master, &next, 9 * period), TICKET_AGEING);
    /* Not of the future either. */
    assert_int_equal(verdict(master, &next, 8 * period - 1), TICKET_FOREIGN);
}

static void test_good_until(void **state)
{
    (void)state;
    struct ticket_holder holder = make_holder(8);
    holder.good_until_ms = START_MS + 1000;
    struct sample sample = seal(&holder, START_MS);
    assert_int_equal(verdict(master, &sample, START_MS + 999), TICKET_GOOD);
    assert_int_equal(verdict(master, &sample, START_MS + 1000), TICKET_FOREIGN);
}

/* Tells those who have one from all others, without opening it. */
static void test_is_known_by_its_name(void **state)
{
    (void)state;
    uint64_t end_ms = 3 * (uint64_t)TICKET_PERIOD_MS;
    struct ticket_holder holder = make_holder(8);
    struct sample sample = seal(&holder, end_ms - 1);
    uint8_t wire[TICKET_NAME_BYTES + TICKET_IV_BYTES] = {0};
    memcpy(wire, sample.name, TICKET_NAME_BYTES);
    assert_true(ticket_is_known(master, end_ms - 1, wire, sizeof(wire)));
    assert_true(ticket_is_known(master, end_ms + TICKET_PERIOD_MS - 1, wire, sizeof(wire)));
    assert_false(ticket_is_known(master, end_ms + TICKET_PERIOD_MS, wire, sizeof(wire)));
    assert_false(ticket_is_known(other_master, end_ms - 1, wire, sizeof(wire)));
    for (size_t len = 0; len <= TICKET_NAME_BYTES; len++)
        assert_false(ticket_is_known(master, end_ms - 1, wire, len));
    for (size_t i = 0; i < TICKET_NAME_BYTES; i++) {
        wire[i] ^= 1;
        assert_false(ticket_is_known(master, end_ms - 1, wire, sizeof(wire)));
        wire[i] ^= 1;
    }
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    struct ticket_holder holder = make_holder(PSK_IDENTITY_MAX);
    struct sample sample = seal(&holder, START_MS);
    uint8_t *const parts[] = {sample.name, sample.iv, sample.mac, sample.body};
    const size_t sizes[] = {TICKET_NAME_BYTES, TICKET_IV_BYTES, TICKET_MAC_BYTES, sample.body_len};
    for (int p = 0; p < 4; p++) {
        for (size_t bit = 0; bit < 8 * sizes[p]; bit++) {
            parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(verdict(master, &sample, START_MS), TICKET_FOREIGN);
            parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    assert_int_equal(verdict(master, &sample, START_MS), TICKET_GOOD);
}

static void test_every_size_counts(void **state)
{
    (void)state;
    struct ticket_holder holder = make_holder(8);
    struct sample sample = seal(&holder, START_MS);
    size_t len = sample.body_len;
    for (sample.body_len = 0; sample.body_len <= BODY_ROOM; sample.body_len++)
        assert_int_equal(verdict(master, &sample, START_MS),
                         sample.body_len == len ? TICKET_GOOD : TICKET_FOREIGN);
}

static void test_too_long(void **state)
{
    (void)state;
    static uint8_t large[20000];
    struct sample sample = {.body_len = STATE_BYTES};
    struct ticket_holder holder = make_holder_with(PSK_IDENTITY_MAX, CREDENTIAL_DIGESTS_MAX);
    struct ticket ticket = parts_of(&sample, STATE_BYTES + TICKET_HOLDER_MAX_BYTES - 1);
    assert_false(ticket_seal(master, &holder, START_MS, &ticket));
    ticket.body_room++;
    assert_true(ticket_seal(master, &holder, START_MS, &ticket));
    ticket.body = large;
    ticket.body_len = sizeof(large);
    assert_int_equal(ticket_open(master, START_MS, &ticket, &holder), TICKET_FOREIGN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_digests_come_back),
        cmocka_unit_test(test_a_holder_that_cannot_be),
        cmocka_unit_test(test_nothing_is_readable),
        cmocka_unit_test(test_is_no_identity),
        cmocka_unit_test(test_of_this_listener_only),
        cmocka_unit_test(test_keys_rotate),
        cmocka_unit_test(test_good_until),
        cmocka_unit_test(test_is_known_by_its_name),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_every_size_counts),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
