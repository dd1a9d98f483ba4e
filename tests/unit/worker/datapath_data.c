/* Application data of established sessions: every datagram whole, its bytes and boundaries kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum { TYPE_APPLICATION_DATA = 23, RECORD_OVERFLOW = 22, RECORD_ROOM = 20000 };

static uint8_t noise[UDP_DATAGRAM_MAX];

static int make_noise(void **state)
{
    uint64_t seed = 42;
    (void)state;
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)fake_system_random(&seed);
    return 0;
}

static struct addr source_of(struct gate *gate, const struct device *device)
{
    return gate_slot_addr_of(&gate->dp, &device->addr);
}

/* The device's datagram arrives at the backend as it is. */
static void assert_to_backend(struct gate *gate, struct device *device, size_t len)
{
    uint32_t before = fake_network_count(GATE_TO_BACKEND, NULL);
    device_send(device, noise, len);
    gate_run(gate, 5);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 1);
    const struct packet *packet = fake_network_last(GATE_TO_BACKEND, NULL);
    struct addr source = source_of(gate, device);
    assert_true(addr_equal(&packet->from, &source));
    assert_true(addr_equal(&packet->to, &gate->generation->config->listeners[0].backend));
    assert_int_equal(packet->len, len);
    assert_memory_equal(packet->data, noise, len);
}

/* The backend's datagram arrives at the device as it is, in one datagram, from where it sent to. */
static void assert_to_device(struct gate *gate, struct device *device, size_t len)
{
    uint32_t before = fake_network_count(GATE_TO_CLIENT, &device->addr);
    struct addr source = source_of(gate, device);
    assert_int_equal(gate_inject_from_backend(gate, &source, noise, len), BACKEND_forwarded);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &device->addr), before + 1);
    assert_true(addr_equal(&fake_network_last(GATE_TO_CLIENT, NULL)->from, &device->to));
    gate_run(gate, 5);
    struct client_message message = memory_client_last(device->client);
    assert_int_equal(message.len, len);
    assert_memory_equal(message.data, noise, len);
}

static void all_sizes_go_both_ways(void **state)
{
    static const size_t sizes[] = {1, 2, 15, 16, 17, 64, 1152, 1280, 1400, 4096, 9000, 16000};
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            gate_doing("%s, %zu bytes", kind->name, sizes[i]);
            assert_to_backend(gate, device, sizes[i]);
            assert_to_device(gate, device, sizes[i]);
        }
    }
    gate_doing(NULL);
}

/* The largest that fits into a record goes; one byte more is counted and logged, and nothing of it
 * is sent. */
static void largest_record_and_one_byte_more(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        size_t max = gate_plaintext_max(&gate->dp, &device->addr);
        assert_in_range(max, 16300, RECORD_PLAINTEXT_MAX);
        assert_to_device(gate, device, max);
        struct addr source = source_of(gate, device);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        static const size_t beyond[] = {1, 2, 1000, UDP_DATAGRAM_MAX};
        for (unsigned i = 0; i < 4; i++) {
            size_t len = i < 3 ? max + beyond[i] : beyond[i];
            assert_int_equal(gate_inject_from_backend(gate, &source, noise, len),
                             BACKEND_too_large);
        }
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
        assert_int_equal(fake_log_count("event=backend_datagram_too_large", NULL), 4);
        gate_assert_echo(gate, device, "unharmed");
    }
    gate_doing(NULL);
}

/* Plaintext records of the gate's flights, whose length is that of what is in them. */
static void assert_flights_have_records_up_to(size_t max)
{
    enum { RECORD_HEADER = 13 };
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction != GATE_TO_CLIENT)
            continue;
        for (uint32_t at = 0; at < packet->len && (packet->data[at] & 0xe0) != 0x20;) {
            const uint8_t *record = packet->data + at;
            uint32_t body = (uint32_t)(record[11] << 8 | record[12]);
            if (record[4] == 0)
                assert_in_range(body, 1, max);
            at += RECORD_HEADER + body;
        }
    }
}

/* A device with little memory says how large a record may be (RFC 6066 section 4). */
static void max_fragment_length_is_obeyed(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *usual = gate_kinds; usual->name != NULL; usual++) {
        for (uint8_t code = 1; code <= 4; code++) {
            struct client_kind kind = *usual;
            size_t max = (size_t)256 << code;
            kind.max_fragment = code;
            gate_doing("%s, fragments of %zu bytes", kind.name, max);
            gate_open(gate, USUAL);
            struct device *device = gate_connected(gate, &kind);
            struct addr source = source_of(gate, device);
            assert_flights_have_records_up_to(max);
            assert_to_backend(gate, device, max);
            assert_to_device(gate, device, max);
            static const size_t beyond[] = {1, 2, 500, 12000};
            for (int i = 0; i < 4; i++)
                assert_int_equal(gate_inject_from_backend(gate, &source, noise, max + beyond[i]),
                                 BACKEND_too_large);
            gate_assert_echo(gate, device, "unharmed");
        }
    }
    gate_doing(NULL);
}

