/* Handshake messages in fragments of any kind: RFC 6347 sections 4.2.2 and 4.2.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "worker/datapath_tests.h"

enum {
    RECORD_HEADER = 13,
    HANDSHAKE_HEADER = 12,
    TYPE_HANDSHAKE = 22,
    CLIENT_HELLO = 1,
    CERTIFICATE_MESSAGE = 11,
    NUMBERS = 256, /* record numbers for the fragments of one record */
};

/* How a message is cut: pieces of len bytes, the next one step bytes further. */
struct cut {
    const char *name;
    size_t len, step;
    bool is_reversed, is_doubled, is_one_datagram;
};

static const struct cut cuts[] = {
    {"in pieces", 64, 64, false, false, false},
    {"last piece first", 100, 100, true, false, false},
    {"overlapping", 90, 50, false, false, false},
    {"overlapping, last piece first", 150, 80, true, false, false},
    {"each piece twice", 120, 120, false, true, false},
    {"overlapping, twice, last first, in one datagram", 200, 120, true, true, true},
};

struct cutter {
    struct device *device;
    const struct cut *cut;
    uint32_t pieces;
};

static void put24(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 16);
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)value;
}

static size_t get24(const uint8_t *at)
{
    return (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
}

/* The record numbers of epoch 0 are multiplied, to make room for those of the fragments. */
static void number_record(uint8_t *record, uint32_t k)
{
    uint32_t number = (uint32_t)(record[9] << 8 | record[10]) * NUMBERS + k;
    record[7] = (uint8_t)(number >> 24);
    record[8] = (uint8_t)(number >> 16);
    record[9] = (uint8_t)(number >> 8);
    record[10] = (uint8_t)number;
}

static size_t make_piece(uint8_t *out, const uint8_t *record, size_t offset, size_t len, uint32_t k)
{
    const size_t headers = RECORD_HEADER + HANDSHAKE_HEADER;
    memcpy(out, record, headers);
    memcpy(out + headers, record + headers + offset, len);
    number_record(out, k);
    out[11] = (uint8_t)((HANDSHAKE_HEADER + len) >> 8);
    out[12] = (uint8_t)(HANDSHAKE_HEADER + len);
    put24(out + RECORD_HEADER + 6, offset);
    put24(out + RECORD_HEADER + 9, len);
    return headers + len;
}

static void send_pieces(struct cutter *c, const uint8_t *record)
{
    static uint8_t datagram[65536];
    size_t message = get24(record + RECORD_HEADER + 1), used = 0;
    uint32_t count = (uint32_t)((message + c->cut->step - 1) / c->cut->step);
    assert_true(count * 2 < NUMBERS);
    for (uint32_t i = 0; i < count; i++) {
        size_t offset = (c->cut->is_reversed ? count - 1 - i : i) * c->cut->step;
        size_t len = message - offset < c->cut->len ? message - offset : c->cut->len;
        for (uint32_t again = 0; again <= c->cut->is_doubled; again++) {
            used += make_piece(datagram + used, record, offset, len, i + again * count);
            c->pieces++;
            if (!c->cut->is_one_datagram) {
                fake_network_send(CLIENT_TO_GATE, &c->device->addr, &c->device->to, datagram, used);
                used = 0;
            }
        }
    }
    if (used != 0)
        fake_network_send(CLIENT_TO_GATE, &c->device->addr, &c->device->to, datagram, used);
}

/* Takes the place of the device's sender: messages in plaintext leave in pieces. */
static void send_cut(void *context, const uint8_t *datagram, size_t len)
{
    struct cutter *c = context;
    uint8_t record[2048];
    for (size_t at = 0, size; at < len; at += size) {
        size = RECORD_HEADER + (size_t)(datagram[at + 11] << 8 | datagram[at + 12]);
        assert_true(size <= sizeof(record));
        memcpy(record, datagram + at, size);
        bool is_plaintext = record[4] == 0;
        if (is_plaintext && record[0] == TYPE_HANDSHAKE && record[RECORD_HEADER] != CLIENT_HELLO) {
            send_pieces(c, record);
            continue;
        }
        if (is_plaintext)
            number_record(record, 0);
        fake_network_send(CLIENT_TO_GATE, &c->device->addr, &c->device->to, record, size);
    }
}

/* Certificate, ClientKeyExchange and CertificateVerify come in pieces; the session is as good. */
static void messages_in_pieces_of_any_kind_are_put_together(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        gate_doing("%s", cuts[i].name);
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, gate_kind("1.2 certificate"));
        struct cutter cutter = {.device = device, .cut = &cuts[i]};
        device->client->send = send_cut;
        device->client->context = &cutter;
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 500));
        assert_true(cutter.pieces >= 6);
        gate_assert_echo(gate, device, "whole again");
        assert_int_equal(fake_log_count("credential=certificate identity=device1", NULL), 1);
    }
    gate_doing(NULL);
}

