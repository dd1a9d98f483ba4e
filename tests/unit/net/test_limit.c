/* Limits let through what they say, to the piece, and a flood costs nobody else anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_system.h"
#include "net/limit.h"

/* ---- one limit --------------------------------------------------------------------------------
 */

static uint32_t take_all(struct limit_bucket *bucket, uint64_t now_ms, bool is_preferred)
{
    uint32_t taken = 0;
    while (taken < 2 * LIMIT_PER_S_MAX && limit_take(bucket, now_ms, is_preferred))
        taken++;
    return taken;
}

static void test_zero_is_no_limit(void **state)
{
    (void)state;
    struct limit_bucket bucket = {0};
    for (int i = 0; i < 100000; i++)
        assert_true(limit_take(&bucket, 5, false));
}

/* Asked each millisecond by somebody who never has enough: a second's worth at once, then exactly
 * the rate. */
static void test_rate_is_exact(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 2, 3, 7, 10, 60, 333, 1000, 1001, 4567, 100000};
    enum { SECONDS = 60 };
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        struct limit_bucket bucket = {.per_s = rates[i]};
        uint64_t begin_ms = 123456789, taken = take_all(&bucket, begin_ms, true);
        assert_int_equal(taken, rates[i]);
        for (uint64_t ms = 1; ms <= SECONDS * 1000; ms++)
            taken += take_all(&bucket, begin_ms + ms, true);
        assert_int_equal(taken, (uint64_t)rates[i] * (SECONDS + 1));
    }
}

/* A stranger who keeps to the rate is never refused, with whatever jitter a clock of milliseconds
 * has. */
static void test_who_keeps_to_the_rate_is_never_refused(void **state)
{
    (void)state;
    for (uint32_t per_s = 1; per_s <= 1000; per_s++) {
        struct limit_bucket bucket = {.per_s = per_s};
        for (uint64_t i = 0; i < 5000; i++)
            assert_true(limit_take(&bucket, 1000000 + (i * 1000 + per_s - 1) / per_s, false));
    }
}

static void test_the_last_quarter_is_for_the_preferred(void **state)
{
    (void)state;
    static const struct {
        uint32_t per_s, strangers;
    } expected[] = {{1, 1}, {2, 2}, {3, 3}, {4, 3}, {7, 6}, {8, 6}, {100, 75}, {1000, 750}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
        struct limit_bucket bucket = {.per_s = expected[i].per_s};
        assert_int_equal(take_all(&bucket, 1000, false), expected[i].strangers);
        assert_int_equal(take_all(&bucket, 1000, true), expected[i].per_s - expected[i].strangers);
        assert_int_equal(take_all(&bucket, 1000, true), 0);
    }
}

/* However many strangers there are, the preferred find their quarter. */
static void test_strangers_do_not_keep_the_preferred_out(void **state)
{
    (void)state;
    struct limit_bucket bucket = {.per_s = 100};
    uint32_t strangers = 0;
    for (uint64_t ms = 0; ms < 60000; ms++) {
        strangers += take_all(&bucket, 5000 + ms, false);
        if (ms % 20 == 19) /* 50 a second */
            assert_true(limit_take(&bucket, 5000 + ms, true));
    }
    /* What the preferred leave, and no less. */
    assert_in_range(strangers, 50 * 60, 50 * 60 + 75);
}

static void test_what_is_refused_costs_nothing(void **state)
{
    (void)state;
    struct limit_bucket bucket = {.per_s = 10};
    assert_int_equal(take_all(&bucket, 1000, true), 10);
    for (int i = 0; i < 1000; i++)
        assert_false(limit_take(&bucket, 1099, true));
    assert_true(limit_take(&bucket, 1100, true));
}

