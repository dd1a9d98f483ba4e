/* Source addresses toward the backends: who has which, for how long nobody else gets it, and what a
 * late datagram is told. The socket is a real one; only marks are sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"

enum { TOMBSTONE_MS = 247000, LISTENERS = 256, SESSIONS_MAX = 100000 };

static struct counters by_listener[LISTENERS + 1];
static struct worker_counters counters = {.listener_count = LISTENERS, .by_listener = by_listener};

static int owner_a, owner_b;

static int set_up(void **state)
{
    struct backend *backend = malloc(sizeof(*backend));
    struct err err = {0};
    memset(by_listener, 0, sizeof(by_listener));
    counter_subtract(&counters.backend_address_silence,
                     counter_get(&counters.backend_address_silence));
    if (backend == NULL ||
        !backend_open(backend, 0, 1, SESSIONS_MAX, TOMBSTONE_MS, &counters, &err)) {
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
    backend->slot_max = 1;
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
}

/* Opens the set-up's backend with a pool of so many, all of which are taken at 0. */
static void take_all(struct backend *backend, uint32_t count)
{
    backend->slot_max = count;
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(take(backend, 0), i);
}

static void assert_none_left(struct backend *backend, uint64_t now_ms)
{
    bool is_early;
    assert_true(backend_is_exhausted(backend, now_ms));
    assert_true(backend_take(backend, &owner_b, 0, now_ms, &is_early) == BACKEND_NO_SLOT);
    assert_false(is_early);
}

static uint32_t take_early(struct backend *backend, uint64_t now_ms)
{
    bool is_early;
    assert_false(backend_is_exhausted(backend, now_ms));
    uint32_t slot = backend_take(backend, &owner_b, 0, now_ms, &is_early);
    assert_true(slot == BACKEND_NO_SLOT || is_early);
    return slot;
}

static void assert_gauges(const struct backend *backend, uint64_t quarantine, uint64_t noisy)
{
    uint64_t sums[2] = {0};
    for (uint32_t i = 0; i < LISTENERS; i++) {
        sums[0] += counter_get(&by_listener[i].backend_addresses_in_quarantine);
        sums[1] += counter_get(&by_listener[i].backend_addresses_noisy);
    }
    assert_int_equal(sums[0], quarantine);
    assert_int_equal(sums[1], noisy);
    assert_int_equal(backend->lists[SLOT_SILENT].count + backend->lists[SLOT_NOISY].count,
                     quarantine);
}

/* Those that were never used come first: they have been silent for longest of all. */
static void test_unused_first(void **state)
{
    struct backend *backend = *state;
    backend->slot_max = 3;
    assert_int_equal(take(backend, 0), 0);
    backend_release(backend, 0, CLOSE_idle, 1000);
    assert_int_equal(take(backend, 1000 + 9 * TOMBSTONE_MS), 1);
    assert_int_equal(take(backend, 1000 + 9 * TOMBSTONE_MS), 2);
    assert_int_equal(take(backend, 1000 + 9 * TOMBSTONE_MS), 0);
    assert_int_equal(counter_get(&counters.backend_address_silence), 9 * TOMBSTONE_MS);
}

static void test_not_reused_before_its_time(void **state)
{
    struct backend *backend = *state;
    take_all(backend, 2);
    backend_release(backend, 0, CLOSE_idle, 1000);
    assert_gauges(backend, 1, 0);
    assert_int_equal(take_early(backend, 1000 + TOMBSTONE_MS - 1), 0);
    assert_gauges(backend, 0, 0);
    backend_release(backend, 0, CLOSE_idle, 1000);
    assert_int_equal(take(backend, 1000 + TOMBSTONE_MS), 0);
    assert_int_equal(counter_get(&counters.backend_address_silence), TOMBSTONE_MS - 1);
}

/* What a backend sends begins the time anew. */
static void test_noise_prolongs(void **state)
{
    struct backend *backend = *state;
    take_all(backend, 1);
    backend_release(backend, 0, CLOSE_idle, 1000);
    uint64_t now_ms = 1000;
    for (int i = 0; i < 100; i++) {
        now_ms += i < 50 ? 1 : TOMBSTONE_MS - 1;
        assert_int_equal(find_slot(backend, 0, now_ms).late, CLOSE_idle);
        backend_on_noise(backend, 0, now_ms);
        assert_gauges(backend, 1, 1);
        assert_none_left(backend, now_ms);
        assert_none_left(backend, now_ms + TOMBSTONE_MS - 1);
    }
    assert_int_equal(find_slot(backend, 0, now_ms + TOMBSTONE_MS).late, LATE_UNKNOWN);
    assert_int_equal(take(backend, now_ms + TOMBSTONE_MS), 0);
    assert_gauges(backend, 0, 0);
    assert_int_equal(counter_get(&counters.backend_address_silence), TOMBSTONE_MS);
}

