/* session.c: the table of its states row by row, and what a record of the device, a datagram of the
 * backend or a deadline does. What whole devices see of it is in worker/datapath_*.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "gate/gate_wolfssl.h"
#include "net/steering.h"
#include "session/closing.h"
#include "session/last_flight.h"
#include "session/path.h"
#include "session/session_scene.h"

#define SAY(scene, s, device, text) \
    scene_say(scene, s, device, RECORD_APPLICATION_DATA, text, strlen(text))

static const uint8_t close_notify[] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
static const uint8_t fatal_alert[] = {ALERT_FATAL, 80};

static struct session *find(const struct session_scene *scene, const struct scene_device *device)
{
    return sessions_find(&scene->all, &scene->generation->listeners[device->listener],
                         &device->addr);
}

/* It is in no table, has no timer, and its backend address is a tombstone for that reason. */
static void assert_ended(struct session_scene *scene, const struct scene_device *device,
                         const struct session *s, enum session_state state,
                         enum close_reason reason)
{
    assert_int_equal(s->state, state);
    assert_null(find(scene, device));
    assert_int_equal(scene_closed(scene, reason), 1);
    assert_int_equal(counter_get(&scene->counters.by_listener[device->listener].sessions), 0);
    assert_int_equal(scene->all.count, 0);
    assert_int_equal(s->timer.place, 0);
    assert_null(session_rare(s));
    assert_null(session_store_find_slot(&scene->all, s->slot));
    const struct backend_slot *slot = slots_find(&scene->backend.slots, s->slot);
    assert_non_null(slot);
    assert_int_equal(slots_late_reason(&scene->backend.slots, slot, scene->now_ms), reason);
}

/* ---- NEW ------------------------------------------------------------------------------------ */

static void a_session_is_found_and_counted(void **state)
{
    struct session_scene *scene = *state;
    for (unsigned i = 0; i < 4; i++) {
        struct scene_device device = scene_device_at(i);
        device.has_cid = i % 2 != 0;
        device.is_1_3 = i / 2 != 0;
        struct session *s = scene_begin_well(scene, &device);
        assert_int_equal(s->state, SESSION_ESTABLISHED);
        assert_ptr_equal(find(scene, &device), s);
        if (device.has_cid)
            assert_ptr_equal(
                sessions_find_cid(&scene->all, &scene->generation->listeners[0], device.taken.cid),
                s);
        assert_ptr_equal(session_store_find_slot(&scene->all, s->slot), s);
        assert_int_equal(slots_bucket_of(s->slot), steering_bucket_of_addr(&device.addr));
        assert_int_equal(counter_get(&scene->counters.by_listener[0].sessions), i + 1);
        assert_int_equal(counter_get(&scene->counters.by_listener[0]
                                          .sessions_by[device.is_1_3 ? VERSION_1_3 : VERSION_1_2]
                                                      [CREDENTIAL_PSK][device.has_cid]),
                         1);
        assert_int_equal(scene->all.count, i + 1);
        assert_int_equal(s->number, i + 1);
        assert_true(session_is_recent(s, scene->now_ms + 9999));
        assert_false(session_is_recent(s, scene->now_ms + 10000));
        struct addr local = routes_get(&scene->all.routes, s->route, s->listener)->local;
        local.port = scene->socket.bound.port;
        assert_true(addr_equal(&local, &scene->socket.bound));
        device.listener = SCENE_SECOND; /* not there */
        assert_null(find(scene, &device));
    }
    assert_int_equal(scene_sent(), 0);
}

/* Whatever the library thinks of it, nobody who proved nothing gets a session where a proof is
 * required. */
static void no_session_without_a_credential(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    enum handshake_result why;
    device.identity = NULL;
    assert_null(scene_begin(scene, &device, &why));
    assert_int_equal(why, HANDSHAKE_no_certificate);
    scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
    assert_null(find(scene, &device));
    assert_int_equal(counter_get(&scene->counters.by_listener[0].sessions), 0);
    assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
}

/* Fills the bucket that the address is in, with addresses toward the backend that are noisy: none
 * of them can be given to anybody. Returns how many devices that took. */
