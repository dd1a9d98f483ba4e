#include "config/config_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/similar.h"

static const struct setting gate_settings[] = {
#define GATE_SETTING(key, kind, ctype, member, default_text, min, max, help) \
    {key, SETTING_##kind, offsetof(struct gate_config, member), default_text, min, max},
#include "config/config.def"
};

static const struct setting listener_settings[] = {
#define LISTENER_SETTING(key, kind, ctype, member, default_text, min, max, help) \
    {key, SETTING_##kind, offsetof(struct listener_config, member), default_text, min, max},
#include "config/config.def"
};

const struct config_table config_gate_table = {gate_settings, GATE_SETTING_COUNT};
const struct config_table config_listener_table = {listener_settings, LISTENER_SETTING_COUNT};

static const struct {
    const char *key;
    const struct config_table *table;
    const char *advice;
} removed_settings[] = {
#define REMOVED_SETTING(key, section, advice) {key, &config_##section##_table, advice},
#include "config/config.def"
};

size_t config_table_find(const struct config_table *table, const char *key)
{
    size_t i = 0;
    while (i < table->count && strcmp(table->settings[i].key, key) != 0)
        i++;
    return i;
}

const char *config_table_find_similar(const struct config_table *table, const char *key)
{
    const char *most_similar = NULL;
    size_t limit = 3 + strlen(key) / 5; /* what is this far or farther is something else */
    for (size_t i = 0; i < table->count; i++) {
        size_t distance = similar_distance(key, table->settings[i].key);
        if (distance < limit) {
            limit = distance;
            most_similar = table->settings[i].key;
        }
    }
    return most_similar;
}

const char *config_table_find_removed(const struct config_table *table, const char *key)
{
    for (size_t i = 0; i < sizeof(removed_settings) / sizeof(removed_settings[0]); i++) {
        if (removed_settings[i].table == table && strcmp(removed_settings[i].key, key) == 0)
            return removed_settings[i].advice;
    }
    return NULL;
}

bool config_table_set_defaults(const struct config_table *table, void *values, struct err *err)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting *setting = &table->settings[i];
        struct err why = {0};
        if (!setting->default_text) /* required */
            continue;
        if (!config_value_parse(setting, setting->default_text, "/",
                                config_table_member(setting, values), &why))
            return err_set(err, "default of %s: %.400s", setting->key, why.text);
    }
    return true;
}

void config_table_free_values(const struct config_table *table, void *values)
{
    for (size_t i = 0; i < table->count; i++)
        config_value_free(&table->settings[i], config_table_member(&table->settings[i], values));
}
