/* base/index_table.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/index_table.h"
#include "fakes/skip_because.h"

/* All that is found by a hash, in no order: how many, and whether that number is among them. */
static uint32_t count_found(const struct index_table *table, uint64_t hash, uint32_t number,
                            bool *has_number)
{
    uint32_t place = 0, count = 0, found;
    *has_number = false;
    while ((found = index_table_next(table, hash, &place)) != INDEX_TABLE_NONE) {
        *has_number |= found == number;
        count++;
    }
    return count;
}

static bool has(const struct index_table *table, uint64_t hash, uint32_t number)
{
    bool has_number;
    (void)count_found(table, hash, number, &has_number);
    return has_number;
}

static void an_empty_table_has_nothing(void **state)
{
    (void)state;
    struct index_table table = {0};
    uint32_t place = 0;
    assert_int_equal(index_table_next(&table, 17, &place), INDEX_TABLE_NONE);
    index_table_remove(&table, 17, 1);
    assert_int_equal(table.count, 0);
    index_table_deinit(&table);
    index_table_deinit(&table);
}

/* The owner compares what is found, so that two of its keys may have the same hash. */
static void several_numbers_have_one_hash(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct index_table table = {0};
    const uint64_t hash = 0x123456789abcdef0;
    bool has_number;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(index_table_add(&table, hash, i));
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(count_found(&table, hash, i, &has_number), COUNT);
        assert_true(has_number);
    }
    index_table_remove(&table, hash, COUNT); /* is not there */
    for (uint32_t i = 0; i < COUNT; i += 2)
        index_table_remove(&table, hash, i);
    assert_int_equal(table.count, COUNT / 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(count_found(&table, hash, i, &has_number), COUNT / 2);
        assert_int_equal(has_number, i % 2);
    }
    index_table_deinit(&table);
}

/* Places are taken from where the hash says to the end, and then from the beginning: all of it in
 * one shard of eight places, where each removal closes up a chain that may run over its end. */
static void a_chain_goes_round_the_end(void **state)
{
    (void)state;
    enum { PLACES = 8, KEPT = 7 }; /* seven eighths */
    for (uint64_t home = 0; home < PLACES; home++) {
        for (uint32_t removed = 0; removed < KEPT; removed++) {
            struct index_table table = {0};
            uint64_t hashes[KEPT];
            for (uint32_t i = 0; i < KEPT; i++) {
                hashes[i] = (home + i / 3) % PLACES + (uint64_t)i * PLACES;
                assert_true(index_table_add(&table, hashes[i], i));
            }
            assert_int_equal(table.shards[0].places, PLACES);
            index_table_remove(&table, hashes[removed], removed);
            for (uint32_t i = 0; i < KEPT; i++)
                assert_int_equal(has(&table, hashes[i], i), i != removed);
            assert_true(index_table_add(&table, hashes[removed], removed));
            for (uint32_t i = 0; i < KEPT; i++)
                assert_true(has(&table, hashes[i], i));
            assert_int_equal(table.shards[0].places, PLACES);
            index_table_deinit(&table);
        }
    }
}

/* The model is an array. The hashes are few, so that chains are long and meet each other. */
enum { MODEL_COUNT = 3000 };

static uint64_t hash_of(uint32_t number)
{
    return (uint64_t)(number % 3) << 32 | (number * 2654435761u) % 701;
}

static void agrees_with_a_model(void **state)
{
    (void)state;
    static bool is_there[MODEL_COUNT];
    struct index_table table = {0};
    uint32_t count = 0;
    unsigned short seed[3] = {1, 2, 3};
    for (int step = 0; step < 200000; step++) {
        uint32_t number = (uint32_t)(nrand48(seed) % MODEL_COUNT);
        /* It fills, and empties, and fills. */
        bool is_filling = step / 20000 % 2 == 0;
        assert_int_equal(has(&table, hash_of(number), number), is_there[number]);
        if (is_there[number] && nrand48(seed) % (is_filling ? 8 : 2) == 0) {
            index_table_remove(&table, hash_of(number), number);
            is_there[number] = false;
            count--;
        } else if (!is_there[number] && nrand48(seed) % (is_filling ? 2 : 8) == 0) {
            assert_true(index_table_add(&table, hash_of(number), number));
            is_there[number] = true;
            count++;
        }
        assert_int_equal(table.count, count);
        for (uint32_t i = 0; step % 20000 == 0 && i < MODEL_COUNT; i++)
            assert_int_equal(has(&table, hash_of(i), i), is_there[i]);
    }
    index_table_deinit(&table);
}

/* A search looks at a handful of places. */
static void a_million_are_found(void **state)
{
    (void)state;
    enum { COUNT = 1000000 };
    struct index_table table = {0};
    uint64_t x = 88172645463325252;
    uint64_t *hashes = calloc(COUNT, sizeof(*hashes));
    assert_non_null(hashes);
    for (uint32_t i = 0; i < COUNT; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        hashes[i] = x;
        assert_true(index_table_add(&table, hashes[i], i));
    }
    assert_int_equal(table.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(has(&table, hashes[i], i));
    for (uint32_t i = 0; i < COUNT; i++)
        index_table_remove(&table, hashes[i], i);
    assert_int_equal(table.count, 0);
    free(hashes);
    index_table_deinit(&table);
}

/* Nothing that was there is lost. (The sanitizers' allocators end the program instead.) */
static void without_memory_it_stays_as_it_is(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip_because("the sanitizer's allocator ends the program instead");
#endif
    enum { SHIFT = 18 };
    struct index_table table = {0};
    struct rlimit before, none;
    uint32_t count = 0;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 0;
    for (; count < (7u << SHIFT); count++) /* one shard is full then, and 32 MB come next */
        assert_true(index_table_add(&table, count, count));
    assert_int_equal(table.shards[0].places, 8u << SHIFT);
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    bool was_added = index_table_add(&table, count, count);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_false(was_added);
    assert_int_equal(table.count, count);
    for (uint32_t i = 0; i < count; i += 997)
        assert_true(has(&table, i, i));
    assert_true(index_table_add(&table, count, count));
    assert_true(has(&table, count, count));
    index_table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_has_nothing),
        cmocka_unit_test(several_numbers_have_one_hash),
        cmocka_unit_test(a_chain_goes_round_the_end),
        cmocka_unit_test(agrees_with_a_model),
        cmocka_unit_test(a_million_are_found),
        cmocka_unit_test(without_memory_it_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
