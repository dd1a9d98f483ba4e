/* What an operator reads of limits and backends; the lines are those of the real log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "fakes/caught_log.h"
#include "gate/gate_wolfssl.h"
#include "gate/memory_generation.h"
#include "run/reload.h"
#include "worker/datapath_log.h"

struct fixture {
    struct generation *generation;
    const struct listener *listener;
    struct datapath_log lines;
    struct caught_log log;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    f->generation = memory_generation(
        "[listener coaps]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = @psk\n");
    f->listener = &f->generation->listeners[0];
    datapath_log_init(&f->lines);
    datapath_log_on_time(&f->lines, 100000);
    caught_log_begin(&f->log);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    caught_log_end(&f->log);
    reload_release(f->generation);
    free(f);
    return 0;
}

static void a_second_later(struct fixture *f)
{
    datapath_log_on_time(&f->lines, f->lines.now_ms + 1000);
}

static void a_limit_that_bites(void **state)
{
    struct fixture *f = *state;
    datapath_log_limit(&f->lines, f->listener, CLIENT_limit_hellos_per_prefix);
    assert_string_equal(caught_log_line(&f->log),
                        "level=warning event=limit_reached listener=coaps "
                        "limit=limit_hellos_per_prefix text=\"devices that begin now are dropped "
                        "without an answer\"");
}

static void a_backend_that_is_down(void **state)
{
    struct fixture *f = *state;
    datapath_log_backend_error(&f->lines, f->listener, ECONNREFUSED);
    assert_string_equal(caught_log_line(&f->log),
                        "level=warning event=backend_error listener=coaps backend=127.0.0.1:5683 "
                        "text=\"Connection refused\"");
}

/* With what can be done about it. */
static void what_cannot_be_sent_to_a_backend(void **state)
{
    static const struct {
        int error;
        const char *text;
    } errors[] = {
        {EINVAL, "Invalid argument; lo must be up and have 127.0.0.0/8 (ip addr show lo)"},
        {ENETDOWN, "Network is down; lo must be up and have 127.0.0.0/8 (ip addr show lo)"},
        {ENETUNREACH,
         "Network is unreachable; lo must be up and have 127.0.0.0/8 (ip addr show lo)"},
        {EMSGSIZE, "Message too long; lo must have its MTU of 65536 bytes (ip link show lo)"},
        {EPERM, "Operation not permitted; a firewall forbids it"},
        {ENOBUFS, "No buffer space available"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        char expected[256];
        snprintf(expected, sizeof(expected),
                 "level=warning event=backend_send_failed listener=coaps backend=127.0.0.1:5683 "
                 "text=\"%s\"",
                 errors[i].text);
        datapath_log_send_failed(&f->lines, f->listener, errors[i].error);
        assert_string_equal(caught_log_line(&f->log), expected);
        a_second_later(f);
    }
}

/* The same port at another address has one likely reason, another port others. */
static void somebody_who_is_no_backend(void **state)
{
    struct fixture *f = *state;
    struct addr from = {.family = AF_INET, .ip = {127, 0, 0, 2}, .port = 5683};
    datapath_log_wrong_sender(&f->lines, f->listener, &from);
    const char *line = caught_log_line(&f->log);
    static const char begin[] = "level=warning event=wrong_sender listener=coaps "
                                "from=127.0.0.2:5683 backend=127.0.0.1:5683 text=\"dropped: ";
    assert_true(strncmp(line, begin, sizeof(begin) - 1) == 0);
    assert_non_null(strstr(line, "0.0.0.0"));
    a_second_later(f);
    from.port = 9;
    datapath_log_wrong_sender(&f->lines, f->listener, &from);
    line = caught_log_line(&f->log);
    assert_non_null(strstr(line, "from=127.0.0.2:9 "));
    assert_non_null(strstr(line, "another program does"));
}

/* Once for each time that it was down, and not before the log said so. */
static void a_backend_that_answers_again(void **state)
{
    struct fixture *f = *state;
    datapath_log_backend_answers(&f->lines, f->listener);
    assert_int_equal(caught_log_count(&f->log), 0);
    for (int time = 0; time < 2; time++) {
        datapath_log_backend_error(&f->lines, f->listener, ECONNREFUSED);
        datapath_log_backend_error(&f->lines, f->listener, ECONNREFUSED);
        assert_int_equal(f->lines.down_count, 1);
        f->lines.now_ms += 500;
        caught_log_count(&f->log);
        datapath_log_backend_answers(&f->lines, f->listener);
        assert_string_equal(caught_log_line(&f->log),
                            "level=warning event=backend_answers listener=coaps "
                            "backend=127.0.0.1:5683 after_s=0.500");
        datapath_log_backend_answers(&f->lines, f->listener);
        assert_int_equal(caught_log_count(&f->log), 0);
        assert_int_equal(f->lines.down_count, 0);
        a_second_later(f);
        caught_log_count(&f->log);
    }
}

static const struct udp_datagram junk = {
    .from = {.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 50000},
    .to = {.family = AF_INET, .ip = {127, 1, 2, 3}, .port = 40000},
    .data = (const uint8_t *)"\x40\x01\x12\x34",
    .len = 4,
};

/* Each outcome is told or is none of a datagram that went nowhere. */
static void datagrams_that_go_nowhere(void **state)
{
    struct fixture *f = *state;
    uint32_t told = 0;
    log_set_level(LOG_DEBUG);
    for (int outcome = 0; outcome < CLIENT_OUTCOME_COUNT; outcome++) {
        datapath_log_from_client(&f->lines, f->listener, &junk, (enum client_outcome)outcome);
        told += caught_log_count(&f->log);
        a_second_later(f);
    }
    assert_int_equal(told, CLIENT_OUTCOME_COUNT - 10);
    datapath_log_from_client(&f->lines, f->listener, &junk, CLIENT_forwarded);
    assert_int_equal(caught_log_count(&f->log), 0);
    datapath_log_from_client(&f->lines, f->listener, &junk, CLIENT_no_session);
    assert_string_equal(caught_log_line(&f->log),
                        "level=debug event=datagram_discarded listener=coaps from=client "
                        "client=192.0.2.7:50000 bytes=4 outcome=no_session");
    datapath_log_from_client(&f->lines, f->listener, &junk, CLIENT_not_dtls);
    assert_non_null(
        strstr(caught_log_line(&f->log), " outcome=not_dtls is=plaintext_coap advice="));
    datapath_log_from_backend(&f->lines, f->listener, &junk, BACKEND_forwarded, 0);
    assert_int_equal(caught_log_count(&f->log), 0);
    datapath_log_from_backend(&f->lines, f->listener, &junk, BACKEND_late, CLOSE_idle);
    assert_string_equal(caught_log_line(&f->log),
                        "level=debug event=datagram_discarded listener=coaps from=backend "
                        "backend=192.0.2.7:50000 backend_source=127.1.2.3:40000 bytes=4 "
                        "outcome=late reason=idle");
    datapath_log_from_backend(&f->lines, NULL, &junk, BACKEND_wrong_sender, 0);
    assert_non_null(strstr(caught_log_line(&f->log), "discarded from=backend"));
}

enum { KINDS = 4 };

static void cause(struct fixture *f, int kind)
{
    const struct addr from = {.family = AF_INET, .ip = {127, 0, 0, 2}, .port = 5683};
    switch (kind) {
    case 0: datapath_log_limit(&f->lines, f->listener, CLIENT_limit_handshakes_per_s); return;
    case 1: datapath_log_backend_error(&f->lines, f->listener, ECONNREFUSED); return;
    case 2: datapath_log_send_failed(&f->lines, f->listener, EPERM); return;
    default: datapath_log_wrong_sender(&f->lines, f->listener, &from); return;
    }
}

/* A line a second of each kind, whatever the others do. */
static void each_kind_is_bounded_by_itself(void **state)
{
    struct fixture *f = *state;
    assert_true(datapath_log_due_ms(&f->lines) == UINT64_MAX);
    for (int i = 0; i < 100 * KINDS; i++)
        cause(f, i % KINDS);
    assert_int_equal(caught_log_count(&f->log), KINDS);
    assert_int_equal(datapath_log_due_ms(&f->lines), f->lines.now_ms + 1000);
    a_second_later(f);
    const char *text = caught_log_text(&f->log);
    for (int kind = 0; kind < KINDS; kind++) {
        text = strstr(text, "event=log_suppressed lines=99\n");
        assert_non_null(text);
        text++;
    }
    assert_true(datapath_log_due_ms(&f->lines) == UINT64_MAX);
}

static void nothing_at_a_level_that_is_off(void **state)
{
    struct fixture *f = *state;
    log_set_level(LOG_ERROR);
    for (int i = 0; i < 100 * KINDS; i++)
        cause(f, i % KINDS);
    assert_int_equal(caught_log_count(&f->log), 0);
    assert_true(datapath_log_due_ms(&f->lines) == UINT64_MAX);
    log_set_level(LOG_WARNING);
    for (int kind = 0; kind < KINDS; kind++)
        cause(f, kind);
    assert_int_equal(caught_log_count(&f->log), KINDS);
}

#define CAUGHT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAUGHT(a_limit_that_bites),
        CAUGHT(a_backend_that_is_down),
        CAUGHT(what_cannot_be_sent_to_a_backend),
        CAUGHT(somebody_who_is_no_backend),
        CAUGHT(a_backend_that_answers_again),
        CAUGHT(datagrams_that_go_nowhere),
        CAUGHT(each_kind_is_bounded_by_itself),
        CAUGHT(nothing_at_a_level_that_is_off),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
