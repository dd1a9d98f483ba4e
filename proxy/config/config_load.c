#include "config/config_load.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_check.h"
#include "config/config_explain.h"
#include "config/config_lines.h"
#include "config/config_sections.h"

/* A file with more is not a configuration; nobody reads on. */
#define PROBLEMS_MAX 100

_Static_assert(LISTENER_SETTING_COUNT <= 64, "one bit each in config_sections.rejected");

/* The setting that is being read: its value may go on in the next line. */
struct reading {
    enum {
        READING_NOTHING, /* what would go on is not known */
        READING_SETTING,
        READING_REFUSED, /* what goes on belongs to a line that there is an error of already */
    } state;
    size_t index; /* of the setting in its table */
    uint32_t line;
    size_t len;
    char value[CONFIG_LINE_MAX_BYTES + 1];
};

struct loader {
    const char *path;
    char folder[PATH_MAX];
    struct problems *problems;
    uint32_t problems_before, errors_before;
    struct config_lines lines;
    struct config_sections sections;
    struct reading reading;
    bool is_line_new;      /* nothing of the line just read has come back from inih */
    bool is_call_expected; /* the piece just given to inih must come back */
    bool is_incomplete;    /* not read to its end: nothing is concluded from what is missing */
};

/* --- settings --- */

static void report_unknown_key(struct loader *loader, const char *key, const char *value)
{
    const struct config_section *section = &loader->sections.current;
    const char *advice = config_table_find_removed(section->table, key);
    if (advice) {
        problems_warning(loader->problems, "%s:%u: %s %s =%s%s: is no setting any more; %s",
                         loader->path, loader->lines.number, section->title, key,
                         value[0] ? " " : "", config_explain_show(value).text, advice);
        return;
    }
    bool is_gate = section->table == &config_gate_table;
    const struct config_table *other = is_gate ? &config_listener_table : &config_gate_table;
    const char *similar = config_table_find_similar(section->table, key);
    char hint[128] = "conf/dtlsgate.ini names every key";
    if (config_table_find(other, key) < other->count)
        snprintf(hint, sizeof(hint), "it belongs in %s", is_gate ? "[listener NAME]" : "[gate]");
    else if (strpbrk(key, " \t"))
        snprintf(hint, sizeof(hint), "a setting is written key = value");
    else if (similar)
        snprintf(hint, sizeof(hint), "did you mean %s?", similar);
    problems_error(loader->problems, "%s:%u: %s %s = %s: unknown key; %s", loader->path,
                   loader->lines.number, section->title, config_explain_show(key).text,
                   config_explain_show(value).text, hint);
}

/* So that a key whose line could not be read is not called missing too. Of a line that goes on with
 * a value it is that of the value's first one. */
static void note_unread_key(struct loader *loader)
{
    const struct config_table *table = loader->sections.current.table;
    char key[64];
    snprintf(key, sizeof(key), "%.*s", (int)strcspn(loader->lines.text, " \t=:"),
             loader->lines.text);
    size_t index = table ? config_table_find(table, key) : 0;
    if (loader->reading.state == READING_SETTING)
        index = loader->reading.index;
    if (!table || index == table->count)
        return;
    *loader->sections.current.rejected |= UINT64_C(1) << index;
    if (!loader->sections.current.lines[index])
        loader->sections.current.lines[index] = loader->lines.number;
}

static void report_not_setting(struct loader *loader)
{
    problems_error(loader->problems, "%s:%u: %s: not a setting; write key = value", loader->path,
                   loader->lines.number, config_explain_show(loader->lines.text).text);
    note_unread_key(loader);
    loader->reading.state = READING_REFUSED;
}

static void report_too_long(struct loader *loader)
{
    problems_error(loader->problems,
                   "%s:%u: %.40s...: too long; a setting can have %d bytes, in one line or in "
                   "several",
                   loader->path, loader->lines.number, loader->lines.text, CONFIG_LINE_MAX_BYTES);
    note_unread_key(loader);
    loader->reading.state = READING_REFUSED;
}

