#include "backend/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "backend/slots_inside.h"

enum {
    POOL_MIN = 65536,
    POOL_PER_SESSION = 4,
    /* Quarantines ended at once; well below a millisecond. */
    RESTS_AT_ONCE = 256,
    /* The next is due that much late, so that many end in one go. */
    REST_DELAY_MS = 1000,
    LOOPBACK_NETWORK = 127,
};

/* ---- beginning and end ---------------------------------------------------------------------- */

static uint32_t bucket_room(const struct slots *slots)
{
    return STEERING_BUCKETS / slots->worker_count + 1;
}

void slots_count_extra(struct slots *slots)
{
    slots->extra_count = 0;
    for (uint32_t i = 0; i < bucket_room(slots); i++) {
        if (slots->counts[i] > slots->share)
            slots->extra_count += slots->counts[i] - slots->share;
    }
}

uint64_t slots_pool(uint32_t max_sessions)
{
    uint64_t pool = (uint64_t)POOL_PER_SESSION * max_sessions;
    uint64_t all = (uint64_t)STEERING_BUCKETS * SLOTS_BUCKET_MAX;
    if (pool < POOL_MIN)
        pool = POOL_MIN;
    return pool < all ? pool : all;
}

void slots_set(struct slots *slots, uint32_t max_sessions, uint64_t tombstone_ms)
{
    uint64_t pool = slots_pool(max_sessions);
    slots->share = (uint32_t)(pool / 2 / STEERING_BUCKETS);
    slots->extra_max = (uint32_t)(pool / 2 / slots->worker_count);
    slots->tombstone_ms = tombstone_ms;
    slots_count_extra(slots);
}

bool slots_init(struct slots *slots, struct state *state, uint32_t worker, uint32_t worker_count,
                uint32_t max_sessions, uint64_t tombstone_ms, struct worker_counters *counters,
                struct err *err)
{
    *slots = (struct slots){
        .counters = counters,
        .state = state,
        .at = (struct backend_slot *)(state->region.base + LAYOUT_SLOTS_AT),
        .silent = {.oldest = SLOTS_NONE, .newest = SLOTS_NONE},
        .noisy = {.oldest = SLOTS_NONE, .newest = SLOTS_NONE},
        .worker = worker,
        .worker_count = worker_count,
        .first = state->header->slot_first % SLOTS_BUCKET_MAX,
    };
    slots->counts = calloc(bucket_room(slots), sizeof(*slots->counts));
    if (slots->counts == NULL)
        return err_set(err, "out of memory for the backend addresses of worker %u", worker);
    slots_set(slots, max_sessions, tombstone_ms);
    return true;
}

void slots_deinit(struct slots *slots)
{
    free(slots->counts);
    slots->counts = NULL;
}

/* ---- numbers -------------------------------------------------------------------------------- */

struct addr slots_addr(uint32_t slot)
{
    return (struct addr){
        .family = AF_INET,
        .ip = {LOOPBACK_NETWORK, (uint8_t)(slot >> 16), (uint8_t)(slot >> 8), (uint8_t)slot}};
}

uint32_t slots_number_of_addr(const struct addr *addr)
{
    if (addr->family != AF_INET || addr->ip[0] != LOOPBACK_NETWORK)
        return SLOTS_NONE;
    return (uint32_t)addr->ip[1] << 16 | (uint32_t)addr->ip[2] << 8 | addr->ip[3];
}

const struct backend_slot *slots_find(const struct slots *slots, uint32_t slot)
{
    uint32_t index = slot / STEERING_BUCKETS, bucket = slots_bucket_of(slot);
    if (index < SLOTS_FIRST_INDEX || index > SLOTS_LAST_INDEX || !slots_is_own(slots, bucket) ||
        slots_place_of(slots, slot) >= *slots_count_of(slots, bucket))
        return NULL;
    return slots_at(slots, slot);
}

/* ---- lists of those in quarantine ----------------------------------------------------------- */

static struct counters *counters_of(const struct slots *slots, const struct backend_slot *slot)
{
    return &slots->counters->by_listener[slot->listener];
}

static bool is_in_list(const struct backend_slot *slot)
{
    return slot->state == SLOT_SILENT || slot->state == SLOT_NOISY;
}

static struct slots_list *list_of(struct slots *slots, const struct backend_slot *slot)
{
    return slot->state == SLOT_NOISY ? &slots->noisy : &slots->silent;
}

