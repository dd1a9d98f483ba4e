#include "property/property_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "property/property_note.h"
#include "property/property_path.h"
#include "property/property_wire.h"

enum { ALERT_REPEATS = 3 };

/* The IP address tells which it is, the port brings it into its bucket. */
static struct addr draw_addr(uint32_t index)
{
    static const uint32_t buckets[MODEL_BUCKETS] = {0x123, 0x124, 0xfff};
    struct addr addr = gate_device_addr(index);
    while (steering_bucket_of_addr(&addr) != buckets[index % MODEL_BUCKETS])
        addr.port++;
    return addr;
}

void model_init(struct model *model, struct gate *gate)
{
    *model = (struct model){
        .gate = gate, .listener_count = MODEL_LISTENERS, .next_origin = {.life = NO_LIFE}};
    for (uint32_t i = 0; i < MODEL_ADDRESSES; i++)
        model->addrs[i] = draw_addr(i);
    model_on_settings(model);
}

void model_deinit(struct model *model)
{
    free(model->origins);
    model->origins = NULL;
}

uint32_t model_add_life(struct model *model, const struct client_kind *kind, uint32_t listener,
                        bool is_impostor)
{
    if (model->life_count == MODEL_LIVES_MAX)
        return NO_LIFE;
    model->lives[model->life_count] =
        (struct life){.kind = kind, .listener = listener, .is_impostor = is_impostor};
    return model->life_count++;
}

uint32_t model_address_index(const struct model *model, const struct addr *addr)
{
    uint32_t index = (uint32_t)addr->ip[3] - model->addrs[0].ip[3];
    if (index >= MODEL_ADDRESSES || !addr_equal(&model->addrs[index], addr))
        fail_msg("datagram for an address that no device ever had");
    return index;
}

bool model_is_overtaken(struct model *model, const struct life *life, uint32_t order)
{
    return life->state == LIFE_AFTER_SESSION && life->reason == CLOSE_closed_by_client &&
           life->ended_step > model->restart_step &&
           model->gate->now_ms - life->ended_ms < GATE_CLOSING_MS && order < life->closure &&
           model_owner_of(model, life->source) == life;
}

struct model_counts model_counts_of(const struct model *model, uint32_t listener)
{
    struct model_counts counts;
    struct counters *c = gate_counters(model->gate, listener);
    counts.begun = counter_get(&c->client[CLIENT_handshake_begun]);
    counts.failed = counter_get(&c->client[CLIENT_handshake_failed]);
    counts.alert_repeated = counter_get(&c->client[CLIENT_alert_repeated]);
    counts.cid_missing = counter_get(&c->client[CLIENT_cid_missing]);
    counts.cid_unknown = counter_get(&c->client[CLIENT_cid_unknown]);
    counts.moved = counter_get(&c->address_changes);
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        counts.backend[i] = counter_get(&c->backend[i]);
    for (unsigned i = 0; i < LATE_REASON_COUNT; i++)
        counts.late[i] = counter_get(&c->late[i]);
    return counts;
}

void model_begin_step(struct model *model)
{
    model->step++;
    model->from_client_count = model->from_backend_count = model->to_client_count = 0;
    model->began_count = model->ended_count = model->move_count = 0;
    model->is_reloading = false;
    for (uint32_t i = 0; i < MODEL_LISTENERS; i++)
        model->listeners[i].addr_before = gate_listener_addr(model->gate, i);
    for (uint32_t i = 0; i <= model->listener_count; i++)
        model->before[i] = model_counts_of(model, i);
}

bool model_has_handshake(const struct model *model, uint32_t listener, const struct addr *addr)
{
    const struct model_handshake *h =
        &model->handshakes[listener][model_address_index(model, addr)];
    return h->is_open || h->closed_step == model->step;
}

