/* How much time hellos get: a turn of the event loop at a time, on a clock of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

#include "worker/hello_share.h"

static const uint64_t SECOND_NS = 1000000000, MS_NS = 1000000;
enum { HELLO_COST_NS = 15000, TURN_NS = 50000 };

/* A worker in a flood, for a while: hellos are always there, sessions bring data in each turn that
 * takes TURN_NS, or never. */
struct flood {
    struct hello_share share;
    uint64_t now_ns, data_count;
    bool has_data;
    uint32_t begun; /* of each batch */
    uint64_t hello_ns, hellos, longest_ns;
};

static void flood_for(struct flood *f, uint64_t for_ns)
{
    uint64_t end_ns = f->now_ns + for_ns, resume_ns = 0;
    while (f->now_ns < end_ns) {
        f->now_ns += TURN_NS;
        f->data_count += f->has_data;
        if (f->now_ns < resume_ns)
            continue;
        uint32_t quota = hello_share_quota(&f->share, f->data_count, f->now_ns);
        if (quota == 0) {
            resume_ns = f->now_ns + hello_share_pause_ms(&f->share) * MS_NS;
            continue;
        }
        uint64_t spent_ns = (uint64_t)quota * HELLO_COST_NS + f->begun * SECOND_NS / 1000;
        hello_share_spend(&f->share, quota, f->begun, spent_ns);
        f->now_ns += spent_ns;
        f->hello_ns += spent_ns;
        f->hellos += quota;
        if (spent_ns > f->longest_ns)
            f->longest_ns = spent_ns;
    }
}

static struct flood new_flood(bool has_data)
{
    struct flood f = {.now_ns = 1000 * SECOND_NS, .has_data = has_data};
    hello_share_init(&f.share, f.now_ns);
    return f;
}

static void test_an_eighth_beside_data(void **state)
{
    (void)state;
    struct flood f = new_flood(true);
    flood_for(&f, 10 * SECOND_NS);
    assert_in_range(f.hello_ns, SECOND_NS * 11 / 10, SECOND_NS * 13 / 10);
    assert_true(f.longest_ns < MS_NS / 2); /* what a session may have to wait */
}

static void test_never_starved(void **state)
{
    (void)state;
    struct flood f = new_flood(true);
    for (int i = 0; i < 100; i++) {
        uint64_t before = f.hellos;
        flood_for(&f, 20 * MS_NS);
        assert_true(f.hellos > before);
    }
}

static void test_all_the_time_without_data(void **state)
{
    (void)state;
    struct flood f = new_flood(false);
    flood_for(&f, SECOND_NS);
    assert_true(f.hello_ns > SECOND_NS * 9 / 10);
    /* Sessions come and go; what hellos took before is not held against them. */
    f.has_data = true;
    flood_for(&f, SECOND_NS);
    f.has_data = false;
    flood_for(&f, 200 * MS_NS);
    f.hello_ns = 0;
    flood_for(&f, SECOND_NS);
    assert_true(f.hello_ns > SECOND_NS * 9 / 10);
}

static void test_a_pause_earns_little(void **state)
{
    (void)state;
    struct flood f = new_flood(true);
    flood_for(&f, SECOND_NS);
    f.now_ns += 3600 * SECOND_NS;
    f.hello_ns = 0;
    flood_for(&f, SECOND_NS);
    assert_in_range(f.hello_ns, SECOND_NS / 10, SECOND_NS / 6);
}

/* Devices that have proved their address: their handshakes cost more, and are not held back. */
static void test_handshakes_are_not_charged(void **state)
{
    (void)state;
    struct flood f = new_flood(true);
    flood_for(&f, SECOND_NS); /* it learns what a hello costs */
    f.hello_ns = 0;
    f.begun = 1; /* 15 of a batch are charged: 0.225 ms of 1.24 ms, in 1.8 ms */
    flood_for(&f, SECOND_NS);
    assert_in_range(f.hello_ns, SECOND_NS * 60 / 100, SECOND_NS * 75 / 100);
    f.hello_ns = 0;
    f.begun = 16; /* all of a batch */
    flood_for(&f, SECOND_NS);
    assert_true(f.hello_ns > SECOND_NS * 9 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_eighth_beside_data),
        cmocka_unit_test(test_never_starved),
        cmocka_unit_test(test_all_the_time_without_data),
        cmocka_unit_test(test_a_pause_earns_little),
        cmocka_unit_test(test_handshakes_are_not_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
