/* Finds numbers by a hash: a hash table without keys. Its owner keeps the keys, and compares them
 * with what is found; so an entry costs eight bytes, which matters among a million. One thread. */
#ifndef BASE_INDEX_TABLE_H
#define BASE_INDEX_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define INDEX_TABLE_NONE UINT32_MAX /* "no number"; cannot be kept */

struct index_entry {
    uint32_t hash, number;
};

/* Many small tables: one at a time is moved when it has to grow, and a million entries at once
 * would hold up everything. */
#define INDEX_TABLE_SHARDS 256

/* Zeroed = empty. */
struct index_table {
    struct index_shard {
        struct index_entry *entries; /* linear probing; a power of two of places, or NULL */
        uint32_t places, used;
    } shards[INDEX_TABLE_SHARDS];
    uint32_t count;
};

void index_table_deinit(struct index_table *table);

/* The hash is of the owner's making, with a key that nobody outside knows. Several numbers may have
 * the same. False: out of memory. */
bool index_table_add(struct index_table *table, uint64_t hash, uint32_t number) MUST_USE;
/* Harmless if it is not there. */
void index_table_remove(struct index_table *table, uint64_t hash, uint32_t number);

/* Numbers that were added with that hash, or with one that looks the same: place is 0 for the first
 * one, and is moved on for the next. INDEX_TABLE_NONE: no more. Nothing may be added or removed in
 * between. */
uint32_t index_table_next(const struct index_table *table, uint64_t hash, uint32_t *place);

#endif
