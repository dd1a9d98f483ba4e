/* Connection IDs: who gets one, how records with and without them find their session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/steering.h"
#include "worker/datapath_tests.h"

enum { TYPE_CID = 25, HEADER = 13, CID_AT = 11 };

static const char *const kinds[] = {
    "1.2 psk ccm-8, cid",    "1.2 psk ccm-8, cid 1",   "1.2 psk gcm, cid 8",
    "1.2 psk ccm-8, cid 32", "1.3 psk, cid",           "1.3 psk ccm-8, cid 1",
    "1.3 psk, cid 32",       "1.2 certificate, cid 4", "1.3 certificate, large hello, cid 4",
};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

/* Where the CID stands in a record, NULL if it has none. */
static const uint8_t *cid_in(const struct packet *packet)
{
    if (packet->data[0] == TYPE_CID)
        return packet->data + CID_AT;
    return (packet->data[0] & 0xf0) == 0x30 ? packet->data + 1 : NULL;
}

static void assert_has_cid(const struct packet *packet, const uint8_t *cid, size_t len)
{
    const uint8_t *found = cid_in(packet);
    assert_int_equal(found != NULL, len != 0);
    if (len != 0)
        assert_memory_equal(found, cid, len);
}

/* The record has the gate's CID on the way here, and the device's on the way back. */
static void assert_cids_on_wire(struct gate *gate, struct device *device)
{
    uint8_t own[32], gates[GATE_CID_MAX];
    size_t len = gate_copy_cid(&gate->dp, &device->addr, gates);
    for (size_t i = 0; i < sizeof(own); i++)
        own[i] = (uint8_t)(0xc0 + i);
    gate_assert_echo(gate, device, "cid");
    assert_has_cid(fake_network_last(CLIENT_TO_GATE, NULL), gates, len);
    assert_has_cid(fake_network_last(GATE_TO_CLIENT, NULL), own, device->client->kind->cid_bytes);
}

static void every_arrangement_works(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), 8);
        assert_cids_on_wire(gate, device);
        device_close(device);
        gate_run(gate, 10);
        assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), 1);
    }
    gate_doing(NULL);
}

static void every_length_works(void **state)
{
    struct gate *gate = *state;
    for (unsigned len = 0; len <= 32; len += len == 0 ? 2 : 1) {
        for (int i = 0; i < KIND_COUNT; i += 4) {
            char ini[512];
            gate_doing("%s, the gate's of %u", kinds[i], len);
            snprintf(ini, sizeof(ini), USUAL "cid_length = %u\n", len);
            gate_open(gate, ini);
            struct device *device = gate_connected(gate, gate_kind(kinds[i]));
            assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), len);
            if (len != 0)
                assert_cids_on_wire(gate, device);
            else
                gate_assert_echo(gate, device, "none");
        }
    }
    gate_doing(NULL);
}

static void device_that_does_not_ask_gets_none(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), 0);
        gate_assert_echo(gate, device, "none");
        assert_null(cid_in(fake_network_last(CLIENT_TO_GATE, NULL)));
    }
    gate_doing(NULL);
}

/* Whether the device asks is known only when the last fragment of its second hello has come. */
static void hello_in_fragments(void **state)
{
    struct client_kind kind = *gate_kind("1.3 psk, large hello");
    struct gate *gate = *state;
    kind.mtu_bytes = 256;
    for (int has_cid = 0; has_cid < 2; has_cid++) {
        kind.has_cid = has_cid;
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, &kind);
        assert_true(fake_network_count(CLIENT_TO_GATE, NULL) > 3);
        assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), has_cid ? 8 : 0);
        gate_assert_echo(gate, device, "there");
    }
}