static void test_time_that_behaves_badly(void **state)
{
    (void)state;
    struct limit_bucket bucket = {.per_s = 100};
    static const uint64_t times_ms[] = {0,  UINT64_MAX,        UINT64_MAX, 0, 5, 4, UINT64_MAX - 1,
                                        17, (uint64_t)1 << 32, 3};
    assert_int_equal(take_all(&bucket, 0, true), 100);
    for (size_t i = 0; i < sizeof(times_ms) / sizeof(*times_ms); i++) {
        uint32_t taken = take_all(&bucket, times_ms[i], true);
        assert_in_range(taken, 0, 100); /* never more than a second's worth */
        assert_int_equal(take_all(&bucket, times_ms[i], true), 0);
    }
    /* After going back it runs on from there. */
    assert_int_equal(take_all(&bucket, 1003, true), 100);
}

static void test_huge_rates(void **state)
{
    (void)state;
    static const uint32_t rates[] = {LIMIT_PER_S_MAX, LIMIT_PER_S_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        struct limit_bucket bucket = {.per_s = rates[i]};
        assert_int_equal(take_all(&bucket, 1, true), LIMIT_PER_S_MAX);
        assert_int_equal(take_all(&bucket, 2, true), LIMIT_PER_S_MAX / 1000);
    }
}

/* Against a model that fills in one thousandth after the other: random rates, pauses and kinds of
 * asker. */
static void test_random_against_a_model(void **state)
{
    (void)state;
    uint64_t random = 7;
    for (int turn = 0; turn < 300; turn++) {
        uint32_t per_s = 1 + (uint32_t)(fake_system_random(&random) % (turn % 2 ? 12 : 3000));
        struct limit_bucket bucket = {.per_s = per_s};
        uint64_t now_ms = fake_system_random(&random) >> 20;
        uint64_t tokens_milli = (uint64_t)per_s * 1000, reserve_milli = per_s / 4 * (uint64_t)1000;
        for (int step = 0; step < 2000; step++) {
            uint64_t bits = fake_system_random(&random);
            uint32_t pause_ms = bits % 3 ? (uint32_t)(bits >> 8) % (2000 / per_s + 3) : 0;
            if (bits >> 40 & 1 && (bits >> 41) % 100 == 0)
                pause_ms += 1500;
            for (uint32_t i = 0; i < pause_ms; i++) {
                now_ms++;
                tokens_milli += per_s;
                if (tokens_milli > (uint64_t)per_s * 1000)
                    tokens_milli = (uint64_t)per_s * 1000;
            }
            bool is_preferred = bits >> 63;
            bool expected = tokens_milli >= 1000 + (is_preferred ? 0 : reserve_milli);
            assert_int_equal(limit_take(&bucket, now_ms, is_preferred), expected);
            if (expected)
                tokens_milli -= 1000;
        }
    }
}

/* ---- prefixes ---------------------------------------------------------------------------------
 */

static struct limit_prefixes new_prefixes(uint32_t per_s)
{
    struct limit_prefixes prefixes;
    struct err err;
    assert_true(limit_prefixes_init(&prefixes, per_s, &err));
    return prefixes;
}

static struct addr addr4(uint32_t ip)
{
    struct addr addr = {.family = AF_INET, .port = 5684};
    uint32_t network = htonl(ip);
    memcpy(addr.ip, &network, 4);
    return addr;
}