static unsigned fill_bucket(struct session_scene *scene, struct scene_device *device)
{
    uint32_t bucket = steering_bucket_of_addr(&device->addr);
    unsigned count = 0;
    scene->backend.slots.extra_max = 0;
    while (!backend_is_exhausted(&scene->backend, bucket, scene->now_ms)) {
        struct session *s = scene_begin_well(scene, device);
        slots_on_noise(&scene->backend.slots, s->slot, scene->now_ms);
        device->addr = scene_address_in(&device->addr, bucket);
        count++;
    }
    return count;
}

static void no_session_without_a_backend_address(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    enum handshake_result why;
    unsigned count = fill_bucket(scene, &device);
    assert_false(sessions_may_begin(&scene->all, &scene->generation->listeners[0], &device.addr,
                                    scene->now_ms));
    assert_null(scene_begin(scene, &device, &why));
    assert_int_equal(why, HANDSHAKE_no_backend_address);
    scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
    assert_int_equal(scene->all.count, count);
    /* Elsewhere there are some left. */
    struct scene_device other = scene_device_at(1);
    assert_true(sessions_may_begin(&scene->all, &scene->generation->listeners[0], &other.addr,
                                   scene->now_ms));
    scene_begin_well(scene, &other);
}

/* It takes the address of the session that it replaces, although that has not rested. */
static void a_session_makes_way_for_the_next_of_its_device(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0), last = device;
    uint32_t bucket = steering_bucket_of_addr(&device.addr);
    scene->backend.slots.extra_max = 0;
    while (!backend_is_exhausted(&scene->backend, bucket, scene->now_ms)) {
        scene_begin_well(scene, &device);
        last = device;
        device.addr = scene_address_in(&device.addr, bucket);
    }
    uint32_t count = scene->all.count, slot = find(scene, &last)->slot;
    assert_true(sessions_may_begin(&scene->all, &scene->generation->listeners[0], &last.addr,
                                   scene->now_ms));
    struct session *s = scene_begin_well(scene, &last);
    assert_int_equal(s->slot, slot);
    assert_int_equal(scene->all.count, count);
    assert_int_equal(scene_closed(scene, CLOSE_replaced), 1);
    assert_int_equal(counter_get(&scene->counters.by_listener[0].backend_addresses_taken_early), 1);
}

/* If nothing would be gained by it, no other session is evicted. */
static void nobody_makes_way_in_vain(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    enum handshake_result why;
    unsigned count = fill_bucket(scene, &device);
    for (; count < scene->all.max; count++) {
        struct scene_device other = scene_device_at(count);
        scene_begin_well(scene, &other);
    }
    assert_null(scene_begin(scene, &device, &why));
    assert_int_equal(why, HANDSHAKE_no_backend_address);
    assert_int_equal(scene->all.count, scene->all.max);
    assert_int_equal(scene_closed(scene, CLOSE_evicted), 0);
}

static void no_session_without_memory(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    enum handshake_result why;
    int fd = scene->state.region.fd;
    scene->state.region.fd = -1; /* the system has none */
    assert_null(scene_begin(scene, &device, &why));
    scene->state.region.fd = fd;
    assert_int_equal(why, HANDSHAKE_internal_error);
    assert_int_equal(scene->all.count, 0);
    scene_begin_well(scene, &device);
}

/* ---- ESTABLISHED ---------------------------------------------------------------------------- */

static void data_goes_both_ways(void **state)
{
    struct session_scene *scene = *state;
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *data;
        size_t len;
        struct scene_device device = scene_device_at(i);
        device.is_1_3 = i == 1;
        struct session *s = scene_begin_well(scene, &device);
        uint32_t before = scene_forwarded();
        assert_int_equal(SAY(scene, s, &device, "ping"), CLIENT_forwarded);
        assert_int_equal(scene_forwarded(), before + 1);
        const struct packet *packet = fake_network_last(GATE_TO_BACKEND, NULL);
        struct addr source = backend_slot_addr(&scene->backend, s->slot);
        assert_true(addr_equal(&packet->from, &source));
        assert_int_equal(packet->len, 4);
        assert_memory_equal(packet->data, "ping", 4);
        assert_int_equal(scene_answer(scene, s, "pong!", 5), BACKEND_forwarded);
        assert_int_equal(scene_open_last(scene, &device, &data, &len), RECORD_APPLICATION_DATA);
        assert_int_equal(len, 5);
        assert_memory_equal(data, "pong!", 5);
        assert_int_equal(s->from_client, 1);
        assert_int_equal(s->from_backend, 1);
    }
}

