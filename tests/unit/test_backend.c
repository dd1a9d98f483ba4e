/* Source addresses toward the backends: who has which, for how long nobody else gets it, and what a
 * late datagram is told. The socket is a real one, but nothing is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend.h"

enum { TOMBSTONE_MS = 247000 };

static int owner_a, owner_b;

static int set_up(void **state)
{
    struct backend *backend = malloc(sizeof(*backend));
    struct err err = {0};
    if (backend == NULL || !backend_open(backend, 0, 1, TOMBSTONE_MS, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    *state = backend;
    return 0;
}

static int tear_down(void **state)
{
    backend_close(*state);
    free(*state);
    return 0;
}

/* Takes a slot that must not be an early one. */
static uint32_t take(struct backend *backend, uint64_t now_ms)
{
    bool is_early = true;
    uint32_t slot = backend_take(backend, &owner_a, 0, now_ms, &is_early);
    assert_true(slot != BACKEND_NO_SLOT);
    assert_false(is_early);
    return slot;
}

static struct backend_found find_slot(const struct backend *backend, uint32_t slot, uint64_t now_ms)
{
    struct addr addr = backend_slot_addr(backend, slot);
    return backend_find(backend, &addr, now_ms);
}

static uint32_t value_of(const struct addr *addr)
{
    uint32_t network;
    memcpy(&network, addr->ip, 4);
    return ntohl(network);
}

static void test_find_owner(void **state)
{
    struct backend *backend = *state;
    bool is_early;
    uint32_t a = backend_take(backend, &owner_a, 3, 1000, &is_early);
    uint32_t b = backend_take(backend, &owner_b, 255, 1000, &is_early);
    assert_true(a != b);
    struct backend_found found = find_slot(backend, a, 5000);
    assert_ptr_equal(found.owner, &owner_a);
    assert_int_equal(found.listener, 3);
    found = find_slot(backend, b, 5000);
    assert_ptr_equal(found.owner, &owner_b);
    assert_int_equal(found.listener, 255);
}

static void test_tombstone(void **state)
{
    struct backend *backend = *state;
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
        uint64_t closed_ms = 1000000 * (reason + 1);
        uint32_t slot = take(backend, closed_ms - 10);
        backend_release(backend, slot, reason, closed_ms);
        struct backend_found found = find_slot(backend, slot, closed_ms);
        assert_null(found.owner);
        assert_int_equal(found.late, reason);
        assert_int_equal(found.listener, 0);
        assert_int_equal(find_slot(backend, slot, closed_ms + TOMBSTONE_MS - 1).late, reason);
        found = find_slot(backend, slot, closed_ms + TOMBSTONE_MS);
        assert_null(found.owner);
        assert_int_equal(found.late, LATE_UNKNOWN);
        assert_int_equal(found.listener, 0); /* who had it last */
    }
    assert_int_equal(backend->slot_count, 1);
}

static void test_not_reused_before_its_time(void **state)
{
    struct backend *backend = *state;
    uint32_t first = take(backend, 0);
    backend_release(backend, first, CLOSE_idle, 1000);
    uint32_t second = take(backend, 1000 + TOMBSTONE_MS - 1);
    assert_true(second != first);
    assert_int_equal(take(backend, 1000 + TOMBSTONE_MS), first);
    assert_int_equal(backend->slot_count, 2);
}

static void test_oldest_first(void **state)
{
    struct backend *backend = *state;
    enum { COUNT = 100 };
    uint32_t slots[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        slots[i] = take(backend, 0);
    /* Closed in an order of their own. */
    for (uint32_t i = 0; i < COUNT; i++)
        backend_release(backend, slots[i * 37 % COUNT], CLOSE_idle, i);
    uint64_t later_ms = TOMBSTONE_MS + COUNT;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(backend, later_ms), slots[i * 37 % COUNT]);
    assert_int_equal(take(backend, later_ms), COUNT);
}

