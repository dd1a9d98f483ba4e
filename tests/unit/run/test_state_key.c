/* The key of the state file: as bytes, as digits, from systemd; and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "run/state_key.h"

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static char folder[] = "/tmp/test_state_key.XXXXXX";

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path_of("key"));
    return rmdir(folder);
}

static void put(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void assert_counts_up(const struct secret *key)
{
    assert_int_equal(key->size, STATE_KEY_BYTES);
    for (int i = 0; i < STATE_KEY_BYTES; i++)
        assert_int_equal(key->bytes[i], i);
}

static void assert_read(const void *bytes, size_t size)
{
    struct secret key;
    struct err err = {0};
    uint32_t mode;
    put("key", bytes, size);
    if (!state_key_read(&key, path_of("key"), &mode, &err))
        fail_msg("%s", err.text);
    assert_counts_up(&key);
    secret_free(&key);
}

static void assert_refused(const void *bytes, size_t size, const char *why)
{
    struct secret key;
    struct err err = {0};
    uint32_t mode;
    put("key", bytes, size);
    assert_false(state_key_read(&key, path_of("key"), &mode, &err));
    assert_non_null(strstr(err.text, path_of("key")));
    assert_non_null(strstr(err.text, why));
    assert_non_null(strstr(err.text, "openssl rand -hex 32")); /* what would be right */
    assert_null(key.bytes);
}

static void bytes_and_digits_are_the_same_key(void **state)
{
    uint8_t bytes[STATE_KEY_BYTES];
    (void)state;
    for (int i = 0; i < STATE_KEY_BYTES; i++)
        bytes[i] = (uint8_t)i;
    assert_read(bytes, sizeof(bytes));
    assert_read(HEX, strlen(HEX));
    assert_read(HEX "\n", strlen(HEX) + 1);
    assert_read(HEX "\r\n", strlen(HEX) + 2);
    assert_read("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", 64);
}

/* 32 bytes are 32 bytes, though the last one looks like the end of a line. */
static void a_line_end_in_plain_bytes_is_part_of_the_key(void **state)
{
    static const char bytes[] = "0123456789abcdef0123456789abcde\n";
    struct secret key;
    struct err err;
    uint32_t mode;
    (void)state;
    put("key", bytes, STATE_KEY_BYTES);
    assert_true(state_key_read(&key, path_of("key"), &mode, &err));
    assert_memory_equal(key.bytes, bytes, STATE_KEY_BYTES);
    secret_free(&key);
}

static void what_is_no_key_is_refused(void **state)
{
    (void)state;
    assert_refused("x", 1, "has 1 bytes");
    assert_refused(HEX, 31, "has 31 bytes");
    assert_refused(HEX "0", 65, "has 65 bytes");
    assert_refused(HEX "\n\n", 66, "has 66 bytes");
    assert_refused("g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 64,
                   "not hexadecimal");
    assert_refused("", 0, "is empty");
}

static void a_file_that_cannot_be_read_is_refused(void **state)
{
    struct secret key;
    struct err err = {0};
    uint32_t mode;
    (void)state;
    assert_false(state_key_read(&key, path_of("none"), &mode, &err));
    assert_non_null(strstr(err.text, path_of("none")));
    assert_non_null(strstr(err.text, "No such file"));
    assert_non_null(strstr(err.text, "openssl rand -hex 32"));
    assert_false(state_key_read(&key, folder, &mode, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
}

static void systemd_gives_it_as_a_credential(void **state)
{
    struct secret key;
    struct err err = {0};
    uint32_t mode;
    (void)state;
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_false(state_key_read(&key, "", &mode, &err));
    assert_non_null(strstr(err.text, "LoadCredential"));
    put("state_key", HEX, strlen(HEX));
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    assert_true(state_key_read(&key, "", &mode, &err));
    assert_counts_up(&key);
    secret_free(&key);
    unlink(path_of("state_key"));
    assert_false(state_key_read(&key, "", &mode, &err));
    assert_non_null(strstr(err.text, path_of("state_key")));
    unsetenv("CREDENTIALS_DIRECTORY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_digits_are_the_same_key),
        cmocka_unit_test(a_line_end_in_plain_bytes_is_part_of_the_key),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(a_file_that_cannot_be_read_is_refused),
        cmocka_unit_test(systemd_gives_it_as_a_credential),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