/* RFC 9146 section 6: an address that is not proved is sent no more than three times what came from
 * it. Whatever else fits into that, as a KeyUpdate does, data that is kept back is told. */
static void an_address_that_is_not_proved_gets_little(void **state)
{
    struct session_scene *scene = *state;
    for (unsigned i = 0; i < 2; i++) {
        static const uint8_t data[200];
        struct scene_device device = scene_device_at(i);
        device.has_cid = true;
        device.is_1_3 = i == 1;
        struct session *s = scene_begin_well(scene, &device);
        device.addr = scene_address(100 + i);
        assert_int_equal(SAY(scene, s, &device, "x"), CLIENT_forwarded);
        assert_ptr_equal(find(scene, &device), s);
        const struct session_rare *rare = ref_get(&s->rare);
        size_t left = rare->received_bytes * (size_t)3;
        if (device.is_1_3)
            s->association.write_next = record_limits(device.taken.aead, true)->sealed / 2;
        assert_int_equal(scene_answer(scene, s, data, left), BACKEND_address_unproved);
        assert_int_equal(scene_sent(), i); /* the KeyUpdate of DTLS 1.3 */
        assert_int_equal(s->from_backend, 0);
        for (size_t n = 0; n < left && scene_answer(scene, s, data, 1) == BACKEND_forwarded; n++)
            continue;
        uint32_t sent_bytes = 0;
        for (uint32_t n = 0; n < fake_network_captured(); n++) {
            const struct packet *packet = fake_network_packet(n);
            if (packet->direction == GATE_TO_CLIENT && addr_equal(&packet->to, &device.addr))
                sent_bytes += packet->len;
        }
        assert_in_range(sent_bytes, 1, left);
        /* The device goes on from there: that is the proof. */
        assert_int_equal(SAY(scene, s, &device, "x"), CLIENT_forwarded);
        assert_int_equal(scene_answer(scene, s, data, sizeof(data)), BACKEND_forwarded);
        fake_network_reset(0);
    }
}

/* Two records in one datagram show no more than one that who sent it hears nothing of what is sent
 * there: the datagram may have been held back and sent on from a forged address. */
static void no_datagram_proves_the_address_that_it_moves_to(void **state)
{
    struct session_scene *scene = *state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t datagram[512];
        size_t len = 0;
        struct scene_device device = scene_device_at(i);
        device.has_cid = true;
        device.is_1_3 = i == 1;
        struct session *s = scene_begin_well(scene, &device);
        device.addr = scene_address(100 + i);
        for (int n = 0; n < 3; n++)
            len += scene_seal(scene, &device, device.next++, RECORD_APPLICATION_DATA, "x", 1,
                              datagram + len);
        assert_int_equal(scene_receive(scene, s, &device, datagram, len, false), CLIENT_forwarded);
        assert_ptr_equal(find(scene, &device), s);
        assert_false(path_is_proved(s));
        assert_int_equal(SAY(scene, s, &device, "x"), CLIENT_forwarded);
        assert_true(path_is_proved(s));
    }
}

static void what_no_record_takes_is_told(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    static uint8_t data[RECORD_PLAINTEXT_MAX + 1];
    assert_int_equal(scene_answer(scene, s, data, sizeof(data)), BACKEND_too_large);
    assert_int_equal(scene_sent(), 0);
    assert_int_equal(fake_log_count("event=backend_datagram_too_large", "bytes=16385", NULL), 1);
    assert_int_equal(s->state, SESSION_ESTABLISHED);
}

/* Records behind each other, one of them forged, behind one of epoch 0 as a repeated last flight
 * has it. T9: forgeries do not count while a handshake runs at the same address. */