/* A sender that pauses for longer has ended the quarantine, and begins another. */
static void test_noise_after_the_quarantine(void **state)
{
    struct backend *backend = *state;
    take_all(backend, 2);
    backend_release(backend, 0, CLOSE_idle, 1000);
    uint64_t now_ms = 1000 + 2 * TOMBSTONE_MS;
    assert_int_equal(backend_on_time(backend, now_ms), UINT64_MAX);
    assert_gauges(backend, 0, 0);
    backend_on_noise(backend, 0, now_ms);
    assert_gauges(backend, 1, 1);
    assert_int_equal(find_slot(backend, 0, now_ms).late, LATE_UNKNOWN);
    assert_none_left(backend, now_ms + TOMBSTONE_MS - 1);
    /* The same before anybody has seen that it was over. */
    now_ms += 2 * TOMBSTONE_MS;
    backend_on_noise(backend, 0, now_ms);
    assert_none_left(backend, now_ms + TOMBSTONE_MS - 1);
    assert_int_equal(take(backend, now_ms + TOMBSTONE_MS), 0);
}

/* Another listener's backend: the owner's session is not concerned, but it is known afterwards. */
static void test_noise_while_taken(void **state)
{
    struct backend *backend = *state;
    take_all(backend, 2);
    backend_on_noise(backend, 1, 500);
    assert_ptr_equal(find_slot(backend, 1, 500).owner, &owner_a);
    backend_release(backend, 1, CLOSE_idle, 1000);
    assert_gauges(backend, 1, 1);
    assert_none_left(backend, 1000 + TOMBSTONE_MS - 1);
    assert_int_equal(take(backend, 1000 + TOMBSTONE_MS), 1);
    backend_release(backend, 1, CLOSE_idle, 2 * TOMBSTONE_MS);
    assert_gauges(backend, 1, 0); /* it is not for ever */
}

static void test_gauges_are_those_of_the_listener(void **state)
{
    struct backend *backend = *state;
    bool is_early;
    uint32_t a = backend_take(backend, &owner_a, 3, 0, &is_early);
    uint32_t b = backend_take(backend, &owner_a, 200, 0, &is_early);
    backend_release(backend, a, CLOSE_idle, 1000);
    backend_release(backend, b, CLOSE_idle, 2000);
    backend_on_noise(backend, b, 3000);
    assert_int_equal(counter_get(&by_listener[3].backend_addresses_in_quarantine), 1);
    assert_int_equal(counter_get(&by_listener[3].backend_addresses_noisy), 0);
    assert_int_equal(counter_get(&by_listener[200].backend_addresses_in_quarantine), 1);
    assert_int_equal(counter_get(&by_listener[200].backend_addresses_noisy), 1);
    /* They end on time, with nobody asking for an address. */
    uint64_t due_ms = backend_on_time(backend, 4000);
    assert_in_range(due_ms, 1000 + TOMBSTONE_MS, 1000 + TOMBSTONE_MS + 1000);
    due_ms = backend_on_time(backend, due_ms);
    assert_gauges(backend, 1, 1);
    assert_in_range(due_ms, 3000 + TOMBSTONE_MS, 3000 + TOMBSTONE_MS + 1000);
    assert_int_equal(backend_on_time(backend, due_ms), UINT64_MAX);
    assert_gauges(backend, 0, 0);
}

/* A million that end at once are not a reason to hold up the worker. */
static void test_quarantines_end_in_pieces(void **state)
{
    enum { COUNT = 3000 };
    struct backend *backend = *state;
    take_all(backend, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        backend_release(backend, i, CLOSE_shutdown, 1000);
    uint64_t now_ms = 1000 + TOMBSTONE_MS, calls = 0;
    assert_int_equal(backend_on_time(backend, now_ms - 1), now_ms + 1000);
    for (uint64_t due_ms = now_ms; due_ms != UINT64_MAX; calls++) {
        due_ms = backend_on_time(backend, now_ms);
        assert_true(due_ms == UINT64_MAX || due_ms == now_ms + 1);
    }
    assert_in_range(calls, COUNT / 1000, COUNT / 100);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(backend, now_ms), i);
}

static void test_oldest_first(void **state)
{
    struct backend *backend = *state;
    enum { COUNT = 100 };
    take_all(backend, COUNT);
    /* Closed in an order of their own. */
    for (uint32_t i = 0; i < COUNT; i++)
        backend_release(backend, i * 37 % COUNT, CLOSE_idle, i);
    uint64_t later_ms = TOMBSTONE_MS + COUNT;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(backend, later_ms), i * 37 % COUNT);
    assert_none_left(backend, later_ms);
}

/* Slots that are taken, given back and sent to in turn, against a table of when each was last
 * heard. */
