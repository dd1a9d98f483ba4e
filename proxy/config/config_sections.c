#include "config/config_sections.h"

#include <ctype.h>
#include <string.h>

#include "base/similar.h"

void config_sections_set_defaults(struct config_sections *sections,
                                  const struct config_table *table, void *values)
{
    struct err err = {0};
    if (!config_table_set_defaults(table, values, &err))
        problems_error(sections->problems, "%s: %s", sections->path, err.text);
}

static void enter_gate(struct config_sections *sections)
{
    sections->current = (struct config_section){
        .table = &config_gate_table,
        .title = "[gate]",
        .values = &sections->config->gate,
        .lines = sections->config->gate.lines,
        .rejected = &sections->gate_rejected,
    };
}

/* Listeners are added even if their name is wrong, so that their keys are checked. */
static void enter_new_listener(struct config_sections *sections, const char *name)
{
    struct config *config = sections->config;
    if (config->listener_count == CONFIG_LISTENERS_MAX) {
        problems_error(sections->problems,
                       "%s:%u: [listener %s]: more than %d listeners; one listener can have up to "
                       "%d addresses",
                       sections->path, sections->line, name, CONFIG_LISTENERS_MAX,
                       CONFIG_LISTEN_MAX);
        return;
    }
    uint64_t *rejected = &sections->rejected[config->listener_count];
    struct listener_config *listener = &config->listeners[config->listener_count++];
    snprintf(listener->name, sizeof(listener->name), "%s", name);
    listener->line = sections->line;
    config_sections_set_defaults(sections, &config_listener_table, listener);

    sections->current = (struct config_section){
        .table = &config_listener_table,
        .values = listener,
        .lines = listener->lines,
        .rejected = rejected,
    };
    snprintf(sections->current.title, sizeof(sections->current.title), "[listener %s]",
             listener->name);
}

static void check_listener_name(struct config_sections *sections, const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    if (name[0] == '\0') {
        problems_error(sections->problems,
                       "%s:%u: [listener]: the listener has no name; write [listener NAME], the "
                       "name labels logs and metrics",
                       sections->path, sections->line);
        return;
    }
    if (name[len] != '\0' || len > CONFIG_NAME_MAX) {
        problems_error(sections->problems,
                       "%s:%u: [listener %s]: not a name; it can have 1 to %d of A-Z a-z 0-9 _ . -",
                       sections->path, sections->line, name, CONFIG_NAME_MAX);
        return;
    }
    for (uint32_t i = 0; i < sections->config->listener_count; i++) {
        const struct listener_config *other = &sections->config->listeners[i];
        if (strcmp(other->name, name) == 0)
            problems_error(
                sections->problems,
                "%s:%u: [listener %s]: repeats the name of the listener in line %u; each "
                "needs its own",
                sections->path, sections->line, name, other->line);
    }
}

/* `kind` and `name` are the two words between the brackets. */
static void enter_section(struct config_sections *sections, const char *kind, const char *name)
{
    bool is_gate = strcmp(kind, "gate") == 0;
    bool is_listener = strcmp(kind, "listener") == 0;
    uint32_t *gate_line = &sections->config->gate.line;

    if (is_listener) {
        check_listener_name(sections, name);
    } else if (is_gate && name[0] != '\0') {
        problems_error(sections->problems, "%s:%u: [gate %s]: takes no name; write [gate]",
                       sections->path, sections->line, name);
    } else if (is_gate && *gate_line) {
        problems_error(sections->problems,
                       "%s:%u: [gate]: repeats the section of line %u; put all its keys into one",
                       sections->path, sections->line, *gate_line);
    } else if (!is_gate) {
        const char *space = name[0] != '\0' ? " " : "";
        is_gate = similar_distance(kind, "gate") <= 2;
        is_listener = !is_gate && similar_distance(kind, "listener") <= 3;
        sections->has_unread = true;
        problems_error(sections->problems, "%s:%u: [%s%s%s]: unknown section; %s", sections->path,
                       sections->line, kind, space, name,
                       is_gate       ? "did you mean [gate]?"
                       : is_listener ? "did you mean [listener NAME]?"
                                     : "there are [gate] and [listener NAME]");
    }
    if (is_gate) {
        enter_gate(sections);
        if (!*gate_line)
            *gate_line = sections->line;
    } else if (is_listener) {
        enter_new_listener(sections, name);
    }
}

/* Not by inih: it reports no section that has no keys, and cuts long names. */
void config_sections_read_header(struct config_sections *sections, char *text)
{
    sections->has_begun = true;
    sections->current = (struct config_section){0};
    char *end = strchr(text, ']');
    const char *after = end ? end + 1 + strspn(end + 1, " \t") : NULL;
    if (!end || (*after != '\0' && *after != ';')) {
        problems_error(sections->problems,
                       "%s:%u: %s: not a section; write [gate] or [listener NAME] on a line of its "
                       "own",
                       sections->path, sections->line, text);
        sections->has_unread = true;
        return;
    }
    while (end > text + 1 && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    char *kind = text + 1 + strspn(text + 1, " \t");
    char *name = kind + strcspn(kind, " \t");
    if (*name != '\0')
        *name++ = '\0';
    name += strspn(name, " \t");
    enter_section(sections, kind, name);
}
