#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/similar.h"
#include "config/config_check.h"
#include "config/config_table.h"

#define FILE_BYTES_MAX (1 << 20)
/* A file with more is not a configuration; nobody reads on. */
#define PROBLEMS_MAX 100

_Static_assert(CONFIG_LINE_MAX_BYTES == INI_MAX_LINE - 2, "newline and NUL");
_Static_assert(LISTENER_SETTING_COUNT <= 64, "one bit each in loader.rejected");

/* One kind of section, and the section that is being read. */
struct section {
    const struct config_table *table;                    /* NULL: none, or one that is not known */
    char title[sizeof("[listener ]") + CONFIG_NAME_MAX]; /* with brackets */
    void *values;                                        /* gate_config or listener_config */
    uint32_t *lines;
    uint64_t *rejected;
};

struct loader {
    FILE *in;
    const char *path;
    char folder[PATH_MAX];
    struct problems *problems;
    struct config *config;
    struct section section;
    bool is_before_sections;
    bool is_setting_expected; /* the line just given to inih holds a setting */
    uint32_t line;
    size_t bytes;                         /* read so far */
    char text[CONFIG_LINE_MAX_BYTES + 1]; /* the line just read */
    uint32_t problems_before, errors_before;
    bool is_incomplete;      /* not read to its end: nothing is concluded from what is missing */
    bool has_unread_section; /* which may have been a listener */
    uint64_t gate_rejected;
    uint64_t rejected[CONFIG_LISTENERS_MAX];
};

/* --- sections --- */

static void set_defaults(struct loader *loader, const struct config_table *table, void *values)
{
    struct err err = {0};
    if (!config_table_set_defaults(table, values, &err))
        problems_error(loader->problems, "%s: %s", loader->path, err.text);
}

static void enter_gate(struct loader *loader)
{
    loader->section = (struct section){
        .table = &config_gate_table,
        .title = "[gate]",
        .values = &loader->config->gate,
        .lines = loader->config->gate.lines,
        .rejected = &loader->gate_rejected,
    };
}

/* Listeners are added even if their name is wrong, so that their keys are checked. */
static void enter_new_listener(struct loader *loader, const char *name)
{
    struct config *config = loader->config;
    if (config->listener_count == CONFIG_LISTENERS_MAX) {
        problems_error(loader->problems,
                       "%s:%u: [listener %s]: more than %d listeners; one listener can have up to "
                       "%d addresses",
                       loader->path, loader->line, name, CONFIG_LISTENERS_MAX, CONFIG_LISTEN_MAX);
        return;
    }
    uint64_t *rejected = &loader->rejected[config->listener_count];
    struct listener_config *listener = &config->listeners[config->listener_count++];
    snprintf(listener->name, sizeof(listener->name), "%s", name);
    listener->line = loader->line;
    set_defaults(loader, &config_listener_table, listener);

    loader->section = (struct section){
        .table = &config_listener_table,
        .values = listener,
        .lines = listener->lines,
        .rejected = rejected,
    };
    snprintf(loader->section.title, sizeof(loader->section.title), "[listener %s]", listener->name);
}

static void check_listener_name(struct loader *loader, const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    if (name[0] == '\0') {
        problems_error(loader->problems,
                       "%s:%u: [listener]: the listener has no name; write [listener NAME], the "
                       "name labels logs and metrics",
                       loader->path, loader->line);
        return;
    }
    if (name[len] != '\0' || len > CONFIG_NAME_MAX) {
        problems_error(loader->problems,
                       "%s:%u: [listener %s]: not a name; it can have 1 to %d of A-Z a-z 0-9 _ . -",
                       loader->path, loader->line, name, CONFIG_NAME_MAX);
        return;
    }
    for (uint32_t i = 0; i < loader->config->listener_count; i++) {
        const struct listener_config *other = &loader->config->listeners[i];
        if (strcmp(other->name, name) == 0)
            problems_error(
                loader->problems,
                "%s:%u: [listener %s]: repeats the name of the listener in line %u; each "
                "needs its own",
                loader->path, loader->line, name, other->line);
    }
}

