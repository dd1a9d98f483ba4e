/* What an operator reads of handshakes: each line's keys, identities that cannot forge a line, and
 * the bounds on lines, most of which strangers cause. The lines are those of the real log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/caught_log.h"
#include "gate/gate_wolfssl.h"
#include "gate/memory_generation.h"
#include "handshake/handshake.h"
#include "handshake/handshake_log.h"
#include "run/reload.h"

struct fixture {
    struct generation *generation;
    const struct listener *listener;
    struct dtls *dtls;
    struct addr client;
    struct handshake_subject subject; /* with a number */
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
    f->dtls = dtls_new(f->listener);
    if (f->dtls == NULL)
        return -1;
    f->client = (struct addr){.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 50000};
    f->subject =
        (struct handshake_subject){.listener = f->listener, .client = &f->client, .number = 17};
    caught_log_begin(&f->log);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    caught_log_end(&f->log);
    dtls_free(f->dtls);
    reload_release(f->generation);
    free(f);
    return 0;
}

static void set_identity(struct fixture *f, const void *identity, size_t len)
{
    memcpy(f->dtls->peer->identity, identity, len);
    f->dtls->peer->identity_len = (uint8_t)len;
}

static void log_failed(const struct fixture *f, enum handshake_result result, const char *detail,
                       const struct progress *progress)
{
    const struct handshake_failure failure = {
        .result = result, .detail = detail, .dtls = f->dtls, .progress = progress};
    handshake_log_failed(&f->subject, &failure);
}

/* ---- lines ---------------------------------------------------------------------------------- */

#define ABOUT " listener=coaps session=17 client=192.0.2.7:50000 "
#define ABOUT_STRANGER " listener=coaps client=192.0.2.7:50000 "
#define FAILED "level=info event=handshake_failed" ABOUT

/* Whoever makes a certificate chooses the bytes of its names. */
static void names_of_a_certificate(void **state)
{
    struct fixture *f = *state;
    struct certificate_summary refused = {.subject = "CN=caf\xe9",
                                          .issuer = "CN=caf\xc3\xa9\n,O=it's",
                                          .serial = "01",
                                          .not_after = "2030-01-01T00:00:00Z"};
    f->dtls->peer->refused = &refused;
    log_failed(f, HANDSHAKE_certificate_rejected, "", NULL);
    f->dtls->peer->refused = NULL;
    assert_string_equal(caught_log_line(&f->log),
                        FAILED "reason=certificate_rejected version=unknown serial=01 "
                               "not_after=2030-01-01T00:00:00Z subject_hex=434e3d636166e9 "
                               "issuer=\"CN=caf\xc3\xa9\\n,O=it's\"");
}

static void a_handshake_fails(void **state)
{
    struct fixture *f = *state;
    set_identity(f, "device1", 7);
    log_failed(f, HANDSHAKE_certificate_rejected, "it has expired", NULL);
    assert_string_equal(caught_log_line(&f->log),
                        FAILED "reason=certificate_rejected detail=\"it has expired\" "
                               "version=unknown identity=device1");
    /* Before there was one, and nothing is known. */
    set_identity(f, "", 0);
    f->subject.number = 0;
    log_failed(f, HANDSHAKE_no_common_suite, "", NULL);
    assert_string_equal(caught_log_line(&f->log), "level=info event=handshake_failed" ABOUT_STRANGER
                                                  "reason=no_common_suite version=unknown");
    /* It was complete, so that the library's object is gone. */
    const struct progress progress = {.sent = 1, .largest_bytes = 700};
    const struct handshake_failure failure = {.result = HANDSHAKE_no_backend_address,
                                              .detail = "",
                                              .version = VERSION_1_3,
                                              .progress = &progress};
    f->subject.number = 17;
    handshake_log_failed(&f->subject, &failure);
    assert_string_equal(caught_log_line(&f->log), FAILED "reason=no_backend_address version=1.3");
}

