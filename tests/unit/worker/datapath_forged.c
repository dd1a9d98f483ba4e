/* Datagrams with the address of a device that has a session, but not from it: they never end the
 * session, are never answered and never reach the backend. */
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
    RECORD_ROOM = 2048,
    TYPE_CCS = 20,
    TYPE_ALERT = 21,
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION_DATA = 23,
    TYPE_CID = 25,
    TYPE_ACK = 26,
};

static const char *const forged_kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm", "1.2 certificate",
                                           "1.3 psk", "1.3 certificate"};
enum { FORGED_KINDS = sizeof(forged_kinds) / sizeof(forged_kinds[0]) };

/* A device whose session is attacked. */
struct victim {
    struct gate *gate;
    struct device *device;
    const char *kind;
    bool is_used; /* data has gone over the session; else it has just been established */
    uint32_t attacks;
};

/* No trace of the attack but in the counters, and the session as it was. */
static enum client_outcome attack(struct victim *v, const void *data, size_t len)
{
    struct gate *gate = v->gate;
    uint32_t answers = fake_network_count(GATE_TO_CLIENT, NULL);
    uint32_t forwarded = fake_network_count(GATE_TO_BACKEND, NULL);
    enum client_outcome outcome = gate_inject(gate, &v->device->addr, data, len);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), forwarded);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
    if (fake_network_count(GATE_TO_CLIENT, NULL) != answers) {
        /* The two answers that anybody may have: a cookie, and the last flight of a handshake once
         * more. */
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), answers + 1);
        assert_true(outcome == CLIENT_cookie_sent || (outcome == CLIENT_handshake && !v->is_used));
    }
    if (++v->attacks % 50 == 0 && v->is_used)
        gate_assert_echo(gate, v->device, "unharmed");
    return outcome;
}

/* Runs the attack on a session of each kind, fresh and in use. */
static void on_each_kind(struct gate *gate, void (*run)(struct victim *))
{
    for (int i = 0; i < FORGED_KINDS; i++) {
        for (int is_used = 0; is_used < 2; is_used++) {
            gate_doing("%s, %s", forged_kinds[i], is_used ? "in use" : "fresh");
            gate_open(gate, USUAL);
            struct victim victim = {.gate = gate, .kind = forged_kinds[i], .is_used = is_used != 0};
            victim.device = gate_connected(gate, gate_kind(forged_kinds[i]));
            if (is_used)
                gate_assert_echo(gate, victim.device, "first data");
            gate_run(gate, 1000);
            run(&victim);
            gate_assert_echo(gate, victim.device, "unharmed in the end");
            assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        }
    }
    gate_doing(NULL);
}

/* An authentic record that has not arrived yet. */
static size_t authentic(struct victim *v, uint8_t *record)
{
    return memory_client_seal(v->device->client, TYPE_APPLICATION_DATA,
                              "a good record of the device", 27, record, RECORD_ROOM);
}

static void flip_bits(struct victim *v)
{
    uint8_t record[RECORD_ROOM], forged[RECORD_ROOM];
    size_t len = authentic(v, record);
    for (size_t at = 0; at < len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            gate_doing("%s, byte %zu, bit %d", v->kind, at, bit);
            memcpy(forged, record, len);
            forged[at] = (uint8_t)(forged[at] ^ 1 << bit);
            /* A number in another epoch's or type's clothes is not authentic either. */
            attack(v, forged, len);
        }
    }
    /* None of it used up the number of the good record. */
    assert_int_equal(gate_inject(v->gate, &v->device->addr, record, len), CLIENT_forwarded);
}

static void changed_records(void **state)
{
    on_each_kind(*state, flip_bits);
}

