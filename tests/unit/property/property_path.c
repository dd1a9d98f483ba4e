#include "property/property_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "property/property_wire.h"

enum {
    FACTOR = 3, /* RFC 9146 section 6 leaves it open, RFC 9147 section 5.1 has it */
    /* A datagram that the gate keeps back is too long by its own record, and some that the gate
     * sends itself are not seen before. */
    OVERHEAD_AND_SLACK = 200,
    CID_UNIQUE = 4, /* bytes: longer ones are not drawn twice */
};

static uint32_t cid_bytes_of(const struct model *model, uint32_t listener)
{
    return model->listeners[listener].config.cid_bytes;
}

/* A device of DTLS 1.3 changes its keys twice at most: 0 and 1 are the low bits of epochs 4 and 5,
 * which follow each other as its datagrams do. */
static void note_epoch(const struct life *life, const struct wire_record *record,
                       struct origin *origin)
{
    enum { DATA_13 = 3 };
    bool has_changed =
        life->kind->version == VERSION_1_3 && record->is_protected && record->epoch < 2;
    origin->epoch = has_changed ? DATA_13 : (uint8_t)record->epoch;
    origin->generation = has_changed ? (uint8_t)(record->epoch + 1) : 0;
}

void path_read_record(struct model *model, const struct packet *packet, struct origin *origin)
{
    struct wire_record record;
    struct life *life = &model->lives[origin->life];
    uint32_t cid_bytes = cid_bytes_of(model, life->listener);
    /* Records of data may have anything behind them; those of a handshake stand behind plaintext.
     */
    if (!(origin->message_count > 0
              ? wire_read(packet->data, packet->len, cid_bytes, &record)
              : wire_last_protected(packet->data, packet->len, cid_bytes, &record)))
        return;
    note_epoch(life, &record, origin);
    if (record.cid != NULL && life->cid_len == 0) {
        memcpy(life->cid, record.cid, cid_bytes);
        life->cid_len = (uint8_t)cid_bytes;
    }
}

/* ---- what the log tells --------------------------------------------------------------------- */

static bool are_together(const struct life *a, const struct life *b)
{
    return a != b && a->listener == b->listener && addr_equal(&a->addr, &b->addr);
}

/* Whoever else is at its address is surely found there no more. */
static void rob_others(struct model *model, const struct life *life)
{
    for (uint32_t i = 0; i < model->live_count; i++) {
        struct life *other = &model->lives[model->live[i]];
        if (are_together(other, life))
            other->path.holds_address = false;
    }
}

/* A NAT gives addresses to others: sessions with connection IDs and of different devices may be at
 * the same one, but no others. */
void path_on_established(struct model *model, uint32_t index)
{
    struct life *life = &model->lives[index];
    for (uint32_t i = 0; i < model->live_count; i++) {
        const struct life *other = &model->lives[model->live[i]];
        bool must_go = other->cid_len == 0 ||
                       (other->path.holds_address && model_is_same_identity(other, life));
        if (are_together(other, life) && must_go)
            fail_msg("life %u is in session where life %u is, which goes on", index,
                     model->live[i]);
    }
    rob_others(model, life);
    life->path.holds_address = true;
}

/* It is found by its address there unless somebody else needs that. */
void path_on_moved(struct model *model, uint32_t index, const struct addr *to)
{
    struct life *life = &model->lives[index];
    bool is_needed = model_has_handshake(model, life->listener, to);
    if (life->cid_len == 0)
        fail_msg("life %u, which has no connection ID, moves", index);
    assert_true(model->move_count < MODEL_STEP_MAX);
    model->moves[model->move_count++] =
        (struct model_move){.life = index, .from = life->addr, .to = *to};
    life->addr = *to;
    for (uint32_t i = 0; i < model->live_count; i++) {
        const struct life *other = &model->lives[model->live[i]];
        is_needed = is_needed || (are_together(other, life) && other->cid_len == 0);
    }
    rob_others(model, life);
    life->path.holds_address = !is_needed;
}

/* ---- moves ---------------------------------------------------------------------------------- */

/* Datagrams of a life in the order of their last authentic records. */
static uint64_t number_of(const struct origin *origin)
{
    uint32_t last = origin->message_count > 0 ? origin->message_count - 1u : 0;
    while (last > 0 && (origin->damaged >> last & 1) != 0)
        last--;
    return ((uint64_t)origin->epoch << 32 | (origin->order + last)) + 1;
}