/* The value is complete. */
static void finish_setting(struct loader *loader)
{
    struct reading *reading = &loader->reading;
    struct config_section *section = &loader->sections.current;
    if (reading->state != READING_SETTING)
        return;
    reading->state = READING_NOTHING;
    const struct setting *setting = &section->table->settings[reading->index];
    const char *value = reading->value, *oddity = config_explain_oddity(value);
    uint32_t *line = &section->lines[reading->index];
    void *member = config_table_member(setting, section->values);
    struct err err = {0};

    if (*line) {
        problems_error(loader->problems,
                       "%s:%u: %s %s = %s: repeats the key of line %u; keep one of them",
                       loader->path, reading->line, section->title, setting->key,
                       config_explain_show(value).text, *line);
        return;
    }
    *line = reading->line;
    if (oddity) {
        problems_error(loader->problems, "%s:%u: %s %s = %s: the value %s", loader->path,
                       reading->line, section->title, setting->key, config_explain_show(value).text,
                       oddity);
        *section->rejected |= UINT64_C(1) << reading->index;
    } else if (!config_value_parse(setting, value, loader->folder, member, &err)) {
        problems_error_of(loader->problems, &err, "%s:%u: %s %s =%s%s: %s", loader->path,
                          reading->line, section->title, setting->key, value[0] ? " " : "",
                          config_explain_show(value).text, err.text);
        *section->rejected |= UINT64_C(1) << reading->index;
    }
}

static void begin_setting(struct loader *loader, const char *key, const char *value)
{
    const struct config_table *table = loader->sections.current.table;
    struct reading *reading = &loader->reading;
    reading->state = READING_REFUSED;
    if (!loader->sections.has_begun) {
        problems_error(loader->problems,
                       "%s:%u: %s = %s: stands before any section; put it below [gate] or "
                       "[listener NAME]",
                       loader->path, loader->lines.number, config_explain_show(key).text,
                       config_explain_show(value).text);
        return;
    }
    size_t index = table ? config_table_find(table, key) : 0;
    if (table && index == table->count)
        report_unknown_key(loader, key, value);
    if (!table || index == table->count)
        return;
    reading->state = READING_SETTING;
    reading->index = index;
    reading->line = loader->lines.number;
    reading->len = (size_t)snprintf(reading->value, sizeof(reading->value), "%s", value);
}

/* The items of two lines are separated, if the lines do not do so themselves; pieces of one line
 * belong together as they are. */
static void go_on(struct loader *loader, const char *key, const char *value)
{
    const struct config_table *table = loader->sections.current.table;
    struct reading *reading = &loader->reading;
    if (reading->state != READING_SETTING)
        return;
    if (strcmp(key, table->settings[reading->index].key) != 0) {
        report_too_long(loader); /* a libinih that was built to know nothing of further lines */
        return;
    }
    const char *between = "";
    if (loader->is_line_new && reading->len != 0)
        between = reading->value[reading->len - 1] == ',' || value[0] == ',' ? " " : ", ";
    int written = snprintf(reading->value + reading->len, sizeof(reading->value) - reading->len,
                           "%s%s", between, value);
    reading->len += (size_t)written;
    if (reading->len >= sizeof(reading->value))
        report_too_long(loader);
}

/* Called by inih for each setting, and each piece of a value. Its section is not used,
 * config_sections.c reads those itself. */
static int on_setting(void *user, const char *ini_section, const char *key, const char *value)
{
    struct loader *loader = user;
    (void)ini_section;
    loader->is_call_expected = false;
    if (loader->is_line_new && !loader->lines.is_more)
        begin_setting(loader, key, value);
    else
        go_on(loader, key, value);
    loader->is_line_new = false;
    return 1;
}

/* --- lines --- */