void slots_enter_list(struct slots *slots, uint32_t number)
{
    struct backend_slot *slot = slots_at(slots, number);
    struct slots_list *list = list_of(slots, slot);
    slot->older = list->newest;
    slot->newer = SLOTS_NONE;
    if (list->newest != SLOTS_NONE)
        slots_at(slots, list->newest)->newer = number;
    else
        list->oldest = number;
    list->newest = number;
    list->count++;
    counter_add(&counters_of(slots, slot)->backend_addresses_in_quarantine, 1);
    if (slot->state == SLOT_NOISY)
        counter_add(&counters_of(slots, slot)->backend_addresses_noisy, 1);
}

/* Not if it has come to rest: then it is in none. */
static void leave_list(struct slots *slots, uint32_t number)
{
    struct backend_slot *slot = slots_at(slots, number);
    struct slots_list *list = list_of(slots, slot);
    if (!is_in_list(slot))
        return;
    if (slot->older != SLOTS_NONE)
        slots_at(slots, slot->older)->newer = slot->newer;
    else
        list->oldest = slot->newer;
    if (slot->newer != SLOTS_NONE)
        slots_at(slots, slot->newer)->older = slot->older;
    else
        list->newest = slot->older;
    list->count--;
    counter_subtract(&counters_of(slots, slot)->backend_addresses_in_quarantine, 1);
    if (slot->state == SLOT_NOISY)
        counter_subtract(&counters_of(slots, slot)->backend_addresses_noisy, 1);
}

void slots_enter_quarantine(struct slots *slots, uint32_t number, enum slot_state state,
                            unsigned reason, uint64_t now_ms)
{
    struct backend_slot *slot = slots_at(slots, number), changed = *slot;
    changed.since = now_ms & SLOTS_SINCE_MASK;
    changed.reason = (uint8_t)(reason == LATE_UNKNOWN ? 0 : reason + 1);
    changed.state = state;
    slots_write_word(slot, &changed);
    slots_enter_list(slots, number);
}

static bool has_rested(const struct slots *slots, const struct backend_slot *slot, uint64_t now_ms)
{
    return now_ms - slot->since >= slots->tombstone_ms;
}

/* Of those in quarantine the one that has been silent for longest. */
static uint32_t longest_silent(const struct slots *slots)
{
    uint32_t silent = slots->silent.oldest, noisy = slots->noisy.oldest;
    if (silent == SLOTS_NONE || noisy == SLOTS_NONE)
        return silent == SLOTS_NONE ? noisy : silent;
    return slots_at(slots, noisy)->since < slots_at(slots, silent)->since ? noisy : silent;
}

/* What a bucket has beyond its share is for whoever needs it next, once it is of no use here. */
static void give_back_extra(struct slots *slots, uint32_t bucket)
{
    static const struct backend_slot never = {.state = SLOT_NEVER};
    uint16_t *count = slots_count_of(slots, bucket);
    while (*count > slots->share &&
           slots_at_place(slots, bucket, *count - 1u)->state == SLOT_RESTED) {
        slots_write_word(slots_at_place(slots, bucket, *count - 1u), &never);
        --*count;
        slots->extra_count--;
    }
}

static void end_quarantine(struct slots *slots, uint32_t number)
{
    struct backend_slot *slot = slots_at(slots, number), changed;
    leave_list(slots, number);
    changed = *slot;
    changed.state = SLOT_RESTED;
    slots_write_word(slot, &changed);
    give_back_extra(slots, slots_bucket_of(number));
}

uint64_t slots_on_time(struct slots *slots, uint64_t now_ms)
{
    uint32_t slot = longest_silent(slots);
    for (int i = 0; i < RESTS_AT_ONCE && slot != SLOTS_NONE; i++) {
        if (!has_rested(slots, slots_at(slots, slot), now_ms))
            return slots_at(slots, slot)->since + slots->tombstone_ms + REST_DELAY_MS;
        end_quarantine(slots, slot);
        slot = longest_silent(slots);
    }
    return slot != SLOTS_NONE ? now_ms + 1 : UINT64_MAX;
}

/* ---- taking and giving back ----------------------------------------------------------------- */

/* Places in the bucket, or SLOTS_NONE. */
struct choice {
    uint32_t rested; /* silent for the tombstone time */
    uint32_t silent; /* since its session ended */
};

/* The longest silent ones of each kind. */
static struct choice look_through(const struct slots *slots, uint32_t bucket, uint64_t now_ms)
{
    struct choice choice = {SLOTS_NONE, SLOTS_NONE};
    for (uint32_t i = 0; i < *slots_count_of(slots, bucket); i++) {
        const struct backend_slot *slot = slots_at_place(slots, bucket, i);
        if (slot->state == SLOT_TAKEN)
            continue;
        uint32_t *best;
        if (has_rested(slots, slot, now_ms))
            best = &choice.rested;
        else if (slot->state == SLOT_SILENT)
            best = &choice.silent;
        else
            continue;
        if (*best == SLOTS_NONE || slot->since < slots_at_place(slots, bucket, *best)->since)
            *best = i;
    }
    return choice;
}