/* 16 of two bytes in a bucket: the last ones fail to be drawn, and those devices get none. */
static void more_devices_than_cids(void **state)
{
    enum { DEVICES = 24 };
    struct gate *gate = *state;
    gate_open(gate, USUAL "cid_length = 2\nmax_handshakes = 1000\n");
    /* As if there were a worker for each bucket. */
    gate_set_worker(&gate->dp, 0, STEERING_BUCKETS);
    uint32_t with_cid = 0;
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = gate_connected(gate, gate_kind(kinds[0]));
        with_cid += gate_cid_bytes(&gate->dp, &device->addr) != 0;
    }
    assert_in_range(with_cid, 12, 16);
    for (uint32_t i = 0; i < gate->device_count; i++) {
        device_send(&gate->devices[i], "x", 1);
        gate_run(gate, 10);
    }
    assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), DEVICES);
}

static void unknown_cid_is_dropped(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i += 4) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        device_send(device, "x", 1);
        struct packet sent = *fake_network_last(CLIENT_TO_GATE, NULL);
        uint8_t changed[256];
        memcpy(changed, sent.data, sent.len);
        changed[(sent.data[0] == TYPE_CID ? CID_AT : 1) + 7] ^= 1;
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, changed, sent.len), CLIENT_cid_unknown);
        struct addr elsewhere = gate_device_addr(70);
        assert_int_equal(gate_inject(gate, &elsewhere, changed, sent.len), CLIENT_cid_unknown);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
    }
    gate_doing(NULL);
}

/* Both kinds of records are nobody's where no connection IDs are given out. */
static void cid_without_cids(void **state)
{
    static const uint8_t record_1_2[64] = {TYPE_CID, 0xfe, 0xfd, 0, 1, [20] = 7};
    static const uint8_t record_1_3[64] = {0x3f, 1, 2, 3, [20] = 7};
    struct gate *gate = *state;
    gate_open(gate, USUAL "cid_length = 0\n");
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    assert_int_equal(gate_inject(gate, &device->addr, record_1_2, 64), CLIENT_cid_unknown);
    assert_int_equal(gate_inject(gate, &device->addr, record_1_3, 64), CLIENT_cid_unknown);
    gate_assert_echo(gate, device, "still there");
}

/* RFC 9146 section 3: with a connection ID agreed on, protected records without it are dropped. */
static void missing_cid_is_dropped(void **state)
{
    static const uint8_t record_1_2[64] = {23, 0xfe, 0xfd, 0, 1, [12] = 51};
    static const uint8_t record_1_3[64] = {0x2f, 1, 2, 0, 59};
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        assert_int_equal(gate_inject(gate, &device->addr, record_1_2, 64), CLIENT_cid_missing);
        assert_int_equal(gate_inject(gate, &device->addr, record_1_3, 64), CLIENT_cid_missing);
        gate_assert_echo(gate, device, "still there");
    }
    gate_doing(NULL);
}

/* From when it was agreed on: in the handshake, as soon as the device could use it. */
static void missing_cid_is_dropped_in_a_handshake(void **state)
{
    static const uint8_t record_1_2[64] = {22, 0xfe, 0xfd, 0, 1, [12] = 51};
    static const uint8_t record_1_3[64] = {0x2e, 1, 2, 0, 59};
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        fake_network_plan(LOSE, CLIENT_TO_GATE, 2);
        struct device *device = gate_add(gate, gate_kind(kinds[i]));
        device_connect(device);
        gate_run(gate, 100);
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        assert_int_equal(gate_inject(gate, &device->addr, record_1_2, 64), CLIENT_cid_missing);
        assert_int_equal(gate_inject(gate, &device->addr, record_1_3, 64), CLIENT_cid_missing);
        assert_true(gate_run_until_up(gate, device, 10000));
        gate_assert_echo(gate, device, "all the same");
    }
    gate_doing(NULL);
}

