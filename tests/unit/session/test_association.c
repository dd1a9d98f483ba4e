/* association.c and its parts: sessions of real clients go on after the library's object is
 * gone; what an authenticated device may send, and what becomes of it, row by row; limits of keys;
 * what is lost is repeated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fakes/fake_system.h"
#include "gate/dtls_pair.h"
#include "gate/nonce_watch.h"
#include "gate/record_forge.h"
#include "handshake/dtls_take_over.h"
#include "session/association.h"
#include "session/association_inside.h"
#include "wire/record12.h"

enum { ROOM = RECORD_PLAINTEXT_MAX + RECORD_OVERHEAD_MAX, SENT_MAX = 64 };

#define PSK_12 .version = VERSION_1_2, .identity = "device1", .key = "0123456789abcdef"
#define PSK_13 .version = VERSION_1_3, .identity = "device1", .key = "0123456789abcdef"
#define GCM_13 PSK_13, .suites = "TLS13-AES128-GCM-SHA256"

static const struct client_kind kinds_12[] = {
    {.name = "psk ccm-8", PSK_12, .suites = "PSK-AES128-CCM-8"},
    {.name = "psk gcm", PSK_12, .suites = "PSK-AES128-GCM-SHA256"},
    {.name = "chacha",
     .version = VERSION_1_2,
     .certificate = "device",
     .suites = "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {.name = "empty cid", PSK_12, .suites = "PSK-AES128-CCM-8", .has_cid = true},
    {.name = "cid 6", PSK_12, .suites = "PSK-AES128-CCM-8", .has_cid = true, .cid_bytes = 6},
    {.name = "cid 32", PSK_12, .suites = "PSK-AES128-CCM-8", .has_cid = true, .cid_bytes = 32},
    {.name = "fragment 512", PSK_12, .suites = "PSK-AES128-CCM-8", .max_fragment = 1},
};
static const struct client_kind kinds_13[] = {
    {.name = "1.3 gcm", GCM_13},
    {.name = "1.3 ccm-8", PSK_13, .suites = "TLS13-AES128-CCM-8-SHA256"},
    {.name = "1.3 chacha", PSK_13, .suites = "TLS13-CHACHA20-POLY1305-SHA256"},
    {.name = "1.3 empty cid", GCM_13, .has_cid = true},
    {.name = "1.3 cid 6", GCM_13, .has_cid = true, .cid_bytes = 6},
    {.name = "1.3 cid 32", GCM_13, .has_cid = true, .cid_bytes = 32},
    {.name = "1.3 certificate",
     .version = VERSION_1_3,
     .certificate = "device",
     .suites = "TLS13-AES128-GCM-SHA256"},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* As a session has it. */
struct owner {
    uint8_t something;
    struct association association; /* the last member */
};

/* The gate's side as it will be, the device, and what has been sent and not been handed over. */
struct scene {
    struct dtls_pair *pair;
    struct owner *owner;
    struct association *association; /* the owner's */
    struct taken taken;
    struct association_call call;
    struct record_limits limits; /* lowered ones */
    uint8_t sent[SENT_MAX][2048];
    size_t sent_len[SENT_MAX];
    unsigned sent_count;
    struct association_opened opened; /* the last one */
    uint8_t room[ROOM];
    /* The device by our own hands: as an authenticated one that may send anything. */
    uint8_t device_keys[RECORD13_KEYS_MAX], gate_keys[RECORD13_KEYS_MAX];
    uint64_t device_next;
};

static struct aead_work *work;
static struct slabs slabs;

static void keep_sent(void *owner, const uint8_t *record, size_t len)
{
    struct scene *s = owner;
    if (s->sent_count == SENT_MAX || len > sizeof(s->sent[0]))
        return;
    memcpy(s->sent[s->sent_count], record, len);
    s->sent_len[s->sent_count++] = len;
}

static void take_over(struct scene *s, struct dtls_pair *pair)
{
    memset(s, 0, sizeof(*s));
    s->pair = pair;
    s->call = (struct association_call){
        .work = work, .slabs = &slabs, .now_ms = 1000, .send = keep_sent, .owner = s};
    assert_true(dtls_take_over(pair->dtls, &s->taken));
    dtls_free(pair->dtls);
    pair->dtls = NULL;
    s->owner = malloc(offsetof(struct owner, association) + association_bytes(&s->taken));
    s->association = &s->owner->association;
    assert_true(association_init(s->association, &s->taken, &slabs, s->call.now_ms));
    s->limits = *record_limits(s->taken.aead, s->taken.version == VERSION_1_3);
    if (s->taken.version == VERSION_1_3) {
        assert_true(record13_derive(s->device_keys, s->taken.aead, s->taken.v13.read_secret) &&
                    record13_derive(s->gate_keys, s->taken.aead, s->taken.v13.write_secret));
    } else {
        s->device_next = s->association->window.next;
    }
}

static void hand_over(struct scene *s);