static void cut_and_extend(struct victim *v)
{
    uint8_t record[RECORD_ROOM] = {0};
    size_t len = authentic(v, record);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t forged[RECORD_ROOM];
        gate_doing("%s, cut to %zu of %zu bytes", v->kind, cut, len);
        attack(v, record, cut);
        if (cut <= RECORD_HEADER)
            continue;
        /* Again, with a length in the header that agrees; DTLS 1.3 has it elsewhere. */
        bool is_13 = (record[0] & 0xe0) == 0x20;
        size_t at = is_13 ? 3 : 11, body = cut - (is_13 ? 5 : RECORD_HEADER);
        memcpy(forged, record, cut);
        forged[at] = (uint8_t)(body >> 8);
        forged[at + 1] = (uint8_t)body;
        attack(v, forged, cut);
    }
    /* What follows a good record is junk; the record is still good. */
    assert_int_equal(gate_inject(v->gate, &v->device->addr, record, len + 5), CLIENT_forwarded);
}

static void cut_records(void **state)
{
    on_each_kind(*state, cut_and_extend);
}

static void replay(struct victim *v)
{
    uint8_t records[40][128];
    size_t len[40];
    for (int i = 0; i < 40; i++)
        len[i] = memory_client_seal(v->device->client, TYPE_APPLICATION_DATA, "once", 4, records[i],
                                    sizeof(records[i]));
    /* In any order, each is good once (RFC 6347 section 4.1.2.6). */
    for (int i = 0; i < 40; i++) {
        int k = i ^ 1;
        gate_doing("%s, record %d", v->kind, k);
        assert_int_equal(gate_inject(v->gate, &v->device->addr, records[k], len[k]),
                         CLIENT_forwarded);
    }
    v->is_used = true;
    for (int i = 39; i >= 0; i--) {
        gate_doing("%s, record %d again", v->kind, i);
        assert_int_equal(attack(v, records[i], len[i]), CLIENT_record_discarded);
    }
}

static void replayed_records(void **state)
{
    on_each_kind(*state, replay);
}

/* The whole session once more, as somebody recorded it, both sides of it. */
static void replay_all(struct victim *v)
{
    uint32_t captured = fake_network_captured();
    for (uint32_t i = 0; i < captured; i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction != CLIENT_TO_GATE && packet->direction != GATE_TO_CLIENT)
            continue;
        gate_doing("%s, %s, datagram %u of the capture", v->kind, v->is_used ? "in use" : "fresh",
                   i);
        attack(v, packet->data, packet->len);
        gate_run(v->gate, 300);
    }
}

static void replayed_session(void **state)
{
    on_each_kind(*state, replay_all);
}

/* A record with a header of DTLS 1.2. */
static size_t make_record(uint8_t *out, uint8_t type, uint16_t epoch, uint8_t number,
                          const uint8_t *body, size_t len)
{
    const uint8_t header[RECORD_HEADER] = {
        type, 0xfe, 0xfd,   (uint8_t)(epoch >> 8), (uint8_t)epoch, 0, 0, 0,
        0,    1,    number, (uint8_t)(len >> 8),   (uint8_t)len};
    memcpy(out, header, sizeof(header));
    memcpy(out + RECORD_HEADER, body, len);
    return RECORD_HEADER + len;
}

/* Alerts, ChangeCipherSpec, ACKs and handshake messages in plaintext, with new numbers. */
static void forge_plaintext(struct victim *v)
{
    static const uint8_t alerts[][2] = {{1, 0},  {2, 0},  {2, 10}, {2, 20},
                                        {2, 40}, {2, 80}, {1, 90}};
    uint8_t record[RECORD_ROOM], body[64] = {1}, number = 0;
    for (unsigned i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++)
        attack(v, record, make_record(record, TYPE_ALERT, 0, number++, alerts[i], 2));
    attack(v, record, make_record(record, TYPE_CCS, 0, number++, body, 1));
    for (size_t len = 0; len <= 32; len++) {
        memset(body, 0, sizeof(body));
        attack(v, record, make_record(record, TYPE_CCS, 0, number++, body, len));
        attack(v, record, make_record(record, TYPE_ACK, 0, number++, body, len));
        attack(v, record, make_record(record, TYPE_ALERT, 0, number++, body, len));
        attack(v, record, make_record(record, TYPE_APPLICATION_DATA, 0, number++, body, len));
    }
    /* Each handshake message, with any message number, whole and in part. */
    for (unsigned message = 0; message < 256; message++) {
        if (message == 1)
            continue; /* hellos are a matter of the cookie */
        for (uint8_t sequence = 0; sequence < 8; sequence++) {
            const uint8_t header[12] = {(uint8_t)message,      0, 0, 40, 0, sequence, 0, 0, 0, 0, 0,
                                        sequence % 2 ? 40 : 20};
            memset(body, 0, sizeof(body));
            memcpy(body, header, sizeof(header));
            attack(v, record,
                   make_record(record, TYPE_HANDSHAKE, 0, number++, body, sequence % 2 ? 52 : 32));
        }
        gate_run(v->gate, 20);
    }
}

