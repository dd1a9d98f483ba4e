/* Source addresses toward the backends: who has which, for how long nobody else gets it, and what a
 * late datagram is told. Most tests are of one bucket, whose slots they name by their index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/slots.h"

enum { TOMBSTONE_MS = 247000, LISTENERS = 256, SESSIONS_MAX = 100000, BUCKET = 0x5a3 };

static struct counters by_listener[LISTENERS + 1];
static struct whole_counters whole;
static struct worker_counters counters = {
    .listener_count = LISTENERS, .by_listener = by_listener, .whole = &whole};

enum { OWNER_A = 7, OWNER_B = 70000 };
static const uint32_t NOBODY = UINT32_MAX;

/* A state, and the slots of one worker in it. */
struct fixture {
    struct slots slots; /* first: a test's state is this */
    struct state state;
};

static void open_slots(struct fixture *f, uint32_t worker, uint32_t worker_count)
{
    struct err err = {0};
    if (!slots_init(&f->slots, &f->state, worker, worker_count, SESSIONS_MAX, TOMBSTONE_MS,
                    &counters, &err))
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = {0};
    memset(by_listener, 0, sizeof(by_listener));
    memset(&whole, 0, sizeof(whole));
    if (f == NULL || !state_create(&f->state, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    state_begin_workers(&f->state, 1);
    f->state.header->slot_first = 0;
    open_slots(f, 0, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    slots_deinit(&f->slots);
    state_close(&f->state);
    free(f);
    return 0;
}

/* No more slots than that in a bucket. */
static void limit(struct slots *slots, uint32_t count)
{
    slots->share = count;
    slots->extra_max = 0;
}

static uint32_t index_of(uint32_t slot)
{
    return slot == SLOTS_NONE ? SLOTS_NONE : slot / STEERING_BUCKETS - SLOTS_FIRST_INDEX;
}

static uint32_t take_for(struct slots *slots, uint32_t owner, uint32_t listener, uint64_t now_ms,
                         bool *is_early)
{
    uint32_t slot = slots_take(slots, BUCKET, owner, listener, 0, now_ms, is_early);
    assert_true(slot == SLOTS_NONE || slots_bucket_of(slot) == BUCKET);
    return index_of(slot);
}

/* Takes a slot that must not be an early one. */
static uint32_t take(struct slots *slots, uint64_t now_ms)
{
    bool is_early = true;
    uint32_t index = take_for(slots, OWNER_A, 0, now_ms, &is_early);
    assert_true(index != SLOTS_NONE);
    assert_false(is_early);
    return index;
}

static void release(struct slots *slots, uint32_t index, enum close_reason reason, uint64_t now_ms)
{
    slots_release(slots, slots_number(BUCKET, index), reason, now_ms);
}

static void on_noise(struct slots *slots, uint32_t index, uint64_t now_ms)
{
    slots_on_noise(slots, slots_number(BUCKET, index), now_ms);
}

static bool is_exhausted(struct slots *slots, uint64_t now_ms)
{
    return slots_is_exhausted(slots, BUCKET, now_ms);
}

struct found {
    uint32_t owner;
    unsigned late;
    uint32_t listener;
};

static struct found find_slot(const struct slots *slots, uint32_t index, uint64_t now_ms)
{
    const struct backend_slot *slot = slots_find(slots, slots_number(BUCKET, index));
    assert_non_null(slot);
    return (struct found){.owner = slot->state == SLOT_TAKEN ? slot->owner : NOBODY,
                          .late = slots_late_reason(slots, slot, now_ms),
                          .listener = slot->listener};
}

static void test_find_owner(void **state)
{
    struct slots *slots = *state;
    bool is_early;
    uint32_t a = take_for(slots, OWNER_A, 3, 1000, &is_early);
    uint32_t b = take_for(slots, OWNER_B, 255, 1000, &is_early);
    assert_true(a != b);
    struct found found = find_slot(slots, a, 5000);
    assert_int_equal(found.owner, OWNER_A);
    assert_int_equal(found.listener, 3);
    found = find_slot(slots, b, 5000);
    assert_int_equal(found.owner, OWNER_B);
    assert_int_equal(found.listener, 255);
}

static void test_tombstone(void **state)
{
    struct slots *slots = *state;
    limit(slots, 1);
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
        uint64_t closed_ms = 1000000 * (reason + 1);
        uint32_t slot = take(slots, closed_ms - 10);
        release(slots, slot, reason, closed_ms);
        struct found found = find_slot(slots, slot, closed_ms);
        assert_true(found.owner == NOBODY);
        assert_int_equal(found.late, reason);
        assert_int_equal(found.listener, 0);
        assert_int_equal(find_slot(slots, slot, closed_ms + TOMBSTONE_MS - 1).late, reason);
        found = find_slot(slots, slot, closed_ms + TOMBSTONE_MS);
        assert_true(found.owner == NOBODY);
        assert_int_equal(found.late, LATE_UNKNOWN);
        assert_int_equal(found.listener, 0); /* who had it last */
    }
}

/* Opens the set-up's backend with a pool of so many, all of which are taken at 0. */
static void take_all(struct slots *slots, uint32_t count)
{
    limit(slots, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(take(slots, 0), i);
}

static void assert_none_left(struct slots *slots, uint64_t now_ms)
{
    bool is_early;
    assert_true(is_exhausted(slots, now_ms));
    assert_true(take_for(slots, OWNER_B, 0, now_ms, &is_early) == SLOTS_NONE);
    assert_false(is_early);
}

static uint32_t take_early(struct slots *slots, uint64_t now_ms)
{
    bool is_early;
    assert_false(is_exhausted(slots, now_ms));
    uint32_t slot = take_for(slots, OWNER_B, 0, now_ms, &is_early);
    assert_true(slot == SLOTS_NONE || is_early);
    return slot;
}

static void assert_gauges(const struct slots *slots, uint64_t quarantine, uint64_t noisy)
{
    uint64_t sums[2] = {0};
    for (uint32_t i = 0; i < LISTENERS; i++) {
        sums[0] += counter_get(&by_listener[i].backend_addresses_in_quarantine);
        sums[1] += counter_get(&by_listener[i].backend_addresses_noisy);
    }
    assert_int_equal(sums[0], quarantine);
    assert_int_equal(sums[1], noisy);
    assert_int_equal(slots->silent.count + slots->noisy.count, quarantine);
}

/* Those that were never used come first: they have been silent for longest of all. */
static void test_unused_first(void **state)
{
    struct slots *slots = *state;
    limit(slots, 3);
    assert_int_equal(take(slots, 0), 0);
    release(slots, 0, CLOSE_idle, 1000);
    assert_int_equal(take(slots, 1000 + 9 * TOMBSTONE_MS), 1);
    assert_int_equal(take(slots, 1000 + 9 * TOMBSTONE_MS), 2);
    assert_int_equal(take(slots, 1000 + 9 * TOMBSTONE_MS), 0);
    assert_int_equal(counter_get(&whole.backend_address_silence), 9 * TOMBSTONE_MS);
}

static void test_not_reused_before_its_time(void **state)
{
    struct slots *slots = *state;
    take_all(slots, 2);
    release(slots, 0, CLOSE_idle, 1000);
    assert_gauges(slots, 1, 0);
    assert_int_equal(take_early(slots, 1000 + TOMBSTONE_MS - 1), 0);
    assert_gauges(slots, 0, 0);
    release(slots, 0, CLOSE_idle, 1000);
    assert_int_equal(take(slots, 1000 + TOMBSTONE_MS), 0);
    assert_int_equal(counter_get(&whole.backend_address_silence), TOMBSTONE_MS - 1);
}

/* What a backend sends begins the time anew. */
static void test_noise_prolongs(void **state)
{
    struct slots *slots = *state;
    take_all(slots, 1);
    release(slots, 0, CLOSE_idle, 1000);
    uint64_t now_ms = 1000;
    for (int i = 0; i < 100; i++) {
        now_ms += i < 50 ? 1 : TOMBSTONE_MS - 1;
        assert_int_equal(find_slot(slots, 0, now_ms).late, CLOSE_idle);
        on_noise(slots, 0, now_ms);
        assert_gauges(slots, 1, 1);
        assert_none_left(slots, now_ms);
        assert_none_left(slots, now_ms + TOMBSTONE_MS - 1);
    }
    assert_int_equal(find_slot(slots, 0, now_ms + TOMBSTONE_MS).late, LATE_UNKNOWN);
    assert_int_equal(take(slots, now_ms + TOMBSTONE_MS), 0);
    assert_gauges(slots, 0, 0);
    assert_int_equal(counter_get(&whole.backend_address_silence), TOMBSTONE_MS);
}

/* A sender that pauses for longer has ended the quarantine, and begins another. */
static void test_noise_after_the_quarantine(void **state)
{
    struct slots *slots = *state;
    take_all(slots, 2);
    release(slots, 0, CLOSE_idle, 1000);
    uint64_t now_ms = 1000 + 2 * TOMBSTONE_MS;
    assert_int_equal(slots_on_time(slots, now_ms), UINT64_MAX);
    assert_gauges(slots, 0, 0);
    on_noise(slots, 0, now_ms);
    assert_gauges(slots, 1, 1);
    assert_int_equal(find_slot(slots, 0, now_ms).late, LATE_UNKNOWN);
    assert_none_left(slots, now_ms + TOMBSTONE_MS - 1);
    /* The same before anybody has seen that it was over. */
    now_ms += 2 * TOMBSTONE_MS;
    on_noise(slots, 0, now_ms);
    assert_none_left(slots, now_ms + TOMBSTONE_MS - 1);
    assert_int_equal(take(slots, now_ms + TOMBSTONE_MS), 0);
}

/* Another listener's backend: the owner's session is not concerned, but it is known afterwards. */
static void test_noise_while_taken(void **state)
{
    struct slots *slots = *state;
    take_all(slots, 2);
    on_noise(slots, 1, 500);
    assert_int_equal(find_slot(slots, 1, 500).owner, OWNER_A);
    release(slots, 1, CLOSE_idle, 1000);
    assert_gauges(slots, 1, 1);
    assert_none_left(slots, 1000 + TOMBSTONE_MS - 1);
    assert_int_equal(take(slots, 1000 + TOMBSTONE_MS), 1);
    release(slots, 1, CLOSE_idle, 2 * TOMBSTONE_MS);
    assert_gauges(slots, 1, 0); /* it is not for ever */
}

static void test_gauges_are_those_of_the_listener(void **state)
{
    struct slots *slots = *state;
    bool is_early;
    uint32_t a = take_for(slots, OWNER_A, 3, 0, &is_early);
    uint32_t b = take_for(slots, OWNER_A, 200, 0, &is_early);
    release(slots, a, CLOSE_idle, 1000);
    release(slots, b, CLOSE_idle, 2000);
    on_noise(slots, b, 3000);
    assert_int_equal(counter_get(&by_listener[3].backend_addresses_in_quarantine), 1);
    assert_int_equal(counter_get(&by_listener[3].backend_addresses_noisy), 0);
    assert_int_equal(counter_get(&by_listener[200].backend_addresses_in_quarantine), 1);
    assert_int_equal(counter_get(&by_listener[200].backend_addresses_noisy), 1);
    /* They end on time, with nobody asking for an address. */
    uint64_t due_ms = slots_on_time(slots, 4000);
    assert_in_range(due_ms, 1000 + TOMBSTONE_MS, 1000 + TOMBSTONE_MS + 1000);
    due_ms = slots_on_time(slots, due_ms);
    assert_gauges(slots, 1, 1);
    assert_in_range(due_ms, 3000 + TOMBSTONE_MS, 3000 + TOMBSTONE_MS + 1000);
    assert_int_equal(slots_on_time(slots, due_ms), UINT64_MAX);
    assert_gauges(slots, 0, 0);
}

/* A million that end at once are not a reason to hold up the worker. */
static void test_quarantines_end_in_pieces(void **state)
{
    enum { COUNT = 3000 };
    struct slots *slots = *state;
    take_all(slots, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        release(slots, i, CLOSE_shutdown, 1000);
    uint64_t now_ms = 1000 + TOMBSTONE_MS, calls = 0;
    assert_int_equal(slots_on_time(slots, now_ms - 1), now_ms + 1000);
    for (uint64_t due_ms = now_ms; due_ms != UINT64_MAX; calls++) {
        due_ms = slots_on_time(slots, now_ms);
        assert_true(due_ms == UINT64_MAX || due_ms == now_ms + 1);
    }
    assert_in_range(calls, COUNT / 1000, COUNT / 100);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(slots, now_ms), i);
}

static void test_oldest_first(void **state)
{
    struct slots *slots = *state;
    enum { COUNT = 100 };
    take_all(slots, COUNT);
    /* Closed in an order of their own. */
    for (uint32_t i = 0; i < COUNT; i++)
        release(slots, i * 37 % COUNT, CLOSE_idle, i);
    uint64_t later_ms = TOMBSTONE_MS + COUNT;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(slots, later_ms), i * 37 % COUNT);
    assert_none_left(slots, later_ms);
}

/* Slots that are taken, given back and sent to in turn, against a table of when each was last
 * heard. */
static void test_order_in_use(void **state)
{
    enum { COUNT = 48 };
    struct slots *slots = *state;
    struct {
        bool is_taken, is_noisy;
        uint64_t silent_since_ms;
    } known[COUNT] = {0};
    uint64_t random = 7, now_ms = 1;
    uint32_t earlies = 0, refusals = 0;
    take_all(slots, COUNT);
    for (int i = 0; i < COUNT; i++)
        known[i].is_taken = true;
    for (int step = 0; step < 40000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        now_ms += random >> 33 & 0x3fff;
        uint32_t at = (uint32_t)(random >> 50) % COUNT;
        if (!known[at].is_taken) {
            on_noise(slots, at, now_ms);
            known[at].silent_since_ms = now_ms;
            known[at].is_noisy = true;
        } else {
            release(slots, at, CLOSE_idle, now_ms);
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
        uint32_t slot = take_for(slots, OWNER_A, 0, now_ms, &is_early);
        assert_int_equal(slot != SLOTS_NONE, has_rested || has_silent);
        assert_int_equal(is_early, !has_rested && has_silent);
        earlies += is_early;
        refusals += slot == SLOTS_NONE;
        if (slot == SLOTS_NONE)
            continue;
        assert_true(slot < COUNT && !known[slot].is_taken);
        assert_int_equal(known[slot].silent_since_ms, has_rested ? rested_ms : silent_ms);
        known[slot].is_taken = true;
    }
    assert_true(earlies > 100 && refusals > 100);
}

static void test_full_pool_takes_the_oldest_early(void **state)
{
    struct slots *slots = *state;
    bool is_early;
    take_all(slots, 3);
    assert_none_left(slots, 0);

    release(slots, 2, CLOSE_idle, 1000);
    release(slots, 0, CLOSE_evicted, 2000);
    release(slots, 1, CLOSE_idle, 2500);
    on_noise(slots, 2, 2600);
    assert_int_equal(take_for(slots, OWNER_B, 1, 3000, &is_early), 0);
    assert_true(is_early);
    struct found found = find_slot(slots, 0, 3000);
    assert_int_equal(found.owner, OWNER_B);
    assert_int_equal(found.listener, 1);
    assert_int_equal(find_slot(slots, 1, 3000).late, CLOSE_idle);
    assert_int_equal(take_early(slots, 3000), 1);
    /* Whatever the pressure. */
    assert_none_left(slots, 3000);
    on_noise(slots, 2, 2600 + TOMBSTONE_MS - 1);
    assert_none_left(slots, 2600 + 2 * TOMBSTONE_MS - 2);
    assert_int_equal(take(slots, 2600 + 2 * TOMBSTONE_MS - 1), 2);
}

/* ---- which bucket, and how much of all ---------------------------------------------------------
 */

/* Whatever the numbers of buckets that are in use, a bucket gets slots of its own only. */
static void test_a_slot_is_in_its_bucket(void **state)
{
    struct slots *slots = *state;
    bool is_early;
    for (uint32_t bucket = 0; bucket < STEERING_BUCKETS; bucket++) {
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t slot = slots_take(slots, bucket, OWNER_A, 0, 0, 0, &is_early);
            struct addr addr = slots_addr(slot);
            assert_int_equal(slots_bucket_of(slot), bucket);
            assert_int_equal(index_of(slot), i);
            assert_int_equal(steering_bucket_of_backend(&addr), bucket);
            assert_int_equal(slots_number_of_addr(&addr), slot);
        }
    }
}

/* One device that begins anew again and again: it has more than its share, and at last those that
 * have been silent for longest. */
static void test_a_bucket_may_have_more_than_its_share(void **state)
{
    struct slots *slots = *state;
    uint32_t earlies = 0, highest = 0;
    for (uint32_t i = 0; i < 2 * SLOTS_BUCKET_MAX; i++) {
        bool is_early;
        uint32_t index = take_for(slots, OWNER_A, 0, 1000 + i, &is_early);
        assert_true(index < SLOTS_BUCKET_MAX);
        assert_int_equal(index, i % SLOTS_BUCKET_MAX);
        assert_int_equal(is_early, i >= SLOTS_BUCKET_MAX);
        earlies += is_early;
        highest = index > highest ? index : highest;
        release(slots, index, CLOSE_replaced, 1000 + i);
    }
    assert_int_equal(earlies, SLOTS_BUCKET_MAX);
    assert_int_equal(highest, SLOTS_BUCKET_MAX - 1);
    assert_gauges(slots, SLOTS_BUCKET_MAX, 0);
}

/* A state begins where no other is likely to have begun, and goes on from the last to the first.
 */
static void test_a_bucket_begins_anywhere(void **state)
{
    struct slots *slots = *state;
    uint32_t first[8], same = 0;
    for (int i = 0; i < 8; i++) {
        struct fixture other;
        struct err err;
        assert_true(state_create(&other.state, &err));
        open_slots(&other, 0, 1);
        first[i] = other.slots.first;
        assert_true(first[i] < SLOTS_BUCKET_MAX);
        same += first[i] == first[0];
        slots_deinit(&other.slots);
        state_close(&other.state);
    }
    assert_true(same < 8);
    slots->first = SLOTS_BUCKET_MAX - 2;
    assert_null(slots_find(slots, slots_number(BUCKET, SLOTS_BUCKET_MAX - 2)));
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t expected = (SLOTS_BUCKET_MAX - 2 + i) % SLOTS_BUCKET_MAX;
        assert_int_equal(take(slots, 0), expected);
        assert_int_equal(find_slot(slots, expected, 0).owner, OWNER_A);
    }
    assert_null(slots_find(slots, slots_number(BUCKET, SLOTS_BUCKET_MAX - 3)));
    assert_null(slots_find(slots, slots_number(BUCKET, 3)));
}

/* What others have used up does not lock anybody out; and it comes back. */
static void test_every_bucket_has_its_share(void **state)
{
    enum { SHARE = 2, EXTRA = 5, OTHER = BUCKET + 1 };
    struct slots *slots = *state;
    bool is_early;
    slots->share = SHARE;
    slots->extra_max = EXTRA;
    for (uint32_t i = 0; i < SHARE + EXTRA; i++)
        assert_int_equal(take(slots, 0), i);
    assert_none_left(slots, 0);
    assert_false(slots_is_exhausted(slots, OTHER, 0));
    for (uint32_t i = 0; i < SHARE; i++)
        assert_true(slots_take(slots, OTHER, OWNER_B, 1, 0, 0, &is_early) ==
                    slots_number(OTHER, i));
    assert_true(slots_is_exhausted(slots, OTHER, 0));

    /* The one in the middle is of use to its bucket only; those at the end to all. */
    release(slots, 3, CLOSE_idle, 1000);
    release(slots, SHARE + EXTRA - 1, CLOSE_idle, 1000);
    release(slots, SHARE + EXTRA - 2, CLOSE_idle, 1000);
    assert_int_equal(slots_on_time(slots, 1000 + TOMBSTONE_MS), UINT64_MAX);
    assert_int_equal(slots->extra_max - slots->extra_count, 2);
    assert_null(slots_find(slots, slots_number(BUCKET, SHARE + EXTRA - 2)));
    assert_non_null(slots_find(slots, slots_number(BUCKET, 3)));
    assert_false(slots_is_exhausted(slots, OTHER, 1000 + TOMBSTONE_MS));
    /* What has rested goes before what was never used, beyond the share. */
    assert_int_equal(take(slots, 1000 + TOMBSTONE_MS), 3);
    assert_int_equal(slots->extra_max - slots->extra_count, 2);
    assert_true(slots_take(slots, OTHER, OWNER_B, 1, 0, 1000 + TOMBSTONE_MS, &is_early) ==
                slots_number(OTHER, SHARE));
    assert_int_equal(slots->extra_max - slots->extra_count, 1);
    assert_int_equal(take(slots, 1000 + TOMBSTONE_MS), SHARE + EXTRA - 2);
    assert_none_left(slots, 1000 + TOMBSTONE_MS);
}

/* Other settings: what is in use stays so, and beyond what there may be now nothing new is used. */
static void test_settings_may_change(void **state)
{
    enum { COUNT = 100 };
    struct slots *slots = *state;
    bool is_early;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(take(slots, 0), i);
    slots_set(slots, 1, TOMBSTONE_MS);
    assert_int_equal(slots->share, 8);
    assert_int_equal(slots->extra_count, COUNT - 8);
    slots->extra_max = 10;
    assert_none_left(slots, 0);
    assert_int_equal(find_slot(slots, COUNT - 1, 0).owner, OWNER_A);
    release(slots, COUNT - 1, CLOSE_idle, 1000);
    release(slots, COUNT - 2, CLOSE_idle, 1000);
    release(slots, 0, CLOSE_idle, 1000);
    /* A shorter time of silence is enough from now on. */
    slots_set(slots, 1, 5000);
    slots->extra_max = 10;
    assert_int_equal(slots_on_time(slots, 5999), 1000 + 5000 + 1000);
    assert_int_equal(slots_on_time(slots, 6000), UINT64_MAX);
    assert_null(slots_find(slots, slots_number(BUCKET, COUNT - 2)));
    assert_int_equal(slots->extra_count, COUNT - 2 - 8);
    assert_int_equal(take(slots, 6000), 0);
    assert_true(take_for(slots, OWNER_B, 0, 6000, &is_early) == SLOTS_NONE);
    /* With more room it goes on. */
    slots_set(slots, SESSIONS_MAX, TOMBSTONE_MS);
    assert_int_equal(take(slots, 6000), COUNT - 2);
}

static void test_size_of_the_pool(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint32_t max_sessions, workers, share, extra; /* extra: of each worker */
    } cases[] = {
        {1, 1, 8, 32768},           {16384, 1, 8, 32768},        {16385, 1, 8, 32770},
        {100000, 1, 48, 200000},    {100000, 3, 48, 66666},      {10, 256, 8, 128},
        {1000000, 2, 488, 1000000}, {8000000, 1, 2039, 8353792}, {UINT32_MAX, 256, 2039, 32632},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        slots_deinit(&f->slots);
        open_slots(f, 0, cases[i].workers);
        slots_set(&f->slots, cases[i].max_sessions, TOMBSTONE_MS);
        assert_int_equal(f->slots.share, cases[i].share);
        assert_int_equal(f->slots.extra_max, cases[i].extra);
    }
}

