/* Where a slot lies in the state: for slots.c, and slots_adopt.c, which rebuilds what slots.c
 * knows. */
#ifndef SLOTS_INSIDE_H
#define SLOTS_INSIDE_H

#include "backend/slots.h"

enum { SLOTS_GROUP = 16 }; /* slots of a bucket that lie together */

static inline uint16_t *slots_count_of(const struct slots *slots, uint32_t bucket)
{
    return &slots->counts[bucket / slots->worker_count];
}

/* The place of a slot is its number within its bucket, in the order in which they are used. */
static inline uint32_t slots_number_of(const struct slots *slots, uint32_t bucket, uint32_t place)
{
    return slots_number(bucket, (slots->first + place) % SLOTS_BUCKET_MAX);
}

static inline uint32_t slots_place_of(const struct slots *slots, uint32_t slot)
{
    uint32_t index = slot / STEERING_BUCKETS - SLOTS_FIRST_INDEX;
    return (index + SLOTS_BUCKET_MAX - slots->first) % SLOTS_BUCKET_MAX;
}

/* Places 0 to 15 of all buckets, then 16 to 31 of all: few slots need little memory, and what a
 * look through a bucket reads lies together. */
static inline uint32_t slots_number_in_state(uint32_t bucket, uint32_t place)
{
    return (place / SLOTS_GROUP * STEERING_BUCKETS + bucket) * SLOTS_GROUP + place % SLOTS_GROUP;
}

static inline struct backend_slot *slots_at_place(const struct slots *slots, uint32_t bucket,
                                                  uint32_t place)
{
    return &slots->at[slots_number_in_state(bucket, place)];
}

/* The places of a bucket from this one on, the first of a group, have memory. */
static inline bool slots_need_group(const struct slots *slots, uint32_t bucket, uint32_t place)
{
    size_t bytes = sizeof(struct backend_slot);
    size_t offset = LAYOUT_SLOTS_AT + slots_number_in_state(bucket, place) * bytes;
    return region_need(&slots->state->region, offset, SLOTS_GROUP * bytes);
}

static inline struct backend_slot *slots_at(const struct slots *slots, uint32_t slot)
{
    return slots_at_place(slots, slots_bucket_of(slot), slots_place_of(slots, slot));
}

static inline bool slots_is_own(const struct slots *slots, uint32_t bucket)
{
    return steering_worker_of_bucket(bucket, slots->worker_count) == slots->worker;
}

/* Says all at once what a slot is from now on. */
static inline void slots_write_word(struct backend_slot *slot, const struct backend_slot *as)
{
    __atomic_store_n(&slot->word, as->word, __ATOMIC_RELEASE);
}

/* Counts anew what all buckets have beyond their share. */
void slots_count_extra(struct slots *slots);

/* It is silent or noisy, and was silent last after all that are in the list of its state. */
void slots_enter_list(struct slots *slots, uint32_t slot);
/* From now on it is silent or noisy. */
void slots_enter_quarantine(struct slots *slots, uint32_t slot, enum slot_state state,
                            unsigned reason, uint64_t now_ms);

#endif
