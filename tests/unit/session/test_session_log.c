/* What an operator reads of sessions: each line's keys, and the bound on lines that strangers
 * cause. The lines are those of the real log. */
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
#include "run/reload.h"
#include "session/session_log.h"

enum { PER_S = 5, SLOT = 0x010000 }; /* 127.1.0.0 */

/* A session made by hand: only what the lines are made of. */
struct fixture {
    struct generation *generation;
    struct backend backend;
    struct sessions all;
    struct session *session; /* owned; without keys; who it is lies behind it */
    struct handshake handshake;
    struct caught_log log;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    enum { WHO_AT = 1024, BYTES = 2048 };
    struct session *s = calloc(1, BYTES);
    if (f == NULL || s == NULL)
        return -1;
    f->generation = memory_generation(
        "[listener coaps]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = @psk\n");
    f->backend = (struct backend){.socket = {.fd = -1, .bound.port = 40000}};
    f->all = (struct sessions){.backend = &f->backend,
                               .listeners = f->generation->by_number,
                               .limiter = {.per_s = PER_S},
                               .now_ms = 100000};
    f->session = s;
    s->client = (struct addr){.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 50000};
    ref_set(&s->who, (uint8_t *)s + WHO_AT);
    session_who(s)->credential = CREDENTIAL_PSK;
    s->slot = SLOT;
    s->number = 17;
    s->established_ms = 90000;
    s->from_client = 3;
    s->from_backend = 4;
    s->association.version = VERSION_1_2;
    s->suite = 0xc0a8;
    s->association.plaintext_max = RECORD_PLAINTEXT_MAX;
    f->handshake.begun_ms = 99500;
    f->handshake.who = (struct handshake_who){.version = VERSION_1_2,
                                              .credential = CREDENTIAL_PSK,
                                              .identity_len = 7,
                                              .identity = "device1"};
    caught_log_begin(&f->log);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    caught_log_end(&f->log);
    reload_release(f->generation);
    free(f->session);
    free(f);
    return 0;
}

/* ---- lines ---------------------------------------------------------------------------------- */

#define BEGUN                                                         \
    "level=info event=session_established listener=coaps session=17 " \
    "client=192.0.2.7:50000 version=1.2 suite=TLS_PSK_WITH_AES_128_CCM_8 credential="

static void a_session_is_established(void **state)
{
    struct fixture *f = *state;
    struct association *association = &f->session->association;
    session_log_established(&f->all, f->session, &f->handshake);
    assert_string_equal(caught_log_line(&f->log),
                        BEGUN "psk identity=device1 resumed=no backend_source=127.1.0.0:40000 "
                              "handshake_s=0.500");
    association->cid_len = 4;
    memcpy(association->cid, (const uint8_t[]){0x0a, 0xff, 0x00, 0x12}, 4);
    f->handshake.who.credential = CREDENTIAL_CERTIFICATE;
    f->handshake.who.is_resumed = true;
    session_log_established(&f->all, f->session, &f->handshake);
    assert_string_equal(caught_log_line(&f->log),
                        BEGUN "certificate identity=device1 resumed=yes "
                              "backend_source=127.1.0.0:40000 cid=0aff0012 handshake_s=0.500");
    association->cid_len = 0;
    f->handshake.who.credential = CREDENTIAL_NONE;
    f->handshake.who.is_resumed = false;
    session_who(f->session)->credential = CREDENTIAL_NONE;
    session_log_established(&f->all, f->session, &f->handshake);
    assert_string_equal(caught_log_line(&f->log),
                        BEGUN "none resumed=no backend_source=127.1.0.0:40000 handshake_s=0.500");
}

static void a_session_is_closed(void **state)
{
    struct fixture *f = *state;
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
        char expected[256];
        snprintf(expected, sizeof(expected),
                 "level=info event=session_closed listener=coaps session=17 client=192.0.2.7:50000 "
                 "reason=%s duration_s=10.000 from_client=3 from_backend=4",
                 close_reason_name(reason));
        session_log_closed(&f->all, f->session, reason);
        assert_string_equal(caught_log_line(&f->log), expected);
    }
}

/* When the gate stops, those that there is no time for have one line together. */
static void many_sessions_are_closed(void **state)
{
    struct fixture *f = *state;
    session_log_untold(0);
    assert_int_equal(caught_log_count(&f->log), 0);
    session_log_untold(12345);
    assert_string_equal(caught_log_line(&f->log),
                        "level=info event=sessions_closed count=12345 reason=shutdown "
                        "text=\"sessions whose devices were not told\"");
}

