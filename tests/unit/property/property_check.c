/* What is judged at the end of a step. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "property/property_model.h"
#include "property/property_note.h"
#include "property/property_path.h"

enum {
    TYPE_HANDSHAKE = 22,
    NEW_SESSION_TICKET = 4,
    /* A datagram overtaken by this many is surely inside of the replay window of 64 records. */
    WINDOW = 24,
    ALERT_REPEATS_MS = 60000,
    /* What was sent with the keys before is taken for two minutes, the time for which a network may
     * hold it back (RFC 9147 section 4.2.1). */
    OLD_KEYS_MS = 100000,
};

static const struct listener_config *config_of(const struct model *model, uint32_t listener)
{
    return &model->listeners[listener].config;
}

/* ---- handshakes ----------------------------------------------------------------------------- */

static void note_handshakes(struct model *model)
{
    uint64_t now_ms = model->gate->now_ms;
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        if (!input->is_hello)
            continue;
        struct model_counts counts = model_counts_of(model, input->listener);
        struct model_handshake *h =
            &model->handshakes[input->listener][model_address_index(model, &input->packet->from)];
        bool has_begun = counts.begun != model->before[input->listener].begun;
        if (has_begun && model->listeners[input->listener].is_draining)
            fail_msg("a handshake begins at listener %u, which is draining", input->listener);
        if (has_begun)
            /* It may have been refused already, in this very step. */
            *h = (struct model_handshake){.is_open = true,
                                          .begun_ms = now_ms,
                                          .refused_ms = h->refused_ms,
                                          .alerts_left =
                                              h->refused_ms == now_ms ? h->alerts_left : 0};
        else if (counts.failed != model->before[input->listener].failed)
            h->closed_step = model->step; /* it may have been refused with an alert */
    }
}

/* No more of them are in progress than could be, and none for longer than it may. */
static void check_handshakes(struct model *model, uint32_t listener)
{
    uint64_t timeout_ms = config_of(model, listener)->handshake_timeout_ms;
    struct counters *c = gate_counters(model->gate, listener);
    uint64_t in_progress = counter_get(&c->handshakes_in_progress), open = 0;
    for (uint32_t i = 0; i < MODEL_ADDRESSES; i++) {
        struct model_handshake *h = &model->handshakes[listener][i];
        if (!h->is_open)
            continue;
        if (in_progress == 0 || model->gate->now_ms >= h->begun_ms + timeout_ms) {
            h->is_open = false;
            h->closed_step = model->step;
        }
        open += h->is_open;
    }
    if (in_progress > open)
        fail_msg("%u handshakes at listener %u, where %u can be", (unsigned)in_progress, listener,
                 (unsigned)open);
    if (in_progress > config_of(model, listener)->max_handshakes)
        fail_msg("more than max_handshakes at listener %u", listener);
}

/* ---- from backends -------------------------------------------------------------------------- */

/* It was alive when the step's datagrams of backends were handled: those of devices come before,
 * timers afterwards. */
static bool was_live(const struct model *model, const struct life *life)
{
    return life->state == LIFE_IN_SESSION ||
           (life->state == LIFE_AFTER_SESSION && life->ended_step == model->step &&
            life->reason == CLOSE_idle);
}

static bool has_short_tag(const struct life *life)
{
    return strstr(life->kind->suites, "CCM-8") != NULL;
}

/* What a record toward the device is longer than its plaintext. */
static uint32_t overhead_of(const struct life *life)
{
    uint32_t tag = has_short_tag(life) ? 8 : 16;
    uint32_t own_cid = life->cid_len != 0 ? life->kind->cid_bytes : 0;
    if (life->kind->version == VERSION_1_3)
        return 5 + own_cid + 1 + tag;                       /* header, content type */
    return 13 + 8 + tag + (own_cid != 0 ? own_cid + 1 : 0); /* header, explicit nonce */
}

/* DTLS 1.3: 16 bytes of ciphertext are needed to hide a record's number, so that a short plaintext
 * is padded if the tag is short, too (RFC 9147 section 4.2.3). */
static uint32_t padded_len(const struct life *life, uint32_t len)
{
    enum { WITHOUT_PADDING = 7 };
    bool is_padded =
        life->kind->version == VERSION_1_3 && has_short_tag(life) && len < WITHOUT_PADDING;
    return is_padded ? WITHOUT_PADDING : len;
}

