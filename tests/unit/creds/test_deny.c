/* deny.c: who is in the file, and what is said about one that is not good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "creds/deny.h"
#include "creds/psk.h"

#define HEX32 "00112233445566778899aAbBcCdDeEfF"
static const uint8_t key_digest[] =
    "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

struct trial {
    struct problems problems;
    struct deny_list *list;
};

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct trial));
    return *state != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct trial *t = *state;
    deny_free(t->list);
    problems_deinit(&t->problems);
    free(t);
    return 0;
}

static void load_bytes(struct trial *t, const void *text, size_t size)
{
    char path[64];
    int fd = memfd_create("deny", MFD_CLOEXEC);
    assert_int_equal(write(fd, text, size), size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    deny_free(t->list);
    problems_deinit(&t->problems);
    t->list = deny_load(path, "WHERE", &t->problems);
    close(fd);
    assert_int_equal(t->list == NULL, t->problems.error_count > 0);
}

static void load(struct trial *t, const char *text)
{
    load_bytes(t, text, strlen(text));
}

static bool has(const struct trial *t, const char *identity)
{
    return deny_has_identity(t->list, identity, strlen(identity));
}

static void entries_of_each_kind(void **state)
{
    struct trial *t = *state;
    load(t, "# a comment\n"
            "\n"
            "urn:imei:490154203237518\n"
            "in the middle\r\n"
            "urn:imei:490154203237518\n"
            "sha256:" HEX32 HEX32 "\n");
    assert_int_equal(t->problems.count, 0);
    assert_int_equal(deny_identity_count(t->list), 2);
    assert_int_equal(deny_key_count(t->list), 1);
    assert_true(has(t, "urn:imei:490154203237518"));
    assert_true(has(t, "in the middle"));
    assert_false(has(t, "in the Middle"));
    assert_false(has(t, "in the middle\r"));
    assert_false(has(t, "# a comment"));
    assert_false(has(t, ""));
    assert_true(deny_has_key(t->list, key_digest));
    assert_false(deny_has_key(t->list, key_digest + 1));
}

static void quotes_as_the_log_writes_them(void **state)
{
    struct trial *t = *state;
    load(t, "\"a \\\"b\\\" \\\\ \"\n"
            "\"\\x00\\xFf\"\n"
            "\"#1\"\n"
            "\"sha256:x\"\n"
            "a\"b\\x41\n");
    assert_int_equal(t->problems.count, 0);
    assert_true(has(t, "a \"b\" \\ "));
    assert_true(deny_has_identity(t->list, "\0\xff", 2));
    assert_true(has(t, "#1"));
    assert_true(has(t, "sha256:x"));
    assert_true(has(t, "a\"b\\x41"));
}

/* A device may have as long a name as psk_file allows. */
static void longest(void **state)
{
    struct trial *t = *state;
    char line[PSK_IDENTITY_MAX + 3] = "";
    memset(line, 'i', PSK_IDENTITY_MAX);
    line[PSK_IDENTITY_MAX] = '\n';
    load(t, line);
    line[PSK_IDENTITY_MAX] = '\0';
    assert_true(has(t, line));
    strcat(line, "i\n");
    load(t, line);
    assert_string_equal(strstr(t->problems.texts[0], ":1:"),
                        ":1: an identity has 1 to 128 bytes, and this one 129");
}

static void a_file_without_entries(void **state)
{
    struct trial *t = *state;
    load(t, "# nobody\n");
    assert_int_equal(t->problems.count, 0);
    assert_false(has(t, "nobody"));
    assert_false(deny_has_key(t->list, key_digest));
    /* But not an empty one, which a cut one may be. */
    load(t, "");
    assert_non_null(strstr(t->problems.texts[0], "WHERE: the file is empty; it must be"));
    t->list = deny_load("/nonexistent/deny", "WHERE", &t->problems);
    assert_null(t->list);
}

static void lines_that_are_not_good(void **state)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"\"open\n", "begins with a quote and does not end with one"},
        {"\"\n", "begins with a quote and does not end with one"},
        {"\"a\"b\"\n", "a quote inside quotes is written"},
        {"\"a\\\"\n", "in quotes a backslash"},
        {"\"\\b\"\n", "in quotes a backslash"},
        {"\"\\ud800\"\n", "in quotes a backslash"},
        {"\"\\u00e\"\n", "or u and four"},
        {"\"\\x4\"\n", "x and two hexadecimal digits"},
        {"\"\\x4g\"\n", "x and two hexadecimal digits"},
        {"\"\"\n", "an identity has 1 to 128 bytes, and this one 0"},
        {" a\n", "begins or ends with a space"},
        {"a \n", "begins or ends with a space"},
        {"a\t\r\n", "begins or ends with a space"},
        {"sha256:" HEX32 "\n", "sha256: must be followed by the 64 hexadecimal digits"},
        {"sha256:" HEX32 HEX32 "0\n", "sha256: must be followed by the 64 hexadecimal digits"},
        {"sha256:g0112233445566778899aabbccddeeff" HEX32 "\n", "sha256: must be followed"},
        {"device1", "no newline follows this last line"},
    };
    struct trial *t = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "# first\n%s", cases[i].line);
        load(t, text);
        assert_int_equal(t->problems.count, 1);
        assert_non_null(strstr(t->problems.texts[0], ":2: "));
        assert_non_null(strstr(t->problems.texts[0], cases[i].why));
    }
    load_bytes(t, "a\0b\n", 4);
    assert_non_null(strstr(t->problems.texts[0], ":1: holds a NUL byte"));
    load(t, "\xef\xbb\xbf"
            "a\n b\n");
    assert_non_null(strstr(t->problems.texts[0], ":1: begins with a UTF-8 byte order mark"));
    assert_non_null(strstr(t->problems.texts[1], ":2: begins or ends with a space"));
}

static void many_bad_lines_are_counted(void **state)
{
    struct trial *t = *state;
    char text[64] = "";
    for (int i = 0; i < 25; i++)
        strcat(text, " \n");
    load(t, text);
    assert_int_equal(t->problems.count, 21);
    assert_non_null(strstr(t->problems.texts[20], ": and 5 more lines with errors"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(entries_of_each_kind),
        TEST(quotes_as_the_log_writes_them),
        TEST(longest),
        TEST(a_file_without_entries),
        TEST(lines_that_are_not_good),
        TEST(many_bad_lines_are_counted),
    };
    return cmocka_run_group_tests_name("deny", tests, NULL, NULL);
}