static void a_datagram_of_many_records(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    uint8_t datagram[512] = {20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1};
    size_t len = 14;
    for (int i = 0; i < 4; i++) {
        len += scene_seal(scene, &device, device.next++, RECORD_APPLICATION_DATA, "data", 4,
                          datagram + len);
        if (i == 1)
            datagram[len - 1] ^= 1;
    }
    assert_int_equal(scene_receive(scene, s, &device, datagram, len, true), CLIENT_forwarded);
    assert_int_equal(scene_forwarded(), 3);
    /* One in plaintext, and one that is forged. */
    assert_int_equal(counter_get(&scene->counters.by_listener[0].records_discarded), 2);
    assert_int_equal(s->association.forged, 0);
    len = scene_seal(scene, &device, device.next++, RECORD_APPLICATION_DATA, "data", 4, datagram);
    datagram[len - 1] ^= 1;
    assert_int_equal(scene_receive(scene, s, &device, datagram, len, false),
                     CLIENT_record_discarded);
    assert_int_equal(s->association.forged, 1);
    assert_int_equal(scene_forwarded(), 3);
}

static void the_device_closes(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    assert_int_equal(scene_say(scene, s, &device, RECORD_ALERT, close_notify, 2),
                     CLIENT_session_closed);
    scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_closed_by_client);
}

static void the_device_has_a_fatal_alert(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    assert_int_equal(scene_say(scene, s, &device, RECORD_ALERT, fatal_alert, 2),
                     CLIENT_session_closed);
    assert_int_equal(scene_sent(), 0);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_fatal_alert);
}

static void the_device_breaks_a_rule(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    assert_int_equal(scene_say(scene, s, &device, RECORD_CHANGE_CIPHER_SPEC, "\1", 1),
                     CLIENT_session_closed);
    scene_expect_alert(scene, &device, ALERT_UNEXPECTED_MESSAGE);
    assert_int_equal(scene_sent(), 1);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_fatal_alert);
}

/* The device is told although its keys have sealed all that they may. */
static void keys_have_sealed_enough(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    s->association.write_next = record_limits(device.taken.aead, false)->sealed - 1;
    assert_int_equal(scene_answer(scene, s, "last", 4), BACKEND_forwarded);
    assert_int_equal(scene_answer(scene, s, "x", 1), BACKEND_encrypt_failed);
    scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
    assert_int_equal(scene_sent(), 2);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_key_limit);
}

static void keys_have_seen_enough_forgeries(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    uint8_t record[64];
    size_t len = scene_seal(scene, &device, device.next, RECORD_APPLICATION_DATA, "x", 1, record);
    s->association.forged = record_limits(device.taken.aead, false)->forged - 1;
    record[len - 1] ^= 1;
    assert_int_equal(scene_receive(scene, s, &device, record, len, false), CLIENT_session_closed);
    scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_forgery_limit);
}

/* Messages that change keys have numbers, which end (R14). */
static void there_are_no_further_keys(void **state)
{
    static const uint8_t key_update[] = {
        HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0};
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    device.is_1_3 = true;
    struct session *s = scene_begin_well(scene, &device);
    s->association.v13.message_seq_expected = UINT16_MAX;
    assert_int_equal(scene_say(scene, s, &device, RECORD_HANDSHAKE, key_update, sizeof(key_update)),
                     CLIENT_session_closed);
    scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_key_limit);
}

/* Longer with a connection ID; each datagram of either side begins the time anew. */
static void an_idle_session_ends(void **state)
{
    struct session_scene *scene = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct scene_device device = scene_device_at(i);
        device.has_cid = i == 1;
        uint64_t idle_ms = device.has_cid ? SCENE_IDLE_CID_MS : SCENE_IDLE_MS;
        struct session *s = scene_begin_well(scene, &device);
        scene_wait(scene, idle_ms - 1);
        assert_int_equal(SAY(scene, s, &device, "x"), CLIENT_forwarded);
        scene_wait(scene, idle_ms - 1);
        assert_int_equal(scene_answer(scene, s, "x", 1), BACKEND_forwarded);
        scene_wait(scene, idle_ms - 1);
        assert_ptr_equal(find(scene, &device), s);
        assert_in_range(sessions_due_ms(&scene->all), scene->now_ms, scene->now_ms + 1);
        scene_wait(scene, 1);
        assert_null(find(scene, &device));
        assert_int_equal(scene_closed(scene, CLOSE_idle), i + 1);
        scene_expect_alert(scene, &device, ALERT_CLOSE_NOTIFY);
        assert_int_equal(sessions_due_ms(&scene->all), TIMERS_NONE);
    }
}

