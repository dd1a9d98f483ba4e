/* One setting's value: from text to a member of its section's struct and back, by the kinds of
 * config.def. Part of config_load.c; knows nothing of files and of other settings. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "config/config.h"

/* Fits every formatted value. */
#define CONFIG_VALUE_TEXT_MAX 8192

enum setting_kind {
    SETTING_U32,
    SETTING_WORKERS,
    SETTING_DURATION,
    SETTING_ADDR,
    SETTING_ADDRS,
    SETTING_STRING,
    SETTING_PATH,
    SETTING_LEVEL,
    SETTING_FORMAT,
    SETTING_ROLE,
    SETTING_VERSIONS,
    SETTING_CLIENT_AUTH,
    SETTING_TICKETS,
    SETTING_PATHS,
    SETTING_SWITCH,
    SETTING_MODE,
    SETTING_KEY_CHANGE,
    SETTING_NAMES,
    SETTING_SANDBOX,
};

/* An entry of config.def as a value. */
struct setting {
    const char *key;
    enum setting_kind kind;
    size_t offset;            /* of the member in its section's struct */
    const char *default_text; /* NULL: required */
    uint64_t min, max;
};

/* `member` is the place in the section's struct. Relative paths begin at `folder`. On failure err
 * says why and what would be right, and the member is as before. */
bool config_value_parse(const struct setting *setting, const char *text, const char *folder,
                        void *member, struct err *err) MUST_USE;

/* Whether the value is a list, whose items may stand in several lines. */
bool config_value_is_list(const struct setting *setting);

/* Writes the text that config_value_parse reads back; returns text. */
const char *config_value_format(const struct setting *setting, const void *member,
                                char text[CONFIG_VALUE_TEXT_MAX]);

/* Frees what the member owns. */
void config_value_free(const struct setting *setting, void *member);

#endif
