/* Connection IDs as others see them: on which records they stand, what they look like, and records
 * of two sessions in one datagram. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum {
    RECORD_HEADER = 13,
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION_DATA = 23,
    TYPE_CID = 25,
    CID_AT = 11,
    OWN_CID = 4, /* bytes of the device's */
    GATE_CID = 8,
    RECORD_ROOM = 512,
};

/* All with a connection ID of OWN_CID bytes. */
static const char *const kinds[] = {"1.2 psk ccm-8, cid 4", "1.2 certificate gcm, cid 4",
                                    "1.3 psk, cid 4", "1.3 certificate, cid 4"};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

static bool is_ciphertext(const uint8_t *record)
{
    return (record[0] & 0xe0) == 0x20;
}

static bool is_protected(const uint8_t *record)
{
    return is_ciphertext(record) || record[4] != 0;
}

/* Walks the records of a datagram; those that are protected must have the connection ID. Returns
 * how many those are. */
static uint32_t check_cids(const struct packet *packet, size_t cid_len)
{
    uint32_t count = 0;
    for (size_t at = 0; at < packet->len;) {
        const uint8_t *record = packet->data + at;
        size_t length_at = RECORD_HEADER - 2;
        if (is_protected(record)) {
            count++;
            if (is_ciphertext(record))
                assert_int_equal(record[0] & 0x10, 0x10);
            else
                assert_int_equal(record[0], TYPE_CID);
            length_at += cid_len;
        }
        if (is_ciphertext(record)) {
            if ((record[0] & 0x04) == 0)
                return count;
            length_at = 1 + cid_len + ((record[0] & 0x08) != 0 ? 2 : 1);
        }
        at += length_at + 2 + (size_t)(record[length_at] << 8 | record[length_at + 1]);
        assert_true(at <= packet->len);
    }
    return count;
}

/* RFC 9146 section 3, RFC 9147 section 4: once there is one, it stands on every protected record:
 * Finished, data, alerts, acknowledgements. */
static void every_protected_record_has_the_connection_id(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        uint32_t from_gate = 0, from_device = 0;
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        gate_assert_echo(gate, device, "data");
        device_close(device);
        gate_run(gate, 10);
        for (uint32_t p = 0; p < fake_network_captured(); p++) {
            const struct packet *packet = fake_network_packet(p);
            if (packet->direction == GATE_TO_CLIENT)
                from_gate += check_cids(packet, OWN_CID);
            if (packet->direction == CLIENT_TO_GATE)
                from_device += check_cids(packet, GATE_CID);
        }
        assert_true(from_gate >= 3); /* Finished, data, close_notify */
        assert_true(from_device >= 3);
    }
    gate_doing(NULL);
}

/* Two records in one datagram; both, in this order, are new and authentic. */
static size_t join(struct device *first, struct device *second, uint8_t *datagram)
{
    size_t len =
        memory_client_seal(first->client, TYPE_APPLICATION_DATA, "first", 5, datagram, RECORD_ROOM);
    return len + memory_client_seal(second->client, TYPE_APPLICATION_DATA, "second", 6,
                                    datagram + len, RECORD_ROOM - len);
}

/* RFC 9147 section 4: what stands behind records of another session is discarded. */
static void rest_of_a_datagram_of_two_sessions_is_discarded(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        for (int j = 0; j < KIND_COUNT; j++) {
            uint8_t datagram[RECORD_ROOM];
            gate_doing("%s before %s", kinds[i], kinds[j]);
            gate_open(gate, USUAL);
            struct device *a = gate_connected(gate, gate_kind(kinds[i]));
            struct device *b = gate_connected(gate, gate_kind(kinds[j]));
            size_t len = join(a, b, datagram);
            uint32_t before = fake_network_count(GATE_TO_BACKEND, NULL);
            assert_int_equal(gate_inject(gate, &a->addr, datagram, len), CLIENT_forwarded);
            assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 1);
            assert_memory_equal(fake_network_last(GATE_TO_BACKEND, NULL)->data, "first", 5);
            /* Of one session both are good. */
            len = join(a, a, datagram);
            assert_int_equal(gate_inject(gate, &a->addr, datagram, len), CLIENT_forwarded);
            assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 3);
            gate_assert_echo(gate, b, "unharmed");
        }
    }
    gate_doing(NULL);
}

