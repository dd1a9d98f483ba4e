/* cookie.c: cookies are for one address, one hello and a short time; and no hello leaves a trace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/fake_system.h"
#include "gate/client_kinds.h"
#include "gate/gate_keys.h"
#include "gate/gate_policy.h"
#include "gate/gate_wolfssl.h"
#include "gate/memory_client.h"
#include "handshake/cookie.h"
#include "run/reload.h"
#include "wire/classify.h"

enum { DATAGRAM_ROOM = 2048, RECORD_HEADER = 13, START_MS = 100 * COOKIE_ROTATION_MS };

#define SETTINGS                                                                               \
    "[gate]\nmetrics =\n[listener coaps]\nlisten = 192.0.2.1:5684\nbackend = 127.0.0.1:5683\n" \
    "psk_file = devices.psk\ncertificate = server.pem\nprivate_key = server.key\n"             \
    "client_ca = ca.pem\n"

static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 certificate", "1.3 psk",
                                    "1.3 certificate"};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static const struct addr home = {.ip = {198, 51, 100, 1}, .port = 5000, .family = AF_INET};

struct hello {
    uint8_t data[DATAGRAM_ROOM];
    size_t len;
};

struct fixture {
    struct generation *generation;
    struct cookie_front front;
    uint64_t now_ms;
};

static struct generation *build(const char *ini)
{
    char path[512];
    struct problems problems;
    gate_keys_write_ini(ini, path, sizeof(path));
    problems_init(&problems);
    struct generation *generation = reload_build(path, &problems);
    problems_deinit(&problems);
    unlink(path);
    assert_non_null(generation);
    return generation;
}

static int set_up(void **state)
{
    static struct fixture f;
    fake_system_seed(1);
    f.generation = build(SETTINGS);
    f.now_ms = START_MS;
    cookie_init(&f.front, &f.generation->listeners[0], f.generation->cookie_master);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    cookie_deinit(&f->front);
    reload_release(f->generation);
    return 0;
}

/* ---- hellos --------------------------------------------------------------------------------- */

static void keep(void *context, const uint8_t *datagram, size_t len)
{
    struct hello *hello = context;
    assert_true(len <= sizeof(hello->data));
    memcpy(hello->data, datagram, len);
    hello->len = len;
}

static struct cookie_result check(struct fixture *f, const struct addr *from,
                                  const struct hello *hello)
{
    struct classified kind = classify(hello->data, hello->len, 0);
    /* At exactly its length, for the address sanitizer. */
    uint8_t *data = fake_network_copy(hello->data, hello->len);
    struct cookie_result result =
        cookie_check(&f->front, from, data, kind.usable_len, kind.has_cookie, f->now_ms);
    free(data);
    return result;
}

/* What the front says of the hello; an object that it gives away is freed. */
static enum cookie_verdict verdict_of(struct fixture *f, const struct addr *from,
                                      const struct hello *hello)
{
    struct cookie_result result = check(f, from, hello);
    dtls_free(result.dtls);
    return result.verdict;
}

/* The hello of a device without a cookie, and the one after the front has answered it. */
static void make_hellos(struct fixture *f, const struct client_kind *kind, const struct addr *from,
                        struct hello *first, struct hello *second)
{
    struct hello current;
    struct memory_client *client = memory_client_new(kind, gate_keys(), keep, &current);
    assert_non_null(client);
    memory_client_connect(client, 0);
    *first = current;
    struct cookie_result result = check(f, from, first);
    assert_int_equal(result.verdict, COOKIE_ANSWER);
    current.len = 0;
    memory_client_receive(client, result.reply, result.reply_len, 0);
    assert_true(current.len > 0);
    *second = current;
    memory_client_free(client);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void answer_is_one_small_cookie_reply(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        /* RFC 6347 section 4.2.1: the reply has the record number of the hello. */
        first.data[10] = 77;
        struct cookie_result result = check(f, &home, &first);
        assert_int_equal(result.verdict, COOKIE_ANSWER);
        assert_null(result.dtls);
        assert_true(gate_policy_is_cookie(result.reply, result.reply_len));
        assert_true(result.reply_len <= 3 * first.len);
        assert_int_equal((result.reply[11] << 8 | result.reply[12]) + RECORD_HEADER,
                         result.reply_len);
        if (gate_kind(kinds[i])->version == VERSION_1_2)
            assert_memory_equal(result.reply + 3, first.data + 3, 8);
    }
}