/* Whether the line just read, which is indented, goes on with the value of a list. */
static bool is_more(struct loader *loader)
{
    const struct config_table *table = loader->sections.current.table;
    struct reading *reading = &loader->reading;
    char word[64];
    if (reading->state == READING_REFUSED)
        return true;
    if (reading->state == READING_NOTHING ||
        !config_value_is_list(&table->settings[reading->index]))
        return false;
    /* `mtu 1280` and `mtu: 1280` are meant for settings. */
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(loader->lines.text, " \t:"),
             loader->lines.text);
    return config_table_find(table, word) == table->count;
}

/* True if it is for inih; all else is dealt with here. */
static bool take_line(struct loader *loader, enum config_line line)
{
    switch (line) {
    case CONFIG_LINE_SETTING: return true;
    case CONFIG_LINE_MORE:
        if (is_more(loader))
            return loader->reading.state == READING_SETTING;
        finish_setting(loader);
        report_not_setting(loader);
        break;
    case CONFIG_LINE_HEADER:
        config_sections_read_header(&loader->sections, loader->lines.text);
        break;
    case CONFIG_LINE_NOT_TEXT:
        problems_error(loader->problems,
                       "%s:%u: the byte in column %zu is not text; the file must be plain text",
                       loader->path, loader->lines.number, loader->lines.bad_column);
        note_unread_key(loader);
        loader->reading.state = READING_REFUSED;
        break;
    case CONFIG_LINE_TOO_LONG: report_too_long(loader); break;
    case CONFIG_LINE_OTHER: report_not_setting(loader); break;
    case CONFIG_LINE_FILE_TOO_LARGE:
        problems_error(loader->problems, "%s: larger than 1 MiB; this is no configuration file",
                       loader->path);
        loader->is_incomplete = true;
        break;
    case CONFIG_LINE_UTF16:
        problems_error(loader->problems, "%s:1: the file is UTF-16; save it as UTF-8",
                       loader->path);
        loader->is_incomplete = true;
        break;
    case CONFIG_LINE_BLANK:
    case CONFIG_LINE_NONE: break;
    }
    return false;
}

/* Reads a line, and ends the setting before it if the line is not more of that. False at the end,
 * and if nobody reads on. */
static bool read_line(struct loader *loader)
{
    if (loader->problems->count - loader->problems_before >= PROBLEMS_MAX) {
        problems_error(loader->problems, "%s:%u: too many problems; the rest was not read",
                       loader->path, loader->lines.number);
        loader->is_incomplete = true;
        return false;
    }
    enum config_line kind = config_lines_next(&loader->lines);
    if (kind != CONFIG_LINE_MORE && kind != CONFIG_LINE_BLANK) {
        finish_setting(loader);
        loader->reading.state = READING_NOTHING;
    }
    loader->sections.line = loader->lines.number;
    loader->is_line_new = true;
    if (!take_line(loader, kind))
        loader->lines.rest = NULL;
    return kind != CONFIG_LINE_NONE && !loader->is_incomplete;
}

/* Called by inih for each line. Gives it settings only, and an empty line for everything else. */
static char *next_line(char *line, int size, void *stream)
{
    struct loader *loader = stream;
    struct config_lines *lines = &loader->lines;

    if (loader->is_call_expected)
        report_not_setting(loader); /* the last line was none for inih, such as `key ; = value` */
    loader->is_call_expected = false;
    if (!lines->rest && !read_line(loader))
        return NULL;
    snprintf(line, (size_t)size, "\n");
    if (!lines->rest)
        return line;
    loader->is_call_expected = config_lines_take_piece(lines, line, (size_t)size);
    if (!loader->is_call_expected) {
        report_too_long(loader);
        lines->rest = NULL;
        snprintf(line, (size_t)size, "\n");
    }
    return line;
}

/* --- files --- */

/* The absolute folder of the file, symbolic links kept: in a container the file often is one, while
 * the files beside it are found where it is. */
