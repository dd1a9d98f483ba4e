/* park.c: whatever is kept comes back as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/park.h"

static struct park park;
static struct slabs slabs;
static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

/* Bytes of which so many in a hundred are zeros, in runs. */
static void fill(uint8_t *bytes, size_t len, uint32_t zeros_percent)
{
    for (size_t i = 0; i < len;) {
        size_t run = 1 + draw(draw(4) == 0 ? 600 : 6);
        bool is_zero = draw(100) < zeros_percent;
        for (; run > 0 && i < len; run--, i++)
            bytes[i] = is_zero ? 0 : (uint8_t)(1 + draw(255));
    }
}

static void draw_state(struct dtls_export *state, uint32_t commons, uint32_t zeros_percent)
{
    uint32_t common = draw(commons);
    state->common_len = 60 + common;
    memset(state->bytes, (int)common + 1, state->common_len);
    state->len = state->common_len + draw(DTLS_EXPORT_MAX - (uint32_t)state->common_len + 1);
    fill(state->bytes + state->common_len, state->len - state->common_len, zeros_percent);
}

static void assert_same(const struct dtls_export *one, const struct dtls_export *other)
{
    assert_int_equal(one->len, other->len);
    assert_memory_equal(one->bytes, other->bytes, one->len);
}

static void everything_comes_back(void **state)
{
    (void)state;
    enum { KEPT = 300 };
    static struct dtls_export states[KEPT];
    struct parked *parked[KEPT] = {NULL};
    slabs_init(&slabs);
    park_init(&park, &slabs);
    for (int i = 0; i < 60000; i++) {
        unsigned at = draw(KEPT);
        struct dtls_export loaded;
        if (parked[at] != NULL) {
            park_load(&park, parked[at], &loaded);
            assert_same(&loaded, &states[at]);
            park_drop(&park, parked[at]);
        }
        /* More than there are frames, in half of the time. */
        draw_state(&states[at], i % 20000 < 10000 ? PARK_FRAMES * 2 : 3, (uint32_t)i % 101);
        parked[at] = park_keep(&park, &states[at]);
        assert_non_null(parked[at]);
    }
    for (unsigned i = 0; i < KEPT; i++)
        park_drop(&park, parked[i]);
    for (unsigned i = 0; i < PARK_FRAMES; i++)
        assert_int_equal(park.frames[i].users, 0);
    assert_int_equal(slabs_bytes_taken(&slabs), 0);
    slabs_deinit(&slabs);
}

/* The longest, without a zero in it or full of short runs of them, and the emptiest. */
static void extremes(void **state)
{
    (void)state;
    static struct dtls_export one, loaded;
    slabs_init(&slabs);
    park_init(&park, &slabs);
    for (int kind = 0; kind < 4; kind++) {
        one.len = kind == 3 ? 0 : DTLS_EXPORT_MAX;
        one.common_len = 0;
        for (size_t i = 0; i < one.len; i++)
            one.bytes[i] = kind == 0 || (kind == 1 && i % 4 == 0) ? 0xff : 0;
        struct parked *parked = park_keep(&park, &one);
        assert_non_null(parked);
        if (kind >= 2)
            assert_int_equal(slabs_bytes_taken(&slabs), 16);
        park_load(&park, parked, &loaded);
        assert_same(&loaded, &one);
        park_drop(&park, parked);
        assert_int_equal(slabs_bytes_taken(&slabs), 0);
    }
    park_drop(&park, NULL);
    slabs_deinit(&slabs);
}

/* What is common stands once for all, and its place is free when the last one has gone. */
static void common_part_is_kept_once(void **state)
{
    (void)state;
    static struct dtls_export one;
    struct parked *parked[100];
    slabs_init(&slabs);
    park_init(&park, &slabs);
    for (int round = 0; round < PARK_FRAMES + 2; round++) {
        one.common_len = 100;
        one.len = 110;
        memset(one.bytes, round + 1, 110);
        for (int i = 0; i < 100; i++)
            parked[i] = park_keep(&park, &one);
        assert_int_equal(slabs_bytes_taken(&slabs), 100 * 16);
        for (int i = 0; i < 100; i++)
            park_drop(&park, parked[i]);
    }
    slabs_deinit(&slabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(extremes),
        cmocka_unit_test(common_part_is_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
