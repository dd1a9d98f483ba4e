/* What follows from what an operator does: which sessions end over it, and which go on. */
#include "property/property_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "count/counters_area.h"

/* ---- settings ------------------------------------------------------------------------------- */

static void note_name(struct model *model, const char *name, uint32_t number)
{
    uint32_t i = 0;
    while (i < model->name_count && strcmp(model->names[i].name, name) != 0)
        i++;
    if (i < model->name_count) {
        if (model->names[i].number != number)
            fail_msg("listener %s is number %u now, and was %u", name, number,
                     model->names[i].number);
        return;
    }
    assert_true(model->name_count < MODEL_NAMES_MAX);
    strcpy(model->names[model->name_count].name, name);
    model->names[model->name_count++].number = number;
}

static void note_listener(struct model *model, const struct listener *listener)
{
    struct model_listener *known = &model->listeners[listener->number];
    bool was_known = known->config.name[0] != '\0';
    if (was_known && !addr_equal(&known->config.backend, &listener->config->backend)) {
        known->backend_before = known->config.backend;
        known->before_until_ms =
            model->gate->now_ms + model->gate->generation->config->gate.tombstone_ms;
    }
    known->config = *listener->config;
    known->is_there = true;
    note_name(model, known->config.name, listener->number);
}

void model_on_settings(struct model *model)
{
    const struct generation *generation = model->gate->generation;
    model_set_tombstone(model, generation->config->gate.tombstone_ms);
    for (uint32_t i = 0; i < MODEL_LISTENERS; i++)
        model->listeners[i].is_there = false;
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        assert_true(generation->listeners[i].number < MODEL_LISTENERS);
        note_listener(model, &generation->listeners[i]);
    }
    for (uint32_t i = 0; i < MODEL_LISTENERS; i++)
        if (!model->listeners[i].is_there)
            model->listeners[i].is_draining = false;
}

bool model_is_server(const struct model *model, uint32_t listener, const struct addr *from)
{
    const struct model_listener *l = &model->listeners[listener];
    return addr_equal(from, &l->config.backend) ||
           (model->gate->now_ms < l->before_until_ms && addr_equal(from, &l->backend_before));
}

uint32_t model_listener_at(const struct model *model, const struct addr *addr)
{
    for (uint32_t i = 0; i < MODEL_LISTENERS; i++) {
        struct addr listener = gate_listener_addr(model->gate, i);
        if (model->listeners[i].is_there && addr_equal(&listener, addr))
            return i;
    }
    return MODEL_LISTENERS;
}

uint32_t model_listener_from(const struct model *model, const struct addr *addr)
{
    for (uint32_t i = 0; i < MODEL_LISTENERS; i++) {
        struct addr listener = gate_listener_addr(model->gate, i);
        if (addr_equal(&listener, addr) || addr_equal(&model->listeners[i].addr_before, addr))
            return i;
    }
    fail_msg("a datagram from port %u, where nobody listens", addr->port);
    return 0;
}

/* ---- keys ----------------------------------------------------------------------------------- */

void model_set_psk(struct model *model, uint32_t index, const char *identity, const char *key)
{
    struct model_psk *psk = &model->psks[index];
    if (psk->identity != NULL && psk->key == key)
        return;
    *psk = (struct model_psk){.identity = identity,
                              .key = key,
                              .key_before = psk->key,
                              .changed_ms = model->gate->now_ms};
}

static const struct model_psk *find_psk(const struct model *model, const char *identity)
{
    for (uint32_t i = 0; i < MODEL_PSKS; i++) {
        if (model->psks[i].identity != NULL && strcmp(model->psks[i].identity, identity) == 0)
            return &model->psks[i];
    }
    return NULL;
}

