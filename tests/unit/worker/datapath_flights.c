/* The gate's flights: how they are put into datagrams, and when they are repeated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum {
    RECORD_HEADER = 13,
    TYPE_HANDSHAKE = 22,
    SMALL_BYTES = 548, /* UDP payload of IPv4's minimum, 576 */
    MTU_DEFAULT = 1280,
    RECORDS_MAX = 64,
};

struct flyer {
    const char *ini;
    const char *kind;
};

#define RSA_INI                                                                  \
    GATE LISTENER "certificate = rsa-server.pem\nprivate_key = rsa-server.key\n" \
                  "client_ca = ca.pem\n"

/* The shortest flights and the longest, the last with a post-quantum key share. */
static const struct flyer flyers[] = {
    {USUAL, "1.2 psk ccm-8"},   {USUAL, "1.2 psk ccm-8, cid 8"},
    {USUAL, "1.2 certificate"}, {RSA_INI, "1.2 certificate, rsa server"},
    {USUAL, "1.3 certificate"}, {RSA_INI, "1.3 certificate, rsa server, large hello, cid"},
    {USUAL, "1.3 psk, cid 8"},
};
enum { FLYERS = sizeof(flyers) / sizeof(flyers[0]) };

static void open_with(struct gate *gate, const struct flyer *flyer, const char *settings)
{
    char ini[1024];
    gate_doing("%s, %s", flyer->kind, settings);
    snprintf(ini, sizeof(ini), "%s%s", flyer->ini, settings);
    gate_open(gate, ini);
}

/* Begins a handshake and loses the device in it, as soon as the gate has sent its first flight. */
static struct device *lost_device(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_add(gate, kind);
    device_connect(device);
    while (gate_client_outcomes(gate, CLIENT_handshake_begun) == 0)
        gate_run(gate, 1);
    device->client->is_deaf = true;
    return device;
}

/* What the gate has sent to devices since packet `since`. */
struct flight_sent {
    uint32_t datagrams, records;
    uint32_t largest;
    uint32_t lens[RECORDS_MAX]; /* of the records, in their order */
    bool is_plaintext[RECORDS_MAX];
};

static uint32_t record_len(const uint8_t *record, uint8_t cid_bytes)
{
    if ((record[0] & 0xe0) == 0x20) {
        /* 001CSLEE; ours have 16 bits of number, and a length. */
        uint32_t at = 3u + (record[0] & 0x10 ? cid_bytes : 0u);
        return at + 2 + (uint32_t)(record[at] << 8 | record[at + 1]);
    }
    uint32_t at = 11u + (record[0] == 25 ? cid_bytes : 0u);
    return at + 2 + (uint32_t)(record[at] << 8 | record[at + 1]);
}

static struct flight_sent flight_since(uint32_t since, uint8_t cid_bytes)
{
    struct flight_sent flight = {0};
    for (uint32_t i = since; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction != GATE_TO_CLIENT)
            continue;
        flight.datagrams++;
        flight.largest = packet->len > flight.largest ? packet->len : flight.largest;
        for (uint32_t at = 0; at < packet->len;) {
            assert_true(flight.records < RECORDS_MAX);
            uint32_t len = record_len(packet->data + at, cid_bytes);
            flight.is_plaintext[flight.records] =
                (packet->data[at] & 0xe0) != 0x20 && packet->data[at + 4] == 0;
            flight.lens[flight.records++] = len;
            at += len;
            assert_true(at <= packet->len);
        }
    }
    return flight;
}

static void assert_same_records(const struct flight_sent *a, const struct flight_sent *b)
{
    assert_int_equal(a->records, b->records);
    assert_memory_equal(a->lens, b->lens, sizeof(a->lens));
}

/* The first flight, which begins behind the cookie. */
static struct flight_sent first_flight(uint8_t cid_bytes)
{
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        if (fake_network_packet(i)->direction == GATE_TO_CLIENT)
            return flight_since(i + 1, cid_bytes);
    }
    fail_msg("no cookie");
    return (struct flight_sent){0};
}

