#include "net/limit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ONE_MILLI = 1000 };

static_assert((LIMIT_PREFIX_SETS & (LIMIT_PREFIX_SETS - 1)) == 0, "the hash is masked");
static_assert(LIMIT_PER_S_MAX <= UINT32_MAX / ONE_MILLI, "used_milli holds a second's worth");

/* What is still used of it now: per_s thousandths drain each millisecond. */
static uint32_t drained(uint32_t used_milli, uint64_t updated_ms, uint32_t per_s, uint64_t now_ms)
{
    uint64_t elapsed_ms = now_ms > updated_ms ? now_ms - updated_ms : 0;
    if (elapsed_ms >= 1000)
        return 0;
    uint64_t gone_milli = elapsed_ms * per_s;
    return gone_milli < used_milli ? used_milli - (uint32_t)gone_milli : 0;
}

static bool may_use(uint32_t used_milli, uint32_t per_s, bool is_preferred)
{
    uint32_t available = is_preferred ? per_s : per_s - per_s / 4;
    return used_milli + ONE_MILLI <= (uint64_t)available * ONE_MILLI;
}

bool limit_take(struct limit_bucket *bucket, uint64_t now_ms, bool is_preferred)
{
    if (bucket->per_s == 0)
        return true;
    uint32_t per_s = bucket->per_s < LIMIT_PER_S_MAX ? bucket->per_s : LIMIT_PER_S_MAX;
    bucket->used_milli = drained(bucket->used_milli, bucket->updated_ms, per_s, now_ms);
    bucket->updated_ms = now_ms;
    if (!may_use(bucket->used_milli, per_s, is_preferred))
        return false;
    bucket->used_milli += ONE_MILLI;
    return true;
}

bool limit_prefixes_init(struct limit_prefixes *prefixes, uint32_t per_s, struct err *err)
{
    *prefixes = (struct limit_prefixes){.per_s = per_s < LIMIT_PER_S_MAX ? per_s : LIMIT_PER_S_MAX};
    if (per_s == 0)
        return true;
    if (!keyed_hash_key_init(&prefixes->hash_key, err))
        return false;
    /* A set in two whole cache lines. */
    size_t bytes = LIMIT_PREFIX_SETS * sizeof(*prefixes->sets);
    prefixes->sets = aligned_alloc(sizeof(*prefixes->sets), bytes);
    if (prefixes->sets == NULL)
        return err_set(err, "out of memory for the table of hellos_per_prefix_per_s");
    memset(prefixes->sets, 0, bytes);
    return true;
}

void limit_prefixes_deinit(struct limit_prefixes *prefixes)
{
    free(prefixes->sets);
    prefixes->sets = NULL;
}

static uint64_t hash_prefix(const struct limit_prefixes *prefixes, const struct addr *client)
{
    enum { PREFIX4_BYTES = 3, PREFIX6_BYTES = 7 }; /* /24, /56 */
    size_t size = client->family == AF_INET ? PREFIX4_BYTES : PREFIX6_BYTES;
    return keyed_hash(&prefixes->hash_key, client->ip, size);
}

/* The prefix's place, or else the one that has used the least, made its own. Drained up to now. */
static struct limit_prefix_place *find_place(struct limit_prefixes *prefixes, uint64_t hash,
                                             uint64_t now_ms)
{
    struct limit_prefix_set *set = &prefixes->sets[hash & (LIMIT_PREFIX_SETS - 1)];
    uint32_t tag = (uint32_t)(hash >> 32);
    struct limit_prefix_place *least = &set->places[0];
    for (int i = 0; i < LIMIT_PREFIX_WAYS; i++) {
        struct limit_prefix_place *place = &set->places[i];
        place->used_milli = drained(place->used_milli, place->updated_ms, prefixes->per_s, now_ms);
        place->updated_ms = now_ms;
        if (place->tag == tag)
            return place;
        if (place->used_milli < least->used_milli)
            least = place;
    }
    least->tag = tag;
    least->used_milli = 0;
    return least;
}

bool limit_take_prefix(struct limit_prefixes *prefixes, const struct addr *client, uint64_t now_ms,
                       bool is_preferred)
{
    if (prefixes->sets == NULL)
        return true;
    struct limit_prefix_place *place = find_place(prefixes, hash_prefix(prefixes, client), now_ms);
    if (!may_use(place->used_milli, prefixes->per_s, is_preferred))
        return false;
    place->used_milli += ONE_MILLI;
    return true;
}
