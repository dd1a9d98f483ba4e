#include "property_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "property_note.h"

enum { ALERT_REPEATS = 3 };

void model_init(struct model *model, struct gate *gate)
{
    *model = (struct model){.gate = gate,
                            .listener_count = gate->dp.counters.listener_count,
                            .next_origin = {.life = NO_LIFE}};
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

uint32_t model_address_index(const struct addr *addr)
{
    uint32_t index = addr->port - gate_device_addr(0).port;
    struct addr expected = gate_device_addr(index);
    if (index >= MODEL_ADDRESSES || !addr_equal(&expected, addr))
        fail_msg("datagram for an address that no device ever had");
    return index;
}

uint32_t model_source_of(const struct addr *addr)
{
    return (uint32_t)addr->ip[0] << 24 | (uint32_t)addr->ip[1] << 16 | (uint32_t)addr->ip[2] << 8 |
           addr->ip[3];
}

struct addr model_source_addr(const struct model *model, uint32_t source)
{
    return (struct addr){.ip = {(uint8_t)(source >> 24), (uint8_t)(source >> 16),
                                (uint8_t)(source >> 8), (uint8_t)source},
                         .port = model->gate->dp.backend.socket.bound.port,
                         .family = AF_INET};
}

static struct model_slot *find_slot(struct model *model, uint32_t source)
{
    for (uint32_t i = 0; i < model->slot_count; i++) {
        if (model->slots[i].source == source)
            return &model->slots[i];
    }
    return NULL;
}

struct life *model_owner_of(struct model *model, uint32_t source)
{
    const struct model_slot *slot = find_slot(model, source);
    return slot != NULL ? &model->lives[slot->life] : NULL;
}

bool model_is_overtaken(struct model *model, const struct life *life, uint32_t order)
{
    return life->state == LIFE_AFTER_SESSION && life->reason == CLOSE_closed_by_client &&
           model->gate->now_ms - life->ended_ms < SESSION_LINGER_MS && order < life->closure &&
           model_owner_of(model, life->source) == life;
}

struct model_counts model_counts_of(const struct model *model, uint32_t listener)
{
    struct model_counts counts;
    struct counters *c = gate_counters(model->gate, listener);
    counts.begun = counter_get(&c->client[CLIENT_handshake_begun]);
    counts.failed = counter_get(&c->client[CLIENT_handshake_failed]);
    counts.alert_repeated = counter_get(&c->client[CLIENT_alert_repeated]);
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
    model->began_count = model->ended_count = 0;
    for (uint32_t i = 0; i <= model->listener_count; i++)
        model->before[i] = model_counts_of(model, i);
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
    for (uint32_t i = 0; i < model->listener_count; i++) {
        if (strcmp(model->gate->generation->config->listeners[i].name, value) == 0)
            return i;
    }
    fail_msg("no such listener: %s", line);
    return 0;
}

/* The device whose handshake this is: the datagram of this step that finished it came from there,
 * in its latest life if there are two. */
static uint32_t find_claimant(const struct model *model, const char *line,
                              const struct addr *client, uint32_t listener)
{
    char identity[128], version[128];
    field(line, "identity", identity);
    field(line, "version", version);
    uint32_t found = NO_LIFE;
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        if (input->origin.life == NO_LIFE || input->listener != listener || input->is_hello ||
            !addr_equal(&input->packet->from, client))
            continue;
        const struct life *life = &model->lives[input->origin.life];
        const char *name = life->kind->identity != NULL ? life->kind->identity : IDENTITY;
        if (life->state == LIFE_WITHOUT_SESSION && !life->is_impostor &&
            life->listener == listener && strcmp(name, identity) == 0 &&
            strcmp(version, dtls_version_name(life->kind->version)) == 0 &&
            (found == NO_LIFE || input->origin.life > found))
            found = input->origin.life;
    }
    if (found == NO_LIFE)
        fail_msg("a session of nobody who finished a handshake: %s", line);
    return found;
}

static void take_slot(struct model *model, uint32_t life, uint32_t source)
{
    struct model_slot *slot = find_slot(model, source);
    if (source < 0x7f010000u || source >= 0x7fffffffu)
        fail_msg("%08x is no backend address of ours", source);
    if (slot == NULL) {
        assert_true(model->slot_count < MODEL_LIVES_MAX);
        model->slots[model->slot_count++] = (struct model_slot){source, life};
        return;
    }
    const struct life *last = &model->lives[slot->life];
    if (last->state == LIFE_IN_SESSION)
        fail_msg("%08x belongs to two sessions", source);
    uint64_t tombstone_ms = model->gate->generation->config->gate.tombstone_ms;
    model->early_count += model->gate->now_ms - last->ended_ms < tombstone_ms;
    slot->life = life;
}

