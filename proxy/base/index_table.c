#include "base/index_table.h"

#include <stdlib.h>

enum { PLACES_MIN = 8 };

/* The low half chooses the place, the high half the shard. */
static uint32_t low(uint64_t hash)
{
    return (uint32_t)hash;
}

static uint32_t shard_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) % INDEX_TABLE_SHARDS;
}

void index_table_deinit(struct index_table *table)
{
    for (uint32_t i = 0; i < INDEX_TABLE_SHARDS; i++)
        free(table->shards[i].entries);
    *table = (struct index_table){0};
}

static void put(struct index_shard *shard, struct index_entry entry)
{
    uint32_t mask = shard->places - 1, at = entry.hash & mask;
    while (shard->entries[at].number != INDEX_TABLE_NONE)
        at = (at + 1) & mask;
    shard->entries[at] = entry;
}

static bool grow(struct index_shard *shard)
{
    struct index_shard grown = {.places = shard->places == 0 ? PLACES_MIN : shard->places * 2,
                                .used = shard->used};
    grown.entries = malloc(grown.places * sizeof(*grown.entries));
    if (grown.entries == NULL)
        return false;
    for (uint32_t i = 0; i < grown.places; i++)
        grown.entries[i].number = INDEX_TABLE_NONE;
    for (uint32_t i = 0; i < shard->places; i++)
        if (shard->entries[i].number != INDEX_TABLE_NONE)
            put(&grown, shard->entries[i]);
    free(shard->entries);
    *shard = grown;
    return true;
}

bool index_table_add(struct index_table *table, uint64_t hash, uint32_t number)
{
    struct index_shard *shard = &table->shards[shard_of(hash)];
    /* At most seven eighths full: a search among all of them looks at a handful of places. */
    if ((shard->used + 1) * 8ull > shard->places * 7ull && !grow(shard))
        return false;
    put(shard, (struct index_entry){.hash = low(hash), .number = number});
    shard->used++;
    table->count++;
    return true;
}

/* Those behind the place that has become free move up, if they were pushed away from where they
 * belong: so no search ends too early, and nothing marks what was there. */
static void close_up(struct index_shard *shard, uint32_t hole)
{
    uint32_t mask = shard->places - 1, at = hole;
    for (;;) {
        at = (at + 1) & mask;
        if (shard->entries[at].number == INDEX_TABLE_NONE)
            break;
        uint32_t home = shard->entries[at].hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        shard->entries[hole] = shard->entries[at];
        hole = at;
    }
    shard->entries[hole].number = INDEX_TABLE_NONE;
}

void index_table_remove(struct index_table *table, uint64_t hash, uint32_t number)
{
    struct index_shard *shard = &table->shards[shard_of(hash)];
    uint32_t mask = shard->places - 1;
    if (shard->places == 0)
        return;
    for (uint32_t at = low(hash) & mask; shard->entries[at].number != INDEX_TABLE_NONE;
         at = (at + 1) & mask) {
        if (shard->entries[at].number != number)
            continue;
        close_up(shard, at);
        shard->used--;
        table->count--;
        return;
    }
}

uint32_t index_table_next(const struct index_table *table, uint64_t hash, uint32_t *place)
{
    const struct index_shard *shard = &table->shards[shard_of(hash)];
    if (shard->places == 0)
        return INDEX_TABLE_NONE;
    for (uint32_t mask = shard->places - 1; *place < shard->places;) {
        const struct index_entry *entry = &shard->entries[(low(hash) + (*place)++) & mask];
        if (entry->number == INDEX_TABLE_NONE)
            break;
        if (entry->hash == low(hash))
            return entry->number;
    }
    return INDEX_TABLE_NONE;
}