static void begin(struct scene *s, struct dtls_pair *pair, const struct client_kind *kind)
{
    dtls_pair_meet_just(pair, kind);
    take_over(s, pair);
    for (uint32_t i = 0; i < pair->to_client.count; i++)
        memory_client_receive(pair->client, pair->to_client.at[i].data, pair->to_client.at[i].len,
                              0);
    dtls_pair_empty(&pair->to_client);
    hand_over(s);
    s->device_next += s->taken.version == VERSION_1_3 ? s->association->window.next : 0;
    assert_int_equal(pair->client->state, CLIENT_UP);
}

static void end(struct scene *s)
{
    const uint8_t *bytes = (const uint8_t *)s->association;
    association_deinit(s->association, &slabs);
    for (size_t i = 0; i < association_bytes(&s->taken); i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(slabs_bytes_taken(&slabs), 0);
    taken_wipe(&s->taken);
    free(s->owner);
}

/* What the device has sent: each datagram record by record; `opened` is of the last record. */
static void receive(struct scene *s, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += s->opened.record_len) {
        association_open(s->association, &s->call, data + at, len - at, at == 0, s->room,
                         &s->opened);
        assert_in_range(s->opened.record_len, 1, len - at);
    }
}

static void hand_to_gate(struct scene *s)
{
    for (uint32_t i = 0; i < s->pair->to_gate.count; i++)
        receive(s, s->pair->to_gate.at[i].data, s->pair->to_gate.at[i].len);
    dtls_pair_empty(&s->pair->to_gate);
}

static void hand_to_device(struct scene *s)
{
    unsigned count = s->sent_count;
    s->sent_count = 0;
    for (unsigned i = 0; i < count; i++)
        memory_client_receive(s->pair->client, s->sent[i], s->sent_len[i], s->call.now_ms);
}

static void hand_over(struct scene *s)
{
    while (s->sent_count + s->pair->to_gate.count != 0) {
        hand_to_device(s);
        hand_to_gate(s);
    }
}

static void assert_both_ways(struct scene *s, const char *text)
{
    size_t len = strlen(text);
    assert_true(memory_client_send(s->pair->client, text, len));
    hand_to_gate(s);
    assert_int_equal(s->opened.event, ASSOCIATION_DATA);
    assert_int_equal(s->opened.data_len, len);
    assert_memory_equal(s->opened.data, text, len);
    assert_int_equal(association_seal(s->association, &s->call, (const uint8_t *)text, len),
                     ASSOCIATION_SEALED);
    hand_to_device(s);
    assert_int_equal(memory_client_last(s->pair->client).len, len);
    assert_memory_equal(memory_client_last(s->pair->client).data, text, len);
    hand_over(s);
}

#define EACH_KIND(kinds, s, pair) \
    for (size_t k = 0; k < COUNT(kinds) && (begin(s, pair, &(kinds)[k]), true); end(s), k++)

/* ---- with real clients ----------------------------------------------------------------------- */

static struct scene scene;

static void data_both_ways(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_12, s, *test)
    for (int i = 0; i < 3; i++)
        assert_both_ways(s, "there and back");
    EACH_KIND(kinds_13, s, *test)
    for (int i = 0; i < 3; i++)
        assert_both_ways(s, "there and back");
}

static void the_gate_closes(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_12, s, *test)
    {
        association_send_alert(s->association, &s->call, ALERT_CLOSE_NOTIFY);
        hand_to_device(s);
        assert_int_equal(s->pair->client->state, CLIENT_CLOSED);
    }
    EACH_KIND(kinds_13, s, *test)
    {
        association_send_alert(s->association, &s->call, ALERT_CLOSE_NOTIFY);
        hand_to_device(s);
        assert_int_equal(s->pair->client->state, CLIENT_CLOSED);
    }
}

/* N22: what the close_notify has overtaken is delivered; what comes behind it is not. */
static void check_closing(struct scene *s)
{
    struct datagrams *queue = &s->pair->to_gate;
    assert_true(memory_client_send(s->pair->client, "first", 5));
    hand_to_gate(s);
    assert_true(memory_client_send(s->pair->client, "late", 4));
    struct client_message late = queue->at[--queue->count];
    memory_client_close(s->pair->client);
    hand_to_gate(s);
    assert_int_equal(s->opened.event, ASSOCIATION_CLOSED);
    assert_true(association_has_gap(s->association));
    receive(s, late.data, late.len);
    assert_int_equal(s->opened.event, ASSOCIATION_DATA);
    assert_int_equal(s->opened.data_len, 4);
    assert_false(association_has_gap(s->association));
    receive(s, late.data, late.len);
    assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
    free(late.data);
}

static void what_a_closure_overtook(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_12, s, *test) check_closing(s);
    EACH_KIND(kinds_13, s, *test) check_closing(s);
}

/* R15, T5: past epoch 6, which has the bits of the handshake's epoch. */
static void the_device_changes_its_keys(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_13, s, *test)
    for (int i = 0; i < 6; i++) {
        memory_client_update_keys(s->pair->client, s->call.now_ms);
        hand_over(s);
        assert_both_ways(s, "under new keys");
        assert_int_equal(s->association->v13.read_epoch, 4 + i);
        assert_int_equal(association_find_rare(s->association, RARE_HANDSHAKE_EPOCH) == NULL,
                         s->association->v13.read_epoch >= 6);
    }
}