/* What is longer than agreed on ends the session with record_overflow (RFC 6066 section 4), if it
 * is authentic; what is forged is discarded. */
static void longer_records_than_agreed_on_end_the_session(void **state)
{
    struct gate *gate = *state;
    uint8_t *record = malloc(RECORD_ROOM);
    assert_non_null(record);
    for (const struct client_kind *usual = gate_kinds; usual->name != NULL; usual++) {
        struct client_kind kind = *usual;
        kind.max_fragment = 1;
        for (size_t len = 513; len < RECORD_PLAINTEXT_MAX; len += 3000) {
            gate_doing("%s, %zu bytes", kind.name, len);
            gate_open(gate, USUAL);
            struct device *device = gate_connected(gate, &kind);
            gate_assert_echo(gate, device, "in use");
            uint32_t forwarded = fake_network_count(GATE_TO_BACKEND, NULL);
            size_t record_len = memory_client_seal(device->client, TYPE_APPLICATION_DATA, noise,
                                                   len, record, RECORD_ROOM);
            record[record_len - 1] ^= 1;
            assert_int_equal(gate_inject(gate, &device->addr, record, record_len),
                             CLIENT_record_discarded);
            record[record_len - 1] ^= 1;
            assert_int_equal(gate_inject(gate, &device->addr, record, record_len),
                             CLIENT_session_closed);
            assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), forwarded);
            gate_run(gate, 10);
            assert_int_equal(device->client->alert_received, RECORD_OVERFLOW);
        }
    }
    free(record);
    gate_doing(NULL);
}

/* A device may use all that a record can hold. */
static void full_record_from_the_device(void **state)
{
    struct gate *gate = *state;
    uint8_t *record = malloc(RECORD_ROOM);
    assert_non_null(record);
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        size_t len = memory_client_seal(device->client, TYPE_APPLICATION_DATA, noise,
                                        RECORD_PLAINTEXT_MAX, record, RECORD_ROOM);
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_forwarded);
        const struct packet *packet = fake_network_last(GATE_TO_BACKEND, NULL);
        assert_int_equal(packet->len, RECORD_PLAINTEXT_MAX);
        assert_memory_equal(packet->data, noise, RECORD_PLAINTEXT_MAX);
        gate_assert_echo(gate, device, "afterwards");
    }
    free(record);
    gate_doing(NULL);
}

/* They have no meaning in CoAP; but what another protocol says with them is not ours to drop. */
static void empty_datagrams(void **state)
{
    struct gate *gate = *state;
    uint8_t record[128];
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        struct addr source = source_of(gate, device);
        uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_int_equal(gate_inject_from_backend(gate, &source, "", 0), BACKEND_forwarded);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent + 1);
        size_t len = memory_client_seal(device->client, TYPE_APPLICATION_DATA, "", 0, record,
                                        sizeof(record));
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_forwarded);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), 1);
        assert_int_equal(fake_network_last(GATE_TO_BACKEND, NULL)->len, 0);
        assert_int_equal(gate_inject(gate, &device->addr, "", 0), CLIENT_not_dtls);
        gate_assert_echo(gate, device, "unharmed");
    }
    gate_doing(NULL);
}

/* Several records in one datagram are several datagrams for the backend (RFC 6347 section 4.1). */
static void records_in_one_datagram_stay_apart(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        uint8_t datagram[2048];
        size_t len = 0;
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        for (size_t i = 1; i <= 10; i++)
            len += memory_client_seal(device->client, TYPE_APPLICATION_DATA, noise, i * 7,
                                      datagram + len, sizeof(datagram) - len);
        uint32_t before = fake_network_count(GATE_TO_BACKEND, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, datagram, len), CLIENT_forwarded);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before + 10);
        for (uint32_t i = 0; i < 10; i++) {
            const struct packet *packet = gate_nth(GATE_TO_BACKEND, before + i);
            assert_int_equal(packet->len, (i + 1) * 7);
            assert_memory_equal(packet->data, noise, packet->len);
        }
    }
    gate_doing(NULL);
}