static void test_order_in_use(void **state)
{
    enum { COUNT = 48 };
    struct backend *backend = *state;
    struct {
        bool is_taken, is_noisy;
        uint64_t silent_since_ms;
    } known[COUNT] = {0};
    uint64_t random = 7, now_ms = 1;
    uint32_t earlies = 0, refusals = 0;
    take_all(backend, COUNT);
    for (int i = 0; i < COUNT; i++)
        known[i].is_taken = true;
    for (int step = 0; step < 40000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        now_ms += random >> 33 & 0x3fff;
        uint32_t at = (uint32_t)(random >> 50) % COUNT;
        if (!known[at].is_taken) {
            backend_on_noise(backend, at, now_ms);
            known[at].silent_since_ms = now_ms;
            known[at].is_noisy = true;
        } else {
            backend_release(backend, at, CLOSE_idle, now_ms);
            known[at].silent_since_ms = now_ms;
            known[at].is_taken = known[at].is_noisy = false;
        }
        if ((random >> 60 & 3) == 0)
            continue;
        bool is_early, has_rested = false, has_silent = false;
        uint64_t rested_ms = UINT64_MAX, silent_ms = UINT64_MAX;
        for (int i = 0; i < COUNT; i++) {
            uint64_t since_ms = known[i].silent_since_ms;
            if (known[i].is_taken)
                continue;
            if (now_ms - since_ms >= TOMBSTONE_MS) {
                has_rested = true;
                rested_ms = since_ms < rested_ms ? since_ms : rested_ms;
            } else if (!known[i].is_noisy) {
                has_silent = true;
                silent_ms = since_ms < silent_ms ? since_ms : silent_ms;
            }
        }
        uint32_t slot = backend_take(backend, &owner_a, 0, now_ms, &is_early);
        assert_int_equal(slot != BACKEND_NO_SLOT, has_rested || has_silent);
        assert_int_equal(is_early, !has_rested && has_silent);
        earlies += is_early;
        refusals += slot == BACKEND_NO_SLOT;
        if (slot == BACKEND_NO_SLOT)
            continue;
        assert_true(slot < COUNT && !known[slot].is_taken);
        assert_int_equal(known[slot].silent_since_ms, has_rested ? rested_ms : silent_ms);
        known[slot].is_taken = true;
    }
    assert_true(earlies > 100 && refusals > 100);
}

static void test_full_pool_takes_the_oldest_early(void **state)
{
    struct backend *backend = *state;
    bool is_early;
    take_all(backend, 3);
    assert_none_left(backend, 0);

    backend_release(backend, 2, CLOSE_idle, 1000);
    backend_release(backend, 0, CLOSE_evicted, 2000);
    backend_release(backend, 1, CLOSE_idle, 2500);
    backend_on_noise(backend, 2, 2600);
    assert_int_equal(backend_take(backend, &owner_b, 1, 3000, &is_early), 0);
    assert_true(is_early);
    struct backend_found found = find_slot(backend, 0, 3000);
    assert_ptr_equal(found.owner, &owner_b);
    assert_int_equal(found.listener, 1);
    assert_int_equal(find_slot(backend, 1, 3000).late, CLOSE_idle);
    assert_int_equal(take_early(backend, 3000), 1);
    /* Whatever the pressure. */
    assert_none_left(backend, 3000);
    backend_on_noise(backend, 2, 2600 + TOMBSTONE_MS - 1);
    assert_none_left(backend, 2600 + 2 * TOMBSTONE_MS - 2);
    assert_int_equal(take(backend, 2600 + 2 * TOMBSTONE_MS - 1), 2);
}

/* ---- what was sent before ------------------------------------------------------------------- */

/* Reads one batch of the real socket; returns the marks in it. */
static uint32_t read_marks(struct backend *backend, struct udp_in *in, uint64_t now_ms)
{
    uint32_t marks = 0;
    if (!udp_receive(&backend->socket, in))
        return 0;
    for (uint32_t i = 0; i < in->count; i++)
        marks += backend_take_mark(backend, &in->at[i], now_ms);
    backend_on_batch(backend, in->count < UDP_BATCH, now_ms);
    return marks;
}

/* The socket is a queue: what lay there when the address was given away is read before the mark. */
static void test_a_mark_parts_before_from_after(void **state)
{
    struct backend *backend = *state;
    struct udp_in in;
    assert_true(udp_in_init(&in));
    while (read_marks(backend, &in, 0) > 0) /* of the beginning */
        continue;
    uint32_t slot = take(backend, 1000);
    assert_true(find_slot(backend, slot, 1000).is_stale);
    assert_int_equal(find_slot(backend, slot, 1000).late, LATE_UNKNOWN);
    uint32_t other = take(backend, 1000);
    for (int i = 0; i < 1000 && read_marks(backend, &in, 1000) == 0; i++)
        continue;
    assert_false(find_slot(backend, slot, 1000).is_stale);
    assert_false(find_slot(backend, other, 1000).is_stale);
    uint32_t third = take(backend, 1000);
    assert_false(find_slot(backend, slot, 1000).is_stale);
    assert_true(find_slot(backend, third, 1000).is_stale);
    udp_in_deinit(&in);
}