bool model_is_session_at(const struct model *model, uint32_t index, uint32_t listener,
                         const struct addr *addr)
{
    const struct life *life = &model->lives[index];
    bool is_at = addr_equal(&life->addr, addr);
    for (uint32_t i = 0; i < model->move_count && !is_at; i++)
        is_at = model->moves[i].life == index && addr_equal(&model->moves[i].from, addr);
    return is_at && life->listener == listener;
}

const char *model_identity_of(const struct life *life)
{
    return life->kind->identity != NULL ? life->kind->identity : IDENTITY;
}

bool model_is_same_identity(const struct life *a, const struct life *b)
{
    bool is_psk = a->kind->identity != NULL;
    return is_psk == (b->kind->identity != NULL) &&
           strcmp(model_identity_of(a), model_identity_of(b)) == 0;
}

/* ---- what the log says ---------------------------------------------------------------------- */

/* The value of ` key=`, up to the next space; no value in these lines has one. */
static const char *field(const char *line, const char *key, char value[128])
{
    char pattern[32];
    snprintf(pattern, sizeof(pattern), " %s=", key);
    const char *at = strstr(line, pattern);
    if (at == NULL)
        fail_msg("no %s in the log line: %s", key, line);
    at += strlen(pattern);
    snprintf(value, 128, "%.*s", (int)strcspn(at, " "), at);
    return value;
}

static struct addr field_addr(const char *line, const char *key)
{
    char value[128];
    struct addr addr;
    struct err err;
    if (!addr_parse(&addr, field(line, key, value), &err))
        fail_msg("no address in the log line: %s", line);
    return addr;
}

static uint64_t field_number(const char *line, const char *key)
{
    char value[128];
    return strtoull(field(line, key, value), NULL, 10);
}

static uint32_t field_listener(const struct model *model, const char *line)
{
    char value[128];
    field(line, "listener", value);
    for (uint32_t i = 0; i < model->name_count; i++) {
        if (strcmp(model->names[i].name, value) == 0)
            return model->names[i].number;
    }
    fail_msg("no such listener: %s", line);
    return 0;
}

/* The datagram may be the one that finished this handshake: it came from there, or has the
 * connection ID that was agreed on. */
static bool is_of_handshake(const struct model *model, const struct model_input *input,
                            const char *line, const struct addr *client)
{
    char expected[128], cid[2 * RECORD_CID_MAX + 1] = "";
    const struct life *life = &model->lives[input->origin.life];
    if (strstr(line, " cid=") == NULL)
        return life->cid_len == 0 && addr_equal(&input->packet->from, client);
    for (uint32_t i = 0; i < life->cid_len; i++)
        snprintf(cid + 2 * i, 3, "%02x", life->cid[i]);
    return strcmp(cid, field(line, "cid", expected)) == 0;
}

/* The device whose handshake this is: the datagram that finished it is of this step; in its latest
 * life if there are two. */
static uint32_t find_claimant(const struct model *model, const char *line,
                              const struct addr *client, uint32_t listener)
{
    char identity[128], version[128];
    field(line, "identity", identity);
    field(line, "version", version);
    bool is_resumed = strstr(line, " resumed=yes") != NULL;
    uint32_t found = NO_LIFE;
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        if (input->origin.life == NO_LIFE || input->listener != listener || input->is_hello ||
            !is_of_handshake(model, input, line, client))
            continue;
        const struct life *life = &model->lives[input->origin.life];
        if (life->state == LIFE_WITHOUT_SESSION && !life->is_impostor &&
            life->listener == listener && strcmp(model_identity_of(life), identity) == 0 &&
            model_is_admitted(model, life, is_resumed) &&
            strcmp(version, dtls_version_name(life->kind->version)) == 0 &&
            (found == NO_LIFE || input->origin.life > found))
            found = input->origin.life;
    }
    if (found == NO_LIFE)
        fail_msg("a session of nobody who finished a handshake: %s", line);
    return found;
}

