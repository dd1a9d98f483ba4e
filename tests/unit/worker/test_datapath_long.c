/* Long records: what is longer than any record of the session is discarded, unlooked at. wolfSSL
 * would end the session over it, although nothing is authentic; and it reads no more than its MTU
 * at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_network.h"
#include "handshake/dtls.h"
#include "worker/datapath_tests.h"

static uint8_t datagram[66000];

static size_t put_1_2(uint8_t *at, uint8_t type, size_t body)
{
    static const uint8_t begin[11] = {0, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 1, 200};
    memcpy(at, begin, sizeof(begin));
    at[0] = type;
    at[11] = (uint8_t)(body >> 8);
    at[12] = (uint8_t)body;
    memset(at + 13, 0x5a, body);
    return 13 + body;
}

static size_t put_1_3(uint8_t *at, uint8_t epoch_bits, size_t body)
{
    const uint8_t begin[3] = {(uint8_t)(0x2c | epoch_bits), 0x12, 0x34};
    memcpy(at, begin, sizeof(begin));
    at[3] = (uint8_t)(body >> 8);
    at[4] = (uint8_t)body;
    memset(at + 5, 0x5a, body);
    return 5 + body;
}

static size_t put_form(unsigned form, size_t body)
{
    static const uint8_t types[] = {20, 21, 23, 25, 26};
    if (form < 4)
        return put_1_3(datagram, (uint8_t)form, body);
    if (form < 9)
        return put_1_2(datagram, types[form - 4], body);
    size_t len = put_1_2(datagram, 23, body / 2);
    return len + put_1_2(datagram + len, form == 9 ? 23 : 21, body / 2);
}

static void forged_records_of_any_length_end_nothing(void **state)
{
    struct gate *gate = *state;
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm",   "1.2 certificate",
                                        "1.3 psk",       "1.3 psk ccm-8", "1.3 certificate"};
    static const uint16_t bodies[] = {16384, 16385, 16393, 16394, 16401, 16402, 16410, 16486,
                                      16487, 16640, 16641, 16870, 16884, 16897, 18432, 32700};
    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[k]));
        gate_assert_echo(gate, device, "before");
        for (unsigned form = 0; form < 11; form++) {
            for (unsigned i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
                uint64_t told = fake_network_count(GATE_TO_CLIENT, &device->addr);
                gate_doing("%s, form %u, body %u", kinds[k], form, bodies[i]);
                enum client_outcome outcome =
                    gate_inject(gate, &device->addr, datagram, put_form(form, bodies[i]));
                assert_true(outcome == CLIENT_record_discarded || outcome == CLIENT_not_dtls);
                assert_int_equal(fake_network_count(GATE_TO_CLIENT, &device->addr), told);
            }
        }
        gate_assert_echo(gate, device, "after");
    }
    gate_doing(NULL);
}

/* Fragments of messages that never become whole are kept by the library. */
static void handshake_that_feeds_without_end_is_given_up(void **state)
{
    struct gate *gate = *state;
    enum { BODY = 1000, FRAGMENT = BODY - 12 };
    static const char *const kinds[] = {"1.2 certificate", "1.3 certificate"};
    for (unsigned k = 0; k < 2; k++) {
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, gate_kind(kinds[k]));
        device_connect(device);
        gate_run(gate, 3);
        device->client->is_deaf = true;
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        enum client_outcome outcome = CLIENT_handshake;
        unsigned count = 0;
        for (; outcome == CLIENT_handshake && count < 1000; count++) {
            put_1_2(datagram, 22, BODY);
            datagram[4] = 0;                     /* epoch */
            datagram[9] = (uint8_t)(count >> 8); /* sequence number */
            datagram[10] = (uint8_t)(100 + count);
            const uint8_t certificate[12] = {11,
                                             0,
                                             0x3f,
                                             0xff,
                                             0,
                                             2, /* type, length, message_seq */
                                             0,
                                             (uint8_t)(count * 16 >> 8),
                                             0,
                                             0,
                                             FRAGMENT >> 8,
                                             FRAGMENT & 0xff};
            memcpy(datagram + 13, certificate, sizeof(certificate));
            outcome = gate_inject(gate, &device->addr, datagram, 13 + BODY);
        }
        gate_doing("%s: %u datagrams", kinds[k], count);
        assert_int_equal(outcome, CLIENT_handshake_failed);
        assert_true(count <= 140);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* In 1.3 there are handshake messages after the handshake, too, in fragments. Of those that are not
 * to come next, or are longer than any that we take, nothing is kept. */
static void messages_without_end_cost_a_session_nothing(void **state)
{
    enum { FRAGMENT = 1000, HEADER = 12, COUNT = 1000, MESSAGE_SEQ = 9 };
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.3 certificate"));
    gate_assert_echo(gate, device, "before");
    size_t bytes = gate_bytes_kept(&gate->dp);
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t message[HEADER + FRAGMENT] = {11, 0x01, 0xff, 0xff, 0, MESSAGE_SEQ};
        size_t at = (size_t)i * 2 * FRAGMENT % (0x1ffff - FRAGMENT); /* with gaps */
        message[6] = (uint8_t)(at >> 16);
        message[7] = (uint8_t)(at >> 8);
        message[8] = (uint8_t)at;
        message[10] = FRAGMENT >> 8;
        message[11] = FRAGMENT & 0xff;
        size_t len = memory_client_seal(device->client, 22, message, sizeof(message), datagram,
                                        sizeof(datagram));
        assert_int_equal(gate_inject(gate, &device->addr, datagram, len), CLIENT_control);
        assert_int_equal(gate_bytes_kept(&gate->dp), bytes);
    }
    gate_assert_echo(gate, device, "unharmed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(forged_records_of_any_length_end_nothing),
        GATE_TEST(handshake_that_feeds_without_end_is_given_up),
        GATE_TEST(messages_without_end_cost_a_session_nothing),
    };
    if (!dtls_library_init())
        return 1;
    int failed = cmocka_run_group_tests_name("datapath: long records", tests, NULL, NULL);
    dtls_library_deinit();
    return failed == 0 ? 0 : 1;
}
