/* What an operator reads of sessions: each line's keys, identities that cannot forge a line, and
 * the bound on lines that strangers cause. The lines are those of the real log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gate/memory_generation.h"
#include "run/reload.h"
#include "session/session_log.h"

enum { PER_S = 5 };

/* A session made by hand: only what the lines are made of. */
struct fixture {
    struct generation *generation;
    struct backend backend;
    struct sessions sessions;
    struct session session;
    struct session_handshake handshake;
    struct udp_datagram hello;
    int saved_stderr, caught_fd;
    char text[65536];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    f->generation = memory_generation(
        "[listener coaps]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = @psk\n");
    f->backend = (struct backend){.socket = {.fd = -1, .bound.port = 40000}};
    f->sessions = (struct sessions){.backend = &f->backend,
                                    .limiter = {.per_s = PER_S},
                                    .stranger_limiter = {.per_s = PER_S},
                                    .limit_limiter = {.per_s = PER_S},
                                    .backend_limiter = {.per_s = PER_S},
                                    .now_ms = 100000};
    struct session *s = &f->session;
    s->all = &f->sessions;
    s->listener = &f->generation->listeners[0];
    s->dtls = dtls_new(s->listener);
    if (s->dtls == NULL)
        return -1;
    s->entry.key.client = (struct addr){.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 50000};
    s->handshake = &f->handshake;
    f->hello = (struct udp_datagram){.from = s->entry.key.client};
    s->number = 17;
    s->begun_ms = 99500;
    s->established_ms = 90000;
    s->version = VERSION_1_2;
    s->from_client = 3;
    s->from_backend = 4;
    log_set_level(LOG_INFO);
    f->caught_fd = memfd_create("stderr", MFD_CLOEXEC);
    f->saved_stderr = dup(STDERR_FILENO);
    dup2(f->caught_fd, STDERR_FILENO);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    dup2(f->saved_stderr, STDERR_FILENO);
    close(f->saved_stderr);
    close(f->caught_fd);
    dtls_free(f->session.dtls);
    reload_release(f->generation);
    free(f);
    return 0;
}

/* All that was logged since the last call. */
static const char *take_text(struct fixture *f)
{
    ssize_t len = pread(f->caught_fd, f->text, sizeof(f->text) - 1, 0);
    assert_true(len >= 0);
    f->text[len] = '\0';
    assert_int_equal(ftruncate(f->caught_fd, 0), 0);
    assert_true(lseek(f->caught_fd, 0, SEEK_SET) == 0);
    return f->text;
}

/* The one line that was logged, without its time. */
static const char *take_line(struct fixture *f)
{
    const char *text = take_text(f);
    assert_true(strncmp(text, "time=", 5) == 0);
    const char *line = strchr(text, ' ');
    assert_non_null(line);
    char *end = strchr(line, '\n');
    assert_non_null(end);
    assert_string_equal(end, "\n"); /* no second line */
    *end = '\0';
    return line + 1;
}