static void what_cannot_be_sent(void **state)
{
    struct fixture *f = *state;
    f->session->association.plaintext_max = 512;
    session_log_too_large(&f->all, f->session, 20000);
    assert_string_equal(caught_log_line(&f->log),
                        "level=warning event=backend_datagram_too_large listener=coaps session=17 "
                        "client=192.0.2.7:50000 bytes=20000 max_bytes=512");
    session_log_kept_back(&f->all, f->session);
    assert_string_equal(caught_log_line(&f->log),
                        "level=error event=datagram_kept_back listener=coaps session=17 "
                        "client=192.0.2.7:50000 text=\"the role policy forbids it; please report "
                        "this\"");
}

/* Where the device was, and where it is now. */
static void a_device_moves(void **state)
{
    struct fixture *f = *state;
    const struct addr to = {.family = AF_INET, .ip = {203, 0, 113, 9}, .port = 61000};
    session_log_moved(&f->all, f->session, &to);
    assert_int_equal(caught_log_count(&f->log), 0);
    log_set_level(LOG_DEBUG);
    session_log_moved(&f->all, f->session, &to);
    assert_string_equal(caught_log_line(&f->log),
                        "level=debug event=client_moved listener=coaps session=17 "
                        "client=192.0.2.7:50000 to=203.0.113.9:61000");
}

/* ---- how many ------------------------------------------------------------------------------- */

enum { KINDS = 5, LIFE_KINDS = 2 };

static void cause(struct fixture *f, int kind)
{
    switch (kind) {
    case 0: session_log_established(&f->all, f->session, &f->handshake); return;
    case 1: session_log_closed(&f->all, f->session, CLOSE_closed_by_client); return;
    case 2: session_log_too_large(&f->all, f->session, 20000); return;
    case 3: session_log_kept_back(&f->all, f->session); return;
    default: session_log_moved(&f->all, f->session, &f->session->client); return;
    }
}

static void levels(void **state)
{
    struct fixture *f = *state;
    session_who(f->session)->credential = CREDENTIAL_NONE;
    log_set_level(LOG_WARNING);
    for (int kind = 0; kind < KINDS; kind++)
        if (kind != 2 && kind != 3)
            cause(f, kind);
    session_log_untold(1);
    assert_int_equal(caught_log_count(&f->log), 0);
    assert_int_equal(f->all.limiter.used, 0); /* nor do they use up the limit */
    cause(f, 2);
    assert_int_equal(caught_log_count(&f->log), 1);
    log_set_level(LOG_ERROR);
    cause(f, 2);
    assert_int_equal(caught_log_count(&f->log), 0);
    cause(f, 3);
    assert_int_equal(caught_log_count(&f->log), 1);
}

/* One limit for all of them. */
static void lines_that_strangers_cause_are_bounded(void **state)
{
    struct fixture *f = *state;
    session_who(f->session)->credential = CREDENTIAL_NONE;
    log_set_level(LOG_DEBUG);
    for (int kind = 0; kind < KINDS; kind++) {
        f->all.now_ms = 1000 * (200 + 10 * (uint64_t)kind);
        for (int i = 0; i < 100; i++)
            cause(f, kind);
        assert_int_equal(caught_log_count(&f->log), PER_S);
        f->all.now_ms += 1000;
        cause(f, kind);
        const char *text = caught_log_text(&f->log);
        const char *first_end = strchr(text, '\n');
        assert_non_null(first_end);
        assert_non_null(strstr(text, "event=log_suppressed lines=95\n"));
        assert_true(strstr(text, "event=log_suppressed") < first_end);
    }
    f->all.now_ms += 10000;
    for (int i = 0; i < 100; i++)
        cause(f, i % KINDS);
    assert_int_equal(caught_log_count(&f->log), PER_S);
}

/* Lines of devices that have proved who they are are all written. */
static void lives_of_known_devices_are_not_bounded(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++)
        cause(f, i % LIFE_KINDS);
    assert_int_equal(caught_log_count(&f->log), 100);
    assert_int_equal(f->all.limiter.used, 0);
}

#define CAUGHT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAUGHT(a_session_is_established),
        CAUGHT(a_session_is_closed),
        CAUGHT(many_sessions_are_closed),
        CAUGHT(what_cannot_be_sent),
        CAUGHT(a_device_moves),
        CAUGHT(levels),
        CAUGHT(lines_that_strangers_cause_are_bounded),
        CAUGHT(lives_of_known_devices_are_not_bounded),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
