#include "config/config_print.h"

#include <assert.h>
#include <string.h>

#include "config/config_explain.h"
#include "config/config_table.h"

/* ciphers: of a listener, in the place of its setting, if that is not what is in effect; or NULL.
 */
static void print_section(const struct config_table *table, const void *values, const char *ciphers,
                          FILE *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting *setting = &table->settings[i];
        char text[CONFIG_VALUE_TEXT_MAX];
        const char *value =
            config_value_format(setting, config_table_const_member(setting, values), text);
        if (ciphers && i == LISTENER_ciphers)
            value = ciphers;
        const char *oddity = config_explain_oddity(value);
        if (strlen(setting->key) + strlen(" = ") + strlen(value) > CONFIG_LINE_MAX_BYTES)
            oddity = "is too long";
        if (oddity)
            fprintf(out, "; the next line cannot be read back: the value %s\n", oddity);
        fprintf(out, "%s =%s%s\n", setting->key, value[0] ? " " : "", value);
    }
}

void config_print(const struct config *config, const char *const *ciphers, FILE *out)
{
    fprintf(out, "[gate]\n");
    print_section(&config_gate_table, &config->gate, NULL, out);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        fprintf(out, "\n[listener %s]\n", config->listeners[i].name);
        print_section(&config_listener_table, &config->listeners[i], ciphers ? ciphers[i] : NULL,
                      out);
    }
}

const char *config_where(const struct config *config, const struct listener_config *listener,
                         const char *key, char *text, size_t size)
{
    size_t index = config_table_find(&config_listener_table, key);
    assert(index < config_listener_table.count);
    const struct setting *setting = &config_listener_table.settings[index];
    uint32_t line = listener->lines[index];
    char value[CONFIG_VALUE_TEXT_MAX];
    config_value_format(setting, config_table_const_member(setting, listener), value);
    snprintf(text, size, "%s:%u: [listener %s] %s =%s%s%s", config->path,
             line ? line : listener->line, listener->name, key, value[0] ? " " : "",
             config_explain_show(value).text, line ? "" : " (default)");
    return text;
}