/* A bucket grows and shrinks with what is in it, and nothing in it is lost by that. */
static void test_grows_and_shrinks(void **state)
{
    enum { COUNT = 1000, LEFT = 10, SHARE = 8 };
    struct slots *slots = *state;
    bool is_early;
    slots->share = SHARE;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_null(slots_find(slots, slots_number(BUCKET, i)));
        assert_int_equal(take_for(slots, 100 + i, i % 7, 0, &is_early), i);
    }
    for (uint32_t i = LEFT; i < COUNT; i++)
        release(slots, i, CLOSE_idle, i);
    for (uint64_t due_ms = 0; due_ms != UINT64_MAX;)
        due_ms = slots_on_time(slots, COUNT + TOMBSTONE_MS);
    for (uint32_t i = 0; i < LEFT; i++) {
        assert_int_equal(find_slot(slots, i, 0).owner, 100 + i);
        assert_int_equal(find_slot(slots, i, 0).listener, i % 7);
    }
    assert_null(slots_find(slots, slots_number(BUCKET, LEFT)));
    assert_int_equal(slots->extra_count, LEFT - SHARE);
}

/* ---- addresses ------------------------------------------------------------------------------ */

/* Every slot that there may be has an address of its own in 127.0.0.0/8, outside of
 * 127.0.0.0/16, and not the broadcast address. */
