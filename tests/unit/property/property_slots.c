/* Backend addresses, and who may be given one. */
#include "property/property_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { FIRST_SOURCE = 0x7f010000 };

uint32_t model_source_of(const struct addr *addr)
{
    return (uint32_t)addr->ip[0] << 24 | (uint32_t)addr->ip[1] << 16 | (uint32_t)addr->ip[2] << 8 |
           addr->ip[3];
}

struct addr model_source_addr(const struct model *model, uint32_t source)
{
    return (struct addr){.ip = {(uint8_t)(source >> 24), (uint8_t)(source >> 16),
                                (uint8_t)(source >> 8), (uint8_t)source},
                         .port = gate_backend_port(&model->gate->dp),
                         .family = AF_INET};
}

struct model_slot *model_find_slot(struct model *model, uint32_t source)
{
    for (uint32_t i = 0; i < model->slot_count; i++) {
        if (model->slots[i].source == source)
            return &model->slots[i];
    }
    return NULL;
}

struct life *model_owner_of(struct model *model, uint32_t source)
{
    const struct model_slot *slot = model_find_slot(model, source);
    return slot != NULL ? &model->lives[slot->life] : NULL;
}

static uint64_t tombstone_ms(const struct model *model)
{
    return model->tombstone_ms;
}

static bool has_rested(const struct model *model, const struct model_slot *slot)
{
    return model->gate->now_ms - slot->silent_since_ms >= tombstone_ms(model);
}

void model_set_tombstone(struct model *model, uint64_t ms)
{
    for (uint32_t i = 0; i < model->slot_count && ms > model->tombstone_ms; i++) {
        struct model_slot *slot = &model->slots[i];
        slot->is_doubtful |= model_is_free_slot(model, slot) && has_rested(model, slot);
    }
    model->tombstone_ms = ms;
}

bool model_is_free_slot(const struct model *model, const struct model_slot *slot)
{
    return model->lives[slot->life].state != LIFE_IN_SESSION;
}

static uint32_t bucket_of(uint32_t source)
{
    return source % STEERING_BUCKETS;
}

static bool has_unused(const struct model *model, uint32_t bucket)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < model->slot_count; i++)
        used += bucket_of(model->slots[i].source) == bucket;
    return used < gate_slot_max(&model->gate->dp);
}

/* It is used once more. That must be the one that was silent for longest, and never one that a
 * backend has been heard at within the tombstone time. */
static void check_reuse(struct model *model, const struct model_slot *chosen)
{
    if (!model_is_free_slot(model, chosen))
        fail_msg("%08x belongs to two sessions", chosen->source);
    if (has_unused(model, bucket_of(chosen->source)))
        fail_msg("%08x is used again, and others never were", chosen->source);
    bool is_early = !has_rested(model, chosen);
    if (is_early && chosen->is_noisy)
        fail_msg("%08x is used again, where a backend was heard %u ms ago", chosen->source,
                 (unsigned)(model->gate->now_ms - chosen->silent_since_ms));
    for (uint32_t i = 0; i < model->slot_count; i++) {
        const struct model_slot *other = &model->slots[i];
        if (bucket_of(other->source) != bucket_of(chosen->source) ||
            !model_is_free_slot(model, other) ||
            (!has_rested(model, other) && (!is_early || other->is_noisy || other->is_doubtful)))
            continue;
        if (other->silent_since_ms < chosen->silent_since_ms)
            fail_msg("%08x is used again, and %08x was silent for longer", chosen->source,
                     other->source);
    }
    model->early_count += is_early;
    model->reused_count++;
}

void model_take_slot(struct model *model, uint32_t life, uint32_t source, const struct addr *client)
{
    struct model_slot *slot = model_find_slot(model, source);
    if (bucket_of(source) != steering_bucket_of_addr(client))
        fail_msg("%08x is not in the bucket of its device's address", source);
    if (source < FIRST_SOURCE || source >= 0x7fffffffu)
        fail_msg("%08x is no backend address of ours", source);
    if (slot == NULL) {
        assert_true(model->slot_count < MODEL_LIVES_MAX);
        assert_true(has_unused(model, bucket_of(source)));
        model->slots[model->slot_count++] = (struct model_slot){.source = source, .life = life};
        return;
    }
    check_reuse(model, slot);
    slot->life = life;
    slot->is_noisy = slot->is_disturbed = slot->is_forgotten = slot->is_doubtful = false;
}

static struct model_slot *slot_of(struct model *model, const struct life *life)
{
    struct model_slot *slot = model->slots;
    while (slot->source != life->source)
        slot++;
    return slot;
}

void model_give_back_slot(struct model *model, const struct life *life)
{
    struct model_slot *slot = slot_of(model, life);
    slot->silent_since_ms = model->gate->now_ms;
    slot->is_noisy = slot->is_disturbed;
}

void model_on_noise(struct model *model, const struct life *life, bool is_live)
{
    struct model_slot *slot = slot_of(model, life);
    if (model_is_free_slot(model, slot))
        slot->is_noisy = true;
    else
        slot->is_disturbed = true;
    if (!is_live)
        slot->silent_since_ms = model->gate->now_ms;
}

unsigned model_late_reason(struct model *model, const struct life *life)
{
    struct model_slot *slot = slot_of(model, life);
    if (has_rested(model, slot))
        slot->is_forgotten = true;
    return slot->is_forgotten ? LATE_UNKNOWN : (unsigned)life->reason;
}

/* Of the bucket's slots the one that would be used again, or NULL. */
static const struct model_slot *find_usable(const struct model *model, uint32_t bucket)
{
    const struct model_slot *usable = NULL;
    for (uint32_t i = 0; i < model->slot_count; i++) {
        const struct model_slot *slot = &model->slots[i];
        if (bucket_of(slot->source) == bucket && model_is_free_slot(model, slot) &&
            ((!slot->is_noisy && !slot->is_doubtful) || has_rested(model, slot)) &&
            (usable == NULL || slot->silent_since_ms < usable->silent_since_ms))
            usable = slot;
    }
    return usable;
}

uint32_t model_next_source(const struct model *model, uint32_t bucket)
{
    uint32_t used = FIRST_SOURCE + bucket;
    if (has_unused(model, bucket)) {
        for (uint32_t i = 0; i < model->slot_count; i++)
            used += bucket_of(model->slots[i].source) == bucket ? STEERING_BUCKETS : 0;
        return used;
    }
    const struct model_slot *next = find_usable(model, bucket);
    return next != NULL ? next->source : used;
}

bool model_is_exhausted(const struct model *model, uint32_t bucket)
{
    return !has_unused(model, bucket) && find_usable(model, bucket) == NULL;
}
