/* run/command.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/slots.h"
#include "run/command.h"

/* As the socket gets it. */
static bool parse(struct command_request *request, const char *text, struct err *err)
{
    char line[COMMAND_LINE_MAX + 1];
    const char *words[COMMAND_WORDS_MAX];
    size_t count;
    snprintf(line, sizeof(line), "%s", text);
    return command_split(line, words, &count, err) && command_parse(request, words, count, err);
}

static struct command_request parsed(const char *text)
{
    struct command_request request;
    struct err err = {0};
    if (!parse(&request, text, &err))
        fail_msg("'%s': %s", text, err.text);
    return request;
}

static void assert_refused(const char *text, const char *why)
{
    struct command_request request;
    struct err err = {0};
    if (parse(&request, text, &err))
        fail_msg("'%s' was taken", text);
    if (strstr(err.text, why) == NULL)
        fail_msg("'%s': '%s' does not say '%s'", text, err.text, why);
}

static void commands_without_anything(void **state)
{
    (void)state;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const char *name = command_name((enum command)i);
        enum command command;
        assert_true(command_find(&command, name));
        assert_int_equal(command, i);
        if (i == COMMAND_session || i == COMMAND_close || i == COMMAND_log_level ||
            i == COMMAND_trace) {
            assert_refused(name, "needs");
        } else {
            struct command_request request = parsed(name);
            assert_int_equal(request.command, i);
            assert_int_equal(request.given, 0);
            assert_true(request.limit == UINT64_MAX);
        }
    }
}

static void what_sessions_are_chosen_by(void **state)
{
    (void)state;
    struct command_request request =
        parsed("sessions --identity \"a \\\"b\\\" \\xff\" --client 192.0.2.0/24 --listener coaps "
               "--backend-source 127.1.2.3 --limit 18446744073709551615");
    assert_int_equal(request.identity_len, 7);
    assert_memory_equal(request.identity, "a \"b\" \xff", 7);
    assert_int_equal(request.client.bits, 24);
    assert_string_equal(request.listener, "coaps");
    assert_int_equal(slots_number_of_addr(&request.backend_source), 0x010203);
    assert_true(request.limit == UINT64_MAX);
    request = parsed("close --session 7");
    assert_true(request.session == 7);
    assert_int_equal(request.given, COMMAND_TAKES(session));
}

static void arguments(void **state)
{
    (void)state;
    struct command_request request = parsed("session 127.1.2.3:5000");
    assert_int_equal(slots_number_of_addr(&request.backend_source), 0x010203);
    assert_int_equal(request.backend_source.port, 5000);
    assert_string_equal(parsed("drain \"two words\"").listener, "two words");
    assert_string_equal(parsed("  undrain   x  ").listener, "x");
    assert_int_equal(parsed("log-level warning").level, LOG_WARNING);
    assert_true(parsed("trace --identity x").seconds == COMMAND_SECONDS_USUAL);
    assert_true(parsed("trace --seconds 0").seconds == 0);
    assert_int_equal(parsed("stop --farewell").given, COMMAND_TAKES(farewell));
}

static void what_is_refused(void **state)
{
    (void)state;
    assert_refused("", "no command");
    assert_refused("   ", "no command");
    assert_refused("sesions", "is it sessions");
    assert_refused("frobnicate", "there is no command");
    assert_refused("status x", "takes no 'x'");
    assert_refused("drain a b", "takes no 'b'");
    assert_refused("status --identity x", "no option");
    assert_refused("sessions --session 1", "no option");
    assert_refused("sessions --limit", "needs COUNT");
    assert_refused("sessions --limit 1 --limit 2", "twice");
    assert_refused("sessions --limit 1x", "is no number");
    assert_refused("sessions --limit -1", "is no number");
    assert_refused("sessions --limit 18446744073709551616", "is no number");
    assert_refused("sessions --limit 99999999999999999999999", "is no number");
    assert_refused("sessions --identity \"\"", "is none");
    assert_refused("sessions --identity \\q", "is none");
    assert_refused("sessions --client x", "is no address");
    assert_refused("sessions --listener 123456789012345678901234567890123", "is no name");
    assert_refused("session 192.0.2.1", "sessions --client");
    assert_refused("session 127.1.0.0/16", "is no address");
    assert_refused("session ::1", "is no address");
    assert_refused("log-level loud", "is no level");
    assert_refused("trace --identity x --seconds 3601", "0 to 3600");
    assert_refused("close --seconds 1", "no option");
    assert_refused("sessions \"x", "no closing quote");
    assert_refused("sessions \"x\"y", "must be a blank");
    assert_refused("sessions \tx", "control characters");
    assert_refused("sessions x\x7f", "control characters");
    assert_refused("a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a", "words");
}