/* The session's datagram of that many bytes of plaintext went to its address, or may be kept back.
 */
static bool has_gone(struct model *model, struct life *life, uint32_t len, uint32_t count)
{
    struct addr from = gate_listener_addr(model->gate, life->listener);
    for (uint32_t i = 0; i < count; i++) {
        const struct packet *packet = model->to_client[i];
        if (!model->is_explained[i] && addr_equal(&packet->from, &from) &&
            addr_equal(&packet->to, &life->addr) &&
            packet->len == padded_len(life, len) + overhead_of(life)) {
            model->is_explained[i] = true;
            path_on_forwarded(model, life, packet->len);
            return true;
        }
    }
    return false;
}

/* The last datagram to the session's address in this step. */
static uint32_t farewell_of(const struct model *model, const struct life *life)
{
    uint32_t i = model->to_client_count;
    while (i > 0 && !addr_equal(&model->to_client[i - 1]->to, &life->addr))
        i--;
    return i > 0 ? i - 1 : 0;
}

static bool explain_datagram(struct model *model, struct life *life, uint32_t len)
{
    if (has_gone(model, life, len, model->to_client_count))
        return true;
    path_on_kept_back(model, life, len);
    return false;
}

/* Of one of the listeners. */
static bool is_a_backend(const struct model *model, const struct addr *addr)
{
    for (uint32_t i = 0; i < model->listener_count; i++) {
        if (addr_equal(addr, &config_of(model, i)->backend))
            return true;
    }
    return false;
}

static void expect_backend(struct model *model, const struct packet *packet,
                           struct model_counts *expected)
{
    struct life *life = model_owner_of(model, model_source_of(&packet->to));
    if (life == NULL) {
        expected[model->listener_count].backend[BACKEND_late]++;
        expected[model->listener_count].late[LATE_UNKNOWN]++;
        return;
    }
    struct model_counts *e = &expected[life->listener];
    bool is_live = was_live(model, life);
    if (!model_is_server(model, life->listener, &packet->from)) {
        e->backend[BACKEND_wrong_sender]++;
        if (!is_a_backend(model, &packet->from))
            return;
        if (!is_live)
            model_late_reason(model, life);
        model_on_noise(model, life, is_live);
    } else if (life->began_step == model->step && is_live) {
        /* It was in the socket when the session got its address. */
        e->backend[BACKEND_late]++;
        e->late[LATE_UNKNOWN]++;
    } else if (life->state == LIFE_AFTER_SESSION && life->ended_step == model->step &&
               life->reason == CLOSE_key_limit && !life->is_worn_out) {
        /* Over one of those that came at once: what was before it has gone, the rest is late. */
        life->is_worn_out = !has_gone(model, life, packet->len, farewell_of(model, life));
        e->backend[life->is_worn_out ? BACKEND_encrypt_failed : BACKEND_forwarded]++;
    } else if (!is_live) {
        e->backend[BACKEND_late]++;
        e->late[model_late_reason(model, life)]++;
        model_on_noise(model, life, is_live);
    } else if (packet->len > RECORD_PLAINTEXT_MAX) {
        e->backend[BACKEND_too_large]++;
    } else if (!explain_datagram(model, life, packet->len)) {
        e->backend[BACKEND_address_unproved]++;
    } else {
        e->backend[BACKEND_forwarded]++;
        life->used_ms = model->gate->now_ms;
        life->used_step = model->step;
    }
}

static void check_backend(struct model *model)
{
    struct model_counts expected[GATE_LISTENERS_MAX + 1];
    memcpy(expected, model->before, sizeof(expected));
    /* Two sessions may be at one address, and the like be sent to both: first what must go there.
     */
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < model->from_backend_count; i++) {
            const struct life *life =
                model_owner_of(model, model_source_of(&model->from_backend[i]->to));
            bool may_be_kept_back = life != NULL && life->path.proof != PROVED;
            if (may_be_kept_back == (pass == 1))
                expect_backend(model, model->from_backend[i], expected);
        }
    }
    for (uint32_t l = 0; l <= model->listener_count; l++) {
        struct model_counts counts = model_counts_of(model, l);
        for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++) {
            if (counts.backend[i] != expected[l].backend[i])
                fail_msg("listener %u: %d datagrams of backends are %s, not %d", l,
                         (int)(counts.backend[i] - model->before[l].backend[i]),
                         backend_outcome_name(i),
                         (int)(expected[l].backend[i] - model->before[l].backend[i]));
        }
        for (unsigned i = 0; i < LATE_REASON_COUNT; i++) {
            if (counts.late[i] != expected[l].late[i])
                fail_msg("listener %u: a wrong number of datagrams is late as %s", l,
                         late_reason_name(i));
        }
    }
}