static void on_established(struct model *model, const char *line)
{
    struct addr client = field_addr(line, "client");
    struct addr source = field_addr(line, "backend_source");
    uint32_t listener = field_listener(model, line);
    uint32_t index = find_claimant(model, line, &client, listener);
    struct life *life = &model->lives[index];
    take_slot(model, index, model_source_of(&source));
    life->state = LIFE_IN_SESSION;
    life->session = field_number(line, "session");
    life->addr = client;
    life->source = model_source_of(&source);
    life->used_ms = model->gate->now_ms;
    life->began_step = life->used_step = model->step;
    struct model_handshake *handshake = &model->handshakes[listener][model_address_index(&client)];
    if (!handshake->is_open)
        fail_msg("a session without a handshake: %s", line);
    *handshake = (struct model_handshake){.closed_step = model->step};
    model->live[model->live_count++] = index;
    model->began[model->began_count++] = index;
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

static void on_closed(struct model *model, const char *line)
{
    char reason[128];
    uint64_t session = field_number(line, "session");
    struct addr client = field_addr(line, "client");
    uint32_t i = 0;
    while (i < model->live_count && model->lives[model->live[i]].session != session)
        i++;
    if (i == model->live_count)
        fail_msg("the end of a session that is not there: %s", line);
    struct life *life = &model->lives[model->live[i]];
    life->state = LIFE_AFTER_SESSION;
    life->reason = reason_named(field(line, "reason", reason));
    life->ended_ms = model->gate->now_ms;
    life->ended_step = model->step;
    for (uint32_t j = 0; j < model->from_client_count; j++) {
        const struct origin *origin = &model->from_client[j].origin;
        if (origin->is_close && origin->life != NO_LIFE && &model->lives[origin->life] == life)
            life->closure = origin->order;
    }
    if (!addr_equal(&client, &life->addr))
        fail_msg("the session is elsewhere: %s", line);
    model->ended[model->ended_count++] = model->live[i];
    model->live[i] = model->live[--model->live_count];
}

static void on_failed(struct model *model, const char *line)
{
    struct addr client = field_addr(line, "client");
    struct model_handshake *handshake =
        &model->handshakes[field_listener(model, line)][model_address_index(&client)];
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
    else if (strstr(line, "event=session_closed ") != NULL)
        on_closed(model, line);
    else if (strstr(line, "event=handshake_failed ") != NULL)
        on_failed(model, line);
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
    model->origins[model->origin_count++] = model->next_origin;
}

/* A datagram of this step that carries the message and is where the session is. */
static const struct origin *find_arrived(const struct model *model, const struct life *life,
                                         uint32_t message)
{
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        const struct origin *origin = &input->origin;
        if (origin->life != NO_LIFE && &model->lives[origin->life] == life &&
            message - origin->first_message < origin->message_count &&
            input->listener == life->listener && addr_equal(&input->packet->from, &life->addr))
            return origin;
    }
    return NULL;
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
    const struct origin *origin = find_arrived(model, life, note.number);
    bool is_live = life->state == LIFE_IN_SESSION || life->ended_step == model->step ||
                   (origin != NULL && model_is_overtaken(model, life, origin->order));
    if (life->state == LIFE_WITHOUT_SESSION || !is_live)
        fail_msg("message %u of life %u, which is in no session", note.number, note.who);
    if (life->source != source)
        fail_msg("message of life %u from %08x, not %08x", note.who, source, life->source);
    if (!addr_equal(&packet->to,
                    &model->gate->generation->config->listeners[life->listener].backend))
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

static uint32_t listener_at(const struct model *model, const struct addr *addr)
{
    for (uint32_t i = 0; i < model->listener_count; i++) {
        struct addr listener = gate_listener_addr(model->gate, i);
        if (addr_equal(&listener, addr))
            return i;
    }
    fail_msg("there is no listener at port %u", addr->port);
    return 0;
}

/* True if a handshake could begin with it: a whole ClientHello, or the first part of one. */
static bool is_hello(const struct packet *packet)
{
    const uint8_t *d = packet->data;
    return packet->len > 25 && d[0] == 22 && d[3] == 0 && d[4] == 0 && d[13] == 1;
}

void model_on_arrival(struct model *model, const struct packet *packet)
{
    if (packet->direction == BACKEND_TO_GATE) {
        assert_true(model->from_backend_count < MODEL_STEP_MAX);
        model->from_backend[model->from_backend_count++] = packet;
        return;
    }
    if (packet->direction != CLIENT_TO_GATE)
        return;
    assert_true(model->from_client_count < MODEL_STEP_MAX);
    struct model_input *input = &model->from_client[model->from_client_count++];
    *input = (struct model_input){.packet = packet,
                                  .origin = model->origins[packet->number],
                                  .listener = listener_at(model, &packet->to),
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
    uint64_t bit = 1ull << note.number % 64;
    if ((model->noted[note.number / 64] & bit) != 0)
        fail_msg("life %u got note %u again", index, note.number);
    model->noted[note.number / 64] |= bit;
}