/* Then all that is older has been read when the socket was seen empty a second later. */
static void test_a_lost_mark(void **state)
{
    struct backend *backend = *state;
    uint32_t slot = take(backend, 1000);
    backend_on_batch(backend, true, 1999);
    assert_true(find_slot(backend, slot, 1999).is_stale);
    backend_on_batch(backend, false, 2000);
    assert_true(find_slot(backend, slot, 2000).is_stale);
    backend_on_batch(backend, true, 2000);
    assert_false(find_slot(backend, slot, 2000).is_stale);
    slot = take(backend, 3000);
    backend_on_batch(backend, true, 3999);
    assert_true(find_slot(backend, slot, 3999).is_stale);
}

static void test_what_is_no_mark(void **state)
{
    struct backend *backend = *state;
    uint64_t number = 1;
    struct addr self = backend_slot_addr(backend, 0), other = self, elsewhere = self;
    uint32_t slot = take(backend, 0);
    other.port ^= 1;
    elsewhere.ip[3]++;
    const struct udp_datagram datagrams[] = {
        {.from = other, .to = self, .data = (uint8_t *)&number, .len = 8},
        {.from = self, .to = elsewhere, .data = (uint8_t *)&number, .len = 8},
        {.from = self, .to = self, .data = (uint8_t *)&number, .len = 7},
    };
    for (int i = 0; i < 3; i++)
        assert_false(backend_take_mark(backend, &datagrams[i], 0));
    assert_true(find_slot(backend, slot, 0).is_stale);
    /* A mark that was not sent yet would be one of the future. */
    number = 2;
    const struct udp_datagram mark = {
        .from = self, .to = self, .data = (uint8_t *)&number, .len = 8};
    assert_true(backend_take_mark(backend, &mark, 0));
    assert_true(find_slot(backend, slot, 0).is_stale);
    number = 1;
    assert_true(backend_take_mark(backend, &mark, 0));
    assert_false(find_slot(backend, slot, 0).is_stale);
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
            assert_true(
                backend_open(&workers[w], w, count, UINT32_MAX, TOMBSTONE_MS, &counters, &err));
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

static void test_size_of_the_pool(void **state)
{
    (void)state;
    static const struct {
        uint32_t max_sessions, workers, expected; /* of each worker */
    } cases[] = {
        {1, 1, 65536},          {16384, 1, 65536}, {16385, 1, 65540},        {100000, 1, 400000},
        {100000, 3, 133334},    {10, 256, 256},    {8000000, 1, 16711679},   {8000000, 2, 8355839},
        {4177919, 1, 16711676}, {1, 7, 9363},      {UINT32_MAX, 256, 65279},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct backend backend;
        struct err err;
        assert_true(backend_open(&backend, 0, cases[i].workers, cases[i].max_sessions, TOMBSTONE_MS,
                                 &counters, &err));
        assert_int_equal(backend.slot_max, cases[i].expected);
        backend_close(&backend);
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
        assert_true(
            backend_open(&workers[w], w, COUNT, SESSIONS_MAX, TOMBSTONE_MS, &counters, &err));
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
    take_all(backend, COUNT);
    for (uint64_t i = 0; i < COUNT; i++)
        backend_release(backend, (uint32_t)(i * STEP % COUNT), CLOSE_idle, i);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint32_t slot = (uint32_t)(i * STEP % COUNT);
        assert_int_equal(find_slot(backend, slot, TOMBSTONE_MS + i - 1).late, CLOSE_idle);
        assert_int_equal(find_slot(backend, slot, TOMBSTONE_MS + i).late, LATE_UNKNOWN);
        assert_int_equal(take(backend, TOMBSTONE_MS + i), slot);
    }
    assert_none_left(backend, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tombstone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unused_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_reused_before_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_noise_prolongs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_noise_after_the_quarantine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_noise_while_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gauges_are_those_of_the_listener, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_quarantines_end_in_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_oldest_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_pool_takes_the_oldest_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_mark_parts_before_from_after, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_mark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_mark, set_up, tear_down),
        cmocka_unit_test(test_every_address_belongs_to_one_worker),
        cmocka_unit_test(test_size_of_the_pool),
        cmocka_unit_test(test_addresses_of_another_worker_are_unknown),
        cmocka_unit_test_setup_teardown(test_addresses_that_never_were_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_oldest_first_in_many_chunks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
