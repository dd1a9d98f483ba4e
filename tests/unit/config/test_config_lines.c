/* Lines of any length, and values that stand in several lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config_load.h"

#define LISTENER "[listener c]\nbackend = 127.0.0.1:2\n"
#define OTHERS "psk_file = a\nlisten = 127.0.0.1:1\n"

static struct config *load(const char *text, struct problems *problems)
{
    char *copy = strdup(text);
    FILE *in = fmemopen(copy, strlen(copy), "r");
    assert_non_null(in);
    problems_init(problems);
    struct config *config = config_load_stream(in, "/etc/gate.ini", problems);
    fclose(in);
    free(copy);
    return config;
}

static struct config *good(const char *text)
{
    struct problems problems;
    struct config *config = load(text, &problems);
    if (!config || problems.count != 0)
        fail_msg("%s\n%s", text, problems.count ? problems.texts[0] : "nothing said");
    problems_deinit(&problems);
    return config;
}

static void expect_error(const char *text, const char *part)
{
    struct problems problems;
    struct config *config = load(text, &problems);
    if (config || problems.count != 1 || !strstr(problems.texts[0], part))
        fail_msg("%.300s\n%u problems: %s", text, problems.count,
                 problems.count ? problems.texts[0] : "nothing said");
    problems_deinit(&problems);
}

/* --- long lines --- */

/* What a value is by the rules of the file: without a comment, and without space at its ends. */
static void reduce(const char *text, char *value)
{
    size_t len = 0;
    while (text[len] && !(text[len] == ';' && len > 0 && strchr(" \t", text[len - 1])))
        len++;
    while (len > 0 && strchr(" \t", text[len - 1]))
        len--;
    sprintf(value, "%.*s", (int)len, text);
}

static void a_long_value_arrives_whole(void **state)
{
    (void)state;
    /* Whatever stands where inih has its limit: space, what begins a comment, what looks like a key
     * or a section. */
    static const char letters[] = "abcdefghijklm  \t,:;=[]#$~";
    unsigned seed = 1;
    for (size_t len = 1; len < 1500; len++) {
        char written[1600] = "a", expected[1600], text[2000];
        for (size_t i = 1; i < len; i++) {
            seed = seed * 1103515245 + 12345;
            written[i] = letters[(seed >> 16) % (sizeof(letters) - 1)];
            bool is_odd = written[i] == '#' && strchr(" \t", written[i - 1]);
            written[i] = is_odd ? 'z' : written[i];
        }
        written[len] = '\0';
        reduce(written, expected);
        snprintf(text, sizeof(text), "[gate]\nuser = %s\nworkers = 3\n" LISTENER OTHERS, written);
        struct config *config = good(text);
        assert_string_equal(config->gate.user, expected);
        assert_int_equal(config->gate.workers, 3);
        config_free(config);
    }
}

static void make_line(char *text, size_t size, size_t len, char letter)
{
    char *value = malloc(len + 1);
    memset(value, letter, len);
    value[len] = '\0';
    snprintf(text, size, "[gate]\nuser = %s\nworkers = 2\n" LISTENER OTHERS, value);
    free(value);
}

static void a_line_that_is_too_long_is_refused_and_not_cut(void **state)
{
    (void)state;
    char text[CONFIG_LINE_MAX_BYTES + 256];
    const size_t most = CONFIG_LINE_MAX_BYTES - strlen("user = ");
    make_line(text, sizeof(text), most, 'x');
    struct config *config = good(text);
    assert_int_equal(strlen(config->gate.user), most);
    config_free(config);
    make_line(text, sizeof(text), most + 1, 'x');
    expect_error(text, ":2: user = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: too long; a setting can "
                       "have 8000 bytes, in one line or in several");
    /* There is no place where inih would not lose something. */
    memset(text, 0, sizeof(text));
    strcpy(text, "[gate]\nuser = ");
    for (int i = 0; i < 300; i++)
        strcat(text, "a ");
    strcat(text, "\n" LISTENER OTHERS);
    expect_error(text, ":2: user = a a a a a");
    /* A key that fills the line. */
    char key[256];
    memset(key, 'k', sizeof(key));
    snprintf(text, sizeof(text), "[gate]\n%.*s = 1\n" LISTENER OTHERS, (int)sizeof(key), key);
    expect_error(text, ":2: kkkkkkkkkk");
}

static void a_message_repeats_a_long_value_in_part(void **state)
{
    (void)state;
    char text[2000], list[1200] = "";
    for (int i = 0; i < 40; i++)
        strcat(list, "192.0.2.1 192.0.2.2,");
    snprintf(text, sizeof(text), LISTENER "psk_file = a\nlisten = %s\n", list);
    expect_error(text, ",192....: a space within an address");
}

static void a_value_of_several_lines_can_be_too_long_too(void **state)
{
    (void)state;
    char *text = calloc(1, 20000);
    strcpy(text, LISTENER OTHERS "ciphers =\n");
    for (int i = 0; i < 900; i++)
        strcat(text, "  SUITE-12,\n");
    expect_error(text, ": SUITE-12,...: too long");
    free(text);
}