static void wrong_worker_is_an_outcome(void **state)
{
    struct gate *gate = *state;
    uint8_t record[64] = {TYPE_CID, 0xfe, 0xfd, 0, 1, [20] = 43};
    gate_open(gate, USUAL);
    gate_set_worker(&gate->dp, 0, 2);
    unsigned wrong = 0;
    for (uint8_t i = 0; i < 40; i++) {
        record[CID_AT + 1] = (uint8_t)(i << 4);
        struct addr from = gate_device_addr(i);
        bool is_wrong =
            steering_worker_of_bucket(steering_bucket_of_cid(record + CID_AT, 8), 2) != 0;
        wrong += is_wrong;
        assert_int_equal(gate_inject(gate, &from, record, 64),
                         is_wrong ? CLIENT_wrong_worker : CLIENT_cid_unknown);
    }
    assert_in_range(wrong, 5, 35);
    const uint8_t without[64] = {23, 0xfe, 0xfd, 0, 1, [12] = 51};
    for (uint8_t i = 0; i < 40; i++) {
        struct addr from = gate_device_addr(i);
        bool is_wrong = steering_worker_of_bucket(steering_bucket_of_addr(&from), 2) != 0;
        assert_int_equal(gate_inject(gate, &from, without, 64),
                         is_wrong ? CLIENT_wrong_worker : CLIENT_no_session);
    }
}

/* Nobody gives out connection IDs here, so the kernel does not steer by what looks like one. */
static void without_cids_the_address_names_the_worker(void **state)
{
    struct gate *gate = *state;
    uint8_t record[64] = {TYPE_CID, 0xfe, 0xfd, 0, 1, [20] = 43};
    gate_open(gate, USUAL "cid_length = 0\n");
    for (uint32_t worker = 0; worker < 2; worker++) {
        gate_set_worker(&gate->dp, worker, 2);
        for (uint8_t i = 0; i < 40; i++) {
            struct addr from = gate_device_addr(i);
            bool is_here = steering_worker_of_bucket(steering_bucket_of_addr(&from), 2) == worker;
            assert_int_equal(gate_inject(gate, &from, record, 64),
                             is_here ? CLIENT_cid_unknown : CLIENT_wrong_worker);
        }
    }
}

static void two_idle_timeouts(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "idle_timeout = 60s\nidle_timeout_cid = 10m\n");
    struct device *with = gate_connected(gate, gate_kind(kinds[0]));
    gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_run(gate, 61000);
    assert_int_equal(gate_closed(gate, CLOSE_idle), 1);
    gate_assert_echo(gate, with, "still there");
    gate_run(gate, 599000);
    assert_int_equal(gate_closed(gate, CLOSE_idle), 1);
    gate_run(gate, 2000);
    assert_int_equal(gate_closed(gate, CLOSE_idle), 2);
}

static void add_to_number(uint8_t *at, size_t size, size_t more)
{
    for (size_t i = size; i > 0; i--) {
        more += at[i - 1];
        at[i - 1] = (uint8_t)more;
        more >>= 8;
    }
}

/* The hello, with a connection ID of that length in place of one of 4 bytes. Returns its length. */
static size_t lengthen_cid(const struct packet *hello, uint8_t cid_bytes, uint8_t *out)
{
    static const uint8_t extension[] = {0, 54, 0, 5, 4, 0xc0, 0xc1, 0xc2, 0xc3};
    size_t more = cid_bytes - 4u, at = HEADER + 12 + 2 + 32;
    const uint8_t *found = memmem(hello->data, hello->len, extension, sizeof(extension));
    assert_non_null(found);
    size_t behind = (size_t)(found - hello->data) + sizeof(extension);
    memcpy(out, hello->data, behind);
    memset(out + behind, 0xc4, more);
    memcpy(out + behind + more, hello->data + behind, hello->len - behind);
    add_to_number(out + behind - 7, 2, more);
    out[behind - 5] = cid_bytes;
    add_to_number(out + HEADER - 2, 2, more); /* of the record, the message, its fragment */
    add_to_number(out + HEADER + 1, 3, more);
    add_to_number(out + HEADER + 9, 3, more);
    at += 1u + out[at];                              /* session ID */
    at += 1u + out[at];                              /* cookie */
    at += 2u + (size_t)(out[at] << 8 | out[at + 1]); /* suites */
    at += 1u + out[at];                              /* compression methods */
    add_to_number(out + at, 2, more);                /* extensions */
    return hello->len + more;
}