/* The next datagram of the device is not delivered. */
static void lose_next(uint32_t more)
{
    fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL) + more);
}

/* A record of DTLS 1.2 as if it never had a connection ID; the library does not see that it is not
 * authentic. Returns its length. */
static size_t take_off_cid(const struct packet *packet, uint8_t *out)
{
    assert_int_equal(packet->data[0], TYPE_CID);
    memcpy(out, packet->data, CID_AT);
    memcpy(out + CID_AT, packet->data + CID_AT + GATE_CID, packet->len - CID_AT - GATE_CID);
    out[0] = TYPE_APPLICATION_DATA;
    return packet->len - GATE_CID;
}

/* RFC 9146 section 3, while the keys are being turned on: in a resumed handshake of DTLS 1.2 the
 * device's data follows its Finished at once, and both may be in one datagram. */
static void record_without_cid_behind_the_finished(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < 2; i++) {
        struct client_kind kind = *gate_kind(kinds[i]);
        uint8_t datagram[2 * RECORD_ROOM];
        gate_doing("%s", kind.name);
        kind.wants_ticket = true;
        gate_open(gate, USUAL);
        struct device *first = gate_connected(gate, &kind);
        struct WOLFSSL_SESSION *session = memory_client_session(first->client);
        assert_non_null(session);
        struct device *device = gate_add(gate, &kind);
        memory_client_resume(device->client, session);
        memory_client_free_session(session);
        lose_next(2);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        struct packet flight = *fake_network_last(CLIENT_TO_GATE, NULL);
        lose_next(0);
        device_send(device, "data", 4);
        size_t len = take_off_cid(fake_network_last(CLIENT_TO_GATE, NULL), datagram + flight.len);
        memcpy(datagram, flight.data, flight.len);
        uint32_t before = fake_network_count(GATE_TO_BACKEND, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, datagram, flight.len + len),
                         CLIENT_established);
        assert_int_equal(gate_resumptions(gate), 1);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before);
        gate_assert_echo(gate, device, "unharmed");
    }
    gate_doing(NULL);
}

/* Section 8 of RFC 9146: they do not tell how many there are, nor who has which. */
static void connection_ids_look_random(void **state)
{
    enum { DEVICES = 64, BITS = GATE_CID * 8 };
    struct gate *gate = *state;
    uint8_t cids[DEVICES][GATE_CID];
    unsigned ones[BITS] = {0};
    gate_open(gate, USUAL);
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = gate_connected(gate, gate_kind(kinds[0]));
        gate_assert_echo(gate, device, "x");
        const struct packet *packet = fake_network_last(CLIENT_TO_GATE, NULL);
        assert_int_equal(packet->data[0], TYPE_CID);
        memcpy(cids[i], packet->data + CID_AT, GATE_CID);
        for (int other = 0; other < i; other++)
            assert_memory_not_equal(cids[i], cids[other], GATE_CID / 2);
        for (int bit = 0; bit < BITS; bit++)
            ones[bit] += cids[i][bit / 8] >> bit % 8 & 1;
    }
    for (int bit = 0; bit < BITS; bit++)
        assert_in_range(ones[bit], 12, DEVICES - 12);
}

/* The numbers that drafts of RFC 9146 used, 53 with another MAC: a device that offers one of them
 * is served without a connection ID. */