static struct addr addr6(uint64_t high, uint64_t low)
{
    struct addr addr = {.family = AF_INET6, .port = 5684};
    for (int i = 0; i < 8; i++) {
        addr.ip[i] = (uint8_t)(high >> (56 - 8 * i));
        addr.ip[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    return addr;
}

static uint32_t take_all_of(struct limit_prefixes *prefixes, const struct addr *client,
                            uint64_t now_ms)
{
    uint32_t taken = 0;
    while (taken < 100000 && limit_take_prefix(prefixes, client, now_ms, true))
        taken++;
    return taken;
}

static void test_no_limit_on_prefixes(void **state)
{
    (void)state;
    struct limit_prefixes prefixes = new_prefixes(0);
    struct addr client = addr4(0xc0000201);
    assert_null(prefixes.sets);
    assert_int_equal(take_all_of(&prefixes, &client, 1), 100000);
    limit_prefixes_deinit(&prefixes);
}

static void test_what_a_prefix_is(void **state)
{
    (void)state;
    struct limit_prefixes prefixes = new_prefixes(20);
    struct addr first4 = addr4(0xc0000200), last4 = addr4(0xc00002ff), next4 = addr4(0xc0000300);
    struct addr first6 = addr6(0x20010db800000100, 0),
                last6 = addr6(0x20010db8000001ff, UINT64_MAX);
    struct addr next6 = addr6(0x20010db800000200, 0), before6 = addr6(0x20010db8000000ff, 1);
    /* The same bytes in another family are another prefix. */
    struct addr like4 = {.family = AF_INET6, .ip = {0xc0, 0, 2}};
    last4.port = 1;
    last6.scope_id = 3;
    assert_int_equal(take_all_of(&prefixes, &first4, 1), 20);
    assert_int_equal(take_all_of(&prefixes, &last4, 1), 0);
    assert_int_equal(take_all_of(&prefixes, &next4, 1), 20);
    assert_int_equal(take_all_of(&prefixes, &like4, 1), 20);
    assert_int_equal(take_all_of(&prefixes, &first6, 1), 20);
    assert_int_equal(take_all_of(&prefixes, &last6, 1), 0);
    assert_int_equal(take_all_of(&prefixes, &next6, 1), 20);
    assert_int_equal(take_all_of(&prefixes, &before6, 1), 20);
    limit_prefixes_deinit(&prefixes);
}

static void test_rate_of_a_prefix_is_exact(void **state)
{
    (void)state;
    struct limit_prefixes prefixes = new_prefixes(7);
    struct addr client = addr4(0xc0000201);
    uint64_t taken = 0;
    for (uint64_t ms = 0; ms < 60000; ms++)
        taken += take_all_of(&prefixes, &client, 1000000 + ms);
    assert_int_equal(taken, 7 * 60 + 6); /* the 7th of the last second is due 1 ms later */
    limit_prefixes_deinit(&prefixes);
}

static void test_known_devices_come_before_strangers_of_their_prefix(void **state)
{
    (void)state;
    struct limit_prefixes prefixes = new_prefixes(8);
    struct addr stranger = addr4(0xc0000201), known = addr4(0xc0000202);
    for (int i = 0; i < 20; i++)
        assert_int_equal(limit_take_prefix(&prefixes, &stranger, 1, false), i < 6);
    assert_true(limit_take_prefix(&prefixes, &known, 1, true));
    assert_true(limit_take_prefix(&prefixes, &known, 1, true));
    assert_false(limit_take_prefix(&prefixes, &known, 1, true));
    limit_prefixes_deinit(&prefixes);
}

/* In a quiet table nobody who keeps to the rate is refused: 1,000 prefixes at it for a minute. */
static void test_prefixes_at_their_rate_are_never_refused(void **state)
{
    (void)state;
    enum { PREFIXES = 1000, PER_S = 3 };
    struct limit_prefixes prefixes = new_prefixes(PER_S);
    uint64_t random = 3, offset_ms[PREFIXES];
    for (int i = 0; i < PREFIXES; i++)
        offset_ms[i] = fake_system_random(&random) % 1000;
    for (uint64_t n = 0; n < 60 * PER_S; n++) {
        for (uint32_t i = 0; i < PREFIXES; i++) {
            struct addr client =
                i % 2 ? addr4(0x0a000000 + i * 256) : addr6(0x2001000000000000 + i * 256, i);
            uint64_t now_ms = 1000000 + offset_ms[i] + (n * 1000 + PER_S - 1) / PER_S;
            assert_true(limit_take_prefix(&prefixes, &client, now_ms, false));
        }
    }
    limit_prefixes_deinit(&prefixes);
}

/* Whatever the flood: many prefixes far above the rate, or each with a hello or two. A quarter of a
 * million innocent prefixes among them are asked for, and none is refused. */
static void check_innocents(uint32_t flooding, uint32_t each)
{
    enum { MS = 2000, INNOCENT_PER_MS = 125 };
    struct limit_prefixes prefixes = new_prefixes(20);
    uint64_t random = flooding;
    uint32_t refused = 0, innocent = 0;
    for (uint64_t ms = 0; ms < MS; ms++) {
        for (uint32_t i = 0; i < 500 / each; i++) {
            uint32_t n = (uint32_t)(fake_system_random(&random) % flooding);
            struct addr client = addr4(0x0a000000 + n * 256);
            for (uint32_t k = 0; k < each; k++)
                (void)limit_take_prefix(&prefixes, &client, 1000 + ms, false);
        }
        for (uint32_t i = 0; i < INNOCENT_PER_MS; i++) {
            struct addr client = addr6(0x2001000000000000 + innocent++ * 256, 0);
            refused += !limit_take_prefix(&prefixes, &client, 1000 + ms, false);
        }
    }
    assert_int_equal(refused, 0);
    limit_prefixes_deinit(&prefixes);
}

static void test_a_flood_does_not_refuse_the_innocent(void **state)
{
    (void)state;
    check_innocents(1, 500);
    check_innocents(1000, 100);
    check_innocents(16384, 50);
    check_innocents(100000, 50);
    check_innocents(10000000, 1);
}

/* Ten times the rate from as many prefixes as the table is meant for: what gets through is the
 * rate, and little for those that it forgot. */
static void check_flooding(uint32_t flooding, double more_at_most)
{
    enum { PER_S = 10, SECONDS = 5, STEP_MS = 10 };
    struct limit_prefixes prefixes = new_prefixes(PER_S);
    uint64_t taken = 0, fair = (uint64_t)flooding * PER_S * (SECONDS + 1);
    for (uint64_t ms = 0; ms < SECONDS * 1000; ms += STEP_MS) {
        for (uint32_t i = 0; i < flooding; i++) {
            struct addr client = addr4(0x0a000000 + i * 256);
            taken += limit_take_prefix(&prefixes, &client, 1000 + ms, true);
        }
    }
    assert_true((double)taken >= 0.98 * (double)fair);
    assert_true((double)taken <= (1 + more_at_most) * (double)fair);
    limit_prefixes_deinit(&prefixes);
}

static void test_flooding_prefixes_are_held_to_the_rate(void **state)
{
    (void)state;
    check_flooding(1, 0);
    check_flooding(100, 0);
    check_flooding(4096, 0.02);
    check_flooding(8192, 0.25);
}

/* Hellos from ever new prefixes, as many as the generator can make, do not make the table forget
 * the one that floods. */
static void test_no_flood_hides_behind_spoofed_hellos(void **state)
{
    (void)state;
    enum { PER_S = 20, SECONDS = 5, SPOOFED_PER_MS = 200 };
    struct limit_prefixes prefixes = new_prefixes(PER_S);
    struct addr flooding = addr4(0xc0000201);
    uint64_t random = 11, taken = 0;
    for (uint64_t ms = 0; ms < SECONDS * 1000; ms++) {
        for (int i = 0; i < SPOOFED_PER_MS; i++) {
            struct addr spoofed = addr4((uint32_t)fake_system_random(&random));
            (void)limit_take_prefix(&prefixes, &spoofed, 1000 + ms, false);
        }
        for (int i = 0; i < 5; i++)
            taken += limit_take_prefix(&prefixes, &flooding, 1000 + ms, false);
    }
    assert_in_range(taken, PER_S * SECONDS, PER_S * SECONDS + PER_S);
    limit_prefixes_deinit(&prefixes);
}

static void test_time_that_behaves_badly_with_prefixes(void **state)
{
    (void)state;
    struct limit_prefixes prefixes = new_prefixes(10);
    struct addr client = addr4(0xc0000201);
    static const uint64_t times_ms[] = {UINT64_MAX,       0, 0, 500, 400, UINT64_MAX - 1,
                                        (uint64_t)1 << 32};
    for (size_t i = 0; i < sizeof(times_ms) / sizeof(*times_ms); i++) {
        assert_in_range(take_all_of(&prefixes, &client, times_ms[i]), 0, 10);
        assert_int_equal(take_all_of(&prefixes, &client, times_ms[i]), 0);
    }
    limit_prefixes_deinit(&prefixes);
}

/* Prefixes that share a set of one table share none in another: nobody can try beforehand. */
static void test_sets_cannot_be_known_beforehand(void **state)
{
    (void)state;
    enum { PREFIXES = 500 };
    struct limit_prefixes tables[2] = {new_prefixes(5), new_prefixes(5)};
    uint32_t used[2] = {0}, used_in_both = 0;
    for (uint32_t i = 0; i < PREFIXES; i++) {
        struct addr client = addr4(0x0a000000 + i * 256);
        for (int t = 0; t < 2; t++)
            assert_true(limit_take_prefix(&tables[t], &client, 1000, false));
    }
    for (uint32_t i = 0; i < LIMIT_PREFIX_SETS; i++) {
        bool is_used[2] = {false, false};
        for (int t = 0; t < 2; t++) {
            for (uint32_t k = 0; k < LIMIT_PREFIX_WAYS; k++)
                is_used[t] |= tables[t].sets[i].places[k].used_milli > 0;
            used[t] += is_used[t];
        }
        used_in_both += is_used[0] && is_used[1];
    }
    /* By chance: 500 prefixes use 444 of 2,048 sets, and of those another 500 use 96. */
    assert_in_range(used[0], 400, 490);
    assert_in_range(used[1], 400, 490);
    assert_in_range(used_in_both, 50, 150);
    for (int t = 0; t < 2; t++)
        limit_prefixes_deinit(&tables[t]);
}

static void test_no_table_without_random_bytes(void **state)
{
    (void)state;
    struct limit_prefixes prefixes;
    struct err err = {0};
    fake_system_fail_random(0, 1);
    assert_false(limit_prefixes_init(&prefixes, 1, &err));
    assert_string_not_equal(err.text, "");
    limit_prefixes_deinit(&prefixes); /* harmless */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_is_no_limit),
        cmocka_unit_test(test_rate_is_exact),
        cmocka_unit_test(test_who_keeps_to_the_rate_is_never_refused),
        cmocka_unit_test(test_the_last_quarter_is_for_the_preferred),
        cmocka_unit_test(test_strangers_do_not_keep_the_preferred_out),
        cmocka_unit_test(test_what_is_refused_costs_nothing),
        cmocka_unit_test(test_time_that_behaves_badly),
        cmocka_unit_test(test_huge_rates),
        cmocka_unit_test(test_random_against_a_model),
        cmocka_unit_test(test_no_limit_on_prefixes),
        cmocka_unit_test(test_what_a_prefix_is),
        cmocka_unit_test(test_rate_of_a_prefix_is_exact),
        cmocka_unit_test(test_known_devices_come_before_strangers_of_their_prefix),
        cmocka_unit_test(test_prefixes_at_their_rate_are_never_refused),
        cmocka_unit_test(test_a_flood_does_not_refuse_the_innocent),
        cmocka_unit_test(test_flooding_prefixes_are_held_to_the_rate),
        cmocka_unit_test(test_no_flood_hides_behind_spoofed_hellos),
        cmocka_unit_test(test_time_that_behaves_badly_with_prefixes),
        cmocka_unit_test(test_sets_cannot_be_known_beforehand),
        cmocka_unit_test(test_no_table_without_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
