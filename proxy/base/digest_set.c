#include "base/digest_set.h"

#include <assert.h>
#include <string.h>

static const uint8_t free_slot[DIGEST_SET_BYTES];

static uint8_t *slot_at(const struct digest_set *set, size_t slot)
{
    return set->slots.bytes + slot * DIGEST_SET_BYTES;
}

/* The slot that holds the digest, or the free one where it belongs. */
static uint8_t *slot_of(const struct digest_set *set, const uint8_t *digest)
{
    uint64_t first;
    memcpy(&first, digest, sizeof(first));
    size_t slot = (size_t)((unsigned __int128)first * set->slot_count >> 64);
    while (memcmp(slot_at(set, slot), digest, DIGEST_SET_BYTES) != 0 &&
           memcmp(slot_at(set, slot), free_slot, DIGEST_SET_BYTES) != 0)
        slot = slot + 1 < set->slot_count ? slot + 1 : 0;
    return slot_at(set, slot);
}

bool digest_set_init(struct digest_set *set, size_t room)
{
    /* A load of at most two thirds; one slot is always free, which ends every search. */
    *set = (struct digest_set){.slot_count = room + room / 2 + 1};
    return secret_new(&set->slots, set->slot_count * DIGEST_SET_BYTES);
}

void digest_set_deinit(struct digest_set *set)
{
    secret_free(&set->slots);
    *set = (struct digest_set){0};
}

bool digest_set_add(struct digest_set *set, const uint8_t digest[DIGEST_SET_BYTES])
{
    uint8_t *slot = slot_of(set, digest);
    if (memcmp(slot, free_slot, DIGEST_SET_BYTES) != 0)
        return false;
    memcpy(slot, digest, DIGEST_SET_BYTES);
    set->count++;
    assert(set->count < set->slot_count);
    return true;
}

bool digest_set_has(const struct digest_set *set, const uint8_t digest[DIGEST_SET_BYTES])
{
    return set->count != 0 && memcmp(slot_of(set, digest), free_slot, DIGEST_SET_BYTES) != 0;
}