static void code_points_of_drafts_are_no_connection_ids(void **state)
{
    static const uint8_t offered[] = {0, 54, 0, OWN_CID + 1, OWN_CID};
    static const uint8_t code_points[] = {53, 254, 54};
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        if (gate_kind(kinds[i])->version == VERSION_1_3 && gate_kind(kinds[i])->identity != NULL)
            continue; /* a binder over what has been changed */
        for (int c = 0; c < 3; c++) {
            gate_doing("%s, extension %u", kinds[i], code_points[c]);
            gate_open(gate, USUAL);
            struct device *device = gate_add(gate, gate_kind(kinds[i]));
            fake_network_plan(LOSE, CLIENT_TO_GATE, 0);
            fake_network_plan(LOSE, CLIENT_TO_GATE, 1);
            device_connect(device);
            for (uint32_t n = 0; n < 2; n++) {
                const struct packet *packet = gate_nth(CLIENT_TO_GATE, n);
                uint8_t *hello = fake_network_copy(packet->data, packet->len);
                uint8_t *at = memmem(hello, packet->len, offered, sizeof(offered));
                assert_non_null(at);
                at[1] = code_points[c];
                uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
                gate_inject(gate, &device->addr, hello, packet->len);
                assert_true(fake_network_count(GATE_TO_CLIENT, NULL) > sent);
                free(hello);
                if (n == 0)
                    gate_run(gate, 2); /* the device answers with its cookie */
            }
            assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_begun), 1);
            const struct packet *server_hello = gate_nth(GATE_TO_CLIENT, 1);
            assert_int_equal(server_hello->data[RECORD_HEADER], 2);
            static const uint8_t answer[] = {0, 54, 0, GATE_CID + 1, GATE_CID};
            const uint8_t draft[] = {0, code_points[c], 0, GATE_CID + 1, GATE_CID};
            assert_int_equal(
                memmem(server_hello->data, server_hello->len, answer, sizeof(answer)) != NULL,
                code_points[c] == offered[1]);
            if (code_points[c] != offered[1])
                assert_null(memmem(server_hello->data, server_hello->len, draft, sizeof(draft)));
        }
    }
    gate_doing(NULL);
}

/* RFC 9147 section 9: a request is acknowledged, and answered with no further ones (R19); a new one
 * is acknowledged and used (R18). */
static void messages_for_more_connection_ids_are_answered(void **state)
{
    enum { REQUEST_CONNECTION_ID = 9, NEW_CONNECTION_ID = 10, MESSAGE_SEQ = 3 };
    struct gate *gate = *state;
    for (uint8_t type = REQUEST_CONNECTION_ID; type <= NEW_CONNECTION_ID; type++) {
        const uint8_t request[] = {type, 0, 0, 1, 0, MESSAGE_SEQ, 0, 0, 0, 0, 0, 1, 1};
        const uint8_t new_ids[] = {type, 0, 0, 6, 0, MESSAGE_SEQ, 0, 0, 0,
                                   0,    0, 6, 0, 3, 2,           1, 2, 0};
        uint8_t record[RECORD_ROOM];
        bool is_new = type == NEW_CONNECTION_ID;
        gate_doing("message %u", type);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[2]));
        gate_assert_echo(gate, device, "before");
        size_t len =
            memory_client_seal(device->client, TYPE_HANDSHAKE, is_new ? new_ids : request,
                               is_new ? sizeof(new_ids) : sizeof(request), record, sizeof(record));
        uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_control);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent + (is_new ? 1 : 2));
        assert_int_equal(gate_session_count(&gate->dp), 1);
        const struct packet *last = fake_network_last(GATE_TO_CLIENT, NULL);
        if (is_new) {
            assert_int_equal(last->data[1], 1);
            assert_int_equal(last->data[2], 2);
        }
    }
    gate_doing(NULL);
}

int datapath_cid_wire_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(every_protected_record_has_the_connection_id),
        GATE_TEST(rest_of_a_datagram_of_two_sessions_is_discarded),
        GATE_TEST(record_without_cid_behind_the_finished),
        GATE_TEST(connection_ids_look_random),
        GATE_TEST(code_points_of_drafts_are_no_connection_ids),
        GATE_TEST(messages_for_more_connection_ids_are_answered),
    };
    return cmocka_run_group_tests_name("datapath: connection IDs on the wire", tests, NULL, NULL);
}
