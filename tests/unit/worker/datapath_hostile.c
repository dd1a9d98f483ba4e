/* Datagrams of strangers that mean no good: no answer but a cookie, no memory, and after each of
 * them the next good hello is answered in the same call. */
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
    STRANGER = 5000, /* index of the address that hostile datagrams come from */
    GOOD_ONE = 6000, /* ... and of the next good hello */
    DATAGRAM_ROOM = 4096,
    RECORD_HEADER = 13,
    HANDSHAKE_HEADER = 12,
    HANDSHAKE_EVERY = 64, /* hostile datagrams between two full handshakes */
};

/* The hellos of one kind of device: without and with a cookie. */
struct hellos {
    const struct client_kind *kind;
    uint8_t data[2][DATAGRAM_ROOM];
    size_t len[2];
    struct addr from;
};

static struct hellos hellos_of(struct gate *gate, const struct client_kind *kind)
{
    struct hellos hellos = {.kind = kind};
    struct device *device = gate_add(gate, kind);
    device_connect(device);
    gate_run(gate, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct packet *packet = NULL;
        for (uint32_t j = 0; j < fake_network_captured(); j++) {
            const struct packet *p = fake_network_packet(j);
            if (p->direction == CLIENT_TO_GATE && addr_equal(&p->from, &device->addr) &&
                p->sent_ms == gate->now_ms - 2 + 2 * i && packet == NULL)
                packet = p;
        }
        assert_non_null(packet);
        assert_true(packet->len <= DATAGRAM_ROOM);
        memcpy(hellos.data[i], packet->data, packet->len);
        hellos.len[i] = packet->len;
    }
    hellos.from = device->addr;
    device->client->is_deaf = true;
    gate_run(gate, 200000); /* its handshake, if any, is forgotten */
    return hellos;
}

/* A good hello of a device that was never heard of is answered in this call; and now and then a
 * device goes all the way. */
static void assert_good_one_is_served(struct gate *gate, const struct hellos *good, uint32_t number)
{
    struct addr from = gate_device_addr(GOOD_ONE + number % 1000);
    assert_int_equal(gate_inject(gate, &from, good->data[0], good->len[0]), CLIENT_cookie_sent);
    assert_true(addr_equal(&fake_network_last(GATE_TO_CLIENT, NULL)->to, &from));
    if (number % HANDSHAKE_EVERY != 0 || gate->device_count == GATE_DEVICES_MAX)
        return;
    struct device *device = gate_connected(gate, good->kind);
    device_close(device);
    gate_run(gate, 5);
}

/* A stranger's datagram. May be answered by a cookie only, of which the policy of the fixture sees
 * to the length; what follows is served. */
static void attack(struct gate *gate, const struct hellos *good, const uint8_t *data, size_t len)
{
    static uint32_t number;
    struct addr from = gate_device_addr(STRANGER + number % 500);
    uint32_t before = fake_network_count(GATE_TO_CLIENT, &from);
    enum client_outcome outcome = gate_inject(gate, &from, data, len);
    uint32_t answers = fake_network_count(GATE_TO_CLIENT, &from) - before;
    assert_int_equal(answers, outcome == CLIENT_cookie_sent);
    assert_int_equal(gate_session_count(&gate->dp), 0);
    assert_good_one_is_served(gate, good, number++);
}

static const char *const hostile_kinds[] = {"1.2 psk ccm-8", "1.2 certificate", "1.3 psk",
                                            "1.3 psk, large hello", "1.3 certificate"};
enum { HOSTILE_KINDS = sizeof(hostile_kinds) / sizeof(hostile_kinds[0]) };

/* Runs one kind of attack with both hellos of each kind of device. */
static void with_each_hello(struct gate *gate,
                            void (*run)(struct gate *, const struct hellos *, unsigned))
{
    for (int i = 0; i < HOSTILE_KINDS; i++) {
        for (unsigned which = 0; which < 2; which++) {
            gate_doing("%s, hello %u", hostile_kinds[i], which);
            gate_open(gate, USUAL);
            struct hellos hellos = hellos_of(gate, gate_kind(hostile_kinds[i]));
            run(gate, &hellos, which);
        }
    }
    gate_doing(NULL);
}

static void truncate_everywhere(struct gate *gate, const struct hellos *hellos, unsigned which)
{
    for (size_t len = 0; len < hellos->len[which]; len++) {
        gate_doing("%s, hello %u cut to %zu bytes", hellos->kind->name, which, len);
        attack(gate, hellos, hellos->data[which], len);
    }
}

static void truncated_hellos(void **state)
{
    with_each_hello(*state, truncate_everywhere);
}

