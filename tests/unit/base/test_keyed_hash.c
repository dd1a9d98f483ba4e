/* The hash is SipHash-2-4 for every length, and its key comes from the kernel or not at all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/keyed_hash.h"
#include "fakes/fake_system.h"

/* ---- SipHash as its paper describes it, one byte at a time ----------------------------------- */

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        v[0] += v[1], v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1], v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static uint64_t little_endian(const uint8_t *p)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

/* out[1] is of use for the wide variant only. */
static void reference(const uint8_t key[16], const uint8_t *data, size_t size, bool is_wide,
                      uint64_t out[2])
{
    uint64_t k0 = little_endian(key), k1 = little_endian(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du ^ (is_wide ? 0xee : 0),
                     k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u};
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word |= (uint64_t)data[i] << 8 * (i % 8);
        if (i % 8 == 7) {
            v[3] ^= word;
            rounds(v, 2);
            v[0] ^= word;
            word = 0;
        }
    }
    word |= (uint64_t)size << 56;
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
    v[2] ^= is_wide ? 0xee : 0xff;
    rounds(v, 4);
    out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    rounds(v, 4);
    out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- tests ------------------------------------------------------------------------------------
 */

/* From vectors.h of the authors' reference code: key 00 01 .. 0f, data 00 01 .. (size - 1). */
static void test_published_vectors(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        uint8_t hash[8];
    } narrow[] = {
        {0, {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72}},
        {1, {0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74}},
        {8, {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93}},
        {15, {0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1}}, /* the one in the paper */
        {63, {0x72, 0x45, 0x06, 0xeb, 0x4c, 0x32, 0x8a, 0x95}},
    };
    static const struct {
        size_t size;
        uint8_t hash[KEYED_HASH_WIDE_BYTES];
    } wide[] = {
        {0,
         {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02,
          0x93}},
        {3,
         {0x9c, 0x70, 0xb6, 0x0c, 0x52, 0x67, 0xa9, 0x4e, 0x5f, 0x33, 0xb6, 0xb0, 0x29, 0x85, 0xed,
          0x51}},
    };
    struct keyed_hash_key key;
    uint8_t data[64], hash[KEYED_HASH_WIDE_BYTES];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    memcpy(key.bytes, data, sizeof(key.bytes));
    for (size_t i = 0; i < sizeof(narrow) / sizeof(*narrow); i++)
        assert_true(keyed_hash(&key, data, narrow[i].size) == little_endian(narrow[i].hash));
    for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++) {
        keyed_hash_wide(&key, data, wide[i].size, hash);
        assert_memory_equal(hash, wide[i].hash, sizeof(hash));
    }
}

/* The library has code of its own for each length of the rest, in assembler. */
static void test_every_length(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t size = 0; size <= 300; size++) {
        for (size_t turn = 0; turn < 20; turn++) {
            struct keyed_hash_key key;
            uint8_t *data = malloc(size + 1); /* so that a read beyond its end is seen */
            uint8_t hash[KEYED_HASH_WIDE_BYTES];
            uint64_t expected[2];
            assert_non_null(data);
            for (size_t i = 0; i < sizeof(key.bytes); i++)
                key.bytes[i] = (uint8_t)fake_system_random(&random);
            for (size_t i = 0; i <= size; i++)
                data[i] = (uint8_t)fake_system_random(&random);
            /* Not aligned, every other time. */
            const uint8_t *begin = data + turn % 2;
            reference(key.bytes, begin, size, false, expected);
            assert_true(keyed_hash(&key, begin, size) == expected[0]);
            reference(key.bytes, begin, size, true, expected);
            keyed_hash_wide(&key, begin, size, hash);
            assert_true(little_endian(hash) == expected[0]);
            assert_true(little_endian(hash + 8) == expected[1]);
            free(data);
        }
    }
}

static void test_keys_differ(void **state)
{
    (void)state;
    struct keyed_hash_key a = {0}, b = {0}, zero = {0};
    struct err err;
    assert_true(keyed_hash_key_init(&a, &err));
    assert_true(keyed_hash_key_init(&b, &err));
    assert_memory_not_equal(&a, &zero, sizeof(a));
    assert_memory_not_equal(&a, &b, sizeof(a));
    assert_true(keyed_hash(&a, "x", 1) != keyed_hash(&b, "x", 1));
}

/* Better no start than a key that somebody can guess. */
static void test_no_key_without_random_bytes(void **state)
{
    (void)state;
    struct keyed_hash_key key;
    struct err err = {0};
    fake_system_fail_random(ENOSYS, UINT32_MAX);
    assert_false(keyed_hash_key_init(&key, &err));
    assert_non_null(strstr(err.text, strerror(ENOSYS)));
    fake_system_fail_random(0, UINT32_MAX); /* fewer bytes than asked for */
    assert_false(keyed_hash_key_init(&key, &err));
    fake_system_fail_random(EINTR, 2);
    assert_true(keyed_hash_key_init(&key, &err));
}

static int tear_down(void **state)
{
    (void)state;
    fake_system_fail_random(0, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_keys_differ),
        cmocka_unit_test_teardown(test_no_key_without_random_bytes, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