/* R16. */
static void the_gate_changes_its_keys(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_13, s, *test)
    for (int i = 0; i < 6; i++) {
        association_update_keys(s->association, &s->call);
        assert_int_equal(s->association->v13.write_epoch, 3 + i);
        hand_over(s);
        assert_int_equal(s->association->v13.write_epoch, 4 + i);
        assert_both_ways(s, "under new keys");
    }
}

static void both_change_their_keys_at_once(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_13, s, *test)
    for (int i = 0; i < 4; i++) {
        association_update_keys(s->association, &s->call);
        memory_client_update_keys(s->pair->client, s->call.now_ms);
        hand_over(s);
        assert_both_ways(s, "under new keys");
        /* Each asks the other for new keys as well (RFC 8446 section 4.6.3). */
        assert_true(s->association->v13.write_epoch >= (uint64_t)4 + i);
        assert_true(s->association->v13.read_epoch >= (uint64_t)4 + i);
    }
}

/* R16: what is lost is repeated under the old keys, with the same message_seq, until it is heard.
 */
static void a_lost_change_of_keys_is_repeated(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_13, s, *test)
    {
        hand_over(s);
        association_update_keys(s->association, &s->call);
        assert_int_equal(s->sent_count, 1);
        s->sent_count = 0; /* lost */
        for (int i = 0; i < 3; i++) {
            s->call.now_ms = association_due_ms(s->association);
            association_on_time(s->association, &s->call);
            assert_int_equal(s->sent_count, 1);
            if (i < 2)
                s->sent_count = 0;
        }
        assert_both_ways(s, "and the session goes on");
        assert_int_equal(s->association->v13.write_epoch, 4);
    }
}

/* T5: the device has not heard that we have its Finished. */
static void a_finished_that_is_repeated_is_acknowledged(void **test)
{
    struct dtls_pair *pair = *test;
    struct scene *s = &scene;
    uint8_t ticket[2048];
    for (size_t k = 0; k < COUNT(kinds_13); k++) {
        dtls_pair_meet_just(pair, &kinds_13[k]);
        dtls_pair_empty(&pair->to_client); /* ACK and ticket are lost */
        take_over(s, pair);
        for (int i = 0; i < 5 && pair->to_gate.count == 0; i++) { /* it repeats its Finished */
            assert_int_not_equal(pair->client->due_ms, UINT64_MAX);
            s->call.now_ms = pair->client->due_ms;
            fake_system_set_ms(s->call.now_ms);
            memory_client_on_time(pair->client, s->call.now_ms);
        }
        assert_int_not_equal(pair->to_gate.count, 0);
        hand_to_gate(s);
        assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
        assert_int_equal(s->opened.number.epoch, 2);
        hand_to_device(s);
        assert_int_equal(pair->client->state, CLIENT_UP);
        /* The ticket comes by itself. */
        assert_int_equal(memory_client_ticket(pair->client, ticket, sizeof(ticket)), 0);
        s->call.now_ms = 1000 + ASSOCIATION_REPEAT_MS;
        association_on_time(s->association, &s->call);
        assert_int_equal(s->sent_count, 1);
        hand_over(s);
        assert_int_not_equal(memory_client_ticket(pair->client, ticket, sizeof(ticket)), 0);
        assert_both_ways(s, "after all");
        /* Acknowledged: it is not repeated; then only the handshake's keys wait for their end. */
        assert_int_equal(association_due_ms(s->association), 1000 + ASSOCIATION_REMAINDER_MS);
        s->call.now_ms = 1000 + ASSOCIATION_REMAINDER_MS;
        association_on_time(s->association, &s->call);
        assert_int_equal(association_due_ms(s->association), UINT64_MAX);
        assert_int_equal(s->sent_count, 0);
        end(s);
        fake_system_set_ms(0);
    }
}

/* T6. */
static void a_ticket_is_given_up(void **test)
{
    struct scene *s = &scene;
    dtls_pair_meet_just(*test, &kinds_13[0]);
    take_over(s, *test);
    while (association_due_ms(s->association) < 1000 + ASSOCIATION_REMAINDER_MS) {
        s->call.now_ms = association_due_ms(s->association);
        association_on_time(s->association, &s->call);
        assert_in_range(s->sent_count, 0, ASSOCIATION_REPEATS_MAX);
    }
    assert_int_equal(s->sent_count, ASSOCIATION_REPEATS_MAX);
    end(s);
}

/* ---- by our own hands ------------------------------------------------------------------------ */

/* A record of the device's with any content. */
static void device_sends(struct scene *s, uint8_t type, const void *data, size_t len)
{
    uint8_t record[1024], inner[600];
    size_t record_len;
    if (s->taken.version == VERSION_1_2) {
        const struct record12_keys keys = {.aead = s->taken.aead,
                                           .key = s->taken.v12.read_key,
                                           .iv = s->taken.v12.read_iv,
                                           .cid = s->taken.cid,
                                           .cid_len = s->taken.cid_len};
        record_len = record12_seal(work, &keys, s->device_next++, type, data, len, record);
    } else {
        memcpy(inner, data, len);
        inner[len] = type;
        memset(inner + len + 1, 0, 16);
        uint8_t first = (uint8_t)(0x2c | (s->association->v13.read_epoch & 3) |
                                  (s->taken.cid_len != 0 ? FORGE_HAS_CID : 0));
        record_len = record_forge_13(work, s->taken.aead, s->device_keys, first, s->taken.cid,
                                     s->taken.cid_len, s->device_next++, inner, len + 17, record);
    }
    s->sent_count = 0;
    receive(s, record, record_len);
}