static void identities_end_at_their_longest(void **state)
{
    (void)state;
    char text[400] = "sessions --identity ";
    size_t len = strlen(text);
    memset(text + len, 'x', PSK_IDENTITY_MAX);
    assert_int_equal(parsed(text).identity_len, PSK_IDENTITY_MAX);
    text[len + PSK_IDENTITY_MAX] = 'x';
    assert_refused(text, "is none");
}

static void words_come_back_from_a_line(void **state)
{
    static const char *const words[] = {"a",       "",      "b c", "\"",         "\\",   "\\\"",
                                        "\\x41\"", " d e ", "--x", "\xc3\xa4 y", "end\\"};
    enum { COUNT = sizeof(words) / sizeof(words[0]) };
    const char *back[COMMAND_WORDS_MAX];
    char line[COMMAND_LINE_MAX + 2];
    struct err err;
    size_t count;
    (void)state;
    assert_true(command_join(words, COUNT, line, &err));
    assert_int_equal(line[strlen(line) - 1], '\n');
    line[strlen(line) - 1] = '\0';
    assert_true(command_split(line, back, &count, &err));
    assert_int_equal(count, COUNT);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(back[i], words[i]);
}

/* The longest word of backslashes behind that beginning that fits into a line with "y"; what it
 * makes fills the line but for what one more needs. */
static size_t longest_word(const char *beginning, size_t bytes_each)
{
    char word[2 * COMMAND_LINE_MAX];
    const char *words[] = {word, "y"};
    char line[COMMAND_LINE_MAX + 2];
    size_t line_len = 0;
    struct err err;
    size_t len = (size_t)snprintf(word, sizeof(word), "%s", beginning);
    for (; command_join(words, 2, line, &err); len++) {
        line_len = strlen(line) - 1;
        assert_in_range(line_len, 1, COMMAND_LINE_MAX);
        memcpy(word + len, "\\", 2);
    }
    assert_in_range(line_len, COMMAND_LINE_MAX - bytes_each + 1, COMMAND_LINE_MAX);
    assert_non_null(strstr(err.text, "more than 1024 bytes"));
    return len - 1;
}

static void words_that_make_no_line(void **state)
{
    const char *word = "a\nb";
    char line[COMMAND_LINE_MAX + 2];
    struct err err;
    (void)state;
    assert_int_equal(longest_word("x", 1), COMMAND_LINE_MAX - strlen(" y"));
    assert_int_equal(longest_word("x y", 2),
                     strlen("x y") + (COMMAND_LINE_MAX - strlen("\"x y\" y")) / 2);
    assert_false(command_join(&word, 1, line, &err));
}

/* The longest identity, as the log writes it when none of its bytes can be printed. */
static void any_identity_makes_a_line(void **state)
{
    char identity[4 * PSK_IDENTITY_MAX + 1] = "";
    const char *words[] = {"sessions", "--identity", identity}, *back[COMMAND_WORDS_MAX];
    char line[COMMAND_LINE_MAX + 2];
    struct command_request request;
    size_t count;
    struct err err;
    (void)state;
    for (size_t i = 0; i < PSK_IDENTITY_MAX; i++)
        memcpy(identity + 4 * i, "\\xff", 5);
    assert_true(command_join(words, 3, line, &err));
    line[strlen(line) - 1] = '\0';
    assert_true(command_split(line, back, &count, &err) &&
                command_parse(&request, back, count, &err));
    assert_int_equal(request.identity_len, PSK_IDENTITY_MAX);
}

static void help_names_all(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    (void)state;
    assert_non_null(to);
    command_list(to);
    for (int i = 0; i < COMMAND_COUNT; i++)
        command_help((enum command)i, to);
    fclose(to);
    assert_non_null(strstr(text, "  session ADDRESS[:PORT]"));
    assert_non_null(strstr(text, "dtlsgate ctl [-c FILE | --socket PATH] [--json] close [OPTION]"));
    assert_non_null(strstr(text, "  --identity IDENTITY"));
    assert_non_null(strstr(text, "\\xHH for a byte"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_without_anything),
        cmocka_unit_test(what_sessions_are_chosen_by),
        cmocka_unit_test(arguments),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(identities_end_at_their_longest),
        cmocka_unit_test(words_come_back_from_a_line),
        cmocka_unit_test(words_that_make_no_line),
        cmocka_unit_test(any_identity_makes_a_line),
        cmocka_unit_test(help_names_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