static bool find_folder(struct loader *loader)
{
    const char *path = loader->path;
    const char *slash = strrchr(path, '/');
    size_t len = 0;
    if (path[0] != '/') {
        if (!getcwd(loader->folder, sizeof(loader->folder))) {
            problems_passing(loader->problems, "%s: the current folder is not known: %s", path,
                             strerror(errno));
            return false;
        }
        len = strlen(loader->folder);
    }
    int path_len = slash ? (int)(slash - path) : 0;
    const char *between = len > 1 && path_len > 0 ? "/" : "";
    int written = snprintf(loader->folder + len, sizeof(loader->folder) - len, "%s%.*s", between,
                           path_len, path);
    if ((size_t)written >= sizeof(loader->folder) - len) {
        problems_error(loader->problems, "%s: the path is too long", path);
        return false;
    }
    for (const char *c = loader->folder; *c; c++) {
        if (iscntrl((unsigned char)*c)) {
            problems_error(loader->problems,
                           "%s: there is a control character in the name of the folder; rename it",
                           path);
            return false;
        }
    }
    return true;
}

static void read_settings(struct loader *loader)
{
    int result = ini_parse_stream(next_line, loader, on_setting, loader);
    if (ferror(loader->lines.in)) {
        if (errno == EISDIR)
            problems_error(loader->problems, "%s: cannot be read: %s; give the path of a file",
                           loader->path, strerror(errno));
        else
            problems_passing(loader->problems, "%s: cannot be read: %s", loader->path,
                             strerror(errno));
        loader->is_incomplete = true;
    } else if (result != 0 && loader->problems->error_count == loader->errors_before) {
        problems_error(loader->problems, "%s:%d: not a setting; write key = value", loader->path,
                       result);
    }
}

void config_free(struct config *config)
{
    if (!config)
        return;
    config_table_free_values(&config_gate_table, &config->gate);
    for (uint32_t i = 0; i < config->listener_count; i++)
        config_table_free_values(&config_listener_table, &config->listeners[i]);
    free(config->listeners);
    free(config->path);
    free(config);
}

/* NULL only if nothing could be read. */
static struct config *load_partly(FILE *in, const char *path, struct problems *problems)
{
    struct config *config = calloc(1, sizeof(*config));
    struct loader *loader = calloc(1, sizeof(*loader));
    if (!config || !loader)
        goto out_of_memory;
    config->path = strdup(path);
    config->listeners = calloc(CONFIG_LISTENERS_MAX, sizeof(*config->listeners));
    if (!config->path || !config->listeners)
        goto out_of_memory;
    *loader = (struct loader){
        .path = path,
        .problems = problems,
        .problems_before = problems->count,
        .errors_before = problems->error_count,
        .lines = {.in = in},
        .sections = {.path = path, .problems = problems, .config = config},
    };
    config_sections_set_defaults(&loader->sections, &config_gate_table, &config->gate);

    loader->is_incomplete = !find_folder(loader);
    if (!loader->is_incomplete)
        read_settings(loader);
    if (!loader->is_incomplete) {
        if (config->listener_count == 0 && !loader->sections.has_unread)
            problems_error(problems,
                           "%s: no listener; add a section [listener NAME] with listen, backend "
                           "and psk_file or certificate",
                           path);
        config_check(config, loader->sections.rejected, problems);
    }
    if (loader->is_incomplete) {
        config_free(config);
        config = NULL;
    }
    free(loader);
    return config;

out_of_memory:
    problems_passing(problems, "%s: out of memory", path);
    config_free(config);
    free(loader);
    return NULL;
}

static struct config *if_good(struct config *config, const struct problems *problems,
                              uint32_t errors_before)
{
    if (problems->error_count == errors_before)
        return config;
    config_free(config);
    return NULL;
}

struct config *config_load_stream(FILE *in, const char *path, struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    return if_good(load_partly(in, path, problems), problems, errors_before);
}

struct config *config_load_partly(const char *path, struct problems *problems)
{
    FILE *in = fopen(path, "re");
    if (!in) {
        problems_passing(problems,
                         "%s: cannot be opened: %s; give the path of a readable file (-c FILE)",
                         path, strerror(errno));
        return NULL;
    }
    struct config *config = load_partly(in, path, problems);
    fclose(in);
    return config;
}

struct config *config_load(const char *path, struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    return if_good(config_load_partly(path, problems), problems, errors_before);
}