/* The device's view of what the gate has sent: the content of the record. */
static struct record_content gate_sent(struct scene *s, unsigned index, uint8_t *room)
{
    struct record_window window = {.next = 0, .seen = 0};
    struct record_content content;
    assert_true(index < s->sent_count);
    if (s->taken.version == VERSION_1_2) {
        const struct record12_keys keys = {.aead = s->taken.aead,
                                           .key = s->taken.v12.write_key,
                                           .iv = s->taken.v12.write_iv,
                                           .cid = association_client_cid(s->association),
                                           .cid_len = s->association->client_cid_len,
                                           .plaintext_max = RECORD_PLAINTEXT_MAX};
        assert_int_equal(
            record12_open(work, &keys, &window, s->sent[index], s->sent_len[index], room, &content),
            RECORD_OPENED);
        return content;
    }
    const struct record13_epoch epoch = {
        .epoch = s->association->v13.write_epoch, .keys = s->gate_keys, .window = &window};
    const struct record13_reader reader = {.aead = s->taken.aead,
                                           .epochs = &epoch,
                                           .epoch_count = 1,
                                           .cid = association_client_cid(s->association),
                                           .cid_len = s->association->client_cid_len,
                                           .plaintext_max = RECORD_PLAINTEXT_MAX};
    assert_int_equal(
        record13_open(work, &reader, s->sent[index], s->sent_len[index], true, room, &content),
        RECORD_OPENED);
    return content;
}

static void assert_alert_sent(struct scene *s, uint8_t level, enum alert alert)
{
    uint8_t room[2048];
    struct record_content content = gate_sent(s, 0, room);
    assert_int_equal(content.type, RECORD_ALERT);
    assert_int_equal(content.data_len, 2);
    assert_int_equal(content.data[0], level);
    assert_int_equal(content.data[1], alert);
}

/* A record that an authenticated device can send, and what has to come of it. */
struct content_row {
    const char *section;
    uint8_t type;
    const char *data;
    size_t len;
    enum association_event event;
    int alert; /* that is sent; -1 = none */
};

#define BYTES(text) text, sizeof(text) - 1