static void the_gate_stops(void **state)
{
    enum { COUNT = 7 };
    struct session_scene *scene = *state;
    struct scene_device devices[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        devices[i] = scene_device_at(i);
        devices[i].is_1_3 = i % 2 != 0;
        scene_begin_well(scene, &devices[i]);
    }
    sessions_end_all(&scene->all, scene->now_ms);
    udp_out_flush(&scene->to_client);
    sessions_reap(&scene->all);
    for (unsigned i = 0; i < COUNT; i++)
        scene_expect_alert(scene, &devices[i], ALERT_CLOSE_NOTIFY);
    assert_int_equal(scene_sent(), COUNT);
    assert_int_equal(scene->all.count, 0);
    assert_int_equal(scene_closed(scene, CLOSE_shutdown), COUNT);
    assert_int_equal(sessions_due_ms(&scene->all), TIMERS_NONE);
    assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
}

/* A device that begins anew at its address has forgotten the session before: no alert, which it
 * could not read. */
static void a_newer_session_replaces_it(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0), again = device;
    struct session *old = scene_begin_well(scene, &device);
    struct session *s = scene_begin_well(scene, &again);
    assert_int_equal(old->state, SESSION_ENDED);
    assert_ptr_equal(find(scene, &device), s);
    assert_int_equal(scene_sent(), 0);
    assert_int_equal(scene_closed(scene, CLOSE_replaced), 1);
    assert_int_equal(scene->all.count, 1);
    assert_int_equal(SAY(scene, s, &again, "x"), CLIENT_forwarded);
}

/* A NAT gives its address to another device: with a connection ID it goes on. */
static void another_device_at_its_address(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0), other = scene_device_at(0),
                        third = scene_device_at(0);
    device.has_cid = true;
    other.identity = "other";
    struct session *old = scene_begin_well(scene, &device);
    struct session *s = scene_begin_well(scene, &other);
    assert_ptr_equal(find(scene, &device), s);
    assert_int_equal(old->state, SESSION_ESTABLISHED);
    assert_ptr_equal(
        sessions_find_cid(&scene->all, &scene->generation->listeners[0], device.taken.cid), old);
    assert_int_equal(SAY(scene, old, &device, "x"), CLIENT_forwarded);
    /* Without one it does not. */
    third.identity = "third";
    scene_begin_well(scene, &third);
    assert_int_equal(s->state, SESSION_ENDED);
    assert_int_equal(scene_closed(scene, CLOSE_replaced), 1);
    assert_int_equal(scene->all.count, 2);
}

/* sessions_per_identity = 2, over all workers. */
static void too_many_of_one_identity(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device devices[3];
    struct session *sessions[3];
    for (unsigned i = 0; i < 3; i++) {
        devices[i] = scene_device_at(i);
        devices[i].listener = SCENE_FEW;
        sessions[i] = scene_begin_well(scene, &devices[i]);
    }
    assert_int_equal(sessions[0]->state, SESSION_ENDED);
    assert_int_equal(sessions[1]->state, SESSION_ESTABLISHED);
    assert_int_equal(scene_closed(scene, CLOSE_replaced), 1);
    assert_int_equal(scene_sent(), 0);
    /* One that ends makes room. */
    session_end(&scene->all, sessions[1], CLOSE_idle, false, scene->now_ms);
    scene_begin_well(scene, &devices[0]);
    assert_int_equal(sessions[2]->state, SESSION_ESTABLISHED);
    /* The oldest is another worker's. */
    struct identities_key key;
    struct identities_session other = {.worker = 5, .slot = 6, .number = 7}, victim;
    identities_make_key(scene->identities, SCENE_FEW, CREDENTIAL_PSK, "elsewhere", 9, &key);
    assert_false(identities_begin(scene->identities, &key, 2, other, &victim));
    devices[0].identity = devices[1].identity = "elsewhere";
    devices[0].addr = scene_address(10);
    devices[1].addr = scene_address(11);
    scene_begin_well(scene, &devices[0]);
    assert_int_equal(scene->ended_elsewhere, 0);
    scene_begin_well(scene, &devices[1]);
    assert_int_equal(scene->ended_elsewhere, 1);
    assert_int_equal(scene->elsewhere.worker, 5);
    assert_int_equal(scene->elsewhere.number, 7);
}