/* Cut so that the lengths in the headers agree with what is there. */
static void truncate_consistently(struct gate *gate, const struct hellos *hellos, unsigned which)
{
    for (size_t len = RECORD_HEADER + HANDSHAKE_HEADER; len < hellos->len[which]; len++) {
        uint8_t data[DATAGRAM_ROOM];
        size_t record = len - RECORD_HEADER, message = record - HANDSHAKE_HEADER;
        gate_doing("%s, hello %u with %zu bytes of message", hellos->kind->name, which, message);
        memcpy(data, hellos->data[which], len);
        data[11] = (uint8_t)(record >> 8);
        data[12] = (uint8_t)record;
        for (int at = 14; at <= 22; at += 8) {
            data[at] = 0;
            data[at + 1] = (uint8_t)(message >> 8);
            data[at + 2] = (uint8_t)message;
        }
        attack(gate, hellos, data, len);
    }
}

static void short_hellos_with_matching_lengths(void **state)
{
    with_each_hello(*state, truncate_consistently);
}

static void flip_everywhere(struct gate *gate, const struct hellos *hellos, unsigned which)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    for (size_t at = 0; at < hellos->len[which]; at++) {
        for (int i = 0; i < 3; i++) {
            uint8_t data[DATAGRAM_ROOM];
            gate_doing("%s, hello %u, byte %zu xor %02x", hellos->kind->name, which, at, masks[i]);
            memcpy(data, hellos->data[which], hellos->len[which]);
            data[at] ^= masks[i];
            attack(gate, hellos, data, hellos->len[which]);
        }
    }
}

static void changed_hellos(void **state)
{
    with_each_hello(*state, flip_everywhere);
}

/* The same from an address whose cookie is good: that may begin a handshake, and no more. */
static void changed_hellos_of_a_proved_address(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < HOSTILE_KINDS; i++) {
        gate_open(gate, USUAL);
        struct hellos hellos = hellos_of(gate, gate_kind(hostile_kinds[i]));
        for (size_t at = 0; at < hellos.len[1]; at++) {
            gate_doing("%s, byte %zu", hostile_kinds[i], at);
            uint8_t data[DATAGRAM_ROOM];
            memcpy(data, hellos.data[1], hellos.len[1]);
            data[at] ^= 0x01;
            gate_inject(gate, &hellos.from, data, hellos.len[1]);
            assert_int_equal(gate_session_count(&gate->dp), 0);
            assert_in_range(gate_handshake_count(&gate->dp), 0, 1);
            assert_good_one_is_served(gate, &hellos, (uint32_t)at);
            if (at % 16 == 0)
                gate_run(gate, 100);
        }
    }
    gate_doing(NULL);
}

static void put24(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 16);
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)value;
}

/* A handshake record that says of itself what it likes. */
static size_t make_fragment(uint8_t *out, const struct hellos *hellos, unsigned which,
                            uint32_t message_len, uint32_t offset, uint32_t fragment_len,
                            size_t bytes)
{
    memcpy(out, hellos->data[which], RECORD_HEADER + HANDSHAKE_HEADER);
    memcpy(out + RECORD_HEADER + HANDSHAKE_HEADER,
           hellos->data[which] + RECORD_HEADER + HANDSHAKE_HEADER, bytes);
    out[11] = (uint8_t)((HANDSHAKE_HEADER + bytes) >> 8);
    out[12] = (uint8_t)(HANDSHAKE_HEADER + bytes);
    put24(out + RECORD_HEADER + 1, message_len);
    put24(out + RECORD_HEADER + 6, offset);
    put24(out + RECORD_HEADER + 9, fragment_len);
    return RECORD_HEADER + HANDSHAKE_HEADER + bytes;
}

static void send_fragments(struct gate *gate, const struct hellos *hellos, unsigned which)
{
    static const uint32_t lengths[] = {0, 1, 40, 200, 0x4000, 0xffff, 0xffffff};
    enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };
    uint8_t data[DATAGRAM_ROOM];
    for (int m = 0; m < LENGTHS; m++) {
        for (int o = 0; o < LENGTHS; o++) {
            for (int f = 0; f < LENGTHS; f++) {
                static const size_t bytes[] = {0, 1, 40, 80};
                for (int b = 0; b < 4; b++) {
                    gate_doing("%s, hello %u: message %u, offset %u, fragment %u, bytes %zu",
                               hellos->kind->name, which, lengths[m], lengths[o], lengths[f],
                               bytes[b]);
                    attack(gate, hellos, data,
                           make_fragment(data, hellos, which, lengths[m], lengths[o], lengths[f],
                                         bytes[b]));
                }
            }
        }
    }
    /* Beginnings without an end, and ends without a beginning, of the true length. */
    uint32_t whole = (uint32_t)hellos->len[which] - RECORD_HEADER - HANDSHAKE_HEADER;
    for (uint32_t len = 0; len < whole; len += 1 + whole / 60) {
        gate_doing("%s, hello %u: fragment of %u", hellos->kind->name, which, len);
        attack(gate, hellos, data, make_fragment(data, hellos, which, whole, 0, len, len));
        attack(gate, hellos, data,
               make_fragment(data, hellos, which, whole, len, whole - len, whole - len));
    }
}