static bool is_same_key(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* What has begun with a key that is another one since may come to its end with it. */
static bool has_begun_before(const struct model *model, const struct life *life,
                             const struct model_psk *psk)
{
    bool ends = model->listeners[life->listener].config.on_key_change != KEY_CHANGE_KEEP;
    for (uint32_t i = 0; i < MODEL_ADDRESSES && !ends && psk->key != NULL; i++) {
        const struct model_handshake *h = &model->handshakes[life->listener][i];
        if (h->is_open && h->begun_ms <= psk->changed_ms)
            return true;
    }
    return false;
}

bool model_is_admitted(const struct model *model, const struct life *life, bool is_resumed)
{
    const char *key = is_resumed ? life->ticket_key : life->kind->key;
    if (life->kind->identity == NULL)
        return true;
    const struct model_psk *psk = find_psk(model, life->kind->identity);
    if (psk == NULL)
        return false;
    return is_same_key(psk->key, key) ||
           (is_same_key(psk->key_before, key) && has_begun_before(model, life, psk));
}

/* ---- which sessions have to end -------------------------------------------------------------- */

void model_condemn(struct model *model, uint32_t life, enum close_reason reason)
{
    model->lives[life].is_condemned = true;
    model->lives[life].verdict = reason;
}

static bool is_revoked(const struct model *model, const struct life *life)
{
    if (life->key == NULL)
        return false;
    const struct model_psk *psk = find_psk(model, life->kind->identity);
    bool ends = model->listeners[life->listener].config.on_key_change != KEY_CHANGE_KEEP;
    return psk == NULL || psk->key == NULL || (!is_same_key(psk->key, life->key) && ends);
}

static void judge_by_settings(struct model *model, uint32_t index)
{
    const struct life *life = &model->lives[index];
    if (!model->listeners[life->listener].is_there)
        model_condemn(model, index, CLOSE_listener_removed);
    else if (is_revoked(model, life))
        model_condemn(model, index, CLOSE_revoked);
}

void model_condemn_by_settings(struct model *model)
{
    for (uint32_t i = 0; i < model->live_count; i++)
        judge_by_settings(model, model->live[i]);
    for (uint32_t i = 0; i < model->ended_count; i++)
        judge_by_settings(model, model->ended[i]);
}

/* ---- restarts ------------------------------------------------------------------------------- */

static void add_totals(struct model_totals *totals, const struct counters *c)
{
    totals->received += counter_get(&c->client_received) + counter_get(&c->backend_received);
    totals->early += counter_get(&c->backend_addresses_taken_early);
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        totals->client[i] += counter_get(&c->client[i]);
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        totals->backend[i] += counter_get(&c->backend[i]);
    for (unsigned i = 0; i < LATE_REASON_COUNT; i++)
        totals->late[i] += counter_get(&c->late[i]);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        totals->closed[i] += counter_get(&c->closed[i]);
    for (unsigned v = 0; v < VERSION_COUNT; v++) {
        for (unsigned k = 0; k < CREDENTIAL_COUNT; k++)
            totals->resumed += counter_get(&c->resumptions[v][k]);
    }
}

void model_totals(const struct model *model, struct model_totals totals[MODEL_LISTENERS + 1])
{
    struct worker_counters inherited = counters_area_of(&model->gate->state, COUNTERS_INHERITED);
    for (uint32_t i = 0; i <= MODEL_LISTENERS; i++) {
        uint32_t entry = i < MODEL_LISTENERS ? i : inherited.listener_count;
        totals[i] = (struct model_totals){0};
        add_totals(&totals[i], &inherited.by_listener[entry]);
        add_totals(&totals[i], gate_counters(model->gate, i));
    }
}

/* They go on where they were; received = sum of outcomes is among that. */
static void check_totals(const struct model *model, const struct model_totals *before)
{
    struct model_totals now[MODEL_LISTENERS + 1];
    uint64_t torn = 0, condemned = 0;
    model_totals(model, now);
    for (uint32_t i = 0; i <= MODEL_LISTENERS; i++) {
        torn += now[i].closed[CLOSE_torn] - before[i].closed[CLOSE_torn];
        now[i].closed[CLOSE_torn] = before[i].closed[CLOSE_torn];
        if (memcmp(&now[i], &before[i], sizeof(now[i])) != 0)
            fail_msg("listener %u does not count on where the process before has ended", i);
    }
    for (uint32_t i = 0; i < model->ended_count; i++)
        condemned += model->lives[model->ended[i]].reason == CLOSE_torn;
    assert_int_equal(torn, condemned);
}

void model_on_restart(struct model *model, const struct model_totals *before)
{
    model->restart_step = model->step;
    memset(model->handshakes, 0, sizeof(model->handshakes)); /* they are lost */
    for (uint32_t i = model->live_count; i > 0; i--) {
        uint32_t life = model->live[i - 1];
        if (model->lives[life].is_condemned)
            model_end_life(model, life, model->lives[life].verdict);
    }
    for (uint32_t i = 0; i < MODEL_LISTENERS; i++)
        model->listeners[i].is_draining = false;
    check_totals(model, before);
    for (uint32_t i = 0; i <= model->listener_count; i++)
        model->before[i] = model_counts_of(model, i);
}