/* Whole flights are repeated, at intervals that double up to a minute, until handshake_timeout;
 * then silence. `due_ms` ends with 0. */
static void assert_repeated_at(struct gate *gate, const struct flyer *flyer, const char *settings,
                               const uint32_t *due_ms)
{
    open_with(gate, flyer, settings);
    lost_device(gate, gate_kind(flyer->kind));
    uint64_t begun_ms = gate->now_ms;
    struct flight_sent first = first_flight(gate_kind(flyer->kind)->cid_bytes);
    assert_true(first.records > 0);
    for (; *due_ms != 0; due_ms++) {
        uint32_t since = fake_network_captured();
        gate_run(gate, begun_ms + *due_ms - 1 - gate->now_ms);
        assert_int_equal(fake_network_captured(), since);
        gate_run(gate, 1);
        struct flight_sent again = flight_since(since, gate_kind(flyer->kind)->cid_bytes);
        assert_same_records(&again, &first);
    }
    gate_run(gate, begun_ms + 299999 - gate->now_ms);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_timeout), 0);
    uint32_t sent = fake_network_captured();
    gate_run(gate, 1);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_timeout), 1);
    assert_int_equal(fake_log_count("event=handshake_failed", "reason=timeout", NULL), 1);
    gate_run(gate, 600000);
    assert_int_equal(fake_network_captured(), sent);
    assert_int_equal(gate_next_due_ms(&gate->dp), TIMERS_NONE);
}

#define FOR_5_MINUTES "handshake_timeout = 5m\n"

static void flights_are_repeated_at_doubling_intervals(void **state)
{
    static const uint32_t by_default[] = {2000,   6000,   14000,  30000, 62000,
                                          122000, 182000, 242000, 0};
    static const uint32_t from_500[] = {500,   1500,   3500,   7500,   15500, 31500,
                                        63500, 123500, 183500, 243500, 0};
    static const uint32_t from_9000[] = {9000, 27000, 63000, 123000, 183000, 243000, 0};
    static const uint32_t from_60000[] = {60000, 120000, 180000, 240000, 0};
    struct gate *gate = *state;
    for (int i = 0; i < FLYERS; i++) {
        assert_repeated_at(gate, &flyers[i], FOR_5_MINUTES, by_default);
        assert_repeated_at(gate, &flyers[i], FOR_5_MINUTES "retransmit = 500ms\n", from_500);
        assert_repeated_at(gate, &flyers[i], FOR_5_MINUTES "retransmit = 9s\n", from_9000);
        assert_repeated_at(gate, &flyers[i], FOR_5_MINUTES "retransmit = 60s\n", from_60000);
    }
    gate_doing(NULL);
}

/* As few datagrams as the size allows, of records that each fit into any. What is_apart has no
 * datagram with both plaintext and protected records. */
static void assert_filled(const struct flight_sent *flight, uint32_t max, bool is_apart)
{
    uint32_t datagrams = 1, used = 0;
    for (uint32_t i = 0; i < flight->records; i++) {
        assert_true(flight->lens[i] <= SMALL_BYTES);
        bool is_new_kind =
            is_apart && i > 0 && flight->is_plaintext[i] != flight->is_plaintext[i - 1];
        if (used + flight->lens[i] > max || is_new_kind) {
            datagrams++;
            used = 0;
        }
        used += flight->lens[i];
    }
    assert_int_equal(flight->datagrams, datagrams);
    assert_in_range(flight->largest, 1, max);
}