static void test_addresses(void **state)
{
    (void)state;
    static const uint32_t indexes[] = {0, 1, 255, 256, SLOTS_BUCKET_MAX - 2, SLOTS_BUCKET_MAX - 1};
    for (uint32_t bucket = 0; bucket < STEERING_BUCKETS; bucket++) {
        for (size_t i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
            struct addr addr = slots_addr(slots_number(bucket, indexes[i]));
            uint32_t value = (uint32_t)addr.ip[0] << 24 | (uint32_t)addr.ip[1] << 16 |
                             (uint32_t)addr.ip[2] << 8 | addr.ip[3];
            assert_int_equal(value, 0x7f010000 + indexes[i] * STEERING_BUCKETS + bucket);
            assert_in_range(value, 0x7f010000, 0x7ffffffe);
        }
    }
}

static void test_addresses_that_never_were_slots(void **state)
{
    struct slots *slots = *state;
    static const uint32_t values[] = {
        0x00000000, 0x7f000000, 0x7f000001, 0x7f00ffff, 0x7f0105a4, 0x7f0115a3,
        0x7ffffffe, 0x7fffffff, 0x80000000, 0x0a0105a3, 0xffffffff, 0x7effffff,
    };
    take(slots, 0);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint32_t v = values[i];
        struct addr addr = {
            .family = AF_INET,
            .ip = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}};
        assert_null(slots_find(slots, slots_number_of_addr(&addr)));
    }
    struct addr first = slots_addr(slots_number(BUCKET, 0));
    assert_non_null(slots_find(slots, slots_number_of_addr(&first)));
    first.family = AF_INET6;
    assert_null(slots_find(slots, slots_number_of_addr(&first)));
    first.family = 0;
    assert_null(slots_find(slots, slots_number_of_addr(&first)));
}

