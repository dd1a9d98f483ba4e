/* Records one by one: whole or not at all, new or not, near or far; and what they may not move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum {
    RECORD_HEADER = 13,
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION_DATA = 23,
    TYPE_CID = 25,
    RECORD_ROOM = 256,
    GATE_CID = 8,
    OWN_CID = 32, /* bytes of the device's */
    MINUTE_MS = 60000,
    COAP_MESSAGE_MAX = 1152, /* RFC 7252 section 4.6 */
    SMALLEST_MTU = 1280,
    IPV6_AND_UDP = 48,
};

struct sealed {
    uint8_t data[RECORD_ROOM];
    size_t len;
};

/* The kinds of gate_kinds, and each once more with connection IDs. */
enum { KINDS_MAX = 32 };
static struct client_kind kinds[KINDS_MAX];
static char names[KINDS_MAX][64];
static int kind_count;

static int make_kinds(void **state)
{
    (void)state;
    kind_count = 0;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        assert_true(kind_count + 2 <= KINDS_MAX);
        kinds[kind_count++] = *kind;
        kinds[kind_count] = *kind;
        snprintf(names[kind_count], sizeof(names[0]), "%s with CIDs", kind->name);
        kinds[kind_count].name = names[kind_count];
        kinds[kind_count].has_cid = true;
        kinds[kind_count++].cid_bytes = OWN_CID;
    }
    return 0;
}

static struct sealed seal(struct device *device, uint8_t type, const void *data, size_t len)
{
    struct sealed record;
    record.len = memory_client_seal(device->client, type, data, len, record.data, RECORD_ROOM);
    return record;
}

static enum client_outcome inject(struct gate *gate, const struct device *device,
                                  const struct sealed *record)
{
    return gate_inject(gate, &device->addr, record->data, record->len);
}

/* Length of the record at the beginning of what the gate sent; 0 if it is not all there. */
static size_t record_len(const uint8_t *data, size_t len)
{
    size_t header = RECORD_HEADER, length_at = 11;
    if ((data[0] & 0xe0) == 0x20) {
        if ((data[0] & 0x04) == 0)
            return len;
        length_at = (data[0] & 0x08) != 0 ? 3 : 2;
        header = length_at + 2;
    }
    if (data[0] == TYPE_CID || (data[0] & 0xf0) == 0x30) {
        length_at += OWN_CID;
        header += OWN_CID;
    }
    if (len < header)
        return 0;
    size_t body = (size_t)(data[length_at] << 8 | data[length_at + 1]);
    return header + body <= len ? header + body : 0;
}

/* RFC 6347 section 4.1.1: a record never spans datagrams, however small they have to be. */
static void gate_sends_whole_records(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        uint32_t seen = 0;
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL "mtu = 256\n");
        struct device *device = gate_connected(gate, kind);
        gate_assert_echo(gate, device, "data");
        device_close(device);
        gate_run(gate, 10);
        for (uint32_t i = 0; i < fake_network_captured(); i++) {
            const struct packet *packet = fake_network_packet(i);
            if (packet->direction != GATE_TO_CLIENT)
                continue;
            for (size_t at = 0; at < packet->len; seen++) {
                size_t len = record_len(packet->data + at, packet->len - at);
                assert_true(len > 0);
                at += len;
            }
        }
        assert_true(seen >= 4);
    }
    gate_doing(NULL);
}

/* Two halves are no record, even one right behind the other. */
static void record_in_two_datagrams_is_none(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        gate_assert_echo(gate, device, "first data");
        struct sealed record = seal(device, TYPE_APPLICATION_DATA, "in two parts", 12);
        uint32_t before = fake_network_count(GATE_TO_BACKEND, NULL);
        for (size_t cut = 1; cut < record.len; cut++) {
            gate_doing("%s, cut at %zu", kind->name, cut);
            gate_inject(gate, &device->addr, record.data, cut);
            gate_inject(gate, &device->addr, record.data + cut, record.len - cut);
            assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), before);
        }
        assert_int_equal(inject(gate, device, &record), CLIENT_forwarded);
    }
    gate_doing(NULL);
}