/* A device is not let in, for want of an address. client: which, if it is known. */
static void on_refused(struct model *model, const struct addr *client)
{
    bool is_right = client != NULL && model_is_exhausted(model, steering_bucket_of_addr(client));
    for (uint32_t i = 0; client == NULL && i < MODEL_BUCKETS; i++)
        is_right |= model_is_exhausted(model, steering_bucket_of_addr(&model->addrs[i]));
    if (!is_right)
        fail_msg("a device is refused, and there is an address for it");
    model->refused_count++;
}

static void on_established(struct model *model, const char *line)
{
    struct addr client = field_addr(line, "client");
    struct addr source = field_addr(line, "backend_source");
    uint32_t listener = field_listener(model, line);
    uint32_t index = find_claimant(model, line, &client, listener);
    struct life *life = &model->lives[index];
    model_take_slot(model, index, model_source_of(&source), &client);
    life->key = life->kind->identity == NULL           ? NULL
                : strstr(line, " resumed=yes") != NULL ? life->ticket_key
                                                       : life->kind->key;
    life->state = LIFE_IN_SESSION;
    life->session = field_number(line, "session");
    life->addr = client;
    life->source = model_source_of(&source);
    life->used_ms = model->gate->now_ms;
    life->began_step = life->used_step = model->step;
    struct model_handshake *handshake =
        &model->handshakes[listener][model_address_index(model, &client)];
    if (!handshake->is_open)
        fail_msg("a session without a handshake: %s", line);
    *handshake = (struct model_handshake){.closed_step = model->step};
    path_on_established(model, index);
    model->live[model->live_count++] = index;
    model->began[model->began_count++] = index;
}

/* The life that is in that session; NO_LIFE if there is none. */
static uint32_t find_live(const struct model *model, uint64_t session)
{
    for (uint32_t i = 0; i < model->live_count; i++) {
        if (model->lives[model->live[i]].session == session)
            return model->live[i];
    }
    return NO_LIFE;
}

static void on_moved(struct model *model, const char *line)
{
    struct addr from = field_addr(line, "client"), to = field_addr(line, "to");
    uint32_t life = find_live(model, field_number(line, "session"));
    if (life == NO_LIFE || !addr_equal(&model->lives[life].addr, &from))
        fail_msg("a session moves that is not there: %s", line);
    path_on_moved(model, life, &to);
}

static enum close_reason reason_named(const char *name)
{
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) {
        if (strcmp(close_reason_name(i), name) == 0)
            return i;
    }
    fail_msg("no reason is called %s", name);
    return 0;
}

void model_end_life(struct model *model, uint32_t index, enum close_reason reason)
{
    struct life *life = &model->lives[index];
    uint32_t i = 0;
    while (model->live[i] != index)
        i++;
    life->state = LIFE_AFTER_SESSION;
    life->reason = reason;
    life->ended_ms = model->gate->now_ms;
    life->ended_step = model->step;
    model_give_back_slot(model, life);
    model->ended[model->ended_count++] = index;
    model->live[i] = model->live[--model->live_count];
}

static void on_closed(struct model *model, const char *line)
{
    char reason[128];
    struct addr client = field_addr(line, "client");
    uint32_t index = find_live(model, field_number(line, "session"));
    if (index == NO_LIFE)
        fail_msg("the end of a session that is not there: %s", line);
    struct life *life = &model->lives[index];
    model_end_life(model, index, reason_named(field(line, "reason", reason)));
    for (uint32_t j = 0; j < model->from_client_count; j++) {
        const struct origin *origin = &model->from_client[j].origin;
        if (origin->is_close && origin->life != NO_LIFE && &model->lives[origin->life] == life)
            life->closure = origin->order;
    }
    if (!addr_equal(&client, &life->addr))
        fail_msg("the session is elsewhere: %s", line);
}

