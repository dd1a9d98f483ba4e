#include "backend/slots_adopt.h"

#include "backend/slots_inside.h"
#include "base/ranking.h"

/* ---- each slot ------------------------------------------------------------------------------- */

enum { GROUP_BYTES = SLOTS_GROUP * sizeof(struct backend_slot), PAGE_BYTES = 4096 };

/* What may be false in it is made good. Times are not ahead of the clock, or it would never rest.
 */
static void mend(const struct slots *slots, struct backend_slot *slot, uint32_t bucket,
                 uint64_t now_ms, bool *is_mark_missing)
{
    struct backend_slot mended = *slot;
    if (slot->state > SLOT_TAKEN) {
        mended.state = SLOT_NOISY;
        mended.since = now_ms & SLOTS_SINCE_MASK;
        mended.reason = 0;
    } else if (slot->state == SLOT_TAKEN) {
        slot->is_claimed = false;
        bool is_missing = !state_mark_was_seen(slots->state, bucket, slot->since);
        mended.since = is_missing ? (slots->state->mark_base + 1) & SLOTS_SINCE_MASK : 0;
        *is_mark_missing |= is_missing;
    } else if (slot->since > now_ms) {
        mended.since = now_ms & SLOTS_SINCE_MASK;
    }
    if (mended.reason > CLOSE_REASON_COUNT) /* a newer version's */
        mended.reason = 0;
    if (mended.word != slot->word)
        slots_write_word(slot, &mended);
}

/* Groups in between that were never used may have no memory. */
static bool count_to(const struct slots *slots, uint32_t bucket, uint32_t place)
{
    uint16_t *count = slots_count_of(slots, bucket);
    uint32_t gap = (*count + SLOTS_GROUP - 1u) / SLOTS_GROUP * SLOTS_GROUP;
    for (; gap + SLOTS_GROUP <= place; gap += SLOTS_GROUP) {
        if (!slots_need_group(slots, bucket, gap))
            return false;
    }
    *count = (uint16_t)(place + 1);
    return true;
}

static bool look_at(struct slots *slots, struct ranking *resting, uint32_t bucket, uint32_t place)
{
    const struct backend_slot *slot = slots_at_place(slots, bucket, place);
    if (slot->state != SLOT_NEVER && !count_to(slots, bucket, place))
        return false;
    return (slot->state != SLOT_SILENT && slot->state != SLOT_NOISY) ||
           ranking_add(resting, slot->since, slots_number_of(slots, bucket, place));
}

static bool look_at_group(struct slots *slots, struct ranking *resting, uint32_t bucket,
                          uint32_t place, uint64_t now_ms, bool *is_mark_missing)
{
    for (uint32_t end = place + SLOTS_GROUP; place < end && place < SLOTS_BUCKET_MAX; place++) {
        mend(slots, slots_at_place(slots, bucket, place), bucket, now_ms, is_mark_missing);
        if (!look_at(slots, resting, bucket, place))
            return false;
    }
    return true;
}

/* Reads what has memory, and nothing else: what is only looked at would be given some. */
static bool look_at_all(struct slots *slots, struct ranking *resting, uint64_t now_ms,
                        bool *is_mark_missing)
{
    const struct region *region = &slots->state->region;
    size_t end = LAYOUT_SLOTS_AT + LAYOUT_SLOTS_BYTES;
    for (size_t page = region_next_used(region, LAYOUT_SLOTS_AT); page < end;
         page = region_next_used(region, page + PAGE_BYTES)) {
        page -= page % PAGE_BYTES;
        for (size_t at = page; at < page + PAGE_BYTES; at += GROUP_BYTES) {
            uint32_t group = (uint32_t)((at - LAYOUT_SLOTS_AT) / GROUP_BYTES);
            uint32_t bucket = group % STEERING_BUCKETS;
            if (slots_is_own(slots, bucket) &&
                !look_at_group(slots, resting, bucket, group / STEERING_BUCKETS * SLOTS_GROUP,
                               now_ms, is_mark_missing))
                return false;
        }
    }
    return true;
}

/* One that was never used, before others that were: it may be used like those that have rested. */
static void fill_gaps(struct slots *slots)
{
    static const struct backend_slot rested = {.state = SLOT_RESTED};
    for (uint32_t bucket = slots->worker; bucket < STEERING_BUCKETS;
         bucket += slots->worker_count) {
        for (uint32_t place = 0; place < *slots_count_of(slots, bucket); place++) {
            struct backend_slot *slot = slots_at_place(slots, bucket, place);
            if (slot->state == SLOT_NEVER)
                slots_write_word(slot, &rested);
        }
    }
}

bool slots_adopt(struct slots *slots, uint64_t now_ms, bool *is_mark_missing, struct err *err)
{
    struct ranking resting = {0}; /* by when they fell silent */
    *is_mark_missing = false;
    bool ok = look_at_all(slots, &resting, now_ms, is_mark_missing);
    if (ok) {
        fill_gaps(slots);
        ranking_sort(&resting);
        for (size_t i = 0; i < resting.count; i++)
            slots_enter_list(slots, resting.at[i].number);
        slots_count_extra(slots);
    }
    ranking_free(&resting);
    return ok ||
           err_set(err, "out of memory for the backend addresses of worker %u", slots->worker);
}

/* ---- their owners ---------------------------------------------------------------------------- */

bool slots_adopt_claim(struct slots *slots, uint32_t number, uint32_t owner, uint32_t listener)
{
    if (slots_find(slots, number) == NULL)
        return false;
    struct backend_slot *slot = slots_at(slots, number);
    if (slot->state != SLOT_TAKEN || slot->owner != owner || slot->listener != listener ||
        slot->is_claimed)
        return false;
    slot->is_claimed = true;
    return true;
}

uint32_t slots_adopt_end(struct slots *slots, enum close_reason reason, uint64_t now_ms)
{
    uint32_t count = 0;
    for (uint32_t bucket = slots->worker; bucket < STEERING_BUCKETS;
         bucket += slots->worker_count) {
        for (uint32_t place = 0; place < *slots_count_of(slots, bucket); place++) {
            const struct backend_slot *slot = slots_at_place(slots, bucket, place);
            if (slot->state != SLOT_TAKEN || slot->is_claimed)
                continue;
            slots_release(slots, slots_number_of(slots, bucket, place), reason, now_ms);
            count++;
        }
    }
    return count;
}
