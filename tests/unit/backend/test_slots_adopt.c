/* Slots that a process before has left: the next one knows the same of them, whatever its number of
 * workers, and whatever the state holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>

#include "backend/slots_adopt.h"
#include "backend/slots_inside.h"
#include "fakes/fake_memory.h"

enum { TOMBSTONE_MS = 247000, LISTENERS = 256, SESSIONS_MAX = 1000, WORKERS_MAX = 5 };

/* All workers of one process. */
struct fixture {
    struct state state;
    struct counters by_listener[LISTENERS + 1];
    struct whole_counters whole;
    struct worker_counters counters;
    struct slots workers[WORKERS_MAX];
    uint32_t count;
};

static void open_workers(struct fixture *f, uint32_t count)
{
    struct err err = {0};
    memset(f->by_listener, 0, sizeof(f->by_listener));
    f->counters = (struct worker_counters){.by_listener = f->by_listener, .whole = &f->whole};
    state_begin_workers(&f->state, count);
    for (uint32_t w = 0; w < count; w++) {
        if (!slots_init(&f->workers[w], &f->state, w, count, SESSIONS_MAX, TOMBSTONE_MS,
                        &f->counters, &err))
            fail_msg("%s", err.text);
    }
    f->count = count;
}

static void close_workers(struct fixture *f)
{
    for (uint32_t w = 0; w < f->count; w++)
        slots_deinit(&f->workers[w]);
    f->count = 0;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    *state = f;
    if (f == NULL || !state_create(&f->state, &err))
        return -1;
    open_workers(f, 2);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_workers(f);
    state_close(&f->state);
    free(f);
    return 0;
}

static struct slots *worker_of(struct fixture *f, uint32_t bucket)
{
    return &f->workers[steering_worker_of_bucket(slots_bucket_of(bucket), f->count)];
}

/* As if the process was killed, and another one begins. Returns whether a mark is missing. */
static bool change_process(struct fixture *f, uint32_t count, uint64_t now_ms)
{
    struct err err = {0};
    bool is_any_missing = false, is_missing;
    int fd = fcntl(f->state.region.fd, F_DUPFD_CLOEXEC, 0);
    close_workers(f);
    state_close(&f->state);
    if (!state_adopt(&f->state, fd, &err))
        fail_msg("%s", err.text);
    open_workers(f, count);
    for (uint32_t w = 0; w < count; w++) {
        assert_true(slots_adopt(&f->workers[w], now_ms, &is_missing, &err));
        is_any_missing |= is_missing;
    }
    return is_any_missing;
}

static uint32_t take(struct fixture *f, uint32_t bucket, uint32_t owner, uint32_t listener)
{
    bool is_early;
    uint32_t slot = slots_take(worker_of(f, bucket), bucket, owner, listener, 0, 1000, &is_early);
    assert_true(slot != SLOTS_NONE);
    return slot;
}

static void release(struct fixture *f, uint32_t slot, enum close_reason reason, uint64_t now_ms)
{
    slots_release(worker_of(f, slot), slot, reason, now_ms);
}

static const struct backend_slot *find(struct fixture *f, uint32_t slot)
{
    return slots_find(worker_of(f, slot), slot);
}

static uint64_t in_quarantine(const struct fixture *f)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < LISTENERS; i++)
        sum += counter_get(&f->by_listener[i].backend_addresses_in_quarantine);
    return sum;
}

/* ---- what goes on --------------------------------------------------------------------------- */

static void owners_claim_what_is_theirs(void **state)
{
    static const uint32_t counts[] = {2, 3, 1, 5, 1};
    struct fixture *f = *state;
    uint32_t slots[64];
    for (uint32_t i = 0; i < 64; i++)
        slots[i] = take(f, i * 61 % STEERING_BUCKETS, 1000 + i, i % 3);
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        change_process(f, counts[n], 5000);
        for (uint32_t i = 0; i < 64; i++) {
            struct slots *worker = worker_of(f, slots[i]);
            assert_false(slots_adopt_claim(worker, slots[i], 999, i % 3));
            assert_false(slots_adopt_claim(worker, slots[i], 1000 + i, 3));
            assert_true(slots_adopt_claim(worker, slots[i], 1000 + i, i % 3));
            assert_false(slots_adopt_claim(worker, slots[i], 1000 + i, i % 3));
            assert_int_equal(find(f, slots[i])->owner, 1000 + i);
        }
        for (uint32_t w = 0; w < f->count; w++)
            assert_int_equal(slots_adopt_end(&f->workers[w], CLOSE_torn, 5000), 0);
        assert_int_equal(in_quarantine(f), 0);
    }
    /* What was never used is nobody's. */
    assert_false(slots_adopt_claim(worker_of(f, 5), slots_number(5, 4000), 1, 0));
    assert_false(slots_adopt_claim(worker_of(f, 5), SLOTS_NONE, 1, 0));
}