static void on_failed(struct model *model, const char *line)
{
    struct addr client = field_addr(line, "client");
    if (strstr(line, " reason=no_backend_address") != NULL)
        on_refused(model, &client);
    struct model_handshake *handshake =
        &model->handshakes[field_listener(model, line)][model_address_index(model, &client)];
    /* A hello that is refused at once never was a handshake, and may be told so. */
    if (strstr(line, " session=") != NULL) {
        handshake->is_open = false;
        handshake->refused_ms = model->gate->now_ms;
        handshake->alerts_left = ALERT_REPEATS;
    }
    handshake->closed_step = model->step;
}

void model_on_log(struct model *model, const char *line)
{
    if (strstr(line, "event=session_established ") != NULL)
        on_established(model, line);
    else if (strstr(line, "event=client_moved ") != NULL)
        on_moved(model, line);
    else if (strstr(line, "event=session_closed ") != NULL)
        on_closed(model, line);
    else if (strstr(line, "event=handshake_failed ") != NULL)
        on_failed(model, line);
    else if (strstr(line, "event=limit_reached ") != NULL &&
             strstr(line, " limit=no_backend_address") != NULL)
        on_refused(model, NULL);
}

/* ---- what is on the network ----------------------------------------------------------------- */

static void keep_origin(struct model *model, const struct packet *packet)
{
    assert_int_equal(packet->number, model->origin_count);
    if (model->origin_count == model->origin_capacity) {
        model->origin_capacity = model->origin_capacity == 0 ? 1024 : model->origin_capacity * 2;
        model->origins = realloc(model->origins, model->origin_capacity * sizeof(*model->origins));
        assert_non_null(model->origins);
    }
    struct origin *origin = &model->origins[model->origin_count++];
    *origin = model->next_origin;
    if (origin->life != NO_LIFE && !origin->is_changed)
        path_read_record(model, packet, origin);
}

/* What stands behind a record of another life is found by the address, if neither has a connection
 * ID: the first record is one that is not authentic there. */
static bool may_be_rider(const struct model *model, const struct origin *origin, uint32_t life)
{
    return origin->has_rider && origin->rider == life && model->lives[life].cid_len == 0 &&
           model->lives[origin->life].cid_len == 0;
}

static bool carries(const struct model *model, const struct origin *origin, uint32_t life,
                    uint32_t message)
{
    if (origin->life == NO_LIFE)
        return false;
    uint32_t at = message - origin->first_message;
    if (origin->life == life)
        return at < origin->message_count && (origin->damaged >> at & 1) == 0;
    return may_be_rider(model, origin, life) && origin->rider_message == message;
}

/* A datagram of this step that carries the message, and finds the session by its address or by its
 * connection ID. */
static const struct origin *find_arrived(const struct model *model, uint32_t index,
                                         uint32_t message)
{
    const struct life *life = &model->lives[index];
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        if (carries(model, &input->origin, index, message) && input->listener == life->listener &&
            (life->cid_len != 0 || addr_equal(&input->packet->from, &life->addr)))
            return &input->origin;
    }
    return NULL;
}

static uint32_t order_of(const struct origin *origin, uint32_t life)
{
    return origin->life == life ? origin->order : origin->rider_order;
}

/* Plaintext is of a device that is in session there, for the first time, and for its backend. */
static void on_plaintext(struct model *model, const struct packet *packet)
{
    struct note note;
    uint32_t source = model_source_of(&packet->from);
    if (!note_read(&note, packet->data, packet->len) || note.is_from_backend ||
        note.who >= model->life_count)
        fail_msg("%u bytes to the backend that no device sent", packet->len);
    struct life *life = &model->lives[note.who];
    const struct origin *origin = find_arrived(model, note.who, note.number);
    bool is_live = life->state == LIFE_IN_SESSION || life->ended_step == model->step ||
                   (origin != NULL && model_is_overtaken(model, life, order_of(origin, note.who)));
    if (life->state == LIFE_WITHOUT_SESSION || !is_live)
        fail_msg("message %u of life %u, which is in no session", note.number, note.who);
    if (life->source != source)
        fail_msg("message of life %u from %08x, not %08x", note.who, source, life->source);
    if (!addr_equal(&packet->to, &model->listeners[life->listener].config.backend))
        fail_msg("message of life %u to a backend of others", note.who);
    if (origin == NULL)
        fail_msg("message %u of life %u did not arrive", note.number, note.who);
    uint64_t bit = 1ull << note.number % 64;
    if ((life->arrived[note.number / 64] & bit) != 0)
        fail_msg("message %u of life %u again", note.number, note.who);
    life->arrived[note.number / 64] |= bit;
    life->used_ms = model->gate->now_ms;
    life->used_step = model->step;
}

