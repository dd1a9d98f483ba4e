/* The entries of config.def as two tables, and what is done to a whole section by table. Part of
 * config_load.c. */
#ifndef CONFIG_TABLE_H
#define CONFIG_TABLE_H

#include "config/config_value.h"

struct config_table {
    const struct setting *settings; /* in the order of enum gate_setting or listener_setting */
    size_t count;
};

extern const struct config_table config_gate_table;
extern const struct config_table config_listener_table;

/* The place of the key in the table; `count` if it is not there. */
size_t config_table_find(const struct config_table *table, const char *key);

/* The key most like `key`; NULL if none is much like it. */
const char *config_table_find_similar(const struct config_table *table, const char *key);

/* What to do about a key that earlier versions had in this section; NULL if they had none of that
 * name. */
const char *config_table_find_removed(const struct config_table *table, const char *key);

/* `values` is a struct gate_config or listener_config, as the table is. */
bool config_table_set_defaults(const struct config_table *table, void *values,
                               struct err *err) MUST_USE;
void config_table_free_values(const struct config_table *table, void *values);

static inline void *config_table_member(const struct setting *setting, void *values)
{
    return (char *)values + setting->offset;
}

static inline const void *config_table_const_member(const struct setting *setting,
                                                    const void *values)
{
    return (const char *)values + setting->offset;
}

#endif
