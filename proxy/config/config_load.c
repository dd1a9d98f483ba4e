#include "config/config_load.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_check.h"
#include "config/config_lines.h"
#include "config/config_sections.h"

/* A file with more is not a configuration; nobody reads on. */
#define PROBLEMS_MAX 100

_Static_assert(CONFIG_LINE_MAX_BYTES == INI_MAX_LINE - 2, "newline and NUL");
_Static_assert(LISTENER_SETTING_COUNT <= 64, "one bit each in config_sections.rejected");

struct loader {
    const char *path;
    char folder[PATH_MAX];
    struct problems *problems;
    uint32_t problems_before, errors_before;
    struct config_lines lines;
    struct config_sections sections;
    bool is_setting_expected; /* the line just given to inih holds a setting */
    bool is_incomplete;       /* not read to its end: nothing is concluded from what is missing */
};

/* --- settings --- */

static void report_unknown_key(struct loader *loader, const char *key, const char *value)
{
    const struct config_section *section = &loader->sections.current;
    const char *advice = config_table_find_removed(section->table, key);
    if (advice) {
        problems_warning(loader->problems, "%s:%u: %s %s =%s%s: is no setting any more; %s",
                         loader->path, loader->lines.number, section->title, key,
                         value[0] ? " " : "", value, advice);
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
                   loader->lines.number, section->title, key, value, hint);
}

static void set_value(struct loader *loader, size_t index, const char *value)
{
    struct config_section *section = &loader->sections.current;
    const struct setting *setting = &section->table->settings[index];
    uint32_t *line = &section->lines[index];
    void *member = config_table_member(setting, section->values);
    const char *oddity = config_value_find_oddity(value);
    struct err err = {0};

    if (*line) {
        problems_error(
            loader->problems, "%s:%u: %s %s = %s: repeats the key of line %u; keep one of them",
            loader->path, loader->lines.number, section->title, setting->key, value, *line);
        return;
    }
    *line = loader->lines.number;
    if (oddity) {
        problems_error(loader->problems, "%s:%u: %s %s = %s: the value %s", loader->path,
                       loader->lines.number, section->title, setting->key, value, oddity);
        *section->rejected |= UINT64_C(1) << index;
    } else if (!config_value_parse(setting, value, loader->folder, member, &err)) {
        problems_error_of(loader->problems, &err, "%s:%u: %s %s =%s%s: %s", loader->path,
                          loader->lines.number, section->title, setting->key, value[0] ? " " : "",
                          value, err.text);
        *section->rejected |= UINT64_C(1) << index;
    }
}

/* Called by inih for each setting. Its section is not used, config_sections.c reads those itself.
 */
static int on_setting(void *user, const char *ini_section, const char *key, const char *value)
{
    struct loader *loader = user;
    const struct config_table *table = loader->sections.current.table;
    (void)ini_section;

    loader->is_setting_expected = false;
    if (!loader->sections.has_begun) {
        problems_error(loader->problems,
                       "%s:%u: %s = %s: stands before any section; put it below [gate] or "
                       "[listener NAME]",
                       loader->path, loader->lines.number, key, value);
    } else if (table) {
        size_t index = config_table_find(table, key);
        if (index < table->count)
            set_value(loader, index, value);
        else
            report_unknown_key(loader, key, value);
    }
    return 1;
}

/* --- lines --- */

/* So that a key whose line could not be read is not called missing too. */
static void note_unread_key(struct loader *loader)
{
    const struct config_table *table = loader->sections.current.table;
    char key[CONFIG_LINE_MAX_BYTES + 1];
    snprintf(key, sizeof(key), "%.*s", (int)strcspn(loader->lines.text, " \t=:"),
             loader->lines.text);
    size_t index = table ? config_table_find(table, key) : 0;
    if (!table || index == table->count)
        return;
    *loader->sections.current.rejected |= UINT64_C(1) << index;
    if (!loader->sections.current.lines[index])
        loader->sections.current.lines[index] = loader->lines.number;
}

static void report_not_setting(struct loader *loader)
{
    problems_error(loader->problems, "%s:%u: %s: not a setting; write key = value", loader->path,
                   loader->lines.number, loader->lines.text);
    note_unread_key(loader);
}

static void report_too_long(struct loader *loader)
{
    problems_error(loader->problems,
                   "%s:%u: %.40s...: line too long; a line can have %d bytes, comments on lines of "
                   "their own any number",
                   loader->path, loader->lines.number, loader->lines.text, CONFIG_LINE_MAX_BYTES);
    note_unread_key(loader);
}

/* True if it is a setting, for inih; all else is dealt with here. */
static bool take_line(struct loader *loader, enum config_line line)
{
    switch (line) {
    case CONFIG_LINE_SETTING: return true;
    case CONFIG_LINE_HEADER:
        config_sections_read_header(&loader->sections, loader->lines.text);
        break;
    case CONFIG_LINE_NOT_TEXT:
        problems_error(loader->problems,
                       "%s:%u: the byte in column %zu is not text; the file must be plain text",
                       loader->path, loader->lines.number, loader->lines.bad_column);
        break;
    case CONFIG_LINE_TOO_LONG: report_too_long(loader); break;
    case CONFIG_LINE_OTHER: report_not_setting(loader); break;
    case CONFIG_LINE_FILE_TOO_LARGE:
        problems_error(loader->problems, "%s: larger than 1 MiB; this is no configuration file",
                       loader->path);
        loader->is_incomplete = true;
        break;
    case CONFIG_LINE_BLANK:
    case CONFIG_LINE_NONE: break;
    }
    return false;
}

/* Called by inih for each line. Gives it settings only, and an empty line for everything else. */
static char *next_line(char *line, int size, void *stream)
{
    struct loader *loader = stream;

    if (loader->is_setting_expected)
        report_not_setting(loader); /* the last line was none for inih, such as `key ; = value` */
    loader->is_setting_expected = false;
    if (loader->problems->count - loader->problems_before >= PROBLEMS_MAX) {
        problems_error(loader->problems, "%s:%u: too many problems; the rest was not read",
                       loader->path, loader->lines.number);
        loader->is_incomplete = true;
        return NULL;
    }
    enum config_line kind = config_lines_next(&loader->lines);
    loader->sections.line = loader->lines.number;
    loader->is_setting_expected = take_line(loader, kind);
    if (kind == CONFIG_LINE_NONE || loader->is_incomplete)
        return NULL;
    int written =
        snprintf(line, (size_t)size, "%s\n", loader->is_setting_expected ? loader->lines.text : "");
    if (written >= size) { /* a libinih that was built with another limit than its header says */
        report_too_long(loader);
        loader->is_setting_expected = false;
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
        problems_passing(problems, "%s: cannot be opened: %s; give the path of a readable file",
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