/* Section 4.1.2.6: records that are up to 63 behind the newest are good once; the same of one that
 * is further behind cannot be told, so it is discarded. */
static void replay_window_is_64_records_wide(void **state)
{
    enum { RECORDS = 200, NEWEST = 150, WIDTH = 64 };
    struct gate *gate = *state;
    struct sealed *records = malloc(RECORDS * sizeof(*records));
    assert_non_null(records);
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        for (int i = 0; i < RECORDS; i++)
            records[i] = seal(device, TYPE_APPLICATION_DATA, "once", 4);
        assert_int_equal(inject(gate, device, &records[NEWEST]), CLIENT_forwarded);
        for (int i = NEWEST - WIDTH + 1; i < NEWEST; i++) {
            gate_doing("%s, %d behind", kind->name, NEWEST - i);
            assert_int_equal(inject(gate, device, &records[i]), CLIENT_forwarded);
            assert_int_equal(inject(gate, device, &records[i]), CLIENT_record_discarded);
        }
        gate_doing("%s, too old", kind->name);
        assert_int_equal(inject(gate, device, &records[0]), CLIENT_record_discarded);
        assert_int_equal(inject(gate, device, &records[NEWEST - WIDTH - 1]),
                         CLIENT_record_discarded);
        assert_int_equal(inject(gate, device, &records[NEWEST]), CLIENT_record_discarded);
        assert_int_equal(inject(gate, device, &records[NEWEST + 1]), CLIENT_forwarded);
    }
    free(records);
    gate_doing(NULL);
}

/* The window follows authentic records only. Otherwise one forged number would silence a device. */
static void forged_number_does_not_move_the_window(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        struct sealed record = seal(device, TYPE_APPLICATION_DATA, "honest", 6);
        struct sealed forged = record;
        /* 1.2: the highest number there is; 1.3: other bits of an encrypted number. */
        if (kind->version == VERSION_1_2)
            memset(forged.data + 5, 0xff, 6);
        else
            forged.data[kind->has_cid ? 1 + GATE_CID : 1] ^= 0x7f;
        assert_int_equal(inject(gate, device, &forged), CLIENT_record_discarded);
        assert_int_equal(inject(gate, device, &record), CLIENT_forwarded);
    }
    gate_doing(NULL);
}

/* RFC 9147 section 4.2.2: of the number only the last bits are on the wire, and the others are
 * found again after a loss of any length that a device may live through. */
static void records_after_a_long_gap_are_read(void **state)
{
    static const int gaps[] = {1, 63, 64, 127, 128, 255, 256, 257, 1000, 20000, 32000};
    struct gate *gate = *state;
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        for (unsigned i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
            gate_doing("%s, %d records lost", kind->name, gaps[i]);
            for (int lost = 0; lost < gaps[i]; lost++)
                seal(device, TYPE_APPLICATION_DATA, "lost", 4);
            struct sealed record = seal(device, TYPE_APPLICATION_DATA, "here", 4);
            assert_int_equal(inject(gate, device, &record), CLIENT_forwarded);
        }
        gate_assert_echo(gate, device, "and on");
    }
    gate_doing(NULL);
}

/* Section 4.2.3: who watches does not see the gate count its records. */
static void numbers_of_1_3_are_not_in_the_clear(void **state)
{
    enum { RECORDS = 40 };
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.3 psk"));
    gate_assert_echo(gate, device, "first data");
    struct addr source = gate_last_source();
    int steps_of_one = 0;
    uint8_t last = 0;
    for (int i = 0; i < RECORDS; i++) {
        assert_int_equal(gate_inject_from_backend(gate, &source, "x", 1), BACKEND_forwarded);
        const struct packet *packet = fake_network_last(GATE_TO_CLIENT, NULL);
        assert_int_equal(packet->data[0] & 0xe0, 0x20);
        uint8_t number = packet->data[(packet->data[0] & 0x08) != 0 ? 2 : 1];
        steps_of_one += i > 0 && number == (uint8_t)(last + 1);
        last = number;
    }
    assert_in_range(steps_of_one, 0, RECORDS / 4);
}