/* The order holds while slots are taken and released in turn. */
static void test_order_in_use(void **state)
{
    struct backend *backend = *state;
    uint64_t released_ms[64] = {0};
    uint64_t random = 7, now_ms = 1;
    uint32_t held[64], held_count = 0;
    for (int step = 0; step < 20000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        now_ms += random >> 33 & 0xffff;
        if (held_count == 0 || (held_count < 20 && (random >> 60 & 1) != 0)) {
            uint32_t slot = take(backend, now_ms);
            assert_true(slot < 64);
            assert_true(released_ms[slot] == 0 || now_ms - released_ms[slot] >= TOMBSTONE_MS);
            for (uint32_t i = 0; i < held_count; i++)
                assert_true(held[i] != slot);
            held[held_count++] = slot;
        } else {
            uint32_t at = (uint32_t)(random >> 40) % held_count;
            backend_release(backend, held[at], CLOSE_idle, now_ms);
            released_ms[held[at]] = now_ms;
            held[at] = held[--held_count];
        }
    }
}

static void test_full_pool_takes_the_oldest_early(void **state)
{
    struct backend *backend = *state;
    bool is_early;
    backend->slot_max = 3;
    uint32_t slots[3];
    for (uint32_t i = 0; i < 3; i++)
        slots[i] = take(backend, 0);
    assert_true(backend_take(backend, &owner_b, 0, 0, &is_early) == BACKEND_NO_SLOT);
    assert_false(is_early);

    backend_release(backend, slots[2], CLOSE_idle, 1000);
    backend_release(backend, slots[0], CLOSE_evicted, 2000);
    assert_int_equal(backend_take(backend, &owner_b, 1, 3000, &is_early), slots[2]);
    assert_true(is_early);
    struct backend_found found = find_slot(backend, slots[2], 3000);
    assert_ptr_equal(found.owner, &owner_b);
    assert_int_equal(found.listener, 1);
    assert_int_equal(find_slot(backend, slots[0], 3000).late, CLOSE_evicted);

    assert_int_equal(backend_take(backend, &owner_b, 0, 2000 + TOMBSTONE_MS, &is_early), slots[0]);
    assert_false(is_early);
    assert_true(backend_take(backend, &owner_b, 0, 2000 + TOMBSTONE_MS, &is_early) ==
                BACKEND_NO_SLOT);
    backend_release(backend, slots[1], CLOSE_idle, 600000);
    assert_int_equal(backend_take(backend, &owner_b, 0, 600000, &is_early), slots[1]);
    assert_true(is_early);
}

/* ---- addresses ------------------------------------------------------------------------------ */

static void assert_good_address(const struct addr *addr)
{
    uint32_t value = value_of(addr);
    assert_int_equal(addr->family, AF_INET);
    assert_int_equal(value >> 24, 127);
    assert_true((value >> 16 & 0xff) != 0); /* 127.0.0.0/16 is left alone */
    assert_true(value != 0x7fffffff);       /* broadcast */
    for (size_t i = 4; i < sizeof(addr->ip); i++)
        assert_int_equal(addr->ip[i], 0);
}

static void test_every_address_belongs_to_one_worker(void **state)
{
    (void)state;
    static const uint32_t worker_counts[] = {1, 2, 3, 5, 7, 16, 255, 256};
    for (size_t n = 0; n < sizeof(worker_counts) / sizeof(worker_counts[0]); n++) {
        uint32_t count = worker_counts[n];
        struct backend workers[256];
        struct err err;
        for (uint32_t w = 0; w < count; w++) {
            assert_true(backend_open(&workers[w], w, count, TOMBSTONE_MS, &err));
            assert_int_equal(workers[w].slot_max, workers[0].slot_max);
            assert_true(workers[w].socket.bound.port != 0);
        }
        /* Neighbouring slots of all workers are the addresses in a row: none twice. */
        uint32_t last_slot = workers[0].slot_max - 1;
        uint32_t slots[] = {0, 1, 2, 1000, last_slot / 2, last_slot - 1, last_slot};
        for (size_t s = 0; s < sizeof(slots) / sizeof(slots[0]); s++) {
            for (uint32_t w = 0; w < count; w++) {
                struct addr addr = backend_slot_addr(&workers[w], slots[s]);
                assert_good_address(&addr);
                assert_int_equal(value_of(&addr), 0x7f010000u + slots[s] * count + w);
                assert_int_equal(addr.port, workers[w].socket.bound.port);
            }
        }
        for (uint32_t w = 0; w < count; w++)
            backend_close(&workers[w]);
    }
}