/* A datagram may be longer than any record. */
static void datagram_of_several_large_records(void **state)
{
    enum { RECORDS = 6, LEN = 5000 };
    struct gate *gate = *state;
    uint8_t *datagram = malloc(RECORDS * (LEN + 100));
    assert_non_null(datagram);
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        size_t len = 0;
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        for (int i = 0; i < RECORDS; i++)
            len += memory_client_seal(device->client, TYPE_APPLICATION_DATA, noise, LEN,
                                      datagram + len, LEN + 100);
        assert_int_equal(gate_inject(gate, &device->addr, datagram, len), CLIENT_forwarded);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), RECORDS);
        gate_assert_echo(gate, device, "afterwards");
    }
    free(datagram);
    gate_doing(NULL);
}

/* A batch with more to send than fits into a batch. */
static void full_batches_of_many_sessions(void **state)
{
    enum { DEVICES = 16, ROUNDS = 8 };
    struct gate *gate = *state;
    struct device *devices[DEVICES];
    gate_open(gate, USUAL);
    for (int i = 0; i < DEVICES; i++)
        devices[i] = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate->has_echo = true;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < DEVICES; i++) {
            uint8_t text[2] = {(uint8_t)i, (uint8_t)round};
            device_send(devices[i], text, sizeof(text));
        }
    }
    gate_run(gate, 20);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), DEVICES * ROUNDS);
    assert_int_equal(gate_backend_outcomes(gate, BACKEND_forwarded), DEVICES * ROUNDS);
    for (int i = 0; i < DEVICES; i++) {
        assert_int_equal(devices[i]->client->message_count, ROUNDS);
        for (int round = 0; round < ROUNDS; round++) {
            assert_int_equal(devices[i]->client->messages[round].data[0], i);
            assert_int_equal(devices[i]->client->messages[round].data[1], round);
        }
    }
}

/* Only the backend speaks for the backend. */
static void others_cannot_speak_for_the_backend(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct addr source = source_of(gate, device), other;
    struct addr backend = gate->generation->config->listeners[0].backend;
    uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);

    other = backend;
    other.port++;
    assert_int_equal(gate_inject_from_other(gate, &other, &source, "x", 1), BACKEND_wrong_sender);
    other = backend;
    other.ip[3]++;
    assert_int_equal(gate_inject_from_other(gate, &other, &source, "x", 1), BACKEND_wrong_sender);

    /* Addresses that never were a session's, ours or not. */
    struct addr next = source;
    next.ip[3]++;
    assert_int_equal(gate_inject_from_backend(gate, &next, "x", 1), BACKEND_late);
    struct addr own = {.ip = {127, 0, 0, 1}, .port = source.port, .family = AF_INET};
    assert_int_equal(gate_inject_from_backend(gate, &own, "x", 1), BACKEND_late);
    assert_int_equal(gate_late(gate, LATE_UNKNOWN), 2);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
    gate_assert_echo(gate, device, "unharmed");
}

/* A server that is bound to all addresses answers from another one than it was asked at. */
static void wrong_sender_is_named(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct addr source = source_of(gate, device);
    struct addr other = gate->generation->config->listeners[0].backend;
    other.ip[2] = 7;
    for (int i = 0; i < 5; i++)
        gate_inject_from_other(gate, &other, &source, "x", 1);
    assert_int_equal(fake_log_count("event=wrong_sender", "level=warning", "from=127.0.7.1:5683",
                                    "backend=127.0.0.1:5683", "bound to all addresses", NULL),
                     5);
    other.port++;
    gate_inject_from_other(gate, &other, &source, "x", 1);
    assert_int_equal(
        fake_log_count("event=wrong_sender", "from=127.0.7.1:5684", "another program", NULL), 1);
}

static void backend_that_cannot_be_sent_to_is_named(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    fake_udp_refuse(GATE_TO_BACKEND, true);
    for (int i = 0; i < 3; i++) {
        device_send(device, "lost", 4);
        gate_run(gate, 5);
    }
    assert_int_equal(gate_client_outcomes(gate, CLIENT_backend_send_failed), 3);
    assert_int_equal(fake_log_count("event=backend_send_failed", "level=warning",
                                    "backend=127.0.0.1:5683", "Invalid argument", "127.0.0.0/8",
                                    NULL),
                     3);
}

/* Without a CID a device is known by its address. */
static void record_from_another_address_belongs_to_nobody(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        struct addr home = device->addr;
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        device->addr.port++;
        device_send(device, "moved", 5);
        gate_run(gate, 10);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_no_session), 1);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
        device->addr = home;
        gate_assert_echo(gate, device, "back");
    }
    gate_doing(NULL);
}