static void a_long_comment_after_a_value_is_one(void **state)
{
    (void)state;
    char text[2000];
    snprintf(text, sizeof(text), "[gate]\nworkers = 2 ; %0800d, a=b ; [c]\n" LISTENER OTHERS, 7);
    struct config *config = good(text);
    assert_int_equal(config->gate.workers, 2);
    config_free(config);
}

/* --- several lines --- */

static void a_list_goes_on_in_indented_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int listens, paths;
        const char *ciphers;
    } cases[] = {
        {"listen = 127.0.0.1:1,\n  127.0.0.1:3\npsk_file = a\n", 2, 1, ""},
        {"listen = 127.0.0.1:1\n  127.0.0.1:3\npsk_file = a\n", 2, 1, ""},
        {"listen = 127.0.0.1:1\n\t, 127.0.0.1:3\npsk_file = a\n", 2, 1, ""},
        {"listen =\n  127.0.0.1:1\n  [::1]:3 ; why\n ; so\n\n  # and\n  [::1]:4\npsk_file = a\n", 3,
         1, ""},
        {"psk_file = a\r\n  b\r\n  /x=y/c:d.psk\r\nlisten = [::]:1", 1, 3, ""},
        {"  psk_file = a\n  listen = [::]:1\n  ciphers = A:\n    B\n    -C, D", 1, 1,
         "A:, B, -C, D"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), LISTENER "%s", cases[i].text);
        struct config *config = good(text);
        const struct listener_config *listener = &config->listeners[0];
        assert_int_equal(listener->listen.count, cases[i].listens);
        assert_int_equal(listener->psk_file.count, cases[i].paths);
        assert_string_equal(listener->ciphers, cases[i].ciphers);
        config_free(config);
    }
    struct config *config = good(LISTENER OTHERS "versions = 1.3\n 1.2\ntickets = 1.2,\n\t1.3\n");
    assert_int_equal(config->listeners[0].versions, CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3);
    assert_int_equal(config->listeners[0].lines[LISTENER_ticket_versions], 7);
    config_free(config);
}

static void what_does_not_go_on_is_an_error_of_its_line(void **state)
{
    (void)state;
    /* a setting of one value */
    expect_error("[gate]\nuser = nobody\n  nogroup\n" LISTENER OTHERS,
                 ":3: nogroup: not a setting");
    expect_error("[gate]\nmax_sessions = 1\n  0\n" LISTENER OTHERS, ":3: 0: not a setting");
    /* nothing before it */
    expect_error("[gate]\n  127.0.0.1:1\n" LISTENER OTHERS, ":2: 127.0.0.1:1: not a setting");
    expect_error(LISTENER OTHERS "[gate]\n  b\n", ":6: b: not a setting");
    /* what is meant for a setting */
    expect_error(LISTENER OTHERS "  mtu 1280\n", ":5: mtu 1280: not a setting");
    expect_error(LISTENER OTHERS "  mtu: 1280\n", ":5: mtu: 1280: not a setting");
    expect_error(LISTENER OTHERS "  mtuu = 1280\n", ":5: [listener c] mtuu = 1280: unknown key");
    /* not indented */
    expect_error(LISTENER "psk_file = a\nlisten = 127.0.0.1:1\n127.0.0.1:3\n",
                 ":5: 127.0.0.1:3: not a setting");
}

/* One error each, whatever stands in the lines below. */
static void what_goes_on_with_an_error_is_not_another_one(void **state)
{
    (void)state;
    expect_error(LISTENER OTHERS "listens = 127.0.0.1:3,\n  127.0.0.1:4\n",
                 ":5: [listener c] listens");
    expect_error(LISTENER OTHERS "cipher A\n  B\n  C\n", ":5: cipher A: not a setting");
    expect_error("listen = 127.0.0.1:3,\n  127.0.0.1:4\n" LISTENER OTHERS, "before any section");
    expect_error(LISTENER OTHERS "[gate]\nuser = a\x01\n  B\n", ":6: the byte in column 9");
    expect_error(LISTENER OTHERS "psk_file = b,\n  c\n",
                 ":5: [listener c] psk_file = b, c: repeats");
}

static void the_line_of_a_list_is_that_of_its_key(void **state)
{
    (void)state;
    expect_error(LISTENER "psk_file = a\nlisten = 127.0.0.1:1,\n\n  127.0.0.1\n  127.0.0.1:3\n",
                 ":4: [listener c] listen = 127.0.0.1:1, 127.0.0.1, 127.0.0.1:3: no port");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_value_arrives_whole),
        cmocka_unit_test(a_line_that_is_too_long_is_refused_and_not_cut),
        cmocka_unit_test(a_message_repeats_a_long_value_in_part),
        cmocka_unit_test(a_value_of_several_lines_can_be_too_long_too),
        cmocka_unit_test(a_long_comment_after_a_value_is_one),
        cmocka_unit_test(a_list_goes_on_in_indented_lines),
        cmocka_unit_test(what_does_not_go_on_is_an_error_of_its_line),
        cmocka_unit_test(what_goes_on_with_an_error_is_not_another_one),
        cmocka_unit_test(the_line_of_a_list_is_that_of_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
