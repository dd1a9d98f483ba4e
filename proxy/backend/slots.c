#include "backend/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    POOL_MIN = 65536,
    POOL_PER_SESSION = 4,
    CAPACITY_MIN = 4,
    /* Quarantines ended at once; well below a millisecond. */
    RESTS_AT_ONCE = 256,
    /* The next is due that much late, so that many end in one go. */
    REST_DELAY_MS = 1000,
    LOOPBACK_NETWORK = 127,
};

/* ---- beginning and end ---------------------------------------------------------------------- */

bool slots_init(struct slots *slots, uint32_t worker, uint32_t worker_count, uint32_t max_sessions,
                uint64_t tombstone_ms, struct worker_counters *counters, struct err *err)
{
    uint64_t pool = (uint64_t)POOL_PER_SESSION * max_sessions;
    uint64_t all = (uint64_t)STEERING_BUCKETS * SLOTS_BUCKET_MAX;
    if (pool < POOL_MIN)
        pool = POOL_MIN;
    if (pool > all)
        pool = all;
    *slots = (struct slots){
        .counters = counters,
        .worker = worker,
        .worker_count = worker_count,
        .share = (uint32_t)(pool / 2 / STEERING_BUCKETS),
        .extra_left = (uint32_t)(pool / 2 / worker_count),
        .tombstone_ms = tombstone_ms,
    };
    if (getrandom(&slots->first, sizeof(slots->first), 0) != sizeof(slots->first))
        return err_set(err, "no random numbers: %s", strerror(errno));
    slots->first %= SLOTS_BUCKET_MAX;
    for (int i = 0; i < SLOT_LISTS; i++)
        slots->lists[i] = (struct slots_list){.oldest = SLOTS_NONE, .newest = SLOTS_NONE};
    slots->buckets = calloc(STEERING_BUCKETS / worker_count + 1, sizeof(*slots->buckets));
    return slots->buckets != NULL ||
           err_set(err, "out of memory for the backend addresses of worker %u", worker);
}