/* What another worker asks for may come when the slot is another session's. */
static void a_session_is_replaced_by_name(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    struct identities_session name = {.slot = s->slot, .number = s->number + 1};
    sessions_end_replaced(&scene->all, &name, scene->now_ms);
    assert_int_equal(s->state, SESSION_ESTABLISHED);
    name.slot++;
    sessions_end_replaced(&scene->all, &name, scene->now_ms);
    name = (struct identities_session){.slot = s->slot, .number = s->number};
    sessions_end_replaced(&scene->all, &name, scene->now_ms);
    assert_int_equal(scene_sent(), 0);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_replaced);
}

static void an_end_is_the_end(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    session_end(&scene->all, s, CLOSE_idle, true, scene->now_ms);
    session_end(&scene->all, s, CLOSE_shutdown, true, scene->now_ms);
    assert_int_equal(fake_log_count("event=session_closed", NULL), 1);
    udp_out_flush(&scene->to_client);
    assert_int_equal(scene_sent(), 1);
    assert_int_equal(scene_closed(scene, CLOSE_shutdown), 0);
    assert_ended(scene, &device, s, SESSION_ENDED, CLOSE_idle);
    /* Whatever asks for it: nothing goes to its device any more. */
    static const uint8_t record[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 1, 0};
    uint64_t datagram = 0;
    assert_false(path_send(&scene->all, s, record, sizeof(record), &datagram, NULL));
    udp_out_flush(&scene->to_client);
    assert_int_equal(scene_sent(), 1);
    sessions_reap(&scene->all);
    sessions_reap(&scene->all);
    assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
    /* When the gate stops, one that is not told has no line of its own. */
    s = scene_begin_well(scene, &device);
    session_end(&scene->all, s, CLOSE_shutdown, false, scene->now_ms);
    assert_int_equal(fake_log_count("event=session_closed", NULL), 1);
}

/* ---- CLOSING -------------------------------------------------------------------------------- */

/* Closes with `missing` numbers before the close_notify; the first one of them is returned. */
static uint64_t close_too_early(struct session_scene *scene, struct session *s,
                                struct scene_device *device, unsigned missing)
{
    uint64_t first = device->next;
    device->next += missing;
    assert_int_equal(scene_say(scene, s, device, RECORD_ALERT, close_notify, 2),
                     CLIENT_session_closed);
    scene_expect_alert(scene, device, ALERT_CLOSE_NOTIFY);
    assert_ended(scene, device, s, SESSION_CLOSING, CLOSE_closed_by_client);
    return first;
}

/* RFC 9147 section 5.10: a closure ends what was sent later, not what arrives later. */
static void data_that_a_closure_has_overtaken(void **state)
{
    struct session_scene *scene = *state;
    for (unsigned has_cid = 0; has_cid < 2; has_cid++) {
        uint8_t record[64];
        struct scene_device device = scene_device_at(has_cid), other = scene_device_at(7);
        device.has_cid = has_cid != 0;
        if (has_cid != 0) /* so that assert_ended() counts from 0 */
            atomic_store(&scene->counters.by_listener[0].closed[CLOSE_closed_by_client], 0);
        struct session *s = scene_begin_well(scene, &device);
        uint64_t first = close_too_early(scene, s, &device, 2);
        uint32_t sent = scene_sent(), forwarded = scene_forwarded();
        struct addr source = backend_slot_addr(&scene->backend, s->slot);
        for (uint64_t i = 0; i < 2; i++) {
            size_t len = scene_seal(scene, &device, first + 1 - i, RECORD_APPLICATION_DATA, "late",
                                    4, record);
            assert_int_equal(s->state, SESSION_CLOSING);
            if (has_cid == 0) /* of no other address */
                other.addr.port++;
            if (has_cid == 0)
                assert_false(scene_receive_closing(scene, &other, record, len));
            assert_true(scene_receive_closing(scene, &device, record, len));
            assert_true(addr_equal(&fake_network_last(GATE_TO_BACKEND, NULL)->from, &source));
            assert_false(scene_receive_closing(scene, &device, record, len)); /* again */
        }
        assert_int_equal(s->state, SESSION_ENDED);
        assert_int_equal(scene_forwarded(), forwarded + 2);
        assert_int_equal(scene_sent(), sent);
        sessions_reap(&scene->all);
        assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
    }
}