/* ---- to devices ----------------------------------------------------------------------------- */

/* The gate may answer as many hellos of this step from that address as it got, with three times
 * their bytes. */
static void check_cookie(const struct model *model, const struct packet *packet)
{
    uint32_t hellos = 0, cookies = 0;
    uint64_t received = 0, sent = 0;
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        if (input->is_hello && addr_equal(&input->packet->from, &packet->to)) {
            hellos++;
            received += input->packet->len;
        }
    }
    for (uint32_t i = 0; i < model->to_client_count; i++) {
        const struct packet *other = model->to_client[i];
        if (addr_equal(&other->to, &packet->to) && gate_policy_is_cookie(other->data, other->len)) {
            cookies++;
            sent += other->len;
        }
    }
    if (cookies > hellos || sent > 3 * received)
        fail_msg("%u cookies of %u bytes for %u hellos of %u bytes", cookies, (unsigned)sent,
                 hellos, (unsigned)received);
}

/* A last flight may be sent again, and in DTLS 1.2 a ticket that is in it is not protected (RFC
 * 5077 section 3.3). */
static bool shows_handshake(const struct packet *packet)
{
    return packet->len > 13 && packet->data[0] == TYPE_HANDSHAKE && packet->data[3] == 0 &&
           packet->data[4] == 0 && packet->data[13] != NEW_SESSION_TICKET;
}

static bool has_session_at(const struct model *model, uint32_t listener, const struct addr *addr)
{
    for (uint32_t i = 0; i < model->live_count; i++) {
        if (model_is_session_at(model, model->live[i], listener, addr))
            return true;
    }
    for (uint32_t i = 0; i < model->ended_count; i++) {
        if (model_is_session_at(model, model->ended[i], listener, addr))
            return true;
    }
    return false;
}

/* The alert over which the handshake there failed, because the device repeats its flight. */
static bool is_alert_repeated(const struct model *model, uint32_t listener,
                              struct model_handshake *h, const struct packet *packet)
{
    if (h->alerts_left == 0 || model->gate->now_ms - h->refused_ms > ALERT_REPEATS_MS ||
        model_counts_of(model, listener).alert_repeated == model->before[listener].alert_repeated)
        return false;
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct model_input *input = &model->from_client[i];
        if (input->listener == listener && addr_equal(&input->packet->from, &packet->to) &&
            input->packet->len >= packet->len) {
            h->alerts_left--;
            return true;
        }
    }
    return false;
}

/* What is no cookie is of a handshake or a session that is there. */
static void check_datagram(struct model *model, const struct packet *packet, bool is_explained)
{
    if (note_shows_in(packet->data, packet->len))
        fail_msg("plaintext to a device");
    if (gate_policy_is_cookie(packet->data, packet->len)) {
        check_cookie(model, packet);
        return;
    }
    uint32_t listener = model_listener_from(model, &packet->from);
    uint32_t index = model_address_index(model, &packet->to);
    struct model_handshake *h = &model->handshakes[listener][index];
    if (model_has_handshake(model, listener, &packet->to))
        return;
    if (shows_handshake(packet))
        fail_msg("handshake message to %u, which has no handshake", index);
    if (!has_session_at(model, listener, &packet->to) &&
        !is_alert_repeated(model, listener, h, packet))
        fail_msg("%u bytes to address %u, which has no session", packet->len, index);
    if (!is_explained)
        path_on_sent(model, listener, packet);
}

/* ---- from devices --------------------------------------------------------------------------- */

/* The gate still has the keys that it was made with. */
static bool has_keys_of(const struct model *model, const struct origin *origin)
{
    const struct life *life = &model->lives[origin->life];
    return origin->generation >= life->generation ||
           (origin->generation + 1 == life->generation &&
            model->gate->now_ms - life->generation_ms < OLD_KEYS_MS);
}

/* What a device of DTLS 1.2 sent before the last flight that its handshake ended with, which it had
 * to repeat, and which overtook that: taken for seen (T7). */