static void those_that_nobody_claims_are_tombstones(void **state)
{
    struct fixture *f = *state;
    uint32_t a = take(f, 7, 1, 0), b = take(f, 7, 2, 0), c = take(f, 8, 3, 4);
    change_process(f, 1, 5000);
    assert_true(slots_adopt_claim(&f->workers[0], b, 2, 0));
    assert_int_equal(slots_adopt_end(&f->workers[0], CLOSE_torn, 6000), 2);
    assert_int_equal(slots_late_reason(&f->workers[0], find(f, a), 6000), CLOSE_torn);
    assert_int_equal(slots_late_reason(&f->workers[0], find(f, c), 6000), CLOSE_torn);
    assert_int_equal(find(f, b)->state, SLOT_TAKEN);
    assert_int_equal(counter_get(&f->by_listener[0].backend_addresses_in_quarantine), 1);
    assert_int_equal(counter_get(&f->by_listener[4].backend_addresses_in_quarantine), 1);
}

/* A late answer is still discarded under its reason, and the time of silence goes on. */
static void tombstones_stay_with_their_reasons(void **state)
{
    struct fixture *f = *state;
    uint32_t slots[CLOSE_REASON_COUNT + 1];
    for (uint32_t i = 0; i <= CLOSE_REASON_COUNT; i++)
        slots[i] = take(f, i * 7, 1, i);
    for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++)
        release(f, slots[i], i, 2000 + i);
    release(f, slots[LATE_UNKNOWN], CLOSE_idle, 2000);
    slots_on_noise(worker_of(f, slots[LATE_UNKNOWN]), slots[LATE_UNKNOWN], 2000 + TOMBSTONE_MS);
    slots_on_noise(worker_of(f, slots[3]), slots[3], 2500);
    for (uint32_t count = 1; count <= WORKERS_MAX; count++) {
        change_process(f, count, 3000 + TOMBSTONE_MS - 1000);
        for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++) {
            uint64_t since_ms = i == 3 ? 2500 : 2000 + i;
            const struct backend_slot *slot = find(f, slots[i]);
            struct slots *worker = worker_of(f, slots[i]);
            assert_int_equal(slot->state, i == 3 ? SLOT_NOISY : SLOT_SILENT);
            assert_int_equal(slots_late_reason(worker, slot, since_ms + TOMBSTONE_MS - 1), i);
            assert_int_equal(slots_late_reason(worker, slot, since_ms + TOMBSTONE_MS),
                             LATE_UNKNOWN);
            assert_int_equal(slot->listener, i);
        }
        assert_int_equal(slots_late_reason(worker_of(f, slots[LATE_UNKNOWN]),
                                           find(f, slots[LATE_UNKNOWN]), 2000 + TOMBSTONE_MS),
                         LATE_UNKNOWN);
        assert_int_equal(in_quarantine(f), CLOSE_REASON_COUNT + 1);
    }
}

