#include "handshake/handshake_table.h"

#include <assert.h>
#include <string.h>

/* uthash calls this when an insertion ran out of memory; hh.tbl is NULL then. */
#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(entry) ((void)(entry))

enum { LISTENER_BYTES = sizeof(uint32_t) };

static_assert(sizeof(struct handshake_table_key) == sizeof(struct addr) + sizeof(uint32_t),
              "a key has no padding");
static_assert(offsetof(struct handshake_table_cid_entry, listener) == 0 &&
                  offsetof(struct handshake_table_cid_entry, cid) == LISTENER_BYTES,
              "listener and CID follow each other without padding");

bool handshake_table_init(struct handshake_table *table, struct err *err)
{
    *table = (struct handshake_table){0};
    return keyed_hash_key_init(&table->hash_key, err);
}

struct hashed {
    unsigned value; /* uthash keeps 32 bits */
    unsigned shard; /* of others; each bit depends on the key */
};

static struct hashed hash(const struct handshake_table *table, const void *key, size_t size)
{
    uint64_t value = keyed_hash(&table->hash_key, key, size);
    return (struct hashed){.value = (unsigned)value,
                           .shard = (unsigned)(value >> 32) % HANDSHAKE_TABLE_SHARDS};
}

/* ---- by address ------------------------------------------------------------------------------ */

bool handshake_table_add(struct handshake_table *table, struct handshake_table_entry *entry)
{
    struct hashed hashed = hash(table, &entry->key, sizeof(entry->key));
    assert(entry->hh.tbl == NULL);
    HASH_ADD_BYHASHVALUE(hh, table->shards[hashed.shard], key, sizeof(entry->key), hashed.value,
                         entry);
    if (entry->hh.tbl == NULL)
        return false;
    table->count++;
    return true;
}

void handshake_table_remove(struct handshake_table *table, struct handshake_table_entry *entry)
{
    if (entry->hh.tbl == NULL)
        return;
    struct hashed hashed = hash(table, &entry->key, sizeof(entry->key));
    HASH_DELETE(hh, table->shards[hashed.shard], entry);
    entry->hh.tbl = NULL;
    table->count--;
}

struct handshake_table_entry *handshake_table_find(const struct handshake_table *table,
                                                   const struct addr *client, uint32_t listener)
{
    struct handshake_table_key key = {.client = *client, .listener = listener};
    struct hashed hashed = hash(table, &key, sizeof(key));
    struct handshake_table_entry *found = NULL;
    HASH_FIND_BYHASHVALUE(hh, table->shards[hashed.shard], &key, sizeof(key), hashed.value, found);
    return found;
}

uint32_t handshake_table_count(const struct handshake_table *table)
{
    return table->count;
}

/* ---- by connection ID ------------------------------------------------------------------------ */

bool handshake_table_add_cid(struct handshake_table *table, struct handshake_table_cid_entry *entry)
{
    assert(entry->cid_len >= 1 && entry->cid_len <= HANDSHAKE_CID_MAX && entry->hh.tbl == NULL);
    size_t size = LISTENER_BYTES + entry->cid_len;
    struct hashed hashed = hash(table, entry, size);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, table->cid_shards[hashed.shard], entry, size, hashed.value,
                                entry);
    if (entry->hh.tbl == NULL)
        return false;
    table->cid_count++;
    return true;
}

void handshake_table_remove_cid(struct handshake_table *table,
                                struct handshake_table_cid_entry *entry)
{
    if (entry->hh.tbl == NULL)
        return;
    struct hashed hashed = hash(table, entry, LISTENER_BYTES + entry->cid_len);
    HASH_DELETE(hh, table->cid_shards[hashed.shard], entry);
    entry->hh.tbl = NULL;
    table->cid_count--;
}

struct handshake_table_cid_entry *handshake_table_find_cid(const struct handshake_table *table,
                                                           uint32_t listener, const uint8_t *cid,
                                                           size_t cid_len)
{
    struct handshake_table_cid_entry *found = NULL;
    uint8_t key[LISTENER_BYTES + HANDSHAKE_CID_MAX];
    if (cid_len == 0 || cid_len > HANDSHAKE_CID_MAX)
        return NULL;
    memcpy(key, &listener, LISTENER_BYTES);
    memcpy(key + LISTENER_BYTES, cid, cid_len);
    size_t size = LISTENER_BYTES + cid_len;
    struct hashed hashed = hash(table, key, size);
    HASH_FIND_BYHASHVALUE(hh, table->cid_shards[hashed.shard], key, size, hashed.value, found);
    return found;
}

uint32_t handshake_table_count_cid(const struct handshake_table *table)
{
    return table->cid_count;
}
