#include "run/ctl_table.h"

#include <stdio.h>
#include <string.h>

#include "base/log_value.h"

enum { CELL_MAX = 512, COLUMNS_MAX = 12 };

struct column {
    const char *key, *title;
    int width; /* what does not fit shifts the rest of its row */
};

/* In the order in which they are wanted; the last one ends the row. */
static const struct column session_columns[] = {
    {"session", "SESSION", 8},
    {"listener", "LISTENER", 10},
    {"identity", "IDENTITY", 24},
    {"client", "CLIENT", 22},
    {"backend_source", "BACKEND-SOURCE", 20},
    {"version", "DTLS", 4},
    {"suite", "SUITE", 26},
    {"since_s", "SINCE", 8},
    {"last_used_s", "USED", 8},
    {"from_client", "IN", 8},
    {"from_backend", "OUT", 8},
    {"cid", "CID", 0},
};

static const struct column failure_columns[] = {
    {"ago_s", "AGO", 8},          {"listener", "LISTENER", 10}, {"client", "CLIENT", 22},
    {"identity", "IDENTITY", 24}, {"version", "DTLS", 7},       {"reason", "REASON", 20},
    {"detail", "DETAIL", 0},
};

static const struct column listener_columns[] = {
    {"listener", "LISTENER", 10},
    {"sessions", "SESSIONS", 9},
    {"handshakes_in_progress", "HANDSHAKES", 10},
    {"psk_identities", "KEYS", 8},
    {"draining", "DRAINED", 7},
    {"backend", "BACKEND", 22},
    {"listen", "LISTEN", 0},
};

/* ---- cells ---------------------------------------------------------------------------------- */

/* Of the largest units, two of them: 3d4h, 12m5s, 0.123s. */
static void format_seconds(double seconds, char text[CELL_MAX])
{
    unsigned long long whole = seconds > 0 ? (unsigned long long)seconds : 0;
    if (whole < 10)
        snprintf(text, CELL_MAX, "%.3fs", seconds);
    else if (whole < 60)
        snprintf(text, CELL_MAX, "%llus", whole);
    else if (whole < 3600)
        snprintf(text, CELL_MAX, "%llum%llus", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(text, CELL_MAX, "%lluh%llum", whole / 3600, whole % 3600 / 60);
    else
        snprintf(text, CELL_MAX, "%llud%lluh", whole / 86400, whole % 86400 / 3600);
}

/* Devices choose some of it: it must not write to the terminal what it likes. */
static void format_string(const json_t *value, char text[CELL_MAX])
{
    bool is_cut;
    size_t len = log_value_quote(json_string_value(value), json_string_length(value), text,
                                 CELL_MAX - 1, &is_cut);
    text[len] = '\0';
}

/* What has no parts. */
static void format_plain(const json_t *value, char text[CELL_MAX])
{
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING: format_string(value, text); break;
    case JSON_INTEGER:
        snprintf(text, CELL_MAX, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL: format_seconds(json_real_value(value), text); break;
    case JSON_TRUE: snprintf(text, CELL_MAX, "yes"); break;
    case JSON_FALSE: snprintf(text, CELL_MAX, "no"); break;
    case JSON_ARRAY:
    case JSON_OBJECT:
    case JSON_NULL: snprintf(text, CELL_MAX, "-"); break;
    }
}

/* Its values, of switches that are on their names: 1.2 psk cid 812. */
static void format_object(const json_t *object, char text[CELL_MAX])
{
    const char *key;
    json_t *value;
    size_t len = 0;
    /* The library iterates over what it could change only. */
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char part[CELL_MAX];
        if (json_is_false(value) || len >= CELL_MAX)
            continue;
        format_plain(value, part);
        len += (size_t)snprintf(text + len, CELL_MAX - len, "%s%s", len > 0 ? " " : "",
                                json_is_true(value) ? key : part);
    }
}

static const char *format(const json_t *value, char text[CELL_MAX])
{
    size_t len = 0;
    char item[CELL_MAX];
    format_plain(value, text);
    for (size_t i = 0; i < json_array_size(value) && len < CELL_MAX; i++) {
        const json_t *one = json_array_get(value, i);
        format_plain(one, item);
        if (json_object_size(one) != 0)
            format_object(one, item);
        len += (size_t)snprintf(text + len, CELL_MAX - len, "%s%s", i > 0 ? ", " : "", item);
    }
    return text;
}

/* The cell of an identity that is no text: as --identity takes it. */
static const char *format_bytes(const char *digits, char text[CELL_MAX])
{
    size_t len = 0;
    for (; digits[0] != '\0' && digits[1] != '\0' && len + 5 <= CELL_MAX; digits += 2, len += 4)
        snprintf(text + len, CELL_MAX - len, "\\x%.2s", digits);
    return text;
}

static const char *format_member(const json_t *object, const char *key, char text[CELL_MAX])
{
    const json_t *value = json_object_get(object, key);
    const char *digits = json_string_value(json_object_get(object, "identity_hex"));
    if (value == NULL && digits != NULL && strcmp(key, "identity") == 0)
        return format_bytes(digits, text);
    return format(value, text);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void put_cell(const struct column *column, const char *text)
{
    if (column->width == 0)
        printf("%s\n", text);
    else
        printf("%-*s ", column->width, text);
}

static void put_row(struct ctl_table *table, const struct column *columns, size_t count,
                    const json_t *object)
{
    char text[CELL_MAX];
    for (size_t i = 0; i < count && !table->has_header; i++)
        put_cell(&columns[i], columns[i].title);
    table->has_header = true;
    for (size_t i = 0; i < count; i++)
        put_cell(&columns[i], format_member(object, columns[i].key, text));
}

#define PUT_ROW(table, columns, object) \
    put_row(table, columns, sizeof(columns) / sizeof((columns)[0]), object)

/* What it says, one member a line. */
static void put_list(const json_t *object)
{
    const char *key;
    json_t *value;
    char text[CELL_MAX], name[40];
    /* The library iterates over what it could change only. */
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t len = strlen(key);
        bool is_time = len > 2 && strcmp(key + len - 2, "_s") == 0;
        snprintf(name, sizeof(name), "%.*s:", (int)(is_time ? len - 2 : len), key);
        printf("%-24s %s\n", name, format(value, text));
    }
}

void ctl_table_add(struct ctl_table *table, const json_t *object)
{
    const char *problem = json_string_value(json_object_get(object, "problem"));
    if (problem != NULL)
        fprintf(stderr, "%s: %s\n",
                json_is_true(json_object_get(object, "is_warning")) ? "warning" : "error", problem);
    else if (table->command == COMMAND_sessions)
        PUT_ROW(table, session_columns, object);
    else if (table->command == COMMAND_failures)
        PUT_ROW(table, failure_columns, object);
    else if (table->command == COMMAND_status && json_object_get(object, "listener") != NULL)
        PUT_ROW(table, listener_columns, object);
    else
        put_list(object);
}

void ctl_table_end(struct ctl_table *table, const json_t *object)
{
    const char *text = json_string_value(json_object_get(object, "text"));
    json_int_t count = json_integer_value(json_object_get(object, "count"));
    if (text != NULL)
        printf("%s\n", text);
    bool is_empty = !table->has_header && json_is_true(json_object_get(object, "ok"));
    if (table->command == COMMAND_sessions && is_empty)
        puts("no sessions");
    if (table->command == COMMAND_failures && is_empty)
        puts("no failed handshakes");
    if (table->command == COMMAND_close && count != 0)
        printf("%lld %s closed\n", (long long)count, count == 1 ? "session" : "sessions");
}
