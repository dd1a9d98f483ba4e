#include "session_table.h"

#include <sys/random.h>

/* uthash calls this when an insertion ran out of memory; hh.tbl is NULL then. */
#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(entry) ((void)(entry))

void session_table_init(struct session_table *table)
{
    *table = (struct session_table){0};
    /* If the kernel had none left, the table would still work. */
    (void)!getrandom(&table->secret, sizeof(table->secret), GRND_NONBLOCK);
}

bool session_table_add(struct session_table *table, struct table_entry *entry)
{
    entry->key.secret = table->secret;
    HASH_ADD(hh, table->head, key, sizeof(entry->key), entry);
    return entry->hh.tbl != NULL;
}

void session_table_remove(struct session_table *table, struct table_entry *entry)
{
    if (entry->hh.tbl == NULL)
        return;
    HASH_DELETE(hh, table->head, entry);
    entry->hh.tbl = NULL;
}

struct table_entry *session_table_find(const struct session_table *table, const struct addr *client,
                                       uint32_t listener)
{
    struct table_key key = {.secret = table->secret, .client = *client, .listener = listener};
    struct table_entry *found = NULL;
    HASH_FIND(hh, table->head, &key, sizeof(key), found);
    return found;
}

uint32_t session_table_count(const struct session_table *table)
{
    return HASH_COUNT(table->head);
}
