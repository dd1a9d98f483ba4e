/* Finds sessions by listener and device address, and by listener and the connection ID that the
 * gate gave. Knows nothing else of a session: the entries are embedded in it and recovered with
 * HANDSHAKE_OF_ENTRY. Nobody who does not know the table's key can choose addresses or connection
 * IDs that share a bucket. One worker's thread. */
#ifndef HANDSHAKE_TABLE_H
#define HANDSHAKE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/keyed_hash.h"

/* A failed insertion is reported instead of ending the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define HANDSHAKE_OF_ENTRY(entry, type, member) ((type *)((char *)(entry)-offsetof(type, member)))

#define HANDSHAKE_CID_MAX 32

/* All bytes are defined (no padding): hashed and compared as bytes. */
struct handshake_table_key {
    struct addr client;
    uint32_t listener;
};

/* Zeroed = in no table. The key must not change while it is in one. */
struct handshake_table_entry {
    struct handshake_table_key key;
    UT_hash_handle hh;
};

/* Zeroed = in no table. Nothing of it must change while it is in one. */
struct handshake_table_cid_entry {
    uint32_t listener; /* first, and the CID behind it: together they are the key */
    uint8_t cid[HANDSHAKE_CID_MAX];
    uint8_t cid_len; /* 1 to HANDSHAKE_CID_MAX */
    UT_hash_handle hh;
};

/* A table is many small ones: uthash moves all entries of one when that has to grow, and a million
 * at once would hold up everything for a tenth of a second. */
#define HANDSHAKE_TABLE_SHARDS 256

struct handshake_table {
    struct handshake_table_entry *shards[HANDSHAKE_TABLE_SHARDS];         /* by address */
    struct handshake_table_cid_entry *cid_shards[HANDSHAKE_TABLE_SHARDS]; /* by connection ID */
    uint32_t count, cid_count;
    struct keyed_hash_key hash_key;
};

/* Without a random key there is no table: false. */
bool handshake_table_init(struct handshake_table *table, struct err *err) MUST_USE;

/* The key must not be in the table yet. The entry is kept, not copied. False: out of memory. */
bool handshake_table_add(struct handshake_table *table,
                         struct handshake_table_entry *entry) MUST_USE;
/* Harmless if the entry is not in the table. */
void handshake_table_remove(struct handshake_table *table, struct handshake_table_entry *entry);
struct handshake_table_entry *handshake_table_find(const struct handshake_table *table,
                                                   const struct addr *client, uint32_t listener);
uint32_t handshake_table_count(const struct handshake_table *table);

/* The same by connection ID. Two sessions of a listener must not have the same: look before. */
bool handshake_table_add_cid(struct handshake_table *table,
                             struct handshake_table_cid_entry *entry) MUST_USE;
void handshake_table_remove_cid(struct handshake_table *table,
                                struct handshake_table_cid_entry *entry);
/* Of any length; NULL if it is no length that an entry can have. */
struct handshake_table_cid_entry *handshake_table_find_cid(const struct handshake_table *table,
                                                           uint32_t listener, const uint8_t *cid,
                                                           size_t cid_len);
uint32_t handshake_table_count_cid(const struct handshake_table *table);

#endif