void slots_deinit(struct slots *slots)
{
    for (uint32_t i = 0; slots->buckets != NULL && i < STEERING_BUCKETS / slots->worker_count + 1;
         i++)
        free(slots->buckets[i].at);
    free(slots->buckets);
    slots->buckets = NULL;
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

static struct slots_bucket *bucket_of(const struct slots *slots, uint32_t slot)
{
    return &slots->buckets[slots_bucket_of(slot) / slots->worker_count];
}

/* Of the slot at that place in its bucket's array, and the other way round. */
static uint32_t number_of(const struct slots *slots, uint32_t bucket, uint32_t place)
{
    return slots_number(bucket, (slots->first + place) % SLOTS_BUCKET_MAX);
}

static uint32_t place_of(const struct slots *slots, uint32_t slot)
{
    uint32_t index = slot / STEERING_BUCKETS - SLOTS_FIRST_INDEX;
    return (index + SLOTS_BUCKET_MAX - slots->first) % SLOTS_BUCKET_MAX;
}

static struct backend_slot *at(const struct slots *slots, uint32_t slot)
{
    return &bucket_of(slots, slot)->at[place_of(slots, slot)];
}

const struct backend_slot *slots_find(const struct slots *slots, uint32_t slot)
{
    uint32_t index = slot / STEERING_BUCKETS;
    if (index < SLOTS_FIRST_INDEX || index > SLOTS_LAST_INDEX ||
        steering_worker_of_bucket(slots_bucket_of(slot), slots->worker_count) != slots->worker ||
        place_of(slots, slot) >= bucket_of(slots, slot)->count)
        return NULL;
    return at(slots, slot);
}

/* ---- lists of those in quarantine ----------------------------------------------------------- */

static struct counters *counters_of(const struct slots *slots, const struct backend_slot *slot)
{
    return &slots->counters->by_listener[slot->listener];
}

static void enter_list(struct slots *slots, uint32_t number, enum slot_state state)
{
    struct backend_slot *slot = at(slots, number);
    struct slots_list *list = &slots->lists[state];
    slot->state = state;
    slot->older = list->newest;
    slot->newer = SLOTS_NONE;
    if (list->newest != SLOTS_NONE)
        at(slots, list->newest)->newer = number;
    else
        list->oldest = number;
    list->newest = number;
    list->count++;
    counter_add(&counters_of(slots, slot)->backend_addresses_in_quarantine, 1);
    if (state == SLOT_NOISY)
        counter_add(&counters_of(slots, slot)->backend_addresses_noisy, 1);
}

/* Not if it has come to rest: then it is in none. */
static void leave_list(struct slots *slots, uint32_t number)
{
    struct backend_slot *slot = at(slots, number);
    if (slot->state >= SLOT_LISTS)
        return;
    struct slots_list *list = &slots->lists[slot->state];
    if (slot->older != SLOTS_NONE)
        at(slots, slot->older)->newer = slot->newer;
    else
        list->oldest = slot->newer;
    if (slot->newer != SLOTS_NONE)
        at(slots, slot->newer)->older = slot->older;
    else
        list->newest = slot->older;
    list->count--;
    counter_subtract(&counters_of(slots, slot)->backend_addresses_in_quarantine, 1);
    if (slot->state == SLOT_NOISY)
        counter_subtract(&counters_of(slots, slot)->backend_addresses_noisy, 1);
}

static bool has_rested(const struct slots *slots, const struct backend_slot *slot, uint64_t now_ms)
{
    return now_ms - slot->since >= slots->tombstone_ms;
}

/* Of those in quarantine the one that has been silent for longest. */
static uint32_t longest_silent(const struct slots *slots)
{
    uint32_t silent = slots->lists[SLOT_SILENT].oldest, noisy = slots->lists[SLOT_NOISY].oldest;
    if (silent == SLOTS_NONE || noisy == SLOTS_NONE)
        return silent == SLOTS_NONE ? noisy : silent;
    return at(slots, noisy)->since < at(slots, silent)->since ? noisy : silent;
}

/* What a bucket has beyond its share is for whoever needs it next, once it is of no use here. */
static void give_back_extra(struct slots *slots, struct slots_bucket *bucket)
{
    while (bucket->count > slots->share && bucket->at[bucket->count - 1].state == SLOT_RESTED) {
        bucket->count--;
        slots->extra_left++;
    }
    if (bucket->count > bucket->capacity / 2 || bucket->capacity <= CAPACITY_MIN)
        return;
    uint16_t capacity = bucket->count < CAPACITY_MIN ? CAPACITY_MIN : bucket->count;
    struct backend_slot *shorter = realloc(bucket->at, capacity * sizeof(*shorter));
    if (shorter != NULL) {
        bucket->at = shorter;
        bucket->capacity = capacity;
    }
}

uint64_t slots_on_time(struct slots *slots, uint64_t now_ms)
{
    uint32_t slot = longest_silent(slots);
    for (int i = 0; i < RESTS_AT_ONCE && slot != SLOTS_NONE; i++) {
        if (!has_rested(slots, at(slots, slot), now_ms))
            return at(slots, slot)->since + slots->tombstone_ms + REST_DELAY_MS;
        leave_list(slots, slot);
        at(slots, slot)->state = SLOT_RESTED;
        give_back_extra(slots, bucket_of(slots, slot));
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
static struct choice look_through(const struct slots *slots, const struct slots_bucket *bucket,
                                  uint64_t now_ms)
{
    struct choice choice = {SLOTS_NONE, SLOTS_NONE};
    for (uint32_t i = 0; i < bucket->count; i++) {
        const struct backend_slot *slot = &bucket->at[i];
        if (slot->state == SLOT_TAKEN)
            continue;
        uint32_t *best;
        if (has_rested(slots, slot, now_ms))
            best = &choice.rested;
        else if (slot->state == SLOT_SILENT)
            best = &choice.silent;
        else
            continue;
        if (*best == SLOTS_NONE || slot->since < bucket->at[*best].since)
            *best = i;
    }
    return choice;
}

static bool may_grow(const struct slots *slots, const struct slots_bucket *bucket)
{
    return bucket->count < SLOTS_BUCKET_MAX &&
           (bucket->count < slots->share || slots->extra_left > 0);
}

/* The place of one that was never used. */
static uint32_t add_slot(struct slots *slots, struct slots_bucket *bucket)
{
    if (!may_grow(slots, bucket))
        return SLOTS_NONE;
    if (bucket->count == bucket->capacity) {
        uint32_t capacity = CAPACITY_MIN + bucket->capacity + bucket->capacity / 4u;
        struct backend_slot *longer = reallocarray(bucket->at, capacity, sizeof(*longer));
        if (longer == NULL)
            return SLOTS_NONE;
        bucket->at = longer;
        bucket->capacity = (uint16_t)capacity;
    }
    if (bucket->count >= slots->share)
        slots->extra_left--;
    return bucket->count++;
}

static uint32_t reuse_slot(struct slots *slots, uint32_t bucket, uint32_t place, uint64_t now_ms)
{
    uint32_t slot = number_of(slots, bucket, place);
    leave_list(slots, slot);
    counter_lower(&slots->counters->backend_address_silence, now_ms - at(slots, slot)->since);
    return place;
}

/* The place of the one to take, or SLOTS_NONE. */
static uint32_t choose(struct slots *slots, uint32_t bucket, uint64_t now_ms, bool *is_early)
{
    struct slots_bucket *b = bucket_of(slots, bucket);
    uint32_t added = b->count < slots->share ? add_slot(slots, b) : SLOTS_NONE;
    if (added != SLOTS_NONE)
        return added;
    struct choice choice = look_through(slots, b, now_ms);
    if (choice.rested != SLOTS_NONE)
        return reuse_slot(slots, bucket, choice.rested, now_ms);
    added = add_slot(slots, b);
    if (added != SLOTS_NONE || choice.silent == SLOTS_NONE)
        return added;
    *is_early = true;
    return reuse_slot(slots, bucket, choice.silent, now_ms);
}

uint32_t slots_take(struct slots *slots, uint32_t bucket, void *owner, uint32_t listener,
                    uint64_t since, uint64_t now_ms, bool *is_early)
{
    assert(steering_worker_of_bucket(bucket, slots->worker_count) == slots->worker);
    *is_early = false;
    (void)slots_on_time(slots, now_ms);
    uint32_t place = choose(slots, bucket, now_ms, is_early);
    if (place == SLOTS_NONE)
        return SLOTS_NONE;
    uint32_t slot = number_of(slots, bucket, place);
    *at(slots, slot) = (struct backend_slot){.owner = owner,
                                             .since = since & SLOTS_SINCE_MASK,
                                             .state = SLOT_TAKEN,
                                             .reason = LATE_UNKNOWN,
                                             .listener = (uint8_t)listener};
    return slot;
}

bool slots_is_exhausted(struct slots *slots, uint32_t bucket, uint64_t now_ms)
{
    const struct slots_bucket *b = bucket_of(slots, bucket);
    (void)slots_on_time(slots, now_ms);
    if (may_grow(slots, b))
        return false;
    struct choice choice = look_through(slots, b, now_ms);
    return choice.rested == SLOTS_NONE && choice.silent == SLOTS_NONE;
}

void slots_release(struct slots *slots, uint32_t slot, enum close_reason reason, uint64_t now_ms)
{
    struct backend_slot *released = at(slots, slot);
    released->since = now_ms & SLOTS_SINCE_MASK;
    released->reason = (uint8_t)reason;
    enter_list(slots, slot, released->is_noisy ? SLOT_NOISY : SLOT_SILENT);
}

void slots_on_noise(struct slots *slots, uint32_t number, uint64_t now_ms)
{
    struct backend_slot *slot = at(slots, number);
    if (slot->state == SLOT_TAKEN) {
        slot->is_noisy = true;
        return;
    }
    leave_list(slots, number);
    if (has_rested(slots, slot, now_ms))
        slot->reason = LATE_UNKNOWN;
    slot->since = now_ms & SLOTS_SINCE_MASK;
    enter_list(slots, number, SLOT_NOISY);
}

unsigned slots_late_reason(const struct slots *slots, const struct backend_slot *slot,
                           uint64_t now_ms)
{
    return slot->state == SLOT_TAKEN || has_rested(slots, slot, now_ms) ? LATE_UNKNOWN
                                                                        : slot->reason;
}