/* All that it carries has come before. */
static bool is_replayed(const struct life *life, const struct origin *origin)
{
    for (uint32_t i = 0; i < origin->message_count; i++) {
        uint32_t message = origin->first_message + i;
        if ((life->path.judged[message / 64] >> message % 64 & 1) == 0)
            return false;
    }
    return origin->message_count > 0;
}

static void note_judged(struct life *life, const struct origin *origin)
{
    for (uint32_t i = 0; i < origin->message_count; i++) {
        uint32_t message = origin->first_message + i;
        if ((origin->damaged >> i & 1) == 0)
            life->path.judged[message / 64] |= 1ull << message % 64;
    }
    if (number_of(origin) > life->path.newest_sure)
        life->path.newest_sure = number_of(origin);
}

static struct model_move *next_move(struct model *model, uint32_t life)
{
    for (uint32_t i = 0; i < model->move_count; i++) {
        if (model->moves[i].life == life && !model->moves[i].is_explained)
            return &model->moves[i];
    }
    return NULL;
}

/* An authentic record of the session may be in this datagram; is_newest: there surely is one, newer
 * than all before it. */
static void judge_authentic(struct model *model, const struct model_input *input, bool is_newest)
{
    uint32_t index = input->origin.life;
    struct life_path *path = &model->lives[index].path;
    struct model_move *next = next_move(model, index);
    const struct addr *here = next != NULL ? &next->from : &model->lives[index].addr;
    if (addr_equal(&input->packet->from, here)) {
        if (is_newest && path->doubtful_step != model->step)
            path->proof = PROVED;
        else if (path->proof == UNPROVED)
            path->proof = PROVED_PERHAPS;
        return;
    }
    bool has_moved = next != NULL && addr_equal(&next->to, &input->packet->from);
    if (is_newest && !has_moved && path->doubtful_step != model->step)
        fail_msg("the session of life %u does not follow its device to address %u", index,
                 model_address_index(model, &input->packet->from));
    if (!has_moved || number_of(&input->origin) <= path->newest_sure)
        return;
    next->is_explained = true;
    path->proof = is_newest ? UNPROVED : PROVED_PERHAPS;
    path->doubtful_step = is_newest ? path->doubtful_step : model->step;
    path->moved_bytes = input->packet->len;
    path->sent_bytes = 0;
}

static void judge(struct model *model, const struct model_input *input)
{
    const struct origin *origin = &input->origin;
    if (origin->life == NO_LIFE || model->lives[origin->life].listener != input->listener)
        return;
    struct life *life = &model->lives[origin->life];
    struct life_path *path = &life->path;
    bool is_sure = life->state == LIFE_IN_SESSION && life->began_step != model->step &&
                   origin->message_count > 0 && !origin->is_changed;
    bool was_there = life->state == LIFE_IN_SESSION ||
                     (life->state == LIFE_AFTER_SESSION && life->ended_step == model->step);
    if (life->cid_len != 0 && was_there && !is_replayed(life, origin))
        judge_authentic(model, input, is_sure && number_of(origin) > path->newest_perhaps);
    if (is_sure)
        note_judged(life, origin);
    if (number_of(origin) > path->newest_perhaps)
        path->newest_perhaps = number_of(origin);
}

void path_judge(struct model *model)
{
    for (uint32_t i = 0; i < model->from_client_count; i++)
        judge(model, &model->from_client[i]);
    for (uint32_t i = 0; i < model->move_count; i++) {
        const struct model_move *move = &model->moves[i];
        struct life *life = &model->lives[move->life];
        if (!move->is_explained && life->path.doubtful_step != model->step)
            fail_msg("the session of life %u moves to address %u without cause", move->life,
                     model_address_index(model, &move->to));
        /* That may have begun before it came. */
        if (model_has_handshake(model, life->listener, &move->to))
            life->path.holds_address = false;
    }
    for (uint32_t l = 0; l < model->listener_count; l++) {
        uint64_t moved = model_counts_of(model, l).moved - model->before[l].moved;
        for (uint32_t i = 0; i < model->move_count; i++)
            moved -= model->lives[model->moves[i].life].listener == l;
        assert_int_equal(moved, 0);
    }
}

/* ---- what may be sent there ----------------------------------------------------------------- */

/* What goes to its address is for this session, and nobody else's. */
static bool is_alone(const struct model *model, const struct life *life)
{
    if (model_has_handshake(model, life->listener, &life->addr))
        return false;
    for (uint32_t i = 0; i < model->live_count; i++) {
        if (&model->lives[model->live[i]] != life &&
            model_is_session_at(model, model->live[i], life->listener, &life->addr))
            return false;
    }
    for (uint32_t i = 0; i < model->ended_count; i++) {
        if (model_is_session_at(model, model->ended[i], life->listener, &life->addr))
            return false;
    }
    return true;
}

