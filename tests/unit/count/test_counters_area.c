/* Counters that go on over restarts: by their names, whatever the versions before and after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>

#include "count/counters_area.h"
#include "fakes/fake_memory.h"
#include "state/state_listeners.h"

enum { LISTENERS = 3, WORKERS_MAX = 5 };

struct fixture {
    struct state state;
    struct worker_counters inherited, workers[WORKERS_MAX];
    uint32_t count;
};

static void begin(struct fixture *f, uint32_t count)
{
    struct err err = {0};
    if (!counters_area_adopt(&f->state, count, &err))
        fail_msg("%s", err.text);
    f->count = count;
    f->inherited = counters_area_of(&f->state, COUNTERS_INHERITED);
    for (uint32_t w = 0; w < count; w++)
        f->workers[w] = counters_area_of(&f->state, w);
}

static void change_process(struct fixture *f, uint32_t count)
{
    struct err err = {0};
    int fd = fcntl(f->state.region.fd, F_DUPFD_CLOEXEC, 0);
    state_close(&f->state);
    if (!state_adopt(&f->state, fd, &err))
        fail_msg("%s", err.text);
    begin(f, count);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct state_listener listeners[LISTENERS] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    struct err err;
    *state = f;
    if (f == NULL || !state_create(&f->state, &err) ||
        !state_listeners_plan(&f->state, listeners, LISTENERS, &err) ||
        !state_listeners_commit(&f->state, listeners, LISTENERS, 0, &err))
        return -1;
    begin(f, 2);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    state_close(&f->state);
    free(f);
    return 0;
}

static struct counters *entry(const struct worker_counters *worker, uint32_t listener)
{
    return &worker->by_listener[listener];
}

static void count_data(const struct worker_counters *worker, uint32_t listener, uint64_t n)
{
    counter_add(&entry(worker, listener)->client_received, n);
    counter_add(&entry(worker, listener)->client[CLIENT_forwarded], n);
}

/* ---- sums ----------------------------------------------------------------------------------- */

static void sums_go_on(void **state)
{
    static const uint32_t counts[] = {3, 1, 5, 2};
    struct fixture *f = *state;
    uint64_t expected = 0;
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        for (uint32_t w = 0; w < f->count; w++) {
            count_data(&f->workers[w], 1, 10 + w);
            counter_add(&entry(&f->workers[w], LAYOUT_LISTENERS_MAX)->backend_kernel_drops, 1);
            expected += 10 + w;
        }
        uint64_t drops =
            counter_get(&entry(&f->inherited, LAYOUT_LISTENERS_MAX)->backend_kernel_drops);
        drops += f->count;
        change_process(f, counts[n]);
        assert_int_equal(entry(&f->inherited, 1)->client_received, expected);
        assert_int_equal(entry(&f->inherited, 1)->client[CLIENT_forwarded], expected);
        assert_int_equal(entry(&f->inherited, 0)->client_received, 0);
        assert_int_equal(entry(&f->inherited, LAYOUT_LISTENERS_MAX)->backend_kernel_drops, drops);
        for (uint32_t w = 0; w < f->count; w++) {
            assert_int_equal(entry(&f->workers[w], 1)->client_received, 0);
            assert_int_equal(f->workers[w].listener_count, LAYOUT_LISTENERS_MAX);
        }
    }
}

/* Each counter of a listener and each of a worker as a whole, by a number of its own. */
static void every_counter_goes_on(void **state)
{
    struct fixture *f = *state;
    struct counters *from = entry(&f->workers[1], 2);
    counter *all = (counter *)from, *whole = (counter *)f->workers[1].whole;
    size_t each = sizeof(struct counters) / sizeof(counter);
    size_t whole_each = sizeof(struct whole_counters) / sizeof(counter);
    for (size_t i = 0; i < each; i++)
        counter_add(&all[i], 1000 + i);
    for (size_t i = 0; i < whole_each; i++)
        counter_add(&whole[i], 5000 + i);
    struct counters expected = *from;
    struct whole_counters expected_whole = *f->workers[1].whole;
    /* Received = sum of outcomes, and so with what is late. */
    uint64_t client = 0, backend = 0, late = 0;
    for (unsigned i = 0; i < LATE_REASON_COUNT; i++)
        late += expected.late[i];
    expected.backend[BACKEND_late] = late;
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        client += expected.client[i];
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        backend += expected.backend[i];
    expected.client_received = client;
    expected.backend_received = backend;
#define GAUGE(name, help) expected.name = 0;
#include "count/counters_each.h"
    memset(expected.sessions_by, 0, sizeof(expected.sessions_by));
    change_process(f, 2);
    for (size_t i = 0; i < each; i++) {
        if (counter_get(&((counter *)entry(&f->inherited, 2))[i]) != ((uint64_t *)&expected)[i])
            fail_msg("counter %zu of %zu: %llu, not %llu", i, each,
                     (unsigned long long)((uint64_t *)entry(&f->inherited, 2))[i],
                     (unsigned long long)((uint64_t *)&expected)[i]);
    }
    assert_memory_equal(f->inherited.whole, &expected_whole, sizeof(expected_whole));
}