/* ---- messages that claim to be long -----------------------------------------------------------
 */

static struct device *in_handshake(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_add(gate, kind);
    device_connect(device);
    while (gate_client_outcomes(gate, CLIENT_handshake_begun) == 0)
        gate_run(gate, 1);
    device->client->is_deaf = true;
    gate_run(gate, 5);
    return device;
}

/* One byte of a Certificate that says how long it is. */
static size_t make_claim(uint8_t *out, uint8_t number, size_t message_len, size_t offset)
{
    static const uint8_t header[RECORD_HEADER] = {
        TYPE_HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, HANDSHAKE_HEADER + 1};
    memcpy(out, header, sizeof(header));
    out[10] = number;
    uint8_t *message = out + RECORD_HEADER;
    memset(message, 0, HANDSHAKE_HEADER + 1);
    message[0] = CERTIFICATE_MESSAGE;
    put24(message + 1, message_len);
    message[5] = 2; /* message_seq of the device's first message after its hellos */
    put24(message + 6, offset);
    put24(message + 9, 1);
    return RECORD_HEADER + HANDSHAKE_HEADER + 1;
}

/* What a message says of its length allocates nothing: only bytes that have come do. */
static void claimed_length_costs_no_memory(void **state)
{
    static const size_t lengths[] = {0xffffff, 0x100000, 0x4000, 0x3fff, 2000};
    enum { ROUNDS = 5, BYTES_MAX = 2000 };
    struct gate *gate = *state;
    static const char *const kinds[] = {"1.2 certificate", "1.3 certificate"};
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            uint8_t claim[64];
            gate_doing("%s, message of %zu bytes", kinds[k], lengths[i]);
            gate_open(gate, USUAL);
            struct device *device = in_handshake(gate, gate_kind(kinds[k]));
            uint64_t before = gate_wolfssl_bytes();
            uint8_t n = 0;
            for (; n < ROUNDS; n++) {
                size_t len = make_claim(claim, n, lengths[i], n * 100u);
                enum client_outcome outcome = gate_inject(gate, &device->addr, claim, len);
                if (outcome == CLIENT_handshake_failed)
                    break;
                assert_int_equal(outcome, CLIENT_handshake);
                assert_true(gate_wolfssl_bytes() <= before + BYTES_MAX);
            }
            assert_true(n == ROUNDS || lengths[i] > 0x4000);
        }
    }
    gate_doing(NULL);
}

/* Messages ahead of their turn are kept until it is theirs, or dropped; never taken early. A device
 * whose datagrams are turned round gets in, at the latest when it repeats them. */
static void messages_out_of_order_wait_for_their_turn(void **state)
{
    static const struct cut whole = {"whole", 4000, 4000, false, false, false};
    struct gate *gate = *state;
    for (uint32_t ahead = 2; ahead < 6; ahead++) {
        gate_doing("datagram %u is overtaken", ahead);
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, gate_kind("1.2 certificate"));
        struct cutter cutter = {.device = device, .cut = &whole};
        device->client->send = send_cut; /* each record in a datagram of its own */
        device->client->context = &cutter;
        fake_network_plan(OVERTAKE, CLIENT_TO_GATE, ahead);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 5000));
        gate_assert_echo(gate, device, "in order");
    }
    gate_doing(NULL);
}

int datapath_fragments_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(messages_in_pieces_of_any_kind_are_put_together),
        GATE_TEST(claimed_length_costs_no_memory),
        GATE_TEST(messages_out_of_order_wait_for_their_turn),
    };
    return cmocka_run_group_tests_name("datapath: fragments", tests, NULL, NULL);
}