static void cookie_is_good_for_its_address(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        struct cookie_result result = check(f, &home, &second);
        assert_int_equal(result.verdict, COOKIE_GOOD);
        assert_non_null(result.dtls);
        dtls_free(result.dtls);
        /* There is no state, so it is good again. */
        assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
    }
}

/* RFC 6347 section 4.2.1: an invalid cookie is treated like none; RFC 9147 section 5.1: it ends in
 * illegal_parameter, which a stranger is not told. */
static enum cookie_verdict verdict_on_wrong_cookie(const struct client_kind *kind)
{
    return kind->version == VERSION_1_2 ? COOKIE_ANSWER : COOKIE_BAD;
}

static void cookie_is_not_good_for_another_address(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        struct addr port = home, host = home, ipv6 = home;
        port.port++;
        host.ip[3]++;
        ipv6.family = AF_INET6;
        assert_int_equal(verdict_of(f, &port, &second),
                         verdict_on_wrong_cookie(gate_kind(kinds[i])));
        assert_int_equal(verdict_of(f, &host, &second),
                         verdict_on_wrong_cookie(gate_kind(kinds[i])));
        assert_int_equal(verdict_of(f, &ipv6, &second),
                         verdict_on_wrong_cookie(gate_kind(kinds[i])));
        assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
    }
}

/* The client random is part of what a 1.2 cookie was made of. In 1.3 that is the first hello; that
 * the second one fits to it shows in the binder. */
static void cookie_is_not_good_for_another_hello(void **state)
{
    enum { RANDOM_AT = 27, RANDOM_BYTES = 32 };
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        if (gate_kind(kinds[i])->version == VERSION_1_3 && gate_kind(kinds[i])->identity == NULL)
            continue;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        for (int at = RANDOM_AT; at < RANDOM_AT + RANDOM_BYTES; at++) {
            struct hello other = second;
            other.data[at] ^= 1;
            assert_int_equal(verdict_of(f, &home, &other),
                             gate_kind(kinds[i])->version == VERSION_1_2 ? COOKIE_ANSWER
                                                                         : COOKIE_FAILED);
        }
    }
}

/* RFC 6347 section 4.2.1: a cookie is made of the parameters of the hello, too. */
static void cookie_is_good_for_the_same_parameters_only(void **state)
{
    enum { VERSION_AT = 25, SESSION_ID_AT = 59 };
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        if (gate_kind(kinds[i])->version != VERSION_1_2)
            continue;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        assert_int_equal(second.data[SESSION_ID_AT], 0);
        const size_t suites_at = SESSION_ID_AT + 2 + second.data[SESSION_ID_AT + 1];
        struct hello other = second;
        other.data[VERSION_AT + 1] = 0xff; /* 1.0 */
        assert_int_equal(verdict_of(f, &home, &other), COOKIE_ANSWER);
        other = second;
        other.data[suites_at + 3] ^= 1; /* of the first suite */
        assert_int_equal(verdict_of(f, &home, &other), COOKIE_ANSWER);
        other = second;
        const size_t compression_at =
            suites_at + 2 + (size_t)(other.data[suites_at] << 8 | other.data[suites_at + 1]);
        assert_int_equal(other.data[compression_at], 1);
        other.data[compression_at + 1] = 1;
        assert_int_equal(verdict_of(f, &home, &other), COOKIE_ANSWER);
        /* A session ID of one byte, which makes everything around it one longer. */
        other = second;
        other.data[SESSION_ID_AT] = 1;
        memmove(other.data + SESSION_ID_AT + 2, second.data + SESSION_ID_AT + 1,
                second.len - SESSION_ID_AT - 1);
        other.len++;
        other.data[12]++;
        other.data[16]++;
        other.data[24]++;
        assert_true(other.data[12] != 0 && other.data[16] != 0 && other.data[24] != 0);
        assert_int_equal(verdict_of(f, &home, &other), COOKIE_ANSWER);
        assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
    }
}

/* Where the cookie is in a hello: the first place where the second hello has what the reply says.
 */
static size_t find(const uint8_t *in, size_t in_len, const uint8_t *what, size_t len)
{
    for (size_t at = 0; at + len <= in_len; at++) {
        if (memcmp(in + at, what, len) == 0)
            return at;
    }
    fail_msg("there is no cookie in the hello");
    return 0;
}