static void plaintext_records(void **state)
{
    on_each_kind(*state, forge_plaintext);
}

/* Records of a datagram are looked at one by one (RFC 6347 section 4.1). */
static void mix(struct victim *v)
{
    uint8_t datagram[RECORD_ROOM], close_notify[] = {1, 0};
    size_t len = authentic(v, datagram);
    len += make_record(datagram + len, TYPE_ALERT, 0, 77, close_notify, 2);
    assert_int_equal(gate_inject(v->gate, &v->device->addr, datagram, len), CLIENT_forwarded);
    v->is_used = true;

    len = make_record(datagram, TYPE_ALERT, 0, 78, close_notify, 2);
    len += authentic(v, datagram + len);
    uint32_t before = fake_network_count(GATE_TO_BACKEND, NULL);
    assert_int_equal(gate_inject(v->gate, &v->device->addr, datagram, len), CLIENT_forwarded);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 1);

    uint8_t forged[64] = {0};
    len = authentic(v, datagram);
    len += make_record(datagram + len, TYPE_APPLICATION_DATA, 1, 79, forged, sizeof(forged));
    len += authentic(v, datagram + len);
    before = fake_network_count(GATE_TO_BACKEND, NULL);
    assert_int_equal(gate_inject(v->gate, &v->device->addr, datagram, len), CLIENT_forwarded);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 2);

    /* Nor behind one that has been here before, or one that is forged. */
    uint8_t seen[RECORD_ROOM];
    size_t seen_len = authentic(v, seen);
    gate_inject(v->gate, &v->device->addr, seen, seen_len);
    for (int i = 0; i < 2; i++) {
        memcpy(datagram, seen, seen_len);
        datagram[seen_len - 1] ^= (uint8_t)i;
        len = seen_len + authentic(v, datagram + seen_len);
        before = fake_network_count(GATE_TO_BACKEND, NULL);
        assert_int_equal(gate_inject(v->gate, &v->device->addr, datagram, len), CLIENT_forwarded);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 1);
    }
}

static void mixed_datagrams(void **state)
{
    on_each_kind(*state, mix);
}

/* Every type in every epoch, with the bytes of nobody. */
static void forge_headers(struct victim *v)
{
    static const uint16_t epochs[] = {0, 1, 2, 3, 4, 5, 0x100, 0xffff};
    uint8_t record[RECORD_ROOM], body[128];
    uint64_t seed = 3;
    for (unsigned type = 0; type < 256; type++) {
        for (unsigned e = 0; e < sizeof(epochs) / sizeof(epochs[0]); e++) {
            for (size_t i = 0; i < sizeof(body); i++)
                body[i] = (uint8_t)fake_system_random(&seed);
            size_t len = fake_system_random(&seed) % sizeof(body);
            gate_doing("%s, type %u, epoch %u", v->kind, type, epochs[e]);
            if (type != TYPE_HANDSHAKE || epochs[e] != 0 || body[0] != 1)
                attack(v, record,
                       make_record(record, (uint8_t)type, epochs[e], (uint8_t)type, body, len));
        }
    }
    /* DTLS 1.3: 001CSLEE, with a length or without. */
    for (unsigned first = 0x20; first < 0x40; first++) {
        for (size_t len = 1; len <= sizeof(body); len++) {
            for (size_t i = 0; i < len; i++)
                body[i] = (uint8_t)fake_system_random(&seed);
            body[0] = (uint8_t)first;
            size_t at = first & 0x08 ? 3 : 2;
            if ((first & 0x04) && len > at + 2 && len % 2 == 0) {
                body[at] = 0;
                body[at + 1] = (uint8_t)(len - at - 2);
            }
            gate_doing("%s, first byte %02x, %zu bytes", v->kind, first, len);
            attack(v, body, len);
        }
    }
}