/* A device may ask for 255 bytes. The library is built for 32 and would write past the end of its
 * buffers with more; such a device gets a session without connection IDs. */
static void too_long_of_a_device(void **state)
{
    static const uint8_t lengths[] = {32, 33, 34, 64, 128, 254, 255};
    struct client_kind kind = *gate_kind(kinds[KIND_COUNT - 1]);
    struct gate *gate = *state;
    kind.has_small_hello = true;
    for (unsigned v = 0; v < 2; v++) {
        kind.version = v == 0 ? VERSION_1_2 : VERSION_1_3;
        kind.suites = v == 0 ? "ECDHE-ECDSA-AES128-CCM-8" : "TLS13-AES128-GCM-SHA256";
        for (unsigned i = 0; i < sizeof(lengths); i++) {
            uint8_t hello[2048];
            gate_doing("version %u, a connection ID of %u", v, lengths[i]);
            gate_open(gate, USUAL);
            fake_network_plan(LOSE, CLIENT_TO_GATE, 1);
            struct device *device = gate_add(gate, &kind);
            device_connect(device);
            gate_run(gate, 100);
            device->client->is_deaf = true;
            size_t len = lengthen_cid(gate_nth(CLIENT_TO_GATE, 1), lengths[i], hello);
            enum client_outcome outcome = gate_inject(gate, &device->addr, hello, len);
            assert_int_equal(outcome, CLIENT_handshake_begun);
            assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), lengths[i] <= 32 ? 8 : 0);
            gate_assert_echo(gate, gate_connected(gate, gate_kind(kinds[0])), "served");
            gate_run(gate, 100000);
            assert_int_equal(gate_handshake_count(&gate->dp), 0);
        }
    }
    gate_doing(NULL);
}

/* Each datagram of the handshake and of the first exchange is lost once. */
static void any_lost_datagram_is_repaired(void **state)
{
    static const enum direction ways[] = {CLIENT_TO_GATE, GATE_TO_CLIENT};
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        for (unsigned way = 0; way < 2; way++) {
            for (uint32_t lost = 0; lost < 12; lost++) {
                gate_doing("%s, loses number %u of direction %u", kinds[i], lost, way);
                gate_open(gate, USUAL);
                fake_network_plan(LOSE, ways[way], lost);
                struct device *device = gate_add(gate, gate_kind(kinds[i]));
                device_connect(device);
                assert_true(gate_run_until_up(gate, device, 30000));
                gate_run(gate, 30000);
                fake_network_plan_nothing();
                gate_assert_echo(gate, device, "repaired");
                assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), 8);
                assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
            }
        }
    }
    gate_doing(NULL);
}

int datapath_cid_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(every_arrangement_works),
        GATE_TEST(every_length_works),
        GATE_TEST(device_that_does_not_ask_gets_none),
        GATE_TEST(hello_in_fragments),
        GATE_TEST(more_devices_than_cids),
        GATE_TEST(unknown_cid_is_dropped),
        GATE_TEST(cid_without_cids),
        GATE_TEST(missing_cid_is_dropped),
        GATE_TEST(missing_cid_is_dropped_in_a_handshake),
        GATE_TEST(wrong_worker_is_an_outcome),
        GATE_TEST(without_cids_the_address_names_the_worker),
        GATE_TEST(two_idle_timeouts),
        GATE_TEST(too_long_of_a_device),
        GATE_TEST(any_lost_datagram_is_repaired),
    };
    return cmocka_run_group_tests_name("datapath: connection IDs", tests, NULL, NULL);
}