static void test_addresses_of_another_worker_are_unknown(void **state)
{
    (void)state;
    enum { COUNT = 3, SLOTS = 2000 };
    struct backend workers[COUNT];
    struct err err;
    bool is_early;
    for (uint32_t w = 0; w < COUNT; w++) {
        assert_true(backend_open(&workers[w], w, COUNT, TOMBSTONE_MS, &err));
        for (uint32_t i = 0; i < SLOTS; i++)
            assert_int_equal(backend_take(&workers[w], &workers[w], w, 0, &is_early), i);
    }
    for (uint32_t w = 0; w < COUNT; w++) {
        for (uint32_t i = 0; i < SLOTS; i++) {
            struct addr addr = backend_slot_addr(&workers[w], i);
            for (uint32_t other = 0; other < COUNT; other++) {
                struct backend_found found = backend_find(&workers[other], &addr, 0);
                assert_ptr_equal(found.owner, other == w ? &workers[w] : NULL);
                assert_true(found.listener == (other == w ? w : UINT32_MAX));
                assert_true(other == w || found.late == LATE_UNKNOWN);
            }
        }
    }
    for (uint32_t w = 0; w < COUNT; w++)
        backend_close(&workers[w]);
}

static void test_addresses_that_never_were_slots(void **state)
{
    struct backend *backend = *state;
    take(backend, 0);
    static const uint32_t values[] = {
        0x00000000, 0x7f000000, 0x7f000001, 0x7f00ffff, 0x7f010001, 0x7f020000,
        0x7ffffffe, 0x7fffffff, 0x80000000, 0x0a000001, 0xffffffff, 0x7effffff,
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct addr addr = {.family = AF_INET, .port = backend->socket.bound.port};
        uint32_t network = htonl(values[i]);
        memcpy(addr.ip, &network, 4);
        struct backend_found found = backend_find(backend, &addr, 0);
        assert_null(found.owner);
        assert_int_equal(found.late, LATE_UNKNOWN);
        assert_true(found.listener == UINT32_MAX);
    }
    struct addr first = backend_slot_addr(backend, 0);
    assert_ptr_equal(backend_find(backend, &first, 0).owner, &owner_a);
    first.family = AF_INET6;
    assert_null(backend_find(backend, &first, 0).owner);
    first.family = 0;
    assert_null(backend_find(backend, &first, 0).owner);
}

/* Slots are in chunks; the last one of a chunk and the first one of the next are neighbours. */
static void test_grows(void **state)
{
    enum { CHUNK = 4096, COUNT = 3 * CHUNK + 1 };
    struct backend *backend = *state;
    static char owners[COUNT];
    bool is_early;
    for (uint32_t i = 0; i < COUNT; i++) {
        struct addr next = backend_slot_addr(backend, i);
        assert_true(backend_find(backend, &next, 0).listener == UINT32_MAX);
        assert_null(backend_owner(backend, i));
        assert_int_equal(backend_take(backend, &owners[i], i % 7, 0, &is_early), i);
        assert_int_equal(backend->chunk_count, i / CHUNK + 1);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        struct backend_found found = find_slot(backend, i, 0);
        assert_ptr_equal(found.owner, &owners[i]);
        assert_ptr_equal(backend_owner(backend, i), &owners[i]);
        assert_int_equal(found.listener, i % 7);
    }
    assert_true(find_slot(backend, COUNT, 0).listener == UINT32_MAX);
}

/* Free slots are a list through all chunks, in the order of their release. */
static void test_oldest_first_in_many_chunks(void **state)
{
    enum { COUNT = 10007, STEP = 4099 }; /* both prime, the step longer than a chunk */
    struct backend *backend = *state;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(backend, 0), i);
    for (uint64_t i = 0; i < COUNT; i++)
        backend_release(backend, (uint32_t)(i * STEP % COUNT), CLOSE_idle, i);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint32_t slot = (uint32_t)(i * STEP % COUNT);
        assert_int_equal(find_slot(backend, slot, TOMBSTONE_MS + i - 1).late, CLOSE_idle);
        assert_int_equal(find_slot(backend, slot, TOMBSTONE_MS + i).late, LATE_UNKNOWN);
        assert_int_equal(take(backend, TOMBSTONE_MS + i), slot);
    }
    assert_int_equal(take(backend, UINT32_MAX), COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tombstone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_reused_before_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_oldest_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_pool_takes_the_oldest_early, set_up, tear_down),
        cmocka_unit_test(test_every_address_belongs_to_one_worker),
        cmocka_unit_test(test_addresses_of_another_worker_are_unknown),
        cmocka_unit_test_setup_teardown(test_addresses_that_never_were_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_oldest_first_in_many_chunks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