static void every_bit_of_a_cookie_matters(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        enum { TAIL = 16 }; /* of the reply: all of it belongs to the cookie */
        struct hello first, second;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        struct cookie_result result = check(f, &home, &first);
        size_t at = find(second.data, second.len, result.reply + result.reply_len - TAIL, TAIL);
        for (size_t bit = 0; bit < TAIL * 8; bit++) {
            struct hello forged = second;
            forged.data[at + bit / 8] = (uint8_t)(forged.data[at + bit / 8] ^ 1 << bit % 8);
            assert_int_equal(verdict_of(f, &home, &forged),
                             verdict_on_wrong_cookie(gate_kind(kinds[i])));
        }
        assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
    }
}

static void cookie_lives_for_one_to_two_periods(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        static const struct {
            uint64_t made_ms, shown_ms;
            bool is_good;
        } cases[] = {
            {0, 1, true},
            {0, COOKIE_ROTATION_MS - 1, true},
            {0, COOKIE_ROTATION_MS, true},
            {0, 2 * COOKIE_ROTATION_MS - 1, true},
            {0, 2 * COOKIE_ROTATION_MS, false},
            {COOKIE_ROTATION_MS - 1, COOKIE_ROTATION_MS, true},
            {COOKIE_ROTATION_MS - 1, 2 * COOKIE_ROTATION_MS - 1, true},
            {COOKIE_ROTATION_MS - 1, 2 * COOKIE_ROTATION_MS, false},
            {0, 1000 * COOKIE_ROTATION_MS, false},
        };
        for (unsigned c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
            f->now_ms = START_MS + cases[c].made_ms;
            make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
            f->now_ms = START_MS + cases[c].shown_ms;
            assert_int_equal(verdict_of(f, &home, &second),
                             cases[c].is_good ? COOKIE_GOOD
                                              : verdict_on_wrong_cookie(gate_kind(kinds[i])));
            /* The first hello is answered in any case, now with a good one. */
            make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
            assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
        }
    }
}

/* At the very beginning of the clock there is no period before. */
static void first_period_has_none_before(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        f->now_ms = 5;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
        struct addr other = home;
        other.port++;
        assert_int_equal(verdict_of(f, &other, &second),
                         verdict_on_wrong_cookie(gate_kind(kinds[i])));
    }
}

/* All workers of one generation take each other's cookies; another gate's are worth nothing. */
static void secret_is_the_generation_s(void **state)
{
    struct fixture *f = *state;
    struct generation *other = build(SETTINGS);
    for (int i = 0; i < KINDS; i++) {
        struct hello first, second;
        make_hellos(f, gate_kind(kinds[i]), &home, &first, &second);
        struct fixture colleague = {.now_ms = f->now_ms}, stranger = {.now_ms = f->now_ms};
        cookie_init(&colleague.front, &f->generation->listeners[0], f->generation->cookie_master);
        cookie_init(&stranger.front, &other->listeners[0], other->cookie_master);
        assert_int_equal(verdict_of(&colleague, &home, &second), COOKIE_GOOD);
        assert_int_equal(verdict_of(&stranger, &home, &second),
                         verdict_on_wrong_cookie(gate_kind(kinds[i])));
        cookie_deinit(&colleague.front);
        cookie_deinit(&stranger.front);
    }
    reload_release(other);
}

/* Proved its address, and there is no suite in common: that is a failed handshake, with an alert.
 */
static void failure_after_the_cookie_is_told(void **state)
{
    struct client_kind odd = *gate_kind("1.2 certificate");
    struct fixture *f = *state;
    struct hello first, second;
    const char *detail;
    odd.suites = "ECDHE-ECDSA-AES256-CCM-8";
    make_hellos(f, &odd, &home, &first, &second);
    struct cookie_result result = check(f, &home, &second);
    assert_int_equal(result.verdict, COOKIE_FAILED);
    assert_int_equal(dtls_failure(result.dtls, &detail), HANDSHAKE_no_common_suite);
    assert_true(result.reply_len > RECORD_HEADER);
    assert_int_equal(result.reply[0], 21);
    dtls_free(result.dtls);
}