static bool is_before_birth(const struct life *life, const struct origin *origin)
{
    return life->kind->version == VERSION_1_2 && origin->order < life->newest_at_birth;
}

/* What an untouched datagram carried is at the backend, if its session was there before and after
 * it, or it is from before its end, and it came from where the session is, or has its connection
 * ID. */
static void check_arrival(struct model *model, const struct model_input *input)
{
    const struct origin *origin = &input->origin;
    if (origin->life == NO_LIFE)
        return;
    const struct life *life = &model->lives[origin->life];
    bool is_live = life->state == LIFE_IN_SESSION;
    if ((!is_live && !model_is_overtaken(model, life, origin->order)) ||
        life->began_step == model->step || origin->is_changed ||
        input->listener != life->listener ||
        (life->cid_len == 0 && !addr_equal(&input->packet->from, &life->addr)) ||
        origin->order + WINDOW < life->newest || is_before_birth(life, origin) ||
        !has_keys_of(model, origin))
        return;
    for (uint32_t i = 0; i < origin->message_count; i++) {
        uint32_t message = origin->first_message + i;
        if ((origin->damaged >> i & 1) == 0 &&
            (life->arrived[message / 64] >> message % 64 & 1) == 0)
            fail_msg("message %u of life %u, %s, is lost", message, origin->life, life->kind->name);
    }
    if (is_live && (origin->is_close || origin->is_alert))
        fail_msg(
            "life %u, %s, ended its session, and it is still there: %s of %u messages, changed "
            "keys %u of %u times",
            origin->life, life->kind->name, origin->is_close ? "closure" : "alert",
            origin->message_count, origin->generation, life->generation);
}

static void note_newest(struct model *model, const struct model_input *input)
{
    const struct origin *origin = &input->origin;
    if (origin->life == NO_LIFE)
        return;
    struct life *life = &model->lives[origin->life];
    uint32_t last = origin->order + (origin->message_count > 0 ? origin->message_count - 1 : 0);
    if (last > life->newest)
        life->newest = last;
    if (life->began_step == model->step)
        life->newest_at_birth = life->newest;
    if (origin->generation > life->generation && !origin->is_changed &&
        input->listener == life->listener) {
        life->generation = origin->generation;
        life->generation_ms = model->gate->now_ms;
    }
}

/* ---- the step ------------------------------------------------------------------------------- */

static void check_sums(struct model *model)
{
    const struct gate *gate = model->gate;
    struct model_totals totals[MODEL_LISTENERS + 1];
    uint64_t early = 0;
    model_totals(model, totals);
    for (uint32_t i = 0; i < model->listener_count; i++)
        early += totals[i].early;
    if (early != model->early_count)
        fail_msg("%u addresses taken early, %u are counted", model->early_count, (unsigned)early);
    if (gate_session_count(&gate->dp) != model->live_count)
        fail_msg("%u sessions, not %u", gate_session_count(&gate->dp), model->live_count);
    if (model->live_count > gate->generation->config->gate.max_sessions)
        fail_msg("more than max_sessions");
    for (uint32_t i = 0; i < model->live_count; i++) {
        const struct life *life = &model->lives[model->live[i]];
        if (gate->now_ms - life->used_ms >= model_idle_timeout_of(model, life))
            fail_msg("the session of life %u has outlived its idle_timeout", model->live[i]);
        if (life->is_condemned)
            fail_msg("the session of life %u, %s, ought to be %s", model->live[i], life->kind->name,
                     close_reason_name(life->verdict));
    }
}

void model_check_step(struct model *model)
{
    note_handshakes(model);
    path_judge(model);
    path_check_outcomes(model);
    check_backend(model);
    for (uint32_t i = 0; i < model->to_client_count; i++)
        check_datagram(model, model->to_client[i], model->is_explained[i]);
    for (uint32_t i = 0; i < model->ended_count; i++)
        model_check_end(model, model->ended[i]);
    for (uint32_t i = 0; i < model->from_client_count; i++)
        check_arrival(model, &model->from_client[i]);
    for (uint32_t i = 0; i < model->from_client_count; i++)
        note_newest(model, &model->from_client[i]);
    for (uint32_t i = 0; i < model->listener_count; i++)
        check_handshakes(model, i);
    check_sums(model);
}