static void test_addresses_of_another_worker_are_unknown(void **state)
{
    struct fixture *f = *state;
    static const uint32_t counts[] = {1, 2, 3, 5, 8, 256};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        static struct slots workers[256];
        bool is_early;
        for (uint32_t w = 0; w < counts[n]; w++) {
            slots_deinit(&f->slots);
            open_slots(f, w, counts[n]);
            workers[w] = f->slots;
            f->slots.counts = NULL;
        }
        for (uint32_t bucket = 0; bucket < STEERING_BUCKETS; bucket++) {
            uint32_t owner = steering_worker_of_bucket(bucket, counts[n]);
            uint32_t slot = slots_take(&workers[owner], bucket, owner, 0, 0, 0, &is_early);
            for (uint32_t w = 0; w < counts[n]; w += counts[n] / 8 + 1)
                assert_int_equal(slots_find(&workers[w], slot) != NULL, w == owner);
        }
        for (uint32_t w = 0; w < counts[n]; w++)
            slots_deinit(&workers[w]);
    }
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
        cmocka_unit_test_setup_teardown(test_a_slot_is_in_its_bucket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bucket_may_have_more_than_its_share, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_bucket_begins_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_bucket_has_its_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settings_may_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_size_of_the_pool, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grows_and_shrinks, set_up, tear_down),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test_setup_teardown(test_addresses_that_never_were_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_addresses_of_another_worker_are_unknown, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