/* Section 4.5.2: what is discarded moves nothing, so nobody keeps another's session alive. */
static void discarded_records_do_not_keep_a_session_alive(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL "idle_timeout = 10m\nidle_timeout_cid = 10m\n");
        struct device *device = gate_connected(gate, kind);
        struct sealed replayed = seal(device, TYPE_APPLICATION_DATA, "used", 4);
        assert_int_equal(inject(gate, device, &replayed), CLIENT_forwarded);
        struct sealed forged = seal(device, TYPE_APPLICATION_DATA, "forged", 6);
        forged.data[forged.len - 1] ^= 1;
        for (int i = 0; i < 9; i++) {
            gate_run(gate, MINUTE_MS);
            assert_int_equal(inject(gate, device, &replayed), CLIENT_record_discarded);
            assert_int_equal(inject(gate, device, &forged), CLIENT_record_discarded);
        }
        gate_run(gate, MINUTE_MS - 1);
        assert_int_equal(gate_closed(gate, CLOSE_idle), 0);
        gate_run(gate, 1);
        assert_int_equal(gate_closed(gate, CLOSE_idle), 1);
    }
    gate_doing(NULL);
}

/* The same of a handshake: junk neither delays its flight nor its end. */
static void junk_does_not_delay_a_handshake(void **state)
{
    struct gate *gate = *state;
    static const uint8_t junk[40] = {
        TYPE_APPLICATION_DATA, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 27};
    static const uint32_t due_s[] = {2, 6, 14, 30};
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL "retransmit = 2s\nhandshake_timeout = 31s\n");
        struct device *device = gate_add(gate, kind);
        device_connect(device);
        while (gate_client_outcomes(gate, CLIENT_handshake_begun) == 0)
            gate_run(gate, 1);
        device->client->is_deaf = true;
        gate_run(gate, 1);
        uint64_t begun_ms = gate->now_ms - 1;
        for (unsigned i = 0; i < sizeof(due_s) / sizeof(due_s[0]); i++) {
            uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
            while (gate->now_ms + 500 < begun_ms + due_s[i] * 1000) {
                gate_run(gate, 500);
                gate_inject(gate, &device->addr, junk, sizeof(junk));
            }
            gate_run(gate, begun_ms + due_s[i] * 1000 - 1 - gate->now_ms);
            assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent);
            gate_run(gate, 1);
            assert_true(fake_network_count(GATE_TO_CLIENT, NULL) > sent);
        }
        gate_run(gate, begun_ms + 31000 - gate->now_ms);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* RFC 9147 section 9: only who negotiated a connection ID may ask for others. */
static void connection_id_messages_without_one_end_the_session(void **state)
{
    enum {
        REQUEST_CONNECTION_ID = 9,
        NEW_CONNECTION_ID = 10,
        UNEXPECTED_MESSAGE = 10,
        MESSAGE_SEQ = 3
    };
    struct gate *gate = *state;
    for (uint8_t type = REQUEST_CONNECTION_ID; type <= NEW_CONNECTION_ID; type++) {
        const uint8_t request[] = {type, 0, 0, 1, 0, MESSAGE_SEQ, 0, 0, 0, 0, 0, 1, 1};
        const uint8_t new_ids[] = {type, 0, 0, 6, 0, MESSAGE_SEQ, 0, 0, 0,
                                   0,    0, 6, 0, 3, 2,           1, 2, 0};
        gate_doing("message %u", type);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind("1.3 psk"));
        gate_assert_echo(gate, device, "before");
        bool is_new = type == NEW_CONNECTION_ID;
        struct sealed record = seal(device, TYPE_HANDSHAKE, is_new ? new_ids : request,
                                    is_new ? sizeof(new_ids) : sizeof(request));
        assert_int_equal(inject(gate, device, &record), CLIENT_session_closed);
        assert_int_equal(gate_closed(gate, CLOSE_fatal_alert), 1);
        gate_run(gate, 10);
        assert_int_equal(device->client->alert_received, UNEXPECTED_MESSAGE);
    }
    gate_doing(NULL);
}