static void nothing_in_common_is_ignored_with_a_reason(void **state)
{
    struct client_kind odd = *gate_kind("1.3 certificate");
    struct fixture *f = *state;
    struct hello hello;
    odd.suites = "TLS13-AES256-GCM-SHA384";
    struct memory_client *client = memory_client_new(&odd, gate_keys(), keep, &hello);
    assert_non_null(client);
    memory_client_connect(client, 0);
    struct cookie_result result = check(f, &home, &hello);
    assert_int_equal(result.verdict, COOKIE_IGNORED);
    assert_int_equal(result.reason, HANDSHAKE_no_common_suite);
    assert_null(result.dtls);
    /* The same hello with a session ID longer than all of it. */
    hello.data[13 + 12 + 2 + 32] = 255;
    result = check(f, &home, &hello);
    assert_int_equal(result.verdict, COOKIE_IGNORED);
    assert_int_equal(result.reason, HANDSHAKE_protocol_error);
    memory_client_free(client);
}

/* Whatever came before, the next hello of each kind is served, and no object piles up. */
static void no_hello_leaves_a_trace(void **state)
{
    struct fixture *f = *state;
    struct hello first[KINDS], second[KINDS];
    for (int i = 0; i < KINDS; i++)
        make_hellos(f, gate_kind(kinds[i]), &home, &first[i], &second[i]);
    assert_int_equal(verdict_of(f, &home, &first[0]), COOKIE_ANSWER);
    uint64_t blocks = gate_wolfssl_blocks();
    for (int i = 0; i < KINDS; i++) {
        for (size_t at = RECORD_HEADER; at < first[i].len; at++) {
            struct hello broken = at % 2 == 0 ? first[i] : second[i];
            int next = (int)at % KINDS;
            if (at % 3 == 0) {
                broken.data[at % broken.len] ^= 0x10;
            } else { /* only a part of it, and the lengths say so */
                broken.len = at;
                broken.data[11] = (uint8_t)((at - RECORD_HEADER) >> 8);
                broken.data[12] = (uint8_t)(at - RECORD_HEADER);
            }
            struct addr from = home;
            from.port = (uint16_t)(6000 + at);
            verdict_of(f, &from, &broken);
            assert_int_equal(verdict_of(f, &home, &second[next]), COOKIE_GOOD);
            verdict_of(f, &from, &broken);
            assert_int_equal(verdict_of(f, &home, &first[next]), COOKIE_ANSWER);
        }
    }
    assert_int_equal(verdict_of(f, &home, &first[0]), COOKIE_ANSWER);
    assert_int_equal(gate_wolfssl_blocks(), blocks);
}

static void without_memory_nothing_is_kept(void **state)
{
    struct fixture *f = *state;
    struct hello first, second;
    make_hellos(f, gate_kind(kinds[2]), &home, &first, &second);
    cookie_deinit(&f->front);
    uint64_t blocks = gate_wolfssl_blocks();
    for (uint32_t i = 0; i < 150; i++) {
        gate_wolfssl_fail_after(i);
        enum cookie_verdict verdict = verdict_of(f, &home, i % 2 == 0 ? &first : &second);
        gate_wolfssl_fail_after(UINT32_MAX);
        assert_int_not_equal(verdict, COOKIE_BAD);
        assert_int_equal(verdict_of(f, &home, &second), COOKIE_GOOD);
        cookie_deinit(&f->front);
        assert_int_equal(gate_wolfssl_blocks(), blocks);
    }
}

#define FRONT_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(answer_is_one_small_cookie_reply),
        FRONT_TEST(cookie_is_good_for_its_address),
        FRONT_TEST(cookie_is_not_good_for_another_address),
        FRONT_TEST(cookie_is_not_good_for_another_hello),
        FRONT_TEST(cookie_is_good_for_the_same_parameters_only),
        FRONT_TEST(every_bit_of_a_cookie_matters),
        FRONT_TEST(cookie_lives_for_one_to_two_periods),
        FRONT_TEST(first_period_has_none_before),
        FRONT_TEST(secret_is_the_generation_s),
        FRONT_TEST(failure_after_the_cookie_is_told),
        FRONT_TEST(nothing_in_common_is_ignored_with_a_reason),
        FRONT_TEST(no_hello_leaves_a_trace),
        FRONT_TEST(without_memory_nothing_is_kept),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("cookie", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