/* A flight goes into datagrams of up to `mtu`; unanswered twice, of what every path takes. */
static void datagrams_are_as_large_as_the_path_takes(void **state)
{
    static const uint32_t mtus[] = {256, 300, 547, 548, 549, 576, 1200, 1280, 1400, 16384};
    struct gate *gate = *state;
    for (int i = 0; i < FLYERS; i++) {
        for (unsigned m = 0; m < sizeof(mtus) / sizeof(mtus[0]); m++) {
            char settings[64];
            uint8_t cid_bytes = gate_kind(flyers[i].kind)->cid_bytes;
            snprintf(settings, sizeof(settings), "mtu = %u\n", mtus[m]);
            open_with(gate, &flyers[i], settings);
            lost_device(gate, gate_kind(flyers[i].kind));
            struct flight_sent first = first_flight(cid_bytes);
            assert_filled(&first, mtus[m], false);
            for (unsigned repeat = 1; repeat <= 5; repeat++) {
                uint32_t since = fake_network_captured();
                gate_run(gate, 1000 * (1u << repeat));
                struct flight_sent again = flight_since(since, cid_bytes);
                assert_same_records(&again, &first);
                bool is_small = repeat > 2 && mtus[m] > SMALL_BYTES;
                assert_filled(&again, is_small ? SMALL_BYTES : mtus[m],
                              gate_kind(flyers[i].kind)->version == VERSION_1_3);
            }
        }
    }
    gate_doing(NULL);
}

/* The device's repeated flight says the same as our own clock: nothing has arrived. */
static void device_that_asks_again_gets_small_datagrams_sooner(void **state)
{
    struct gate *gate = *state;
    const struct flyer *flyer = &flyers[3];
    open_with(gate, flyer, "retransmit = 60s\n");
    struct device *device = lost_device(gate, gate_kind(flyer->kind));
    const struct packet *hello = fake_network_last(CLIENT_TO_GATE, &device->addr);
    for (int repeat = 1; repeat <= 4; repeat++) {
        gate_run(gate, 1000);
        uint32_t since = fake_network_captured();
        assert_int_equal(gate_inject(gate, &device->addr, hello->data, hello->len),
                         CLIENT_handshake);
        struct flight_sent again = flight_since(since, 0);
        assert_filled(&again, repeat > 2 ? SMALL_BYTES : MTU_DEFAULT, false);
    }
    gate_doing(NULL);
}

/* The same where the hello comes in fragments: its beginning is enough. */
static void repeated_fragment_of_a_hello_is_answered(void **state)
{
    struct gate *gate = *state;
    const struct flyer *flyer = &flyers[5];
    open_with(gate, flyer, "retransmit = 60s\n");
    struct device *device = gate_add(gate, gate_kind(flyer->kind));
    device_connect(device);
    gate_run(gate, 2);
    uint32_t first = fake_network_count(CLIENT_TO_GATE, NULL) - 2;
    device->client->is_deaf = true;
    gate_run(gate, 1000);
    const struct packet *beginning = gate_nth(CLIENT_TO_GATE, first);
    const struct packet *rest = gate_nth(CLIENT_TO_GATE, first + 1);
    uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
    assert_int_equal(gate_inject(gate, &device->addr, rest->data, rest->len), CLIENT_handshake);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent);
    assert_int_equal(gate_inject(gate, &device->addr, beginning->data, beginning->len),
                     CLIENT_handshake);
    assert_true(fake_network_count(GATE_TO_CLIENT, NULL) > sent);
    gate_doing(NULL);
}

/* An ACK that tells of a gap is not answered by waiting (RFC 9147 section 7.2). */
static void acknowledged_in_part_is_repeated_soon(void **state)
{
    struct gate *gate = *state;
    const struct flyer *flyer = &flyers[4];
    open_with(gate, flyer, "");
    gate_connected(gate, gate_kind(flyer->kind));
    uint32_t records = first_flight(0).records;
    for (uint32_t lost = 1; lost < records; lost++) {
        open_with(gate, flyer, "mtu = 256\nretransmit = 60s\n");
        fake_network_plan(LOSE, GATE_TO_CLIENT, lost);
        struct device *device = gate_add(gate, gate_kind(flyer->kind));
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 20000));
    }
    gate_doing(NULL);
}

/* A device with a stack such as tinydtls cannot put messages together. It has a PSK, and nothing
 * that the gate sends it is in pieces. */