static void a_minimum_is_the_least(void **state)
{
    struct fixture *f = *state;
    counter_lower(&f->workers[0].whole->backend_address_silence, 700);
    counter_lower(&f->workers[1].whole->backend_address_silence, 300);
    durations_add(&f->workers[0].whole->loop_turn, 50000);
    durations_add(&f->workers[1].whole->loop_turn, 70000);
    change_process(f, 1);
    assert_int_equal(f->inherited.whole->backend_address_silence, 300);
    assert_int_equal(f->inherited.whole->loop_turn.bucket[0], 2);
    assert_int_equal(f->inherited.whole->loop_turn.ns_sum, 120000);
    change_process(f, 1); /* and one that knows of none */
    assert_int_equal(f->inherited.whole->backend_address_silence, 300);
}

/* Killed between the first store of a batch and the last. */
static void a_batch_that_was_killed_leaves_sums_that_hold(void **state)
{
    struct fixture *f = *state;
    struct counters *c = entry(&f->workers[0], 0);
    count_data(&f->workers[0], 0, 100);
    counter_add(&c->client_received, 64);
    counter_add(&c->client[CLIENT_control], 10);
    counter_add(&c->backend_received, 3);
    counter_add(&c->backend[BACKEND_late], 2);
    counter_add(&c->late[CLOSE_idle], 1);
    change_process(f, 2);
    c = entry(&f->inherited, 0);
    assert_int_equal(c->client_received, 110);
    assert_int_equal(c->client[CLIENT_control], 10);
    assert_int_equal(c->backend_received, 2);
    assert_int_equal(c->backend[BACKEND_late], 2);
    assert_int_equal(c->late[CLOSE_idle], 1);
    assert_int_equal(c->late[LATE_UNKNOWN], 1);
}

/* Killed while it took over: what it had made by then is made again. */
static void a_start_that_was_killed_counts_nothing_twice(void **state)
{
    struct fixture *f = *state;
    count_data(&f->workers[0], 1, 7);
    for (int i = 0; i < 3; i++) {
        uint32_t before = atomic_load(&f->state.header->counters_area);
        change_process(f, 2);
        assert_int_equal(entry(&f->inherited, 1)->client_received, 7);
        memset(f->state.region.base + LAYOUT_COUNTERS_AT(before), 0xa5, 1 << 20);
    }
}

/* ---- other versions -------------------------------------------------------------------------- */

/* What an area of any version begins with. */
struct old_head {
    uint32_t name_count, block_count;
    uint64_t block_at, block_bytes, entry_at, entry_bytes;
};

/* As of an older version, with two workers: fewer counters, other places, one that is gone. */
static void make_old_area(struct fixture *f)
{
    enum { NAMES_AT = 4096, BLOCKS_AT = 65536, ENTRY = 64, BLOCK = 32768 };
    static const struct counters_name names[] = {
        {.name = "closed/idle", .offset = 0},
        {.name = "client/forwarded", .offset = 8},
        {.name = "client/gone_since", .offset = 16},
        {.name = "client_received", .offset = 24},
        {.name = "loop_turn/300", .offset = 8, .is_whole = true},
        {.name = "backend_address_silence", .offset = 0, .is_whole = true, .is_minimum = true},
        {.name = "records_discarded", .offset = 56},
    };
    uint32_t area = atomic_load(&f->state.header->counters_area);
    uint8_t *base = f->state.region.base + LAYOUT_COUNTERS_AT(area);
    assert_true(region_need(&f->state.region, LAYOUT_COUNTERS_AT(area), 1 << 20));
    memset(base, 0, 1 << 20);
    *(struct old_head *)base = (struct old_head){.name_count = 7,
                                                 .block_count = 3,
                                                 .block_at = BLOCKS_AT,
                                                 .block_bytes = BLOCK,
                                                 .entry_at = 64,
                                                 .entry_bytes = ENTRY};
    memcpy(base + NAMES_AT, names, sizeof(names));
    for (uint64_t block = 0; block < 3; block++) {
        uint64_t *whole = (uint64_t *)(base + BLOCKS_AT + block * BLOCK);
        uint64_t *second = whole + (64 + ENTRY) / 8;
        whole[0] = 900 - block;
        whole[1] = 20;
        second[0] = 1;
        second[1] = 10;
        second[2] = 5;
        second[3] = 15;
        second[7] = 1000;
    }
}