static void add_to_digest(struct model *model, const struct packet *packet)
{
    uint64_t hash = model->digest ^ (packet->sent_ms << 16) ^ packet->to.port;
    for (uint32_t i = 0; i < packet->len; i++)
        hash = (hash ^ packet->data[i]) * 0x100000001b3u;
    model->digest = hash;
}

void model_on_sent(struct model *model, const struct packet *packet)
{
    switch (packet->direction) {
    case CLIENT_TO_GATE: keep_origin(model, packet); break;
    case BACKEND_TO_GATE: break;
    case GATE_TO_BACKEND:
        add_to_digest(model, packet);
        on_plaintext(model, packet);
        break;
    case GATE_TO_CLIENT:
        add_to_digest(model, packet);
        assert_true(model->to_client_count < MODEL_STEP_MAX);
        model->is_explained[model->to_client_count] = false;
        model->to_client[model->to_client_count++] = packet;
        break;
    }
}

/* True if a handshake could begin with it: a whole ClientHello, or the first part of one. */
static bool is_hello(const struct packet *packet)
{
    const uint8_t *d = packet->data;
    return packet->len > 25 && d[0] == 22 && d[3] == 0 && d[4] == 0 && d[13] == 1;
}

/* What is sent to an address without a session, or before one, must never be delivered. */
static void note_owner(struct model *model, const struct packet *packet)
{
    struct note note;
    if (!note_read(&note, packet->data, packet->len) || !note.is_from_backend)
        return;
    const struct model_slot *slot = model_find_slot(model, model_source_of(&packet->to));
    model->note_owners[note.number] =
        slot != NULL && !model_is_free_slot(model, slot) ? slot->life : NO_LIFE;
}

void model_on_arrival(struct model *model, const struct packet *packet)
{
    if (packet->direction == BACKEND_TO_GATE) {
        assert_true(model->from_backend_count < MODEL_STEP_MAX);
        model->from_backend[model->from_backend_count++] = packet;
        note_owner(model, packet);
        return;
    }
    if (packet->direction != CLIENT_TO_GATE)
        return;
    uint32_t listener = model_listener_at(model, &packet->to);
    if (listener == MODEL_LISTENERS) /* lost */
        return;
    assert_true(model->from_client_count < MODEL_STEP_MAX);
    struct model_input *input = &model->from_client[model->from_client_count++];
    *input = (struct model_input){.packet = packet,
                                  .origin = model->origins[packet->number],
                                  .listener = listener,
                                  .is_hello = is_hello(packet)};
}

void model_on_message(struct model *model, uint32_t index, const uint8_t *data, size_t len)
{
    struct note note;
    const struct life *life = &model->lives[index];
    if (!note_read(&note, data, len) || !note.is_from_backend)
        fail_msg("life %u got %zu bytes that no backend sent", index, len);
    if (life->state == LIFE_WITHOUT_SESSION || note.who != life->source)
        fail_msg("life %u got note %u, which was for %08x", index, note.number, note.who);
    if (model->note_owners[note.number] != index)
        fail_msg("life %u got note %u, which came when %08x was not its own", index, note.number,
                 note.who);
    uint64_t bit = 1ull << note.number % 64;
    if ((model->noted[note.number / 64] & bit) != 0)
        fail_msg("life %u got note %u again", index, note.number);
    model->noted[note.number / 64] |= bit;
}