/* Among others at its address it cannot be told whose bytes these are. */
void path_on_forwarded(const struct model *model, struct life *life, uint32_t bytes)
{
    struct life_path *path = &life->path;
    if (path->proof != UNPROVED)
        return;
    if (!is_alone(model, life))
        path->proof = PROVED_PERHAPS;
    path->sent_bytes += bytes;
    if (path->proof == UNPROVED && path->sent_bytes > FACTOR * path->moved_bytes)
        fail_msg("%u bytes to an address that is not proved, for %u from there", path->sent_bytes,
                 path->moved_bytes);
}

void path_on_kept_back(const struct model *model, const struct life *life, uint32_t len)
{
    const struct life_path *path = &life->path;
    if (life->cid_len == 0 || path->proof == PROVED)
        fail_msg("%u bytes for %08x did not go to its device", len, life->source);
    if (path->proof == UNPROVED && is_alone(model, life) &&
        path->sent_bytes + len + OVERHEAD_AND_SLACK <= FACTOR * path->moved_bytes)
        fail_msg("%u bytes for %08x were kept back, after %u of %u", len, life->source,
                 path->sent_bytes, FACTOR * path->moved_bytes);
}

void path_on_sent(struct model *model, uint32_t listener, const struct packet *packet)
{
    for (uint32_t i = 0; i < model->live_count; i++) {
        struct life *life = &model->lives[model->live[i]];
        if (life->listener == listener && addr_equal(&life->addr, &packet->to))
            path_on_forwarded(model, life, packet->len);
    }
}

/* ---- outcomes ------------------------------------------------------------------------------- */

/* A session with a connection ID is found at that address, before and after this step. */
static bool is_held_with_cid(const struct model *model, uint32_t listener, const struct addr *addr)
{
    if (model_has_handshake(model, listener, addr))
        return false;
    for (uint32_t i = 0; i < model->move_count; i++) {
        if (addr_equal(&model->moves[i].from, addr) || addr_equal(&model->moves[i].to, addr))
            return false;
    }
    for (uint32_t i = 0; i < model->live_count; i++) {
        const struct life *life = &model->lives[model->live[i]];
        if (life->listener == listener && addr_equal(&life->addr, addr) && life->cid_len != 0 &&
            life->path.holds_address && life->began_step != model->step)
            return true;
    }
    return false;
}

/* A record of data as some device made it, or without its connection ID, at the listener that it
 * was made for or at another. */
static bool is_well_formed(const struct model *model, const struct model_input *input,
                           struct wire_record *record)
{
    const struct origin *origin = &input->origin;
    return (origin->message_count > 0 || origin->is_stripped) && !origin->is_changed &&
           wire_read(input->packet->data, input->packet->len, cid_bytes_of(model, input->listener),
                     record);
}

/* Its connection ID was that of a session which had ended before, and is nobody's since. What is
 * from before a close_notify may still be delivered. */
static bool has_lost_cid(struct model *model, const struct model_input *input)
{
    if (input->origin.life == NO_LIFE || cid_bytes_of(model, input->listener) < CID_UNIQUE)
        return false;
    const struct life *life = &model->lives[input->origin.life];
    return life->listener == input->listener && life->state == LIFE_AFTER_SESSION &&
           life->ended_step != model->step && !model_is_overtaken(model, life, input->origin.order);
}

/* RFC 9146 section 3: such records are dropped, and that is what is counted. */
void path_check_outcomes(struct model *model)
{
    uint64_t missing[GATE_LISTENERS_MAX] = {0}, unknown[GATE_LISTENERS_MAX] = {0};
    for (uint32_t i = 0; i < model->from_client_count && !model->is_stopping; i++) {
        const struct model_input *input = &model->from_client[i];
        struct wire_record record;
        if (!is_well_formed(model, input, &record))
            continue;
        if (record.cid == NULL)
            missing[input->listener] +=
                is_held_with_cid(model, input->listener, &input->packet->from);
        else
            unknown[input->listener] += has_lost_cid(model, input);
    }
    for (uint32_t l = 0; l < model->listener_count; l++) {
        struct model_counts now = model_counts_of(model, l), before = model->before[l];
        if (now.cid_missing - before.cid_missing < missing[l])
            fail_msg("listener %u: %u records lack a connection ID", l, (unsigned)missing[l]);
        if (now.cid_unknown - before.cid_unknown + now.alert_repeated - before.alert_repeated <
            unknown[l])
            fail_msg("listener %u: %u records have one that is of no session any more", l,
                     (unsigned)unknown[l]);
    }
}