static void closing_has_an_end(void **state)
{
    struct session_scene *scene = *state;
    uint8_t record[64];
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    uint64_t first = close_too_early(scene, s, &device, 1);
    size_t len = scene_seal(scene, &device, first, RECORD_APPLICATION_DATA, "late", 4, record);
    assert_int_equal(sessions_due_ms(&scene->all), scene->now_ms + CLOSING_MS);
    scene_wait(scene, CLOSING_MS - 1);
    assert_int_equal(s->state, SESSION_CLOSING);
    scene_wait(scene, 1);
    assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
    assert_false(scene_receive_closing(scene, &device, record, len));
    assert_int_equal(scene_forwarded(), 0);
    assert_int_equal(sessions_due_ms(&scene->all), TIMERS_NONE);
}

/* No more than the latest ones are kept, and as much as the store was told. */
static void many_are_closing(void **state)
{
    struct session_scene *scene = *state;
    struct session *first = NULL;
    for (unsigned i = 0; i < SESSION_CLOSING_MAX + 1; i++) {
        struct scene_device device = scene_device_at(i);
        struct session *s = scene_begin_well(scene, &device);
        device.next += 3;
        assert_int_equal(scene_say(scene, s, &device, RECORD_ALERT, close_notify, 2),
                         CLIENT_session_closed);
        assert_int_equal(s->state, SESSION_CLOSING);
        if (i == 0)
            first = s;
        if (i < SESSION_CLOSING_MAX)
            assert_int_equal(first->state, SESSION_CLOSING);
    }
    assert_int_equal(first->state, SESSION_ENDED);
    assert_int_equal(scene->all.closing_count, SESSION_CLOSING_MAX);
    sessions_end_all(&scene->all, scene->now_ms);
    sessions_reap(&scene->all);
    assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
}

/* What comes for it would be taken for the new owner's. */
static void its_backend_address_is_given_away(void **state)
{
    struct session_scene *scene = *state;
    uint8_t record[64];
    struct scene_device device = scene_device_at(0), next = device;
    uint32_t bucket = steering_bucket_of_addr(&device.addr);
    struct session *s = scene_begin_well(scene, &device);
    uint64_t first = close_too_early(scene, s, &device, 1);
    uint32_t slot = s->slot;
    size_t len = scene_seal(scene, &device, first, RECORD_APPLICATION_DATA, "late", 4, record);
    scene->backend.slots.extra_max = 0;
    struct session *heir = NULL;
    while (heir == NULL || heir->slot != slot) {
        assert_int_equal(s->state, SESSION_CLOSING);
        next.addr = scene_address_in(&next.addr, bucket);
        heir = scene_begin_well(scene, &next);
    }
    assert_int_equal(s->state, SESSION_ENDED);
    assert_false(scene_receive_closing(scene, &device, record, len));
    assert_int_equal(scene_forwarded(), 0);
}

/* ---- the last flight of DTLS 1.2, and deadlines ---------------------------------------------- */

static const uint8_t finished[] = {20, 0, 0, 12, 0, 3, 0, 0, 0, 0,  0,  12,
                                   1,  2, 3, 4,  5, 6, 7, 8, 9, 10, 11, 12};