/* How far it came, and what was offered: at the end, as it is the longest. */
static void how_a_handshake_failed(void **state)
{
    struct fixture *f = *state;
    const struct progress progress = {.sent = 5, .largest_bytes = 1280};
    log_failed(f, HANDSHAKE_timeout, "gone", &progress);
    assert_string_equal(caught_log_line(&f->log),
                        FAILED "reason=timeout detail=gone version=unknown flight=4 sent=5 "
                               "largest=1280 came_back=none");
    log_failed(f, HANDSHAKE_superseded, "", &progress);
    assert_non_null(strstr(caught_log_line(&f->log), " flight=4 sent=5 "));
    log_failed(f, HANDSHAKE_client_alert, "unknown_ca", &progress);
    assert_non_null(strstr(caught_log_line(&f->log), " flight=4 sent=5 "));
    log_failed(f, HANDSHAKE_wrong_key, "", &progress);
    assert_null(strstr(caught_log_line(&f->log), "flight"));
    set_identity(f, "device1", 7);
    struct hello_offer *offer = &f->dtls->peer->offer;
    *offer = (struct hello_offer){.is_read = true, .legacy_version = 0xfefd};
    offer->suites[0] = 0xc0a8;
    offer->suite_total = 1;
    log_failed(f, HANDSHAKE_no_certificate, "", NULL);
    assert_string_equal(caught_log_line(&f->log),
                        FAILED "reason=no_certificate version=unknown identity=device1 "
                               "offered=\"versions:1.2 groups:none signatures:none "
                               "suites:TLS_PSK_WITH_AES_128_CCM_8\"");
    log_failed(f, HANDSHAKE_unknown_identity, "", NULL);
    assert_null(strstr(caught_log_line(&f->log), "offered"));
}

static void a_certificate_that_is_refused(void **state)
{
    struct fixture *f = *state;
    struct certificate_summary *refused = calloc(1, sizeof(*refused));
    assert_non_null(refused);
    snprintf(refused->serial, sizeof(refused->serial), "0a1b");
    snprintf(refused->not_after, sizeof(refused->not_after), "2030-01-01");
    snprintf(refused->subject, sizeof(refused->subject), "CN=device 1");
    snprintf(refused->issuer, sizeof(refused->issuer), "CN=ca");
    f->dtls->peer->refused = refused; /* taken */
    log_failed(f, HANDSHAKE_certificate_rejected, "", NULL);
    assert_string_equal(caught_log_line(&f->log),
                        FAILED "reason=certificate_rejected version=unknown serial=0a1b "
                               "not_after=2030-01-01 subject=\"CN=device 1\" issuer=\"CN=ca\"");
}

static void tickets_that_cannot_be_used(void **state)
{
    struct fixture *f = *state;
    f->subject.number = 0;
    handshake_log_ticket_unusable(&f->subject, 47);
    assert_string_equal(caught_log_line(&f->log),
                        "level=info event=handshake_failed" ABOUT_STRANGER
                        "reason=client_alert detail=illegal_parameter version=1.3 advice=\"it "
                        "cannot use its ticket of DTLS 1.3, as wolfSSL before 5.9.1: set tickets "
                        "= 1.2\"");
    handshake_log_stranger_alert(&f->subject, 47, false);
    assert_string_equal(caught_log_line(&f->log), "level=info event=stranger_alert" ABOUT_STRANGER
                                                  "detail=illegal_parameter");
    handshake_log_stranger_alert(&f->subject, 47, true);
    const char *line = caught_log_line(&f->log);
    assert_non_null(strstr(line, "detail=illegal_parameter advice=\"it cannot use the ticket of "
                                 "DTLS 1.3 that it has from before"));
}

static void other_lines(void **state)
{
    struct fixture *f = *state;
    set_identity(f, "device1", 7);
    handshake_log_stalled(&f->subject, f->dtls, HANDSHAKE_wrong_key, "");
    assert_string_equal(caught_log_line(&f->log), "level=info event=handshake_stalled" ABOUT
                                                  "reason=wrong_key identity=device1");
    set_identity(f, "", 0);
    handshake_log_stalled(&f->subject, f->dtls, HANDSHAKE_client_alert, "unknown_ca");
    assert_string_equal(caught_log_line(&f->log), "level=info event=handshake_stalled" ABOUT
                                                  "reason=client_alert detail=unknown_ca");
    f->subject.number = 0;
    handshake_log_hello_ignored(&f->subject, (const uint8_t *)"", 0, HANDSHAKE_version, "");
    assert_string_equal(caught_log_line(&f->log),
                        "level=info event=hello_ignored" ABOUT_STRANGER "reason=version");
}

/* ---- what a device can put into a line ------------------------------------------------------ */