static void another_version_relabels_nothing(void **state)
{
    struct fixture *f = *state;
    make_old_area(f);
    change_process(f, 2);
    struct counters *c = entry(&f->inherited, 1);
    assert_int_equal(c->closed[CLOSE_idle], 3);
    assert_int_equal(c->client[CLIENT_forwarded], 30);
    assert_int_equal(c->client_received, 30); /* without those whose outcome is none any more */
    assert_int_equal(c->records_discarded, 3000);
    assert_int_equal(c->closed[CLOSE_evicted], 0);
    assert_int_equal(f->inherited.whole->loop_turn.bucket[1], 60);
    assert_int_equal(f->inherited.whole->loop_turn.bucket[0], 0);
    assert_int_equal(f->inherited.whole->backend_address_silence, 898);
    assert_int_equal(entry(&f->inherited, 0)->client_received, 0);
}

/* The build before had buckets from 10 ms to 30 s, and counted no bytes. */
static void make_area_before_bytes(struct fixture *f)
{
    enum { NAMES_AT = 4096, BLOCKS_AT = 65536, ENTRY = 80, BLOCK = 32768 };
    static const struct counters_name names[] = {
        {.name = "client_received", .offset = 0},
        {.name = "backend_received", .offset = 8},
        {.name = "client/forwarded", .offset = 16},
        {.name = "handshakes/1.2/psk/wrong_key", .offset = 24},
        {.name = "handshake_ms/10", .offset = 32},
        {.name = "handshake_ms/30", .offset = 40},
        {.name = "handshake_ms/30000", .offset = 48},
        {.name = "handshake_ms/inf", .offset = 56},
        {.name = "handshake_ms_sum", .offset = 64},
    };
    uint32_t area = atomic_load(&f->state.header->counters_area);
    uint8_t *base = f->state.region.base + LAYOUT_COUNTERS_AT(area);
    assert_true(region_need(&f->state.region, LAYOUT_COUNTERS_AT(area), 1 << 20));
    memset(base, 0, 1 << 20);
    *(struct old_head *)base = (struct old_head){.name_count = sizeof(names) / sizeof(names[0]),
                                                 .block_count = 2,
                                                 .block_at = BLOCKS_AT,
                                                 .block_bytes = BLOCK,
                                                 .entry_at = 64,
                                                 .entry_bytes = ENTRY};
    memcpy(base + NAMES_AT, names, sizeof(names));
    uint64_t *first = (uint64_t *)(base + BLOCKS_AT + BLOCK + 64);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        first[i] = 100 + i;
}

static unsigned bucket_of(unsigned ms)
{
    static const unsigned bounds_ms[] = {HANDSHAKE_BUCKETS_MS};
    unsigned bucket = 0;
    while (bounds_ms[bucket] != ms)
        bucket++;
    return bucket;
}

/* Each observation stands in the bucket of the bound that it had, and is counted once. */
static void counters_of_the_build_before_go_on(void **state)
{
    struct fixture *f = *state;
    make_area_before_bytes(f);
    change_process(f, 2);
    const struct counters *c = entry(&f->inherited, 0);
    uint64_t all = 0;
    for (unsigned i = 0; i <= HANDSHAKE_BUCKET_COUNT; i++)
        all += counter_get(&c->handshake_ms_bucket[i]);
    assert_int_equal(c->handshake_ms_bucket[bucket_of(10)], 104);
    assert_int_equal(c->handshake_ms_bucket[bucket_of(30)], 105);
    assert_int_equal(c->handshake_ms_bucket[bucket_of(30000)], 106);
    assert_int_equal(c->handshake_ms_bucket[HANDSHAKE_BUCKET_COUNT], 107);
    assert_int_equal(all, 104 + 105 + 106 + 107);
    assert_int_equal(c->handshake_ms_sum, 108);
    assert_int_equal(c->client[CLIENT_forwarded], 102);
    assert_int_equal(c->handshakes[VERSION_1_2][CREDENTIAL_PSK][HANDSHAKE_wrong_key], 103);
    assert_int_equal(c->client_bytes_received, 0);
    assert_int_equal(c->client_bytes_sent, 0);
    assert_int_equal(c->backend_bytes_received, 0);
    assert_int_equal(c->backend_bytes_sent, 0);
}

