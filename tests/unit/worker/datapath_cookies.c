/* The cookie exchange on the wire, and what becomes of cookies in time: RFC 6347 section 4.2.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "handshake/cookie.h"
#include "worker/datapath_tests.h"

enum {
    RECORD_HEADER = 13,
    HANDSHAKE_HEADER = 12,
    NUMBER_AT = 5, /* of a record: the 48 bits of its sequence number */
    BODY_AT = RECORD_HEADER + HANDSHAKE_HEADER,
    SERVER_HELLO = 2,
    HELLO_VERIFY_REQUEST = 3,
    DATAGRAM_ROOM = 2048,
    HOUR_MS = 3600000,
};

static const char *const kinds_12[] = {"1.2 psk ccm-8", "1.2 psk gcm", "1.2 certificate"};

struct kept {
    uint8_t data[DATAGRAM_ROOM];
    size_t len;
};

static struct kept keep(const struct packet *packet)
{
    struct kept kept = {.len = packet->len};
    assert_true(packet->len <= sizeof(kept.data));
    memcpy(kept.data, packet->data, packet->len);
    return kept;
}

/* The second hello of a device that has got its cookie; the gate has not seen it yet. */
static struct device *with_cookie(struct gate *gate, const struct client_kind *kind,
                                  struct kept *hello)
{
    struct device *device = gate_add(gate, kind);
    device_connect(device);
    uint32_t first = fake_network_count(CLIENT_TO_GATE, &device->addr);
    fake_network_plan(LOSE, CLIENT_TO_GATE, gate->device_count); /* one hello of each before it */
    gate_run(gate, 2);
    assert_int_equal(fake_network_count(CLIENT_TO_GATE, &device->addr), first + 1);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_begun), 0);
    *hello = keep(fake_network_last(CLIENT_TO_GATE, &device->addr));
    device->client->is_deaf = true;
    return device;
}

/* The number of the accepted hello goes on to the ServerHello: what front and handshake do without
 * a state in between looks like one conversation to the device. */
static void server_hello_takes_over_the_number_of_the_hello(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 3; i++) {
        for (uint8_t number = 1; number < 200; number = (uint8_t)(number * 7)) {
            struct kept hello;
            gate_doing("%s, record %u", kinds_12[i], number);
            gate_open(gate, USUAL);
            struct device *device = with_cookie(gate, gate_kind(kinds_12[i]), &hello);
            hello.data[NUMBER_AT + 5] = number;
            uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
            assert_int_equal(gate_inject(gate, &device->addr, hello.data, hello.len),
                             CLIENT_handshake_begun);
            const struct packet *answer = gate_nth(GATE_TO_CLIENT, before);
            assert_int_equal(answer->data[RECORD_HEADER], SERVER_HELLO);
            assert_memory_equal(answer->data + NUMBER_AT, hello.data + NUMBER_AT, 6);
        }
    }
    gate_doing(NULL);
}

/* Whatever will be spoken, the request says 1.0: no device may read the version from it. */
static void hello_verify_request_says_dtls_1_0(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 3; i++) {
        struct kept hello;
        gate_doing("%s", kinds_12[i]);
        gate_open(gate, USUAL);
        with_cookie(gate, gate_kind(kinds_12[i]), &hello);
        const struct packet *answer = gate_nth(GATE_TO_CLIENT, 0);
        assert_int_equal(answer->data[RECORD_HEADER], HELLO_VERIFY_REQUEST);
        assert_memory_equal(answer->data + BODY_AT, "\xfe\xff", 2);
    }
    gate_doing(NULL);
}

/* A cookie is sent once for each hello; nothing is remembered that could repeat it. */
static void cookie_is_never_repeated(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, kind);
        device_connect(device);
        device->client->is_deaf = true;
        gate_run(gate, HOUR_MS);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_cookie_sent), 1);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), 1);
        assert_int_equal(gate->due_ms, UINT64_MAX);
    }
    gate_doing(NULL);
}

/* The secret changes once a minute; the one before is good for one minute more, so a cookie lives
 * for at least one. A device that shows an older one is given a new one. */
static void cookie_outlives_one_change_of_the_secret(void **state)
{
    static const struct {
        uint64_t after_ms;
        bool is_good;
    } cases[] = {{1, true},
                 {COOKIE_ROTATION_MS / 2, true},
                 {COOKIE_ROTATION_MS, true},
                 {2 * COOKIE_ROTATION_MS, false},
                 {HOUR_MS, false}};
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct kept hello;
            gate_doing("%s, after %u ms", kind->name, (unsigned)cases[i].after_ms);
            gate_open(gate, USUAL);
            if (kind->version == VERSION_1_3 && !kind->has_small_hello)
                continue; /* its second hello is more than one datagram */
            struct device *device = with_cookie(gate, kind, &hello);
            gate_run(gate, cases[i].after_ms);
            enum client_outcome too_old =
                kind->version == VERSION_1_2 ? CLIENT_cookie_sent : CLIENT_cookie_bad;
            assert_int_equal(gate_inject(gate, &device->addr, hello.data, hello.len),
                             cases[i].is_good ? CLIENT_handshake_begun : too_old);
            gate_run(gate, 5); /* what was on its way to the old device is gone */
            struct device *again = gate_add_reborn(gate, kind, device);
            device_connect(again);
            assert_true(gate_run_until_up(gate, again, 100));
        }
    }
    gate_doing(NULL);
}

/* The device proves its address although the secret changes between any two of its datagrams. */
static void handshake_goes_on_over_a_change_of_the_secret(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        for (uint64_t before_ms = 0; before_ms < 12; before_ms++) {
            gate_doing("%s, begun %u ms before", kind->name, (unsigned)before_ms);
            gate_open(gate, USUAL);
            gate_run(gate, COOKIE_ROTATION_MS - gate->now_ms % COOKIE_ROTATION_MS - before_ms);
            struct device *device = gate_connected(gate, kind);
            gate_assert_echo(gate, device, "in spite of it");
            assert_int_equal(gate_client_outcomes(gate, CLIENT_cookie_sent), 1);
        }
    }
    gate_doing(NULL);
}

/* A device of DTLS 1.0 gets a cookie, as anybody, and then a refusal (RFC 9325 section 3.1.2). */
static void dtls_1_0_is_refused(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    device_connect(device);
    struct kept hello = keep(fake_network_last(CLIENT_TO_GATE, NULL));
    fake_network_plan(LOSE, CLIENT_TO_GATE, 0);
    fake_network_plan(LOSE, CLIENT_TO_GATE, 1);
    memcpy(hello.data + BODY_AT, "\xfe\xff", 2);
    assert_int_equal(gate_inject(gate, &device->addr, hello.data, hello.len), CLIENT_cookie_sent);
    gate_run(gate, 2); /* the device answers with its cookie */
    hello = keep(fake_network_last(CLIENT_TO_GATE, NULL));
    memcpy(hello.data + BODY_AT, "\xfe\xff", 2);
    assert_int_equal(gate_inject(gate, &device->addr, hello.data, hello.len),
                     CLIENT_handshake_failed);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_version), 1);
}

int datapath_cookies_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(server_hello_takes_over_the_number_of_the_hello),
        GATE_TEST(hello_verify_request_says_dtls_1_0),
        GATE_TEST(cookie_is_never_repeated),
        GATE_TEST(cookie_outlives_one_change_of_the_secret),
        GATE_TEST(handshake_goes_on_over_a_change_of_the_secret),
        GATE_TEST(dtls_1_0_is_refused),
    };
    return cmocka_run_group_tests_name("datapath: cookies", tests, NULL, NULL);
}
