#include "run/sandbox_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_table.h"

/* What the C library and the next program read before they know any settings. /etc as a whole:
 * its files are renamed into place, and who may read which is told by their modes. */
static const char *const of_system[] = {
    "/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/null", "/dev/urandom",
};
enum { OF_SYSTEM = sizeof(of_system) / sizeof(of_system[0]) };

static const char letters[] = "rxks"; /* in the order of the bits */

/* ---- a list of places ----------------------------------------------------------------------- */

static bool is_below(const char *path, const char *place)
{
    size_t len = strlen(place);
    if (strcmp(place, "/") == 0)
        return path[0] == '/';
    return strncmp(path, place, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool covers(const struct sandbox_paths *paths, const char *path, unsigned may)
{
    for (uint32_t i = 0; i < paths->count; i++)
        if ((paths->at[i].may & may) == may && is_below(path, paths->at[i].path))
            return true;
    return false;
}

static void add(struct sandbox_paths *paths, const char *path, unsigned may)
{
    if (covers(paths, path, may))
        return;
    struct sandbox_place *at = realloc(paths->at, (paths->count + 1) * sizeof(*at));
    if (at != NULL)
        paths->at = at;
    char *copy = at != NULL ? strdup(path) : NULL;
    if (copy == NULL)
        paths->is_incomplete = true;
    else
        at[paths->count++] = (struct sandbox_place){.path = copy, .may = may};
}

static void add_existing(struct sandbox_paths *paths, const char *path, unsigned may)
{
    char real[PATH_MAX];
    if (realpath(path, real) != NULL)
        add(paths, real, may);
}

static void take_out(struct sandbox_paths *paths, uint32_t i)
{
    free(paths->at[i].path);
    paths->count--;
    memmove(paths->at + i, paths->at + i + 1, (paths->count - i) * sizeof(*paths->at));
}

void sandbox_paths_free(struct sandbox_paths *paths)
{
    while (paths->count > 0)
        take_out(paths, paths->count - 1);
    free(paths->at);
    *paths = (struct sandbox_paths){0};
}

void sandbox_paths_limit(struct sandbox_paths *paths, const struct sandbox_paths *outer)
{
    for (uint32_t i = paths->count; i-- > 0;)
        if (!covers(outer, paths->at[i].path, paths->at[i].may))
            take_out(paths, i);
}

/* ---- files of the settings ------------------------------------------------------------------ */

/* Where a file lies; "" of a name without a folder. */
static void folder_of(const char *path, char folder[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : slash == path ? 1 : (int)(slash - path);
    snprintf(folder, PATH_MAX, "%.*s", len, path);
}

/* The file's folder without links; false if there is none. */
static bool real_folder_of(const char *path, char real[PATH_MAX])
{
    char folder[PATH_MAX];
    folder_of(path, folder);
    return realpath(folder[0] != '\0' ? folder : ".", real) != NULL;
}

/* Its folder, and that of the file where links lead: certificates often lie elsewhere. */
static void add_file(struct sandbox_paths *paths, const char *path, unsigned may)
{
    char folder[PATH_MAX], real[PATH_MAX];
    if (real_folder_of(path, folder) && strcmp(folder, "/") != 0)
        add(paths, folder, may);
    if (realpath(path, real) == NULL)
        return;
    folder_of(real, folder);
    add(paths, strcmp(folder, "/") != 0 ? folder : real, may);
}

/* The dynamic loader, which the kernel executes with the program. */
static int note_loader(struct dl_phdr_info *object, size_t size, void *context)
{
    char *loader = context;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_INTERP)
            snprintf(loader, PATH_MAX, "%s",
                     (const char *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr));
    return 1; /* the first one is the program */
}

/* Where it really lies, which is a folder of libraries: a new one is renamed into place there. */
static void add_loader(struct sandbox_paths *paths)
{
    char loader[PATH_MAX] = "", real[PATH_MAX], folder[PATH_MAX];
    dl_iterate_phdr(note_loader, loader);
    if (loader[0] == '\0' || realpath(loader, real) == NULL)
        return;
    folder_of(real, folder);
    add(paths, strcmp(folder, "/") != 0 ? folder : real, SANDBOX_READ | SANDBOX_EXECUTE);
}

/* One path of the settings; title: that of its section. */
struct named_path {
    const char *title, *key, *path;
    uint32_t line;
    unsigned may;
};

typedef void visit(void *context, const struct named_path *named);

static unsigned use_of(const char *key)
{
    return strcmp(key, "control") == 0      ? SANDBOX_SOCKET
           : strcmp(key, "state_file") == 0 ? SANDBOX_READ | SANDBOX_KEEP
                                            : SANDBOX_READ;
}

static void visit_section(const struct config_table *table, const void *values,
                          const uint32_t *lines, const char *title, visit *found, void *context)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting *setting = &table->settings[i];
        const void *member = config_table_const_member(setting, values);
        const struct config_paths *several = member;
        struct named_path named = {
            .title = title, .key = setting->key, .line = lines[i], .may = use_of(setting->key)};
        uint32_t count = setting->kind == SETTING_PATH    ? 1
                         : setting->kind == SETTING_PATHS ? several->count
                                                          : 0;
        for (uint32_t n = 0; n < count; n++) {
            named.path =
                setting->kind == SETTING_PATHS ? several->at[n] : *(const config_string *)member;
            if (named.path[0] != '\0')
                found(context, &named);
        }
    }
}

