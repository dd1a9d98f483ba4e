/* What people write: one table of lines that are refused and what is said about them, one of lines
 * that are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/config_load.h"

#define WORDS_MAX 3

/* The line of a section stands in line 2 of its file. */
#define GATE(line) \
    "[gate]\n" line "\n[listener c]\nlisten = 127.0.0.1:1\nbackend = 127.0.0.1:2\npsk_file = a\n"
#define LISTEN(line) "[listener c]\n" line "\nbackend = 127.0.0.1:2\npsk_file = a\n"
#define BACKEND(line) "[listener c]\n" line "\nlisten = 127.0.0.1:1\npsk_file = a\n"
#define PSK(line) "[listener c]\n" line "\nlisten = 127.0.0.1:1\nbackend = 127.0.0.1:2\n"
#define MORE(line) \
    "[listener c]\n" line "\nlisten = 127.0.0.1:1\nbackend = 127.0.0.1:2\npsk_file = a\n"

static struct config *load(const char *text, struct problems *problems)
{
    char copy[2048];
    snprintf(copy, sizeof(copy), "%s", text);
    FILE *in = fmemopen(copy, strlen(copy), "r");
    assert_non_null(in);
    problems_init(problems);
    struct config *config = config_load_stream(in, "/etc/gate.ini", problems);
    fclose(in);
    return config;
}

static void what_people_write_is_refused_with_what_is_right(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words[WORDS_MAX];
    } cases[] = {
        /* lists separated by spaces */
        {LISTEN("listen = 0.0.0.0:5684 [::]:5684"),
         {"a space", "commas", "0.0.0.0:5684, [::]:5684"}},
        {MORE("versions = 1.2 1.3"), {"'1.2 1.3'", "a comma between"}},
        {MORE("tickets = 1.2 1.3"), {"'1.2 1.3'", "a comma between"}},
        {PSK("psk_file = /a.psk /b.psk"), {"a space before a path", "commas"}},
        {MORE("crl_file = a.crl\t/b.crl"), {"a space before a path", "commas"}},
        {BACKEND("backend = 127.0.0.1:5683 127.0.0.2:5683"), {"a space", "127.0.0.1:5683"}},
        /* variables */
        {GATE("metrics = ${METRICS}"), {"metrics = ${METRICS}", "variable", "the value itself"}},
        {GATE("metrics = 127.0.0.1:${PORT}"), {"variable", "the value itself"}},
        {GATE("user = $USER"), {"user = $USER", "variable"}},
        {GATE("user = $(id -un)"), {"variable"}},
        {PSK("psk_file = ${CREDENTIALS_DIRECTORY}/a.psk"), {"psk_file", "variable"}},
        /* every address */
        {LISTEN("listen = *:5684"), {"* is not an address", "0.0.0.0:5684, [::]:5684"}},
        {LISTEN("listen = *"), {"* is not an address", "0.0.0.0:5684, [::]:5684"}},
        {LISTEN("listen = *.5684"), {"* is not an address"}},
        {LISTEN("listen = :7000"), {"a port without an address", "0.0.0.0:7000"}},
        {GATE("metrics = *:9000"), {"* is not an address", "127.0.0.1:9000"}},
        {BACKEND("backend = *:5683"), {"* is not an address", "127.0.0.1:5683"}},
        /* ranges of ports */
        {LISTEN("listen = 0.0.0.0:5684-5690"), {"5684-5690 is a range", "commas between"}},
        {LISTEN("listen = [::]:5684-5690"), {"5684-5690 is a range", "commas between"}},
        {LISTEN("listen = 5684-5690"), {"5684-5690 is a range", "commas between"}},
        {BACKEND("backend = 127.0.0.1:5683-5684"), {"a range of ports", "such as 127.0.0.1:5683"}},
        /* paths */
        {PSK("psk_file = ~/devices.psk"), {"~ does not stand for a home folder", "whole path"}},
        {PSK("psk_file = a.psk, ~gate/b.psk"), {"~ does not stand for a home folder"}},
        {GATE("control = ~/control.sock"), {"~ does not stand for a home folder"}},
        {GATE("control = off"), {"leave the value empty for none", "./off"}},
        {GATE("state_file = none"), {"leave the value empty for none", "./none"}},
        {PSK("psk_file = no"), {"leave the value empty for none"}},
        /* words */
        {GATE("log_level = warnings"), {"error, warning, info, debug"}},
        {BACKEND("backend = off"), {"no port"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct problems problems;
        struct config *config = load(cases[i].text, &problems);
        const char *said = problems.count != 0 ? problems.texts[0] : "nothing";
        bool is_good = !config && problems.count == 1 && strstr(said, "/etc/gate.ini:2: [");
        for (int j = 0; j < WORDS_MAX && cases[i].words[j]; j++)
            is_good = is_good && strstr(said, cases[i].words[j]);
        if (!is_good)
            fail_msg("%s\n%u problems, said: %s", cases[i].text, problems.count, said);
        config_free(config);
        problems_deinit(&problems);
    }
}

static void what_is_meant_clearly_is_taken(void **state)
{
    (void)state;
    static const char *const cases[] = {
        GATE("metrics = off"),
        GATE("metrics ="),
        GATE("log_level = warn"),
        GATE("control = ./off"),
        GATE("control = /run/a b/control.sock"),
        PSK("psk_file = ./~a.psk"),
        PSK("psk_file = /keys/a~.psk, /keys/a$b.psk"),
        PSK("psk_file = a b.psk"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct problems problems;
        struct config *config = load(cases[i], &problems);
        if (!config || problems.count != 0)
            fail_msg("%s\n%s", cases[i], problems.count ? problems.texts[0] : "nothing said");
        if (strstr(cases[i], "metrics"))
            assert_int_equal(config->gate.metrics.family, 0);
        if (strstr(cases[i], "warn"))
            assert_int_equal(config->gate.log_level, LOG_WARNING);
        config_free(config);
        problems_deinit(&problems);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_people_write_is_refused_with_what_is_right),
        cmocka_unit_test(what_is_meant_clearly_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