static void messages_to_psk_devices_are_whole(void **state)
{
    struct gate *gate = *state;
    open_with(gate, &flyers[0], "mtu = 256\n");
    gate_connected(gate, gate_kind(flyers[0].kind));
    uint32_t messages = 0;
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction != GATE_TO_CLIENT)
            continue;
        for (uint32_t at = 0; at < packet->len;) {
            const uint8_t *record = packet->data + at;
            if (record[0] == TYPE_HANDSHAKE && record[4] == 0) {
                messages++;
                assert_memory_equal(record + RECORD_HEADER + 1, record + RECORD_HEADER + 9, 3);
            }
            at += record_len(record, 0);
        }
    }
    /* HelloVerifyRequest, ServerHello, ServerHelloDone. */
    assert_int_equal(messages, 3);
    gate_doing(NULL);
}

static void each_connects_at_once(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < FLYERS; i++) {
        open_with(gate, &flyers[i], "");
        gate_assert_echo(gate, gate_connected(gate, gate_kind(flyers[i].kind)), "at once");
    }
    gate_doing(NULL);
}

/* A path that takes little and does not say so: a tunnel, and ICMP is filtered. */
static void narrow_path_is_found_out(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < FLYERS; i++) {
        struct client_kind kind = *gate_kind(flyers[i].kind);
        kind.mtu_bytes = SMALL_BYTES;
        open_with(gate, &flyers[i], "");
        fake_network_set_max_bytes(SMALL_BYTES);
        struct device *device = gate_add(gate, &kind);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 20000));
        gate_assert_echo(gate, device, "through");
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
    }
    gate_doing(NULL);
}

static bool is_of_epoch_3(uint8_t first)
{
    return (first & 0xe3) == 0x23; /* RFC 9147 section 4: 001CSLEE */
}

/* How many datagrams with records of epoch 3 the gate has sent; each holds one record. */
static uint32_t count_alone_in_epoch_3(const struct flyer *flyer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        uint32_t records = 0, of_epoch_3 = 0;
        if (packet->direction != GATE_TO_CLIENT)
            continue;
        for (uint32_t at = 0; at < packet->len; records++) {
            of_epoch_3 += is_of_epoch_3(packet->data[at]);
            at += record_len(packet->data + at, gate_kind(flyer->kind)->cid_bytes);
        }
        assert_true(of_epoch_3 == 0 || records == 1);
        count += of_epoch_3;
    }
    return count;
}

/* DTLS 1.3: some stacks take an ACK and a ticket only if each comes in a datagram of its own. The
 * flight of the handshake still shares one. */
static void acks_and_tickets_are_alone(void **state)
{
    struct gate *gate = *state;
    for (int f = 0; f < FLYERS; f++) {
        if (gate_kind(flyers[f].kind)->version != VERSION_1_3)
            continue;
        open_with(gate, &flyers[f], "");
        struct device *device = gate_connected(gate, gate_kind(flyers[f].kind));
        assert_int_equal(count_alone_in_epoch_3(&flyers[f]), 2);
        gate_assert_echo(gate, device, "data");
        assert_int_equal(count_alone_in_epoch_3(&flyers[f]), 3);

        /* They are lost, and the device repeats its flight. */
        open_with(gate, &flyers[f], "");
        device = gate_add(gate, gate_kind(flyers[f].kind));
        device_connect(device);
        while (gate_handshakes(gate, HANDSHAKE_established) == 0)
            gate_run(gate, 1);
        device->client->is_deaf = true;
        gate_run(gate, 20000);
        assert_true(count_alone_in_epoch_3(&flyers[f]) > 2);
    }
    gate_doing(NULL);
}

int datapath_flights_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(flights_are_repeated_at_doubling_intervals),
        GATE_TEST(datagrams_are_as_large_as_the_path_takes),
        GATE_TEST(device_that_asks_again_gets_small_datagrams_sooner),
        GATE_TEST(repeated_fragment_of_a_hello_is_answered),
        GATE_TEST(acknowledged_in_part_is_repeated_soon),
        GATE_TEST(messages_to_psk_devices_are_whole),
        GATE_TEST(acks_and_tickets_are_alone),
        GATE_TEST(each_connects_at_once),
        GATE_TEST(narrow_path_is_found_out),
    };
    return cmocka_run_group_tests_name("datapath: flights", tests, NULL, NULL);
}