static void visit_all(const struct config *config, visit *found, void *context)
{
    char title[CONFIG_NAME_MAX + 16];
    visit_section(&config_gate_table, &config->gate, config->gate.lines, "[gate]", found, context);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        snprintf(title, sizeof(title), "[listener %s]", listener->name);
        visit_section(&config_listener_table, listener, listener->lines, title, found, context);
    }
}

static void add_named(void *context, const struct named_path *named)
{
    char folder[PATH_MAX];
    if ((named->may & ~(unsigned)SANDBOX_READ) == 0)
        add_file(context, named->path, named->may);
    else if (real_folder_of(named->path, folder))
        add(context, folder, named->may);
}

void sandbox_paths_of_settings(struct sandbox_paths *paths, const struct config *config,
                               const char *program)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    *paths = (struct sandbox_paths){0};
    for (int i = 0; i < OF_SYSTEM; i++)
        add_existing(paths, of_system[i], SANDBOX_READ);
    add_loader(paths);
    if (program[0] != '\0')
        add_file(paths, program, SANDBOX_READ | SANDBOX_EXECUTE);
    if (credentials != NULL)
        add_existing(paths, credentials, SANDBOX_READ);
    add_file(paths, config->path, SANDBOX_READ);
    visit_all(config, add_named, paths);
}

/* ---- what is not within them ---------------------------------------------------------------- */

struct check {
    const struct sandbox_paths *paths;
    const struct config *config;
    struct problems *problems;
};

/* A folder that was removed and made again is another one to the kernel, whatever its name. */
static bool is_refused(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int error = errno;
    if (fd >= 0)
        close(fd);
    return fd < 0 && error == EACCES && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0;
}

static bool is_within(const struct sandbox_paths *paths, const struct named_path *named)
{
    char real[PATH_MAX];
    if ((named->may & ~(unsigned)SANDBOX_READ) != 0)
        return !real_folder_of(named->path, real) || covers(paths, real, named->may);
    if (realpath(named->path, real) == NULL) /* what is missing is reported as such */
        return true;
    return covers(paths, real, named->may) && !is_refused(named->path);
}

/* Those that an operator can do something about. */
static void list_folders(const struct sandbox_paths *paths, unsigned may, char *text, size_t size)
{
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < paths->count; i++) {
        const struct sandbox_place *place = &paths->at[i];
        bool is_of_system = strncmp(place->path, "/dev/", 5) == 0 || (place->may & may) != may ||
                            (place->may & SANDBOX_EXECUTE) != 0;
        for (int n = 0; n < OF_SYSTEM && !is_of_system; n++)
            is_of_system =
                strcmp(place->path, of_system[n]) == 0 && strcmp(place->path, "/etc") != 0;
        if (!is_of_system && len < size)
            len +=
                (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", place->path);
    }
}

static void check_named(void *context, const struct named_path *named)
{
    const struct check *check = context;
    char folders[1024];
    if (is_within(check->paths, named))
        return;
    list_folders(check->paths, named->may, folders, sizeof(folders));
    problems_error(check->problems,
                   "%s:%u: %s %s = %s: sandbox = on allows only the folders that were known at the "
                   "start, as they were then (%s%s); put it into one of them, or restart the gate",
                   check->config->path, named->line, named->title, named->key, named->path,
                   folders[0] != '\0' ? "here: " : "here none", folders);
}

void sandbox_paths_check(const struct sandbox_paths *paths, const struct config *config,
                         struct problems *problems)
{
    struct check check = {.paths = paths, .config = config, .problems = problems};
    visit_all(config, check_named, &check);
}

/* ---- as text -------------------------------------------------------------------------------- */

char *sandbox_paths_text(const struct sandbox_paths *paths)
{
    size_t size = 1, len = 0;
    for (uint32_t i = 0; i < paths->count; i++)
        size += strlen(paths->at[i].path) + sizeof(letters) + 2;
    char *text = calloc(1, size);
    for (uint32_t i = 0; text != NULL && i < paths->count; i++) {
        for (unsigned bit = 0; letters[bit] != '\0'; bit++)
            if ((paths->at[i].may >> bit & 1) != 0)
                text[len++] = letters[bit];
        len += (size_t)snprintf(text + len, size - len, " %s\n", paths->at[i].path);
    }
    return text;
}

void sandbox_paths_parse(struct sandbox_paths *paths, const char *text)
{
    char path[PATH_MAX];
    *paths = (struct sandbox_paths){0};
    while (*text != '\0') {
        unsigned may = 0;
        const char *letter;
        for (; *text != '\0' && (letter = strchr(letters, *text)) != NULL; text++)
            may |= 1u << (letter - letters);
        size_t len = strcspn(text, "\n");
        snprintf(path, sizeof(path), "%.*s", (int)len, text);
        if (path[0] == ' ' && path[1] == '/')
            add(paths, path + 1, may);
        text += len + (text[len] == '\n');
    }
}