static void fragments_of_hellos(void **state)
{
    with_each_hello(*state, send_fragments);
}

static void garbage(void **state)
{
    struct gate *gate = *state;
    uint64_t seed = 7;
    gate_open(gate, USUAL);
    struct hellos hellos = hellos_of(gate, gate_kind("1.3 psk"));
    for (unsigned first = 0; first < 256; first++) {
        for (int i = 0; i < 16; i++) {
            uint8_t data[DATAGRAM_ROOM];
            size_t len = 1 + fake_system_random(&seed) % 1500;
            for (size_t at = 0; at < len; at++)
                data[at] = (uint8_t)fake_system_random(&seed);
            data[0] = (uint8_t)first;
            if (i % 2 == 1 && len > RECORD_HEADER) { /* with a header that could be one */
                data[1] = 0xfe;
                data[2] = i % 4 == 1 ? 0xfd : 0xff;
                data[3] = 0;
                data[4] = i % 8 > 3;
                data[11] = (uint8_t)((len - RECORD_HEADER) >> 8);
                data[12] = (uint8_t)(len - RECORD_HEADER);
            }
            gate_doing("first byte %u, round %d", first, i);
            attack(gate, &hellos, data, len);
        }
    }
    gate_doing(NULL);
}

/* Everything that is not a hello, from a device that is not known: no answer, not even an alert. */
static void records_of_strangers(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        gate_assert_echo(gate, device, "data");
        device_close(device);
        gate_run(gate, 10);
        uint32_t captured = fake_network_captured();
        struct addr stranger = gate_device_addr(STRANGER);
        /* All that was said in a whole session, by either side, once more from elsewhere. */
        for (uint32_t i = 0; i < captured; i++) {
            const struct packet *packet = fake_network_packet(i);
            if (packet->direction != CLIENT_TO_GATE && packet->direction != GATE_TO_CLIENT)
                continue;
            bool is_hello =
                packet->data[0] == 22 && packet->data[RECORD_HEADER] == 1 && packet->data[4] == 0;
            enum client_outcome outcome = gate_inject(gate, &stranger, packet->data, packet->len);
            if (!is_hello)
                assert_int_equal(outcome, CLIENT_no_session);
            else
                assert_true(outcome == CLIENT_cookie_sent || outcome == CLIENT_cookie_bad ||
                            outcome == CLIENT_hello_fragmented);
        }
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* Memory is as before, however many strangers there were. */
static void strangers_take_no_memory(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct hellos hellos[HOSTILE_KINDS];
    for (int i = 0; i < HOSTILE_KINDS; i++)
        hellos[i] = hellos_of(gate, gate_kind(hostile_kinds[i]));
    uint64_t seed = 11, before = 0;
    for (uint32_t round = 0; round < 4000; round++) {
        const struct hellos *h = &hellos[round % HOSTILE_KINDS];
        uint8_t data[DATAGRAM_ROOM];
        unsigned which = round / HOSTILE_KINDS % 2;
        struct addr from = gate_device_addr(STRANGER + round);
        memcpy(data, h->data[which], h->len[which]);
        if (round % 3 != 0)
            data[fake_system_random(&seed) % h->len[which]] ^= 1;
        size_t len = round % 3 == 2 ? h->len[which] : h->len[which] - round % 20;
        gate_inject(gate, &from, data, len);
        /* Two hellos are the same to the spare object: the first leaves it in place. */
        if (round % 1000 == 999) {
            gate_inject(gate, &from, hellos[0].data[0], hellos[0].len[0]);
            if (before == 0)
                before = gate_wolfssl_blocks();
            assert_int_equal(gate_wolfssl_blocks(), before);
        }
    }
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
}

int datapath_hostile_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(truncated_hellos),     GATE_TEST(short_hellos_with_matching_lengths),
        GATE_TEST(changed_hellos),       GATE_TEST(changed_hellos_of_a_proved_address),
        GATE_TEST(fragments_of_hellos),  GATE_TEST(garbage),
        GATE_TEST(records_of_strangers), GATE_TEST(strangers_take_no_memory),
    };
    return cmocka_run_group_tests_name("datapath: hostile", tests, NULL, NULL);
}