static void headers_of_all_kinds(void **state)
{
    on_each_kind(*state, forge_headers);
}

/* Longer than any record may be (RFC 6347 section 4.1), up to what a UDP datagram holds. */
static void forge_giants(struct victim *v)
{
    static const size_t around[] = {0, 16384, 16640, 16884, 18432, 32768, 65000};
    enum { NEAR = 32 };
    uint8_t *datagram = malloc(UDP_DATAGRAM_MAX), *body = calloc(1, UDP_DATAGRAM_MAX);
    assert_non_null(datagram);
    assert_non_null(body);
    for (unsigned i = 0; i < NEAR * sizeof(around) / sizeof(around[0]); i++) {
        size_t len = around[i / NEAR] + i % NEAR;
        len -= around[i / NEAR] == 0 ? 0 : NEAR / 2;
        gate_doing("%s, record of %zu bytes", v->kind, len);
        attack(v, datagram, make_record(datagram, TYPE_APPLICATION_DATA, 1, (uint8_t)i, body, len));
        /* The same for DTLS 1.3: with a length, and up to the end of the datagram. */
        for (uint8_t first = 0x2c; first <= 0x2f; first++) {
            memset(datagram, 0, UDP_DATAGRAM_MAX);
            datagram[0] = first;
            datagram[3] = (uint8_t)(len >> 8);
            datagram[4] = (uint8_t)len;
            attack(v, datagram, 5 + len);
            datagram[0] = first & 0xfb;
            attack(v, datagram, 3 + len);
        }
    }
    /* As many records as there is room for. */
    for (size_t size = 16; size <= 18432; size *= 2) {
        size_t len = 0;
        gate_doing("%s, records of %zu bytes to the brim", v->kind, size);
        for (uint8_t number = 0; len + RECORD_HEADER + size <= UDP_DATAGRAM_MAX; number++)
            len += make_record(datagram + len, TYPE_APPLICATION_DATA, 1, number, body, size);
        attack(v, datagram, len);
    }
    free(datagram);
    free(body);
}

static void records_of_all_sizes(void **state)
{
    on_each_kind(*state, forge_giants);
}

/* A stranger's hello from the address of the device: answered with a cookie, which the stranger
 * does not get to see, and forgotten. */
static void forge_hellos(struct victim *v)
{
    struct gate *gate = v->gate;
    struct device *stranger = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    device_connect(stranger);
    const struct packet *hello = fake_network_last(CLIENT_TO_GATE, &stranger->addr);
    stranger->client->is_deaf = true;
    for (int i = 0; i < 20; i++)
        assert_int_equal(attack(v, hello->data, hello->len), CLIENT_cookie_sent);
}

static void hellos_in_the_name_of_the_device(void **state)
{
    on_each_kind(*state, forge_hellos);
}

int datapath_forged_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(changed_records),
        GATE_TEST(cut_records),
        GATE_TEST(replayed_records),
        GATE_TEST(replayed_session),
        GATE_TEST(plaintext_records),
        GATE_TEST(mixed_datagrams),
        GATE_TEST(headers_of_all_kinds),
        GATE_TEST(records_of_all_sizes),
        GATE_TEST(hellos_in_the_name_of_the_device),
    };
    return cmocka_run_group_tests_name("datapath: forged", tests, NULL, NULL);
}