/* `kind` and `name` are the two words between the brackets. */
static void enter_section(struct loader *loader, const char *kind, const char *name)
{
    bool is_gate = strcmp(kind, "gate") == 0;
    bool is_listener = strcmp(kind, "listener") == 0;
    uint32_t *gate_line = &loader->config->gate.line;

    if (is_listener) {
        check_listener_name(loader, name);
    } else if (is_gate && name[0] != '\0') {
        problems_error(loader->problems, "%s:%u: [gate %s]: takes no name; write [gate]",
                       loader->path, loader->line, name);
    } else if (is_gate && *gate_line) {
        problems_error(loader->problems,
                       "%s:%u: [gate]: repeats the section of line %u; put all its keys into one",
                       loader->path, loader->line, *gate_line);
    } else if (!is_gate) {
        const char *space = name[0] != '\0' ? " " : "";
        is_gate = similar_distance(kind, "gate") <= 2;
        is_listener = !is_gate && similar_distance(kind, "listener") <= 3;
        loader->has_unread_section = true;
        problems_error(loader->problems, "%s:%u: [%s%s%s]: unknown section; %s", loader->path,
                       loader->line, kind, space, name,
                       is_gate       ? "did you mean [gate]?"
                       : is_listener ? "did you mean [listener NAME]?"
                                     : "there are [gate] and [listener NAME]");
    }
    if (is_gate) {
        enter_gate(loader);
        if (!*gate_line)
            *gate_line = loader->line;
    } else if (is_listener) {
        enter_new_listener(loader, name);
    }
}

/* Section headers are read here, not by inih: it reports no section that has no keys, and cuts long
 * names. `text` begins with the bracket and is changed. */