/* What comes of an authentic record of any content type; of 1.2, R36, of 1.3, R10. Its body is {1,
 * 90}: as an alert a warning, as a handshake message the beginning of a hello. */
enum form { WITHOUT_CID_1_2, WITH_CID_1_2, OF_1_3 };
static const struct type_row {
    enum form form;
    int first, last; /* of the types */
    enum client_outcome outcome;
    int alert; /* that the device gets; -1 = none */
    const char *section;
} type_rows[] = {
    {WITHOUT_CID_1_2, 0, 20, CLIENT_session_closed, 10, "RFC 5246 7.2.2"},
    {WITHOUT_CID_1_2, 21, 21, CLIENT_control, -1, "RFC 5246 7.2"},
    {WITHOUT_CID_1_2, 22, 22, CLIENT_renegotiation_refused, 100, "RFC 5246 7.2.2"},
    {WITHOUT_CID_1_2, 23, 23, CLIENT_forwarded, -1, "RFC 5246 10"},
    {WITHOUT_CID_1_2, 24, 24, CLIENT_session_closed, 10, "RFC 6520 3"},
    {WITHOUT_CID_1_2, 25, 25, CLIENT_record_discarded, -1, "RFC 9146 4: it has no ID of ours"},
    {WITHOUT_CID_1_2, 26, 31, CLIENT_session_closed, 10, "RFC 5246 7.2.2"},
    {WITHOUT_CID_1_2, 32, 63, CLIENT_record_discarded, -1, "RFC 9147 4.1: one of DTLS 1.3"},
    {WITHOUT_CID_1_2, 64, 255, CLIENT_session_closed, 10, "RFC 5246 7.2.2"},
    {WITH_CID_1_2, 0, 20, CLIENT_session_closed, 10, "RFC 5246 7.2.2"},
    {WITH_CID_1_2, 21, 21, CLIENT_control, -1, "RFC 5246 7.2"},
    {WITH_CID_1_2, 22, 22, CLIENT_renegotiation_refused, 100, "RFC 5246 7.2.2"},
    {WITH_CID_1_2, 23, 23, CLIENT_forwarded, -1, "RFC 5246 10"},
    {WITH_CID_1_2, 24, 24, CLIENT_session_closed, 10, "RFC 6520 3"},
    {WITH_CID_1_2, 25, 255, CLIENT_session_closed, 10, "RFC 9146 4, RFC 5246 7.2.2"},
    {OF_1_3, 0, 20, CLIENT_session_closed, 10, "RFC 8446 5"},
    {OF_1_3, 21, 21, CLIENT_control, -1, "RFC 8446 6.1"},
    {OF_1_3, 22, 22, CLIENT_session_closed, 50, "RFC 8446 6.2"},
    {OF_1_3, 23, 23, CLIENT_forwarded, -1, "RFC 8446 5.2"},
    {OF_1_3, 24, 25, CLIENT_session_closed, 10, "RFC 8446 5"},
    {OF_1_3, 26, 26, CLIENT_session_closed, 50, "RFC 9147 7, RFC 8446 6.2"},
    {OF_1_3, 27, 255, CLIENT_session_closed, 10, "RFC 8446 5"},
};

static const struct type_row *type_row(const struct client_kind *kind, int type)
{
    enum form form = kind->version == VERSION_1_3 ? OF_1_3
                     : kind->has_cid              ? WITH_CID_1_2
                                                  : WITHOUT_CID_1_2;
    const struct type_row *row = type_rows;
    while (row->form != form || type < row->first || type > row->last)
        row++;
    return row;
}