static const struct content_row rows_12[] = {
    {"RFC 7252 4.6", 23, BYTES("data"), ASSOCIATION_DATA, -1},
    {"RFC 5246 6.2.1: empty data", 23, BYTES(""), ASSOCIATION_DATA, -1},
    {"RFC 5246 7.2.1: close_notify", 21, BYTES("\1\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 5246 7.2.1: a close_notify that is fatal", 21, BYTES("\2\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 5246 7.2: a warning", 21, BYTES("\1\x5a"), ASSOCIATION_CONTROL, -1},
    {"RFC 5246 7.2: an unknown warning", 21, BYTES("\1\xfe"), ASSOCIATION_CONTROL, -1},
    {"RFC 5246 7.2.2: a fatal alert", 21, BYTES("\2\x14"), ASSOCIATION_ALERTED, -1},
    {"RFC 5246 7.2: a level that does not exist", 21, BYTES("\3\x14"), ASSOCIATION_ALERTED, -1},
    {"RFC 5246 7.2.2: half an alert", 21, BYTES("\1"), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 5246 7.2.2: two alerts", 21, BYTES("\1\0\1\0"), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 5246 6.2.1: an empty alert", 21, BYTES(""), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 5746 4.4, RFC 5246 7.2.2: a renegotiation", 22, BYTES("\1\0\0\0\0\0\0\0\0\0\0\0"),
     ASSOCIATION_REFUSED, ALERT_NO_RENEGOTIATION},
    {"RFC 6347 4.2.4: the last flight again", 22, BYTES("\x14\0\0\x0c\0\3"), ASSOCIATION_REPEATED,
     -1},
    {"RFC 6347 4.2.4: another message of it", 22, BYTES("\x10\0\0\0\0\2"), ASSOCIATION_CONTROL, -1},
    {"RFC 5246 6.2.1: an empty handshake record", 22, BYTES(""), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 5246 7.1: a change of cipher", 20, BYTES("\1"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 6520 3: a heartbeat that was not agreed on", 24, BYTES("\1\0\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9147 4.1: an ACK in 1.2", 26, BYTES("\0\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9853 4: return routability that was not agreed on", 27, BYTES("\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 5246 6: an unknown type", 99, BYTES("?"), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
};

#define NUMBER(epoch, number) "\0\0\0\0\0\0\0" epoch "\0\0\0\0\0\0\0" number
/* message_seq of the next message is put in by the test: SEQ in its place. */
#define MESSAGE(type, len, fragment_len) type "\0\0" len "SQ\0\0\0\0\0" fragment_len

static const struct content_row rows_13[] = {
    {"RFC 7252 4.6", 23, BYTES("data"), ASSOCIATION_DATA, -1},
    {"RFC 8446 5.1: empty data", 23, BYTES(""), ASSOCIATION_DATA, -1},
    {"RFC 8446 6.1: close_notify", 21, BYTES("\1\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 8446 6: a close_notify of another level", 21, BYTES("\2\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 8446 6.1: user_canceled", 21, BYTES("\1\x5a"), ASSOCIATION_CONTROL, -1},
    {"RFC 8446 6: all others are fatal", 21, BYTES("\1\x14"), ASSOCIATION_ALERTED, -1},
    {"RFC 8446 6.2: a fatal alert", 21, BYTES("\2\x28"), ASSOCIATION_ALERTED, -1},
    {"RFC 8446 6.2: half an alert", 21, BYTES("\2"), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 8446 5.1: an empty alert", 21, BYTES(""), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 5.1: an empty handshake record", 22, BYTES(""), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 6.2: half a handshake header", 22, BYTES("\x18\0\0"), ASSOCIATION_FAILED,
     ALERT_DECODE_ERROR},
    {"RFC 8446 4.6.3: a value that does not exist", 22, BYTES(MESSAGE("\x18", "\1", "\1") "\2"),
     ASSOCIATION_FAILED, ALERT_ILLEGAL_PARAMETER},
    {"RFC 8446 4.6.3: a KeyUpdate without a value", 22, BYTES(MESSAGE("\x18", "\0", "\0")),
     ASSOCIATION_FAILED, ALERT_ILLEGAL_PARAMETER},
    {"RFC 8446 5.1: something behind a KeyUpdate", 22,
     BYTES(MESSAGE("\x18", "\1", "\1") "\0" MESSAGE("\x18", "\1", "\1") "\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 4.6: a ClientHello", 22, BYTES(MESSAGE("\1", "\0", "\0")), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 4.6.1: a ticket for the server", 22, BYTES(MESSAGE("\4", "\0", "\0")),
     ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 4.6.2: a certificate that was not asked for", 22, BYTES(MESSAGE("\x0b", "\0", "\0")),
     ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9147 7: an empty ACK", 26, BYTES("\0\0"), ASSOCIATION_CONTROL, -1},
    {"RFC 9147 7: an ACK of what was never sent", 26, BYTES("\0\x10" NUMBER("\3", "\x63")),
     ASSOCIATION_CONTROL, -1},
    {"RFC 9147bis 7: an ACK of a later epoch", 26, BYTES("\0\x10" NUMBER("\4", "\0")),
     ASSOCIATION_FAILED, ALERT_ILLEGAL_PARAMETER},
    {"RFC 9147 7: an ACK without a length", 26, BYTES(""), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 9147 7: an ACK that is cut", 26,
     BYTES("\0\x10"
           "\0\0\0"),
     ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 9147 7: half a number", 26,
     BYTES("\0\x08"
           "\0\0\0\0\0\0\0\0"),
     ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 8446 5: a change of cipher behind the handshake", 20, BYTES("\1"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 6520 3: a heartbeat that was not agreed on", 24, BYTES("\1\0\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9853 4: return routability that was not agreed on", 27, BYTES("\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 5: an unknown type", 99, BYTES("?"), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
};

static void put_seqs(const struct scene *s, uint8_t *data, size_t len)
{
    uint16_t seq = s->association->v13.message_seq_expected;
    for (size_t i = 0; i + 1 < len; i++) {
        if (data[i] == 'S' && data[i + 1] == 'Q')
            bytes_put16(data + i, seq++);
    }
}

static void check_row(struct scene *s, const struct content_row *row)
{
    uint8_t data[128] = {0};
    memcpy(data, row->data, row->len);
    if (s->taken.version == VERSION_1_3)
        put_seqs(s, data, row->len);
    device_sends(s, row->type, data, row->len);
    if (s->opened.event != row->event)
        fail_msg("%s: event %d", row->section, s->opened.event);
    if (row->alert < 0) {
        assert_int_equal(s->sent_count, 0);
        return;
    }
    assert_alert_sent(s, row->event == ASSOCIATION_REFUSED ? ALERT_WARNING : ALERT_FATAL,
                      (enum alert)row->alert);
    if (row->event == ASSOCIATION_FAILED)
        assert_int_equal(s->opened.alert, row->alert);
}

static void contents_of_records(void **test)
{
    struct scene *s = &scene;
    for (size_t row = 0; row < COUNT(rows_12); row++)
        EACH_KIND(kinds_12, s, *test) check_row(s, &rows_12[row]);
    for (size_t row = 0; row < COUNT(rows_13); row++)
        EACH_KIND(kinds_13, s, *test) check_row(s, &rows_13[row]);
}

static void renegotiations_are_refused_once_a_second(void **test)
{
    struct scene *s = &scene;
    begin(s, *test, &kinds_12[0]);
    unsigned alerts = 0;
    for (int i = 0; i < 30; i++) {
        device_sends(s, RECORD_HANDSHAKE, "\1\0\0\0", 4);
        assert_int_equal(s->opened.event, ASSOCIATION_REFUSED);
        alerts += s->sent_count;
        s->call.now_ms += 100;
    }
    assert_int_equal(alerts, 3);
    end(s);
}

/* ---- connection IDs (R18, R19, N26) ---------------------------------------------------------- */

static size_t write_message(struct scene *s, uint8_t type, const void *body, size_t len,
                            uint8_t *out)
{
    message_write_header(type, (uint32_t)len, s->association->v13.message_seq_expected, out);
    memcpy(out + HANDSHAKE_HEADER_BYTES, body, len);
    return HANDSHAKE_HEADER_BYTES + len;
}

static void device_sends_message(struct scene *s, uint8_t type, const void *body, size_t len)
{
    uint8_t message[600];
    size_t message_len = write_message(s, type, body, len, message);
    device_sends(s, RECORD_HANDSHAKE, message, message_len);
}

static void assert_acknowledged(struct scene *s, unsigned index, uint64_t number)
{
    uint8_t room[2048];
    struct record_content content = gate_sent(s, index, room);
    assert_int_equal(content.type, RECORD_ACK);
    assert_int_equal(message_count_acks(content.data, content.data_len), 1);
    assert_int_equal(message_get_ack(content.data, 0).number, number);
}

static void a_new_connection_id_is_used(void **test)
{
    static const uint8_t immediate[] = {0, 8, 4, 'n', 'e', 'w', '!', 2, 'x', 'y', CID_IMMEDIATE};
    static const uint8_t longer[] = {0,   13,  12,  'l', 'o', 'n', 'g', 'e',
                                     'r', ' ', 't', 'h', 'a', 'n', '8', CID_IMMEDIATE};
    static const uint8_t spare[] = {0, 3, 2, 'x', 'y', CID_SPARE};
    static const uint8_t none[] = {0, 0, CID_IMMEDIATE}, empty[] = {0, 1, 0, CID_IMMEDIATE},
                         cut[] = {0, 3, 4, 'x', 'y', CID_IMMEDIATE};
    struct scene *s = &scene;
    begin(s, *test, &kinds_13[4]);
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, immediate, sizeof(immediate));
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->association->client_cid_len, 4);
    assert_memory_equal(association_client_cid(s->association), "new!", 4);
    assert_int_equal(s->sent_count, 1);
    assert_memory_equal(s->sent[0] + 1, "new!", 4);
    assert_acknowledged(s, 0, s->device_next - 1);
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, spare, sizeof(spare));
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_memory_equal(association_client_cid(s->association), "new!", 4);
    assert_int_equal(s->sent_count, 1);
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, longer, sizeof(longer));
    assert_int_equal(s->association->client_cid_len, 12);
    assert_memory_equal(s->sent[0] + 1, "longer than8", 12);
    assert_acknowledged(s, 0, s->device_next - 1);
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, immediate, sizeof(immediate));
    assert_int_equal(s->association->client_cid_len, 4);
    assert_memory_equal(s->sent[0] + 1, "new!", 4);
    assert_null(association_find_rare(s->association, RARE_LONG_CIDS));
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, none, sizeof(none));
    assert_alert_sent(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    end(s);
    begin(s, *test, &kinds_13[4]);
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, empty, sizeof(empty));
    assert_alert_sent(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    end(s);
    begin(s, *test, &kinds_13[4]);
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, cut, sizeof(cut));
    assert_alert_sent(s, ALERT_FATAL, ALERT_DECODE_ERROR);
    end(s);
    begin(s, *test, &kinds_13[3]); /* the device has none */
    device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, immediate, sizeof(immediate));
    assert_alert_sent(s, ALERT_FATAL, ALERT_UNEXPECTED_MESSAGE);
    end(s);
}

static void there_are_no_further_connection_ids(void **test)
{
    struct scene *s = &scene;
    uint8_t room[2048];
    begin(s, *test, &kinds_13[4]);
    device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\3", 1);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->sent_count, 2);
    assert_acknowledged(s, 0, s->device_next - 1);
    struct record_content answer = gate_sent(s, 1, room);
    static const uint8_t expected[] = {0, 0, CID_SPARE};
    assert_int_equal(answer.type, RECORD_HANDSHAKE);
    assert_int_equal(answer.data[0], HANDSHAKE_NEW_CONNECTION_ID);
    assert_int_equal(answer.data_len, HANDSHAKE_HEADER_BYTES + sizeof(expected));
    assert_memory_equal(answer.data + HANDSHAKE_HEADER_BYTES, expected, sizeof(expected));
    end(s);
    begin(s, *test, &kinds_13[0]); /* without connection IDs */
    device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\3", 1);
    assert_alert_sent(s, ALERT_FATAL, ALERT_UNEXPECTED_MESSAGE);
    end(s);
}

/* ---- messages in fragments, early and late (R13, R14) -----------------------------------------
 */

static void device_sends_fragment(struct scene *s, uint8_t type, uint16_t seq, const uint8_t *body,
                                  uint32_t len, uint32_t from, uint32_t to)
{
    uint8_t record[600];
    message_write_header(type, len, seq, record);
    bytes_put16(record + 7, (uint16_t)from);
    bytes_put16(record + 10, (uint16_t)(to - from));
    memcpy(record + HANDSHAKE_HEADER_BYTES, body + from, to - from);
    device_sends(s, RECORD_HANDSHAKE, record, HANDSHAKE_HEADER_BYTES + to - from);
}

static void messages_in_fragments(void **test)
{
    static const uint8_t body[] = {0, 8, 4, 'n', 'e', 'w', '!', 2, 'x', 'y', CID_IMMEDIATE};
    struct scene *s = &scene;
    for (uint32_t cut = 0; cut <= sizeof(body); cut++) {
        for (uint32_t overlap = 0; overlap <= cut; overlap++) {
            for (int turned = 0; turned < 2; turned++) {
                begin(s, *test, &kinds_13[4]);
                uint16_t seq = s->association->v13.message_seq_expected;
                uint32_t edges[2][2] = {{0, cut}, {cut - overlap, sizeof(body)}};
                for (int i = 0; i < 2; i++) {
                    const uint32_t *edge = edges[turned ? 1 - i : i];
                    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, body, sizeof(body),
                                          edge[0], edge[1]);
                    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
                    assert_acknowledged(s, 0, s->device_next - 1);
                }
                assert_memory_equal(association_client_cid(s->association), "new!", 4);
                assert_int_equal(s->association->v13.message_seq_expected, seq + 1);
                end(s);
            }
        }
    }
}

static void what_comes_too_early_is_not_acknowledged(void **test)
{
    struct scene *s = &scene;
    begin(s, *test, &kinds_13[4]);
    uint16_t seq = s->association->v13.message_seq_expected;
    device_sends_fragment(s, HANDSHAKE_REQUEST_CONNECTION_ID, (uint16_t)(seq + 1),
                          (const uint8_t *)"\1", 1, 0, 1);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->sent_count, 0);
    assert_int_equal(s->association->v13.message_seq_expected, seq);
    /* ... and what was seen before is acknowledged again, without being done again. */
    device_sends_fragment(s, HANDSHAKE_FINISHED, (uint16_t)(seq - 1), (const uint8_t *)"\1", 1, 0,
                          1);
    assert_int_equal(s->sent_count, 1);
    assert_acknowledged(s, 0, s->device_next - 1);
    end(s);
}

static void a_message_that_is_too_long(void **test)
{
    uint8_t body[ASSOCIATION_MESSAGE_MAX + 1] = {0};
    struct scene *s = &scene;
    begin(s, *test, &kinds_13[4]);
    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, s->association->v13.message_seq_expected,
                          body, sizeof(body), 0, 10);
    assert_alert_sent(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    end(s);
}

static void fragments_that_contradict_each_other(void **test)
{
    static const uint8_t body[16];
    struct scene *s = &scene;
    begin(s, *test, &kinds_13[4]);
    uint16_t seq = s->association->v13.message_seq_expected;
    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, body, 16, 0, 4);
    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, body, 15, 4, 8);
    assert_alert_sent(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    end(s);
}

/* ---- limits of keys (R17, R37, N19) -----------------------------------------------------------
 */

static void forge(struct scene *s)
{
    uint8_t record[64] = {0};
    if (s->taken.version == VERSION_1_2) {
        record[0] = s->taken.cid_len != 0 ? RECORD_TLS12_CID : RECORD_APPLICATION_DATA;
        bytes_put16(record + 1, 0xfefd);
        bytes_put16(record + 3, 1);
        bytes_put32(record + 7, 1000);
        memcpy(record + 11, s->taken.cid, s->taken.cid_len);
        bytes_put16(record + 11 + s->taken.cid_len, (uint16_t)(64 - 13 - s->taken.cid_len));
    } else {
        record[0] = (uint8_t)(0x28 | (s->association->v13.read_epoch & 3) |
                              (s->taken.cid_len != 0 ? FORGE_HAS_CID : 0));
        memcpy(record + 1, s->taken.cid, s->taken.cid_len);
    }
    receive(s, record, sizeof(record));
}

static void check_forgery_limit(struct scene *s)
{
    s->limits.forged = 20;
    s->call.limits = &s->limits;
    s->call.is_contested = true; /* T9 */
    for (int i = 0; i < 100; i++) {
        forge(s);
        assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        assert_int_equal(s->opened.verdict, RECORD_FORGED);
    }
    s->call.is_contested = false;
    for (int i = 1; i < 20; i++) {
        s->sent_count = 0;
        forge(s);
        assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        /* At half of it the device is asked for new keys, once. */
        assert_int_equal(s->sent_count, s->taken.version == VERSION_1_3 && i == 10 ? 1 : 0);
    }
    forge(s);
    assert_int_equal(s->opened.event, ASSOCIATION_WORN_OUT);
}

static void forgeries_wear_keys_out(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_12, s, *test) check_forgery_limit(s);
    EACH_KIND(kinds_13, s, *test) check_forgery_limit(s);
}

/* A device that answers the request goes on: its new keys begin at zero. */
static void new_keys_are_not_worn(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_13, s, *test)
    {
        s->limits.forged = 20;
        s->call.limits = &s->limits;
        for (int round = 0; round < 5; round++) {
            for (int i = 0; i < 10; i++)
                forge(s);
            hand_over(s); /* our KeyUpdate with update_requested; the device answers with its own */
            for (int i = 0; i < 5; i++)
                forge(s);
            assert_both_ways(s, "still there");
        }
        assert_true(s->association->v13.read_epoch >= 8);
    }
}

static void sealing_wears_keys_out(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(kinds_12, s, *test)
    {
        s->limits.sealed = s->association->write_next + 10;
        s->call.limits = &s->limits;
        for (int i = 0; i < 10; i++)
            assert_int_equal(association_seal(s->association, &s->call, (const uint8_t *)"x", 1),
                             ASSOCIATION_SEALED);
        assert_int_equal(association_seal(s->association, &s->call, (const uint8_t *)"x", 1),
                         ASSOCIATION_NO_KEYS);
    }
    EACH_KIND(kinds_13, s, *test)
    {
        hand_over(s);
        s->limits.sealed = 20;
        s->call.limits = &s->limits;
        for (int i = 0; i < 100; i++) /* changes of keys in time, so that they are never worn out */
            assert_both_ways(s, "on and on");
        assert_true(s->association->v13.write_epoch > 8);
        for (int i = 0; i < 40; i++) { /* ... but if the device acknowledges none */
            if (association_seal(s->association, &s->call, (const uint8_t *)"x", 1) ==
                ASSOCIATION_NO_KEYS)
                break;
            assert_true(i < 39);
        }
    }
}

/* ---- sizes ------------------------------------------------------------------------------------
 */

static void sizes(void **test)
{
    static uint8_t data[RECORD_PLAINTEXT_MAX + 1];
    struct scene *s = &scene;
    EACH_KIND(kinds_12, s, *test)
    {
        size_t max = kinds_12[k].max_fragment == 1 ? 512
                     : kinds_12[k].cid_bytes != 0  ? RECORD_PLAINTEXT_MAX - 1
                                                   : RECORD_PLAINTEXT_MAX;
        assert_int_equal(association_seal(s->association, &s->call, data, max), ASSOCIATION_SEALED);
        assert_int_equal(association_seal(s->association, &s->call, data, max + 1),
                         ASSOCIATION_TOO_LARGE);
    }
    EACH_KIND(kinds_13, s, *test)
    {
        assert_int_equal(association_seal(s->association, &s->call, data, RECORD_PLAINTEXT_MAX),
                         ASSOCIATION_SEALED);
        assert_int_equal(association_seal(s->association, &s->call, data, RECORD_PLAINTEXT_MAX + 1),
                         ASSOCIATION_TOO_LARGE);
        assert_int_equal(association_seal(s->association, &s->call, NULL, 0), ASSOCIATION_SEALED);
    }
}

/* RECORDS.md L: a million sessions are a million of these. The part that a record needs lies in two
 * adjacent cache lines, or three if it does not begin with one. */
static void what_an_association_takes(void **state)
{
    static const struct {
        enum dtls_version version;
        enum aead aead;
        size_t bytes;
    } rows[] = {
        {VERSION_1_2, AEAD_AES_128_CCM_8, 119},     {VERSION_1_2, AEAD_AES_128_GCM, 119},
        {VERSION_1_2, AEAD_AES_256_GCM, 151},       {VERSION_1_2, AEAD_CHACHA20_POLY1305, 167},
        {VERSION_1_3, AEAD_AES_128_GCM, 231},       {VERSION_1_3, AEAD_AES_128_CCM_8, 231},
        {VERSION_1_3, AEAD_CHACHA20_POLY1305, 295}, {VERSION_1_3, AEAD_AES_256_GCM, 327},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct taken taken = {.version = rows[i].version, .aead = rows[i].aead};
        assert_int_equal(association_bytes(&taken), rows[i].bytes);
    }
    size_t read_keys = record13_keys_bytes(AEAD_AES_128_GCM);
    assert_in_range(offsetof(struct association, keys) + read_keys, 0, 2 * 64);
}

static int set_up(void **state)
{
    work = aead_work_new();
    slabs_init(&slabs);
    return work == NULL ? -1 : dtls_pair_set_up(state);
}

static int tear_down(void **state)
{
    aead_work_free(work);
    slabs_deinit(&slabs);
    return dtls_pair_tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_both_ways),
        cmocka_unit_test(the_gate_closes),
        cmocka_unit_test(what_a_closure_overtook),
        cmocka_unit_test(the_device_changes_its_keys),
        cmocka_unit_test(the_gate_changes_its_keys),
        cmocka_unit_test(both_change_their_keys_at_once),
        cmocka_unit_test(a_lost_change_of_keys_is_repeated),
        cmocka_unit_test(a_finished_that_is_repeated_is_acknowledged),
        cmocka_unit_test(a_ticket_is_given_up),
        cmocka_unit_test(contents_of_records),
        cmocka_unit_test(renegotiations_are_refused_once_a_second),
        cmocka_unit_test(a_new_connection_id_is_used),
        cmocka_unit_test(there_are_no_further_connection_ids),
        cmocka_unit_test(messages_in_fragments),
        cmocka_unit_test(what_comes_too_early_is_not_acknowledged),
        cmocka_unit_test(a_message_that_is_too_long),
        cmocka_unit_test(fragments_that_contradict_each_other),
        cmocka_unit_test(forgeries_wear_keys_out),
        cmocka_unit_test(new_keys_are_not_worn),
        cmocka_unit_test(sealing_wears_keys_out),
        cmocka_unit_test(sizes),
        cmocka_unit_test(what_an_association_takes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