/* Whatever is in there: it is not followed, and the next counts from what it is. */
static void garbage(void **state)
{
    struct fixture *f = *state;
    srandom(3);
    for (int round = 0; round < 100; round++) {
        uint32_t area = atomic_load(&f->state.header->counters_area);
        uint8_t *base = f->state.region.base + LAYOUT_COUNTERS_AT(area);
        size_t range = round % 2 == 0 ? sizeof(struct old_head) : 200000;
        for (int i = 0; i < 1 << (round % 12); i++)
            base[(size_t)random() % range] = (uint8_t)random();
        change_process(f, 1 + (uint32_t)round % 3);
        count_data(&f->workers[0], 2, 1);
        uint64_t before = counter_get(&entry(&f->inherited, 2)->client[CLIENT_forwarded]);
        change_process(f, 1);
        assert_int_equal(entry(&f->inherited, 2)->client[CLIENT_forwarded], before + 1);
    }
}

/* ---- listeners ------------------------------------------------------------------------------- */

static void a_listener_may_be_added(void **state)
{
    struct fixture *f = *state;
    assert_true(counters_area_need(&f->state, 200));
    count_data(&f->workers[1], 200, 4);
    change_process(f, 1);
    assert_int_equal(entry(&f->inherited, 200)->client_received, 4);
}

static void a_number_may_become_another_listeners(void **state)
{
    struct fixture *f = *state;
    struct counters *c = entry(&f->workers[0], 1);
    count_data(&f->workers[0], 1, 4);
    counter_add(&c->sessions, 3);
    counter_add(&c->sessions_by[VERSION_1_2][CREDENTIAL_PSK][1], 3);
    counter_add(&c->backend_addresses_in_quarantine, 2);
    counters_reset(c);
    assert_int_equal(c->client_received, 0);
    assert_int_equal(c->client[CLIENT_forwarded], 0);
    assert_int_equal(c->sessions, 3);
    assert_int_equal(c->sessions_by[VERSION_1_2][CREDENTIAL_PSK][1], 3);
    assert_int_equal(c->backend_addresses_in_quarantine, 2);
}

/* As after a state file: of an old block only what is not zero has memory. Without any for the rest
 * nothing is counted, and nothing lost. */
static void sums_of_an_area_with_holes_go_on(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    count_data(&f->workers[1], 2, 7);
    fake_memory_drop_zeros(f->state.region.fd);
    for (uint32_t area = 0; area < 2; area++) {
        fake_memory_refuse(LAYOUT_COUNTERS_AT(area),
                           LAYOUT_COUNTERS_AT(area) + LAYOUT_COUNTERS_BYTES);
        assert_false(counters_area_adopt(&f->state, 1, &err));
        assert_non_null(strstr(err.text, "out of memory"));
    }
    fake_memory_refuse(0, 0);
    change_process(f, 1);
    assert_int_equal(entry(&f->inherited, 2)->client[CLIENT_forwarded], 7);
    assert_int_equal(entry(&f->inherited, 2)->client_received, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sums_go_on),
        TEST(every_counter_goes_on),
        TEST(a_minimum_is_the_least),
        TEST(a_batch_that_was_killed_leaves_sums_that_hold),
        TEST(a_start_that_was_killed_counts_nothing_twice),
        TEST(another_version_relabels_nothing),
        TEST(counters_of_the_build_before_go_on),
        TEST(sums_of_an_area_with_holes_go_on),
        TEST(garbage),
        TEST(a_listener_may_be_added),
        TEST(a_number_may_become_another_listeners),
    };
    return cmocka_run_group_tests_name("counters_area", tests, NULL, NULL);
}