/* The same record with a bit of its tag changed, and then as the device has sealed it. */
static void check_type(struct gate *gate, struct device *device, uint8_t type,
                       const struct type_row *row)
{
    static const uint8_t body[] = {1, 90};
    struct sealed record = seal(device, type, body, sizeof(body)), forged = record;
    forged.data[forged.len - 1] ^= 1;
    uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
    inject(gate, device, &forged);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent);
    assert_int_equal(gate_session_count(&gate->dp), 1);

    enum client_outcome outcome = inject(gate, device, &record);
    /* What is discarded may be found to be of nobody before a session sees it. */
    if (row->outcome != CLIENT_record_discarded)
        assert_int_equal(outcome, row->outcome);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent + (row->alert >= 0));
    assert_int_equal(gate_closed(gate, CLOSE_fatal_alert), row->outcome == CLIENT_session_closed);
    assert_int_equal(gate_session_count(&gate->dp), row->outcome != CLIENT_session_closed);
    gate_run(gate, 10);
    assert_int_equal(device->client->alert_received, row->alert);
    if (row->outcome != CLIENT_session_closed && row->alert < 0)
        gate_assert_echo(gate, device, "and on");
}

static void every_content_type_has_its_answer(void **state)
{
    enum { FORMS = 4 };
    struct gate *gate = *state;
    for (int form = 0; form < FORMS; form++) {
        struct client_kind kind = *gate_kind(form / 2 == 0 ? "1.2 psk gcm" : "1.3 psk");
        kind.has_cid = form % 2 != 0;
        for (int type = 0; type < 256; type++) {
            const struct type_row *row = type_row(&kind, type);
            gate_doing("%s, CIDs %d, type %d: %s", kind.name, kind.has_cid, type, row->section);
            gate_open(gate, GATE LISTENER PSK);
            check_type(gate, gate_connected(gate, &kind), (uint8_t)type, row);
            gate_close(gate); /* its device borrows the kind */
        }
    }
    gate_doing(NULL);
}

/* RFC 7252 section 4.6: a message of 1,152 bytes goes over any IPv6 path in one piece. */
static void coap_message_and_record_fit_into_the_smallest_ipv6_mtu(void **state)
{
    static const uint8_t message[COAP_MESSAGE_MAX] = {1};
    struct gate *gate = *state;
    for (const struct client_kind *kind = kinds; kind < kinds + kind_count; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL "cid_length = 32\n");
        struct device *device = gate_connected(gate, kind);
        gate->has_echo = true;
        device_send(device, message, sizeof(message));
        gate_run(gate, 10);
        assert_int_equal(memory_client_last(device->client).len, sizeof(message));
        assert_in_range(fake_network_last(CLIENT_TO_GATE, NULL)->len, COAP_MESSAGE_MAX,
                        SMALLEST_MTU - IPV6_AND_UDP);
        assert_in_range(fake_network_last(GATE_TO_CLIENT, NULL)->len, COAP_MESSAGE_MAX,
                        SMALLEST_MTU - IPV6_AND_UDP);
    }
    gate_doing(NULL);
}

int datapath_records_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(gate_sends_whole_records),
        GATE_TEST(record_in_two_datagrams_is_none),
        GATE_TEST(replay_window_is_64_records_wide),
        GATE_TEST(forged_number_does_not_move_the_window),
        GATE_TEST(records_after_a_long_gap_are_read),
        GATE_TEST(numbers_of_1_3_are_not_in_the_clear),
        GATE_TEST(discarded_records_do_not_keep_a_session_alive),
        GATE_TEST(junk_does_not_delay_a_handshake),
        GATE_TEST(connection_id_messages_without_one_end_the_session),
        GATE_TEST(every_content_type_has_its_answer),
        GATE_TEST(coap_message_and_record_fit_into_the_smallest_ipv6_mtu),
    };
    return cmocka_run_group_tests_name("datapath: records", tests, make_kinds, NULL);
}