static void an_identity_cannot_forge_a_line(void **state)
{
    struct fixture *f = *state;
    static const char *const identities[] = {
        "x\ntime=2026-01-01T00:00:00.000Z level=info event=session_established identity=admin",
        "x\" identity=admin",
        "x identity=admin",
        "x\\\" identity=admin",
        "x\r\nlevel=error",
        "identity=admin",
        "\x1b[2Jx",
        "\xc2\x9bx",
    };
    for (size_t i = 0; i < sizeof(identities) / sizeof(identities[0]); i++) {
        set_identity(f, identities[i], strlen(identities[i]));
        log_failed(f, HANDSHAKE_unknown_identity, "", NULL);
        const char *line = caught_log_line(&f->log);
        const char *value = strstr(line, " identity=\"");
        assert_non_null(value);
        value += strlen(" identity=\"");
        /* Up to the closing quote, which ends the line, all is text of the value. */
        for (; *value != '"'; value++) {
            assert_in_range(*value, ' ', '~');
            if (*value == '\\')
                value++;
            assert_true(*value != '\0');
        }
        assert_string_equal(value, "\"");
    }
    /* A NUL byte and every other byte. */
    uint8_t bytes[PSK_IDENTITY_MAX];
    for (unsigned begin = 0; begin < 256; begin += sizeof(bytes)) {
        for (unsigned i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(begin + i);
        set_identity(f, bytes, sizeof(bytes));
        handshake_log_stalled(&f->subject, f->dtls, HANDSHAKE_wrong_key, "");
        for (const char *c = caught_log_line(&f->log); *c != '\0'; c++)
            assert_in_range(*c, ' ', '~');
    }
}

/* ---- how many ------------------------------------------------------------------------------- */

enum { KINDS = 3, PER_S = 20, STRANGER_PER_S = 5 };

static void cause(struct handshakes *all, const struct arrival *arrival, int kind)
{
    struct cookie_result result = {.reason = HANDSHAKE_version, .detail = ""};
    switch (kind) {
    case 0: handshakes_on_ticket_unusable(all, arrival); return;
    case 1: handshakes_on_hello_ignored(all, &result, arrival); return;
    default: handshakes_on_stranger_alert(all, arrival, true); return;
    }
}

/* Lines that need no address of one's own have a limit that is theirs: they cannot use up that of
 * the others. At levels that are off they use up nothing. */
static void lines_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct handshakes all;
    struct counters by_listener[1] = {0};
    struct worker_counters counters = {.by_listener = by_listener, .listener_count = 1};
    const struct handshakes_settings settings = {
        .worker_count = 1, .listener_count = 1, .counters = &counters};
    const struct udp_datagram datagram = {.from = f->client};
    struct arrival arrival = {.listener = f->listener, .datagram = &datagram, .now_ms = 100000};
    struct err err;
    assert_true(handshakes_init(&all, &settings, &err));
    log_set_level(LOG_WARNING);
    for (int i = 0; i < 100; i++)
        cause(&all, &arrival, i % KINDS);
    assert_int_equal(caught_log_count(&f->log), 0);
    log_set_level(LOG_INFO);
    assert_true(handshakes_due_ms(&all) == TIMERS_NONE);
    for (int i = 0; i < 100; i++) {
        cause(&all, &arrival, 1);
        cause(&all, &arrival, 2);
    }
    assert_int_equal(caught_log_count(&f->log), STRANGER_PER_S);
    for (int i = 0; i < 100; i++)
        cause(&all, &arrival, 0);
    assert_int_equal(caught_log_count(&f->log), PER_S);
    /* How many there were is told when the second is over, even if nothing comes then. */
    assert_int_equal(handshakes_due_ms(&all), arrival.now_ms + 1000);
    handshakes_on_time(&all, arrival.now_ms + 1000);
    const char *text = caught_log_text(&f->log);
    assert_non_null(strstr(text, "event=log_suppressed lines=195\n"));
    assert_non_null(strstr(text, "event=log_suppressed lines=80\n"));
    assert_true(handshakes_due_ms(&all) == TIMERS_NONE);
    handshakes_deinit(&all);
}

#define CAUGHT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAUGHT(names_of_a_certificate),          CAUGHT(a_handshake_fails),
        CAUGHT(how_a_handshake_failed),          CAUGHT(a_certificate_that_is_refused),
        CAUGHT(tickets_that_cannot_be_used),     CAUGHT(other_lines),
        CAUGHT(an_identity_cannot_forge_a_line), CAUGHT(lines_are_bounded),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
