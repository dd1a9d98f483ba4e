/* Finds sessions by the listener and device address that they belong to. Knows nothing else of a
 * session: the entry is embedded in it and recovered with SESSION_OF_ENTRY. One worker's thread. */
#ifndef SESSION_TABLE_H
#define SESSION_TABLE_H

#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

/* A failed insertion is reported instead of ending the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define SESSION_OF_ENTRY(entry, type, member) ((type *)((char *)(entry)-offsetof(type, member)))

struct table_key {
    /* Of the table, random; first, so that the hash of everything behind it depends on it: nobody
     * can choose addresses that share a bucket. Set by session_table_add. */
    uint32_t secret;
    struct addr client;
    uint32_t listener;
};

struct table_entry {
    struct table_key key;
    UT_hash_handle hh;
};

struct session_table {
    struct table_entry *head;
    uint32_t secret;
};

void session_table_init(struct session_table *table);

/* The key must not be in the table yet. The entry is kept, not copied. False: out of memory. */
bool session_table_add(struct session_table *table, struct table_entry *entry) MUST_USE;
/* Harmless if the entry is not in the table. */
void session_table_remove(struct session_table *table, struct table_entry *entry);
struct table_entry *session_table_find(const struct session_table *table, const struct addr *client,
                                       uint32_t listener);
uint32_t session_table_count(const struct session_table *table);

#endif
