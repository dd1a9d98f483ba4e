/* period_secret.c: as another program computes it, and different for all that goes into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "handshake/period_secret.h"

static void fill_master(uint8_t master[PERIOD_SECRET_MASTER_BYTES])
{
    for (int i = 0; i < PERIOD_SECRET_MASTER_BYTES; i++)
        master[i] = (uint8_t)i;
}

/* Python: hmac.new(bytes(range(32)), purpose + b"\0" + struct.pack("<Q", period), "sha256"). */
static void secrets_are_those_of_another_program(void **state)
{
    static const struct {
        const char *purpose;
        uint64_t period;
        uint8_t secret[PERIOD_SECRET_BYTES];
    } rows[] = {
        {"cookie", 0x0, {0xff, 0x36, 0x9b, 0x61, 0xec, 0xc2, 0xb5, 0x5b, 0x8d, 0x15, 0x04,
                         0xce, 0x07, 0xb5, 0x98, 0x8c, 0x56, 0x8f, 0x9b, 0x60, 0xca, 0xd7,
                         0x43, 0x1a, 0x06, 0xa0, 0x64, 0xb8, 0x23, 0x82, 0xd2, 0x13}},
        {"cookie", 0x1, {0x48, 0x6e, 0x29, 0x03, 0x09, 0x4c, 0x05, 0xf8, 0xe9, 0xba, 0xd6,
                         0x9c, 0x05, 0xf0, 0x34, 0xad, 0x69, 0xa4, 0x7d, 0xcf, 0xc5, 0x47,
                         0x2a, 0x8d, 0x61, 0x14, 0x52, 0xf4, 0x59, 0xcd, 0x16, 0x18}},
        {"ticket key", 0x102030405060708, {0x8c, 0xec, 0x5d, 0x09, 0x65, 0x1c, 0xff, 0x1e,
                                           0x77, 0x5c, 0x72, 0xf1, 0x33, 0xc2, 0x08, 0xd5,
                                           0x81, 0x63, 0x81, 0x3e, 0x0f, 0x0a, 0x29, 0x69,
                                           0x25, 0xc7, 0x2a, 0x23, 0x48, 0x38, 0x4e, 0xcf}},
    };
    uint8_t master[PERIOD_SECRET_MASTER_BYTES], secret[PERIOD_SECRET_BYTES];
    (void)state;
    fill_master(master);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(period_secret(master, rows[i].purpose, rows[i].period, secret));
        assert_memory_equal(secret, rows[i].secret, sizeof(secret));
    }
}

static void each_part_counts(void **state)
{
    static const char *const purposes[] = {"", "a", "ab", "b"};
    static const uint64_t periods[] = {0, 1, 256, UINT64_C(1) << 32, UINT64_C(1) << 56, 'b'};
    enum { SECRETS = 2 * 4 * 6 };
    uint8_t master[PERIOD_SECRET_MASTER_BYTES], secrets[SECRETS][PERIOD_SECRET_BYTES];
    (void)state;
    fill_master(master);
    for (int i = 0; i < SECRETS; i++) {
        master[PERIOD_SECRET_MASTER_BYTES - 1] = (uint8_t)(i % 2);
        assert_true(period_secret(master, purposes[i / 2 % 4], periods[i / 8], secrets[i]));
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(secrets[i], secrets[k], PERIOD_SECRET_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_those_of_another_program),
        cmocka_unit_test(each_part_counts),
    };
    return cmocka_run_group_tests_name("period_secret", tests, NULL, NULL);
}
