#include "run/start_settings.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void start_settings_note(struct start_settings *start, const struct gate_config *gate)
{
    struct start_setting *to = start->at;
    char addr[ADDR_TEXT_MAX];
#define NOTE(name, ...) \
    to->key = name;     \
    snprintf(to++->text, sizeof(to->text), __VA_ARGS__)
    NOTE("workers", "%u", gate->workers);
    NOTE("metrics", "%s", addr_format(&gate->metrics, addr));
    NOTE("user", "%s", gate->user);
    NOTE("sandbox", "%d", (int)gate->sandbox);
    NOTE("backend_port", "%u", gate->backend_port);
    NOTE("control", "%s", gate->control);
    NOTE("control_mode", "%u", gate->control_mode);
    NOTE("control_group", "%s", gate->control_group);
#undef NOTE
    assert(to == start->at + START_SETTINGS);
}

void start_settings_compare(const struct start_settings *start, const struct gate_config *gate,
                            const char *path, struct problems *problems)
{
    struct start_settings now = {0};
    char keys[256] = "";
    start_settings_note(&now, gate);
    for (int i = 0; i < START_SETTINGS; i++) {
        size_t len = strlen(keys);
        if (strcmp(start->at[i].text, now.at[i].text) != 0)
            snprintf(keys + len, sizeof(keys) - len, "%s%s", len > 0 ? ", " : "", now.at[i].key);
    }
    if (keys[0] != '\0')
        problems_warning(problems,
                         "%s: [gate] %s: changed, and in force after a restart only; the rest is "
                         "in force now",
                         path, keys);
}