/* T4. The Finished that comes again says that ours was lost; but not to any rate. */
static void the_last_flight_is_repeated(void **state)
{
    enum { FLIGHT = 66 };
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_with_flight(scene, &device, FLIGHT);
    assert_non_null(s);
    scene_wait(scene, 249);
    assert_int_equal(scene_say(scene, s, &device, RECORD_HANDSHAKE, finished, 24),
                     CLIENT_handshake);
    assert_int_equal(scene_sent(), 0);
    scene_wait(scene, 1);
    assert_int_equal(scene_say(scene, s, &device, RECORD_HANDSHAKE, finished, 24),
                     CLIENT_handshake);
    assert_int_equal(scene_sent(), 1);
    assert_int_equal(fake_network_last(GATE_TO_CLIENT, NULL)->len, FLIGHT);
    assert_int_equal(scene_say(scene, s, &device, RECORD_HANDSHAKE, finished, 24),
                     CLIENT_handshake);
    assert_int_equal(scene_sent(), 1);
    /* Whoever uses the keys has it. */
    assert_int_equal(SAY(scene, s, &device, "x"), CLIENT_forwarded);
    assert_null(session_rare(s));
    scene_wait(scene, 1000);
    assert_int_equal(scene_say(scene, s, &device, RECORD_HANDSHAKE, finished, 24), CLIENT_control);
    assert_int_equal(scene_sent(), 1);
}

static void the_last_flight_is_kept_for_240_s(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    device.has_cid = true; /* so that it does not become idle before */
    struct session *s = scene_begin_with_flight(scene, &device, 66);
    assert_non_null(s);
    assert_int_equal(sessions_due_ms(&scene->all), scene->now_ms + 240000);
    scene_wait(scene, 239999);
    assert_non_null(session_rare(s));
    scene_wait(scene, 1);
    assert_null(session_rare(s));
    assert_int_equal(last_flight_due_ms(s), TIMERS_NONE);
    assert_int_equal(sessions_due_ms(&scene->all), scene->now_ms - 240000 + SCENE_IDLE_CID_MS);
}

/* DTLS 1.3: the gate's KeyUpdate is repeated although the device says nothing, and whichever
 * direction has worn the keys. */
static void a_change_of_keys_is_repeated(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    device.is_1_3 = true;
    struct session *s = scene_begin_well(scene, &device);
    s->association.write_next = record_limits(device.taken.aead, true)->sealed / 2;
    assert_int_equal(scene_answer(scene, s, "half", 4), BACKEND_forwarded);
    assert_int_equal(scene_sent(), 2);
    assert_int_equal(sessions_due_ms(&scene->all), scene->now_ms + 1000);
    scene_wait(scene, 999);
    assert_int_equal(scene_sent(), 2);
    scene_wait(scene, 1);
    assert_int_equal(scene_sent(), 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_set_up, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_found_and_counted),
        TEST(no_session_without_a_credential),
        TEST(no_session_without_a_backend_address),
        TEST(a_session_makes_way_for_the_next_of_its_device),
        TEST(nobody_makes_way_in_vain),
        TEST(no_session_without_memory),
        TEST(data_goes_both_ways),
        TEST(an_address_that_is_not_proved_gets_little),
        TEST(no_datagram_proves_the_address_that_it_moves_to),
        TEST(what_no_record_takes_is_told),
        TEST(a_datagram_of_many_records),
        TEST(the_device_closes),
        TEST(the_device_has_a_fatal_alert),
        TEST(the_device_breaks_a_rule),
        TEST(keys_have_sealed_enough),
        TEST(keys_have_seen_enough_forgeries),
        TEST(there_are_no_further_keys),
        TEST(an_idle_session_ends),
        TEST(the_gate_stops),
        TEST(a_newer_session_replaces_it),
        TEST(another_device_at_its_address),
        TEST(too_many_of_one_identity),
        TEST(a_session_is_replaced_by_name),
        TEST(an_end_is_the_end),
        TEST(data_that_a_closure_has_overtaken),
        TEST(closing_has_an_end),
        TEST(many_are_closing),
        TEST(its_backend_address_is_given_away),
        TEST(the_last_flight_is_repeated),
        TEST(the_last_flight_is_kept_for_240_s),
        TEST(a_change_of_keys_is_repeated),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("session", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