static void read_header(struct loader *loader, char *text)
{
    loader->is_before_sections = false;
    loader->section = (struct section){0};
    char *end = strchr(text, ']');
    const char *after = end ? end + 1 + strspn(end + 1, " \t") : NULL;
    if (!end || (*after != '\0' && *after != ';')) {
        problems_error(loader->problems,
                       "%s:%u: %s: not a section; write [gate] or [listener NAME] on a line of its "
                       "own",
                       loader->path, loader->line, text);
        loader->has_unread_section = true;
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
    enter_section(loader, kind, name);
}

/* --- settings --- */

static void report_unknown_key(struct loader *loader, const char *key, const char *value)
{
    const struct section *section = &loader->section;
    const char *advice = config_table_find_removed(section->table, key);
    if (advice) {
        problems_warning(loader->problems, "%s:%u: %s %s =%s%s: is no setting any more; %s",
                         loader->path, loader->line, section->title, key, value[0] ? " " : "",
                         value, advice);
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
                   loader->line, section->title, key, value, hint);
}

static void set_value(struct loader *loader, size_t index, const char *value)
{
    struct section *section = &loader->section;
    const struct setting *setting = &section->table->settings[index];
    uint32_t *line = &section->lines[index];
    void *member = config_table_member(setting, section->values);
    const char *oddity = config_value_find_oddity(value);
    struct err err = {0};

    if (*line) {
        problems_error(loader->problems,
                       "%s:%u: %s %s = %s: repeats the key of line %u; keep one of them",
                       loader->path, loader->line, section->title, setting->key, value, *line);
        return;
    }
    *line = loader->line;
    if (oddity) {
        problems_error(loader->problems, "%s:%u: %s %s = %s: the value %s", loader->path,
                       loader->line, section->title, setting->key, value, oddity);
        *section->rejected |= UINT64_C(1) << index;
    } else if (!config_value_parse(setting, value, loader->folder, member, &err)) {
        problems_error_of(loader->problems, &err, "%s:%u: %s %s =%s%s: %s", loader->path,
                          loader->line, section->title, setting->key, value[0] ? " " : "", value,
                          err.text);
        *section->rejected |= UINT64_C(1) << index;
    }
}

/* Called by inih for each setting. Its section is not used, see read_header. */
static int on_setting(void *user, const char *ini_section, const char *key, const char *value)
{
    struct loader *loader = user;
    const struct config_table *table = loader->section.table;
    (void)ini_section;

    loader->is_setting_expected = false;
    if (loader->is_before_sections) {
        problems_error(loader->problems,
                       "%s:%u: %s = %s: stands before any section; put it below [gate] or "
                       "[listener NAME]",
                       loader->path, loader->line, key, value);
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
    const struct config_table *table = loader->section.table;
    char key[CONFIG_LINE_MAX_BYTES + 1];
    snprintf(key, sizeof(key), "%.*s", (int)strcspn(loader->text, " \t=:"), loader->text);
    size_t index = table ? config_table_find(table, key) : 0;
    if (!table || index == table->count)
        return;
    *loader->section.rejected |= UINT64_C(1) << index;
    if (!loader->section.lines[index])
        loader->section.lines[index] = loader->line;
}

static void report_not_setting(struct loader *loader)
{
    problems_error(loader->problems, "%s:%u: %s: not a setting; write key = value", loader->path,
                   loader->line, loader->text);
    note_unread_key(loader);
}

static void report_too_long(struct loader *loader)
{
    problems_error(loader->problems,
                   "%s:%u: %.40s...: line too long; a line can have %d bytes, comments on lines of "
                   "their own any number",
                   loader->path, loader->line, loader->text, CONFIG_LINE_MAX_BYTES);
    note_unread_key(loader);
}

/* Reads one whole line, however long; loader->text gets as much of it as inih would take, without
 * newline and BOM. False at the end of the file. *len is that of the whole line, *bad_column the
 * first byte that is not text, or 0. */
static bool read_line(struct loader *loader, size_t *len, size_t *bad_column)
{
    char *text = loader->text;
    int c, last = 0;

    *len = *bad_column = 0;
    while ((c = getc(loader->in)) != EOF && c != '\n') {
        bool is_bad = (c < ' ' && c != '\t' && c != '\r') || c == 0x7f;
        if (!*bad_column && (is_bad || last == '\r'))
            *bad_column = is_bad ? *len + 1 : *len;
        if (*len < CONFIG_LINE_MAX_BYTES)
            text[*len] = (char)c;
        ++*len;
        last = c;
        if (++loader->bytes > FILE_BYTES_MAX) {
            problems_error(loader->problems, "%s: larger than 1 MiB; this is no configuration file",
                           loader->path);
            loader->is_incomplete = true;
            return false;
        }
    }
    if (c == EOF && *len == 0)
        return false;
    if (last == '\r')
        --*len;
    text[*len < CONFIG_LINE_MAX_BYTES ? *len : CONFIG_LINE_MAX_BYTES] = '\0';
    if (loader->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0) {
        memmove(text, text + 3, strlen(text + 3) + 1);
        *len -= 3;
    }
    return true;
}

/* True if loader->text is a setting, for inih; all else is dealt with here. */
static bool is_setting(struct loader *loader, size_t len, size_t bad_column)
{
    char *text = loader->text;
    memmove(text, text + strspn(text, " \t"), strlen(text + strspn(text, " \t")) + 1);
    bool is_comment = text[0] == ';' || text[0] == '#';

    if (bad_column)
        problems_error(loader->problems,
                       "%s:%u: the byte in column %zu is not text; the file must be plain text",
                       loader->path, loader->line, bad_column);
    else if (is_comment || len == 0)
        return false;
    else if (len > CONFIG_LINE_MAX_BYTES)
        report_too_long(loader);
    else if (text[0] == '[')
        read_header(loader, text);
    else if (text[0] != '\0' && (text[0] == '=' || text[strcspn(text, "=:")] != '='))
        report_not_setting(loader);
    else
        return text[0] != '\0';
    return false;
}

/* Called by inih for each line. Gives it settings only, their indentation removed (it takes an
 * indented line for more of the value before), and an empty line for everything else. */
static char *next_line(char *line, int size, void *stream)
{
    struct loader *loader = stream;
    size_t len, bad_column;

    if (loader->is_setting_expected)
        report_not_setting(loader); /* the last line was none for inih, such as `key ; = value` */
    loader->is_setting_expected = false;
    if (loader->problems->count - loader->problems_before >= PROBLEMS_MAX) {
        problems_error(loader->problems, "%s:%u: too many problems; the rest was not read",
                       loader->path, loader->line);
        loader->is_incomplete = true;
        return NULL;
    }
    loader->line++;
    if (!read_line(loader, &len, &bad_column))
        return NULL;
    loader->is_setting_expected = is_setting(loader, len, bad_column);
    int written =
        snprintf(line, (size_t)size, "%s\n", loader->is_setting_expected ? loader->text : "");
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
    loader->is_before_sections = true;
    int result = ini_parse_stream(next_line, loader, on_setting, loader);
    if (ferror(loader->in)) {
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
        .in = in,
        .path = path,
        .problems = problems,
        .config = config,
        .problems_before = problems->count,
        .errors_before = problems->error_count,
    };
    set_defaults(loader, &config_gate_table, &config->gate);

    loader->is_incomplete = !find_folder(loader);
    if (!loader->is_incomplete)
        read_settings(loader);
    if (!loader->is_incomplete) {
        if (config->listener_count == 0 && !loader->has_unread_section)
            problems_error(problems,
                           "%s: no listener; add a section [listener NAME] with listen, backend "
                           "and psk_file or certificate",
                           path);
        config_check(config, loader->rejected, problems);
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