static uint32_t count_lines(const char *text)
{
    uint32_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void set_identity(struct fixture *f, const void *identity, size_t len)
{
    memcpy(f->session.dtls->peer->identity, identity, len);
    f->session.dtls->peer->identity_len = (uint8_t)len;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void test_established(void **state)
{
    struct fixture *f = *state;
    set_identity(f, "device1", 7);
    f->session.slot = slots_number(0xabc, 0);
    session_log_established(&f->session, CREDENTIAL_PSK);
    const char *line = take_line(f);
    static const char begin[] = "level=info event=session_established listener=coaps session=17 "
                                "client=192.0.2.7:50000 version=1.2 suite=";
    assert_true(strncmp(line, begin, sizeof(begin) - 1) == 0);
    static const char end[] =
        " credential=psk identity=device1 resumed=no backend_source=127.1.10.188:40000 "
        "handshake_s=0.500";
    assert_non_null(strstr(line, end));
    assert_string_equal(strstr(line, end), end);

    session_log_established(&f->session, CREDENTIAL_CERTIFICATE);
    assert_non_null(strstr(take_line(f), " credential=certificate identity=device1 "));
    session_log_established(&f->session, CREDENTIAL_NONE);
    line = take_line(f);
    assert_non_null(strstr(line, " credential=none resumed=no backend_source="));
    assert_null(strstr(line, "identity"));
}

static void test_closed(void **state)
{
    struct fixture *f = *state;
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
        char expected[256];
        snprintf(expected, sizeof(expected),
                 "level=info event=session_closed listener=coaps session=17 client=192.0.2.7:50000 "
                 "reason=%s duration_s=10.000 from_client=3 from_backend=4",
                 close_reason_name(reason));
        session_log_closed(&f->session, reason);
        assert_string_equal(take_line(f), expected);
    }
}

static void test_failed(void **state)
{
    struct fixture *f = *state;
    const struct addr *client = &f->session.entry.key.client;
    set_identity(f, "device1", 7);
    session_log_failed(&f->session, HANDSHAKE_certificate_rejected, "it has expired");
    assert_string_equal(take_line(f), "level=info event=handshake_failed listener=coaps session=17 "
                                      "client=192.0.2.7:50000 reason=certificate_rejected "
                                      "detail=\"it has expired\" version=unknown identity=device1");
    /* Before there was a session, and nothing is known. */
    set_identity(f, "", 0);
    session_log_refused(&f->sessions, f->session.dtls, client, HANDSHAKE_no_common_suite, "");
    assert_string_equal(take_line(f), "level=info event=handshake_failed listener=coaps "
                                      "client=192.0.2.7:50000 reason=no_common_suite "
                                      "version=unknown");
    dtls_forget_peer(f->session.dtls);
    session_log_failed(&f->session, HANDSHAKE_timeout, "");
    assert_null(strstr(take_line(f), "identity"));
}

/* How far it came, and what was offered: at the end, as it is the longest. */
static void test_failed_how(void **state)
{
    struct fixture *f = *state;
    struct dtls_peer *peer = f->session.dtls->peer;
    f->handshake.progress = (struct session_progress){.sent = 5, .largest_bytes = 1280};
    session_log_failed(&f->session, HANDSHAKE_timeout, "gone");
    assert_string_equal(take_line(f),
                        "level=info event=handshake_failed listener=coaps session=17 "
                        "client=192.0.2.7:50000 reason=timeout detail=gone version=unknown "
                        "flight=4 sent=5 largest=1280 came_back=none");
    set_identity(f, "device1", 7);
    peer->offer = (struct hello_offer){.is_read = true, .legacy_version = 0xfefd};
    peer->offer.suites[0] = 0xc0a8;
    peer->offer.suite_total = 1;
    session_log_failed(&f->session, HANDSHAKE_no_certificate, "");
    assert_string_equal(take_line(f),
                        "level=info event=handshake_failed listener=coaps session=17 "
                        "client=192.0.2.7:50000 reason=no_certificate version=unknown "
                        "identity=device1 offered=\"versions:1.2 groups:none signatures:none "
                        "suites:TLS_PSK_WITH_AES_128_CCM_8\"");
    session_log_failed(&f->session, HANDSHAKE_unknown_identity, "");
    assert_null(strstr(take_line(f), "offered"));
    session_log_ticket_unusable(&f->sessions, f->session.listener, &f->session.entry.key.client,
                                47);
    assert_string_equal(take_line(f),
                        "level=info event=handshake_failed listener=coaps client=192.0.2.7:50000 "
                        "reason=client_alert detail=illegal_parameter version=1.3 advice=\"it "
                        "cannot use its ticket of DTLS 1.3, as wolfSSL before 5.9.1: set tickets "
                        "= 1.2\"");
}

static void test_other_lines(void **state)
{
    struct fixture *f = *state;
    struct session *s = &f->session;
    set_identity(f, "device1", 7);
    session_log_stalled(s, HANDSHAKE_wrong_key, "");
    assert_string_equal(take_line(f),
                        "level=info event=handshake_stalled listener=coaps session=17 "
                        "client=192.0.2.7:50000 reason=wrong_key identity=device1");
    session_log_hello_ignored(&f->sessions, s->listener, &f->hello, HANDSHAKE_version, "");
    assert_string_equal(take_line(f), "level=info event=hello_ignored listener=coaps "
                                      "client=192.0.2.7:50000 reason=version");
    s->dtls->plaintext_max = 16000;
    session_log_too_large(s, 20000);
    assert_string_equal(take_line(f),
                        "level=warning event=backend_datagram_too_large listener=coaps session=17 "
                        "client=192.0.2.7:50000 bytes=20000 max_bytes=16000");
    session_log_backend_error(&f->sessions, s->listener, ECONNREFUSED);
    assert_string_equal(take_line(f), "level=warning event=backend_error listener=coaps "
                                      "backend=127.0.0.1:5683 text=\"Connection refused\"");
    session_log_kept_back(s);
    assert_non_null(strstr(take_line(f), "level=error event=datagram_kept_back listener=coaps "));
    session_log_limit(&f->sessions, s->listener, CLIENT_limit_hellos_per_prefix);
    assert_string_equal(take_line(f), "level=warning event=limit_reached listener=coaps "
                                      "limit=limit_hellos_per_prefix text=\"devices that begin now "
                                      "are dropped without an answer\"");
}

/* Where the device was, and where it is now. */
static void test_moved(void **state)
{
    struct fixture *f = *state;
    const struct addr to = {.family = AF_INET, .ip = {203, 0, 113, 9}, .port = 61000};
    session_log_moved(&f->session, &to);
    assert_string_equal(take_text(f), "");
    log_set_level(LOG_DEBUG);
    session_log_moved(&f->session, &to);
    assert_string_equal(take_line(f), "level=debug event=client_moved listener=coaps session=17 "
                                      "client=192.0.2.7:50000 to=203.0.113.9:61000");
}

static void test_levels(void **state)
{
    struct fixture *f = *state;
    struct session *s = &f->session;
    log_set_level(LOG_WARNING);
    session_log_established(s, CREDENTIAL_PSK);
    session_log_closed(s, CLOSE_idle);
    session_log_failed(s, HANDSHAKE_timeout, "");
    session_log_stalled(s, HANDSHAKE_wrong_key, "");
    session_log_hello_ignored(&f->sessions, s->listener, &f->hello, HANDSHAKE_version, "");
    assert_string_equal(take_text(f), "");
    assert_int_equal(f->sessions.limiter.used, 0); /* nor do they use up the limit */
    session_log_too_large(s, 20000);
    assert_int_equal(count_lines(take_text(f)), 1);
    log_set_level(LOG_ERROR);
    session_log_too_large(s, 20000);
    session_log_backend_error(&f->sessions, s->listener, ECONNREFUSED);
    assert_string_equal(take_text(f), "");
}

/* ---- what a device can put into a line ------------------------------------------------------ */

static void test_identity_cannot_forge_a_line(void **state)
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
        f->sessions.now_ms += 1000;
        session_log_failed(&f->session, HANDSHAKE_unknown_identity, "");
        const char *line = take_line(f);
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
        session_log_stalled(&f->session, HANDSHAKE_wrong_key, "");
        for (const char *c = take_line(f); *c != '\0'; c++)
            assert_in_range(*c, ' ', '~');
    }
}