/* Oldest first, over all buckets. */
static void the_order_of_silence_is_the_same(void **state)
{
    enum { COUNT = 500 };
    struct fixture *f = *state;
    uint32_t slots[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        slots[i] = take(f, i * 8 % STEERING_BUCKETS, 1, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        release(f, slots[i * 37 % COUNT], CLOSE_idle, 2000 + 10 * i);
    change_process(f, 1, 8000);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t end_ms = 2000 + 10 * i + TOMBSTONE_MS;
        const struct backend_slot *slot = find(f, slots[i * 37 % COUNT]);
        assert_int_equal(slot->state, SLOT_SILENT);
        slots_on_time(&f->workers[0], end_ms);
        assert_int_equal(slot->state, SLOT_RESTED);
    }
    assert_int_equal(in_quarantine(f), 0);
}

/* What a bucket has beyond its share is known, too, and what it has given back is not. */
static void the_pool_is_counted_anew(void **state)
{
    enum { BUCKET = 12, COUNT = 60 };
    struct fixture *f = *state;
    uint32_t slots[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        slots[i] = take(f, BUCKET, i, 0);
    uint32_t share = f->workers[0].share;
    assert_int_equal(f->workers[0].extra_count, COUNT - share);
    change_process(f, 1, 5000);
    assert_int_equal(f->workers[0].extra_count, COUNT - share);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(slots_adopt_claim(&f->workers[0], slots[i], i, 0));
    release(f, slots[COUNT - 1], CLOSE_idle, 5000);
    slots_on_time(&f->workers[0], 5000 + TOMBSTONE_MS);
    change_process(f, 2, 5000 + TOMBSTONE_MS);
    assert_int_equal(f->workers[0].extra_count, COUNT - 1 - share);
    assert_null(find(f, slots[COUNT - 1]));
    assert_int_equal(take(f, BUCKET, 1, 0), slots[COUNT - 1]);
}

/* An answer that was on its way when the slot was given away is not for the new owner. */
static void marks_that_had_come_back_are_known(void **state)
{
    struct fixture *f = *state;
    bool is_early;
    uint32_t old = slots_take(&f->workers[1], 1, 11, 0, 41, 1000, &is_early);
    uint32_t new = slots_take(&f->workers[1], 3, 12, 0, 42, 1000, &is_early);
    atomic_store(&state_worker(&f->state, 1)->mark_sent, 42);
    atomic_store(&state_worker(&f->state, 1)->mark_seen, 41);
    assert_true(change_process(f, 3, 2000));
    assert_int_equal(find(f, old)->since, 0);
    assert_int_equal(find(f, new)->since, 43);
    /* Killed before the new mark has come back. */
    assert_true(change_process(f, 1, 2000));
    assert_int_equal(find(f, old)->since, 0);
    assert_true(find(f, new)->since > 42);
    atomic_store(&state_worker(&f->state, 0)->mark_seen, 1000);
    assert_false(change_process(f, 2, 2000));
    assert_int_equal(find(f, new)->since, 0);
}

/* ---- what should not be there ---------------------------------------------------------------- */

static void a_time_ahead_of_the_clock_is_mended(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = take(f, 7, 1, 0);
    release(f, slot, CLOSE_idle, SLOTS_SINCE_MASK);
    change_process(f, 1, 5000);
    assert_int_equal(find(f, slot)->since, 5000);
    assert_int_equal(slots_late_reason(&f->workers[0], find(f, slot), 5001), CLOSE_idle);
}

static void a_reason_of_a_newer_version_is_unknown(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = take(f, 7, 1, 0);
    release(f, slot, (enum close_reason)200, 2000);
    change_process(f, 1, 5000);
    assert_int_equal(slots_late_reason(&f->workers[0], find(f, slot), 5001), LATE_UNKNOWN);
}

/* Random bytes in records, and then the usual life: every slot has one place in at most one list,
 * and the gauges say how many. */
static void garbage(void **state)
{
    struct fixture *f = *state;
    srandom(5);
    for (int round = 0; round < 40; round++) {
        uint64_t now_ms = 5000 + 100000 * (uint64_t)round;
        for (uint32_t i = 0; i < 300; i++)
            (void)take(f, (uint32_t)random() % 64, i, (uint32_t)random() % LISTENERS);
        uint8_t *bytes = f->state.region.base + LAYOUT_SLOTS_AT;
        for (int i = 0; i < 1 << (round % 14); i++)
            bytes[random() % (64 * 256)] = (uint8_t)random();
        change_process(f, 1 + (uint32_t)round % WORKERS_MAX, now_ms);
        for (uint32_t w = 0; w < f->count; w++) {
            struct slots *worker = &f->workers[w];
            slots_adopt_end(worker, CLOSE_torn, now_ms);
            uint32_t left = worker->silent.count + worker->noisy.count;
            assert_true(left <= 64 * SLOTS_BUCKET_MAX);
        }
        uint64_t sum = 0;
        for (uint32_t w = 0; w < f->count; w++)
            sum += f->workers[w].silent.count + f->workers[w].noisy.count;
        assert_int_equal(in_quarantine(f), sum);
        for (uint32_t w = 0; w < f->count; w++) {
            while (slots_on_time(&f->workers[w], now_ms + TOMBSTONE_MS) != UINT64_MAX)
                ;
            assert_int_equal(f->workers[w].silent.count + f->workers[w].noisy.count, 0);
        }
        assert_int_equal(in_quarantine(f), 0);
    }
}

/* Places that were never used, before one that was: they had no memory in the file. */
static void a_gap_gets_memory(void **state)
{
    enum { BUCKET = 7, PLACE = 3 * SLOTS_GROUP + 2 };
    struct fixture *f = *state;
    struct slots *slots = worker_of(f, BUCKET);
    struct err err = {0};
    bool is_missing;
    uint64_t first = LAYOUT_SLOTS_AT + slots_number_in_state(BUCKET, 0) * LAYOUT_SLOT_BYTES;
    assert_true(slots_need_group(slots, BUCKET, 3 * SLOTS_GROUP));
    *slots_at_place(slots, BUCKET, PLACE) = (struct backend_slot){.state = SLOT_RESTED};
    assert_int_not_equal(region_next_used(&f->state.region, first) / 4096, first / 4096);
    fake_memory_refuse(first, first + 1);
    assert_false(slots_adopt(slots, 5000, &is_missing, &err));
    assert_non_null(strstr(err.text, "out of memory"));
    fake_memory_refuse(0, 0);
    change_process(f, 1, 5000);
    assert_int_equal(region_next_used(&f->state.region, first) / 4096, first / 4096);
    for (uint32_t place = 0; place <= PLACE; place++)
        assert_int_equal(slots_at_place(worker_of(f, BUCKET), BUCKET, place)->state, SLOT_RESTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(owners_claim_what_is_theirs),
        TEST(those_that_nobody_claims_are_tombstones),
        TEST(tombstones_stay_with_their_reasons),
        TEST(the_order_of_silence_is_the_same),
        TEST(the_pool_is_counted_anew),
        TEST(marks_that_had_come_back_are_known),
        TEST(a_gap_gets_memory),
        TEST(a_time_ahead_of_the_clock_is_mended),
        TEST(a_reason_of_a_newer_version_is_unknown),
        TEST(garbage),
    };
    return cmocka_run_group_tests_name("slots_adopt", tests, NULL, NULL);
}