/* What the kernel does not take is counted as such, both ways, and the session lives on. */
static void full_sockets_are_counted(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct addr source = source_of(gate, device);

    fake_udp_refuse(GATE_TO_CLIENT, true);
    assert_int_equal(gate_inject_from_backend(gate, &source, "x", 1), BACKEND_client_send_failed);
    fake_udp_refuse(GATE_TO_CLIENT, false);

    fake_udp_refuse(GATE_TO_BACKEND, true);
    device_send(device, "x", 1);
    gate_run(gate, 10);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_backend_send_failed), 1);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), 0);
    fake_udp_refuse(GATE_TO_BACKEND, false);
    gate_assert_echo(gate, device, "unharmed");

    fake_udp_add_kernel_drops(7);
    gate_assert_echo(gate, device, "and more");
    assert_int_equal(counter_get(&gate_counters(gate, 0)->client_kernel_drops), 7);
    gate->has_echo = true;
    device_send(device, "x", 1);
    gate_run(gate, 2);
    fake_udp_add_kernel_drops(5); /* on the batch with the echo */
    gate_run(gate, 1);
    assert_int_equal(counter_get(&gate_counters(gate, 1)->backend_kernel_drops), 5);
}

static void backend_that_is_down_is_counted_and_logged(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct addr source = source_of(gate, device);
    struct addr nobody = {.ip = {127, 0, 0, 1}, .family = AF_INET};
    struct addr backend = gate->generation->config->listeners[0].backend;
    for (int i = 0; i < 2; i++)
        fake_udp_add_error(&source, &backend, 111);
    /* Of another worker: that one's session is not known here, but its backend is. */
    fake_udp_add_error(&nobody, &backend, 111);
    fake_udp_add_error(&nobody, &nobody, 111);
    datapath_backend_errors(&gate->dp, gate->now_ms);
    assert_int_equal(counter_get(&gate_counters(gate, 0)->backend_icmp_errors), 3);
    assert_int_equal(counter_get(&gate_counters(gate, 1)->backend_icmp_errors), 1);
    assert_int_equal(fake_log_count("event=backend_error", "text=Connection refused", NULL), 3);
    gate_assert_echo(gate, device, "up again");
}

static uint64_t bytes_on_wire(enum direction direction)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        bytes += packet->direction == direction ? packet->len : 0;
    }
    return bytes;
}

/* Those of all datagrams, whatever becomes of them; but not of what could not be sent. */
static void bytes_are_counted_both_ways(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        gate->has_echo = true;
        struct device *device = gate_connected(gate, kind);
        for (size_t len = 1; len <= 1000; len *= 10) {
            device_send(device, noise, len);
            gate_run(gate, 10);
        }
        fake_udp_refuse(GATE_TO_CLIENT, true);
        device_send(device, noise, 7);
        gate_run(gate, 10);
        fake_udp_refuse(GATE_TO_CLIENT, false);
        fake_udp_refuse(GATE_TO_BACKEND, true);
        device_send(device, noise, 7);
        gate_run(gate, 10);
        fake_udp_refuse(GATE_TO_BACKEND, false);
        fake_network_send(CLIENT_TO_GATE, &device->addr, &device->to, noise, 77);
        device_close(device);
        gate_run(gate, 1000);
        const struct counters *c = gate_counters(gate, 0);
        assert_int_equal(counter_get(&c->client_bytes_received), bytes_on_wire(CLIENT_TO_GATE));
        assert_int_equal(counter_get(&c->client_bytes_sent), bytes_on_wire(GATE_TO_CLIENT));
        assert_int_equal(counter_get(&c->backend_bytes_received), bytes_on_wire(BACKEND_TO_GATE));
        assert_int_equal(counter_get(&c->backend_bytes_sent), bytes_on_wire(GATE_TO_BACKEND));
        assert_int_equal(counter_get(&c->backend_bytes_sent), 1111 + 7);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_not_dtls), 1);
    }
    gate_doing(NULL);
}

int datapath_data_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(all_sizes_go_both_ways),
        GATE_TEST(largest_record_and_one_byte_more),
        GATE_TEST(max_fragment_length_is_obeyed),
        GATE_TEST(longer_records_than_agreed_on_end_the_session),
        GATE_TEST(full_record_from_the_device),
        GATE_TEST(empty_datagrams),
        GATE_TEST(records_in_one_datagram_stay_apart),
        GATE_TEST(datagram_of_several_large_records),
        GATE_TEST(full_batches_of_many_sessions),
        GATE_TEST(others_cannot_speak_for_the_backend),
        GATE_TEST(wrong_sender_is_named),
        GATE_TEST(backend_that_cannot_be_sent_to_is_named),
        GATE_TEST(record_from_another_address_belongs_to_nobody),
        GATE_TEST(full_sockets_are_counted),
        GATE_TEST(backend_that_is_down_is_counted_and_logged),
        GATE_TEST(bytes_are_counted_both_ways),
    };
    return cmocka_run_group_tests_name("datapath: data", tests, make_noise, NULL);
}