static bool may_grow(const struct slots *slots, uint32_t bucket)
{
    uint32_t count = *slots_count_of(slots, bucket);
    return count < SLOTS_BUCKET_MAX &&
           (count < slots->share || slots->extra_count < slots->extra_max);
}

/* The place of one that was never used. */
static uint32_t add_slot(struct slots *slots, uint32_t bucket)
{
    uint16_t *count = slots_count_of(slots, bucket);
    if (!may_grow(slots, bucket))
        return SLOTS_NONE;
    if (*count % SLOTS_GROUP == 0 && !slots_need_group(slots, bucket, *count))
        return SLOTS_NONE;
    if (*count >= slots->share)
        slots->extra_count++;
    return (*count)++;
}

static uint32_t reuse_slot(struct slots *slots, uint32_t bucket, uint32_t place, uint64_t now_ms)
{
    leave_list(slots, slots_number_of(slots, bucket, place));
    counter_lower(&slots->counters->whole->backend_address_silence,
                  now_ms - slots_at_place(slots, bucket, place)->since);
    return place;
}

/* The place of the one to take, or SLOTS_NONE. */
static uint32_t choose(struct slots *slots, uint32_t bucket, uint64_t now_ms, bool *is_early)
{
    uint32_t added =
        *slots_count_of(slots, bucket) < slots->share ? add_slot(slots, bucket) : SLOTS_NONE;
    if (added != SLOTS_NONE)
        return added;
    struct choice choice = look_through(slots, bucket, now_ms);
    if (choice.rested != SLOTS_NONE)
        return reuse_slot(slots, bucket, choice.rested, now_ms);
    added = add_slot(slots, bucket);
    if (added != SLOTS_NONE || choice.silent == SLOTS_NONE)
        return added;
    *is_early = true;
    return reuse_slot(slots, bucket, choice.silent, now_ms);
}

uint32_t slots_take(struct slots *slots, uint32_t bucket, uint32_t owner, uint32_t listener,
                    uint64_t since, uint64_t now_ms, bool *is_early)
{
    assert(slots_is_own(slots, bucket));
    *is_early = false;
    (void)slots_on_time(slots, now_ms);
    uint32_t place = choose(slots, bucket, now_ms, is_early);
    if (place == SLOTS_NONE)
        return SLOTS_NONE;
    struct backend_slot *slot = slots_at_place(slots, bucket, place);
    const struct backend_slot taken = {
        .since = since & SLOTS_SINCE_MASK, .state = SLOT_TAKEN, .listener = (uint8_t)listener};
    slot->owner = owner;
    slot->is_claimed = true;
    slots_write_word(slot, &taken);
    return slots_number_of(slots, bucket, place);
}

bool slots_is_exhausted(struct slots *slots, uint32_t bucket, uint64_t now_ms)
{
    (void)slots_on_time(slots, now_ms);
    if (may_grow(slots, bucket))
        return false;
    struct choice choice = look_through(slots, bucket, now_ms);
    return choice.rested == SLOTS_NONE && choice.silent == SLOTS_NONE;
}

void slots_release(struct slots *slots, uint32_t slot, enum close_reason reason, uint64_t now_ms)
{
    slots_enter_quarantine(slots, slot, slots_at(slots, slot)->is_noisy ? SLOT_NOISY : SLOT_SILENT,
                           reason, now_ms);
}

static unsigned reason_of(const struct backend_slot *slot)
{
    return slot->reason == 0 ? LATE_UNKNOWN : slot->reason - 1u;
}

void slots_on_noise(struct slots *slots, uint32_t number, uint64_t now_ms)
{
    struct backend_slot *slot = slots_at(slots, number), changed = *slot;
    if (slot->state == SLOT_TAKEN) {
        changed.is_noisy = true;
        slots_write_word(slot, &changed);
        return;
    }
    unsigned reason = has_rested(slots, slot, now_ms) ? LATE_UNKNOWN : reason_of(slot);
    leave_list(slots, number);
    slots_enter_quarantine(slots, number, SLOT_NOISY, reason, now_ms);
}

unsigned slots_late_reason(const struct slots *slots, const struct backend_slot *slot,
                           uint64_t now_ms)
{
    return slot->state == SLOT_TAKEN || has_rested(slots, slot, now_ms) ? LATE_UNKNOWN
                                                                        : reason_of(slot);
}