/* ---- limiter -------------------------------------------------------------------------------- */

enum { HELLO_KIND = 3, BACKEND_KIND = 6, LIMIT_KIND = 8, KINDS = 13 };

static void cause(struct fixture *f, int kind)
{
    struct session *s = &f->session;
    switch (kind) {
    case 0:
    case 7:
        s->is_anonymous = true;
        if (kind == 0)
            session_log_established(s, CREDENTIAL_NONE);
        else
            session_log_closed(s, CLOSE_closed_by_client);
        s->is_anonymous = false;
        return;
    case 1: session_log_failed(s, HANDSHAKE_timeout, ""); return;
    case 2: session_log_stalled(s, HANDSHAKE_wrong_key, ""); return;
    case 3:
        session_log_hello_ignored(&f->sessions, s->listener, &f->hello, HANDSHAKE_version, "");
        return;
    case 4: session_log_too_large(s, 20000); return;
    case 5: session_log_kept_back(s); return;
    case 8: session_log_limit(&f->sessions, s->listener, CLIENT_limit_handshakes_per_s); return;
    case 10: session_log_refused(&f->sessions, s->dtls, &s->entry.key.client, 1, ""); return;
    case 11:
        session_log_ticket_unusable(&f->sessions, s->listener, &s->entry.key.client, 47);
        return;
    case 12:
        session_log_stranger_alert(&f->sessions, s->listener, &s->entry.key.client, 47, true);
        return;
    case 9: session_log_moved(s, &s->entry.key.client); return;
    default: session_log_backend_error(&f->sessions, s->listener, ECONNREFUSED); return;
    }
}

static void test_limit(void **state)
{
    struct fixture *f = *state;
    log_set_level(LOG_DEBUG);
    for (int kind = 0; kind < KINDS; kind++) {
        f->sessions.now_ms = 1000 * (200 + 10 * kind);
        for (int i = 0; i < 100; i++)
            cause(f, kind);
        assert_int_equal(count_lines(take_text(f)), PER_S);
        f->sessions.now_ms += 1000;
        cause(f, kind);
        const char *text = take_text(f);
        assert_int_equal(count_lines(text), 2);
        const char *suppressed = strstr(text, "event=log_suppressed lines=95\n");
        assert_non_null(suppressed);
        assert_null(memchr(text, '\n', (size_t)(suppressed - text))); /* it is the first */
    }
    /* The limit is one for all kinds that need an address of one's own; spoofed hellos, backends
     * and limits that bite cannot use it up. */
    f->sessions.now_ms += 10000;
    for (int i = 0; i < 100; i++)
        cause(f, i % HELLO_KIND);
    assert_int_equal(count_lines(take_text(f)), PER_S);
    cause(f, HELLO_KIND);
    cause(f, BACKEND_KIND);
    cause(f, LIMIT_KIND);
    assert_int_equal(count_lines(take_text(f)), 3);
}

/* Lines of devices that have proved who they are are all written. */
static void test_sessions_of_known_devices_are_not_limited(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++) {
        session_log_established(&f->session, CREDENTIAL_PSK);
        session_log_closed(&f->session, CLOSE_idle);
    }
    assert_int_equal(count_lines(take_text(f)), 100);
    assert_int_equal(f->sessions.limiter.used, 0);
}

static int begin(void **state)
{
    (void)state;
    return dtls_library_init() ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    dtls_library_deinit();
    return 0;
}

#define CAUGHT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAUGHT(test_established), CAUGHT(test_closed),
        CAUGHT(test_failed),      CAUGHT(test_failed_how),
        CAUGHT(test_other_lines), CAUGHT(test_moved),
        CAUGHT(test_levels),      CAUGHT(test_identity_cannot_forge_a_line),
        CAUGHT(test_limit),       CAUGHT(test_sessions_of_known_devices_are_not_limited),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
