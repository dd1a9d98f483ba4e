#include "base/cgroup.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One hierarchy that the process is in, as /proc/self/cgroup has it. */
struct membership {
    const char *controller; /* "cpu" or "memory"; NULL: version 2, which has one for all */
    const char *path;       /* of the group, in the hierarchy */
};

static bool is_in_list(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == len && strncmp(at, word, len) == 0)
            return true;
    return false;
}

static FILE *open_at(const char *root, const char *path)
{
    char name[PATH_MAX];
    int len = snprintf(name, sizeof(name), "%s%s", root, path);
    return len > 0 && (size_t)len < sizeof(name) ? fopen(name, "re") : NULL;
}

/* The first two words of a file; false if it cannot be read. */
static bool read_words(const char *root, const char *folder, const char *file, char words[2][32])
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, file);
    FILE *in = len > 0 && (size_t)len < sizeof(path) ? open_at(root, path) : NULL;
    if (in == NULL)
        return false;
    words[0][0] = words[1][0] = '\0';
    int count = fscanf(in, "%31s %31s", words[0], words[1]);
    fclose(in);
    return count > 0;
}

/* "max" and -1 say that there is no limit: then 0. */
static uint64_t number_of(const char *word)
{
    return word[0] >= '0' && word[0] <= '9' ? strtoull(word, NULL, 10) : 0;
}

static void take_lower(uint64_t *limit, uint64_t value)
{
    if (value != 0 && (*limit == 0 || value < *limit))
        *limit = value;
}

static void take_cpu(struct cgroup_limits *limits, uint64_t quota_us, uint64_t period_us)
{
    if (quota_us == 0 || period_us == 0 || quota_us > UINT64_MAX / 1000)
        return;
    uint64_t milli = quota_us * 1000 / period_us;
    take_lower(&limits->cpu_milli, milli != 0 ? milli : 1);
}

/* Without a limit version 1 shows the largest number of whole pages. */
static void take_memory(struct cgroup_limits *limits, uint64_t bytes)
{
    if (bytes < (uint64_t)INT64_MAX / 2)
        take_lower(&limits->memory_bytes, bytes);
}

static void read_folder(const char *root, const char *folder, struct cgroup_limits *limits)
{
    char words[2][32], period[2][32];
    if (read_words(root, folder, "cpu.max", words))
        take_cpu(limits, number_of(words[0]), number_of(words[1]));
    if (read_words(root, folder, "cpu.cfs_quota_us", words) &&
        read_words(root, folder, "cpu.cfs_period_us", period))
        take_cpu(limits, number_of(words[0]), number_of(period[0]));
    if (read_words(root, folder, "memory.max", words))
        take_memory(limits, number_of(words[0]));
    if (read_words(root, folder, "memory.limit_in_bytes", words))
        take_memory(limits, number_of(words[0]));
}

/* The group's folder and those above it, up to the mount point: each limits what is below. A
 * container sees less than the whole of a hierarchy; what the mount does not show is left off. */
static void read_group(const char *root, const char *mount_root, const char *mount_point,
                       const char *path, struct cgroup_limits *limits)
{
    char folder[PATH_MAX];
    size_t root_len = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    bool is_within = strncmp(path, mount_root, root_len) == 0 &&
                     (path[root_len] == '/' || path[root_len] == '\0') && !strstr(path, "/..");
    int len =
        snprintf(folder, sizeof(folder), "%s%s", mount_point, is_within ? path + root_len : "");
    size_t least = strlen(mount_point);
    if (len < 0 || (size_t)len >= sizeof(folder))
        return;
    for (;;) {
        read_folder(root, folder, limits);
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < least)
            return;
        *slash = '\0';
    }
}

/* A line is `36 35 98:0 ROOT POINT options [more] - TYPE source SUPEROPTIONS`, see proc(5). */
static void read_mounts(const char *root, const struct membership *of, struct cgroup_limits *limits)
{
    char *line = NULL;
    size_t size = 0;
    FILE *in = open_at(root, "/proc/self/mountinfo");
    while (in != NULL && getline(&line, &size, in) > 0) {
        char mount_root[512], mount_point[512], type[32], options[512];
        const char *rest = strstr(line, " - ");
        if (rest == NULL || sscanf(line, "%*s %*s %*s %511s %511s", mount_root, mount_point) != 2 ||
            sscanf(rest, " - %31s %*s %511s", type, options) != 2)
            continue;
        bool is_it = of->controller == NULL
                         ? strcmp(type, "cgroup2") == 0
                         : strcmp(type, "cgroup") == 0 && is_in_list(options, of->controller);
        if (is_it)
            read_group(root, mount_root, mount_point, of->path, limits);
    }
    free(line);
    if (in != NULL)
        fclose(in);
}

void cgroup_read(const char *root, struct cgroup_limits *limits)
{
    static const char *const controllers[] = {"cpu", "memory"};
    char *line = NULL;
    size_t size = 0;
    *limits = (struct cgroup_limits){0};
    FILE *in = open_at(root, "/proc/self/cgroup");
    while (in != NULL && getline(&line, &size, in) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':');
        char *path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *list++ = '\0';
        *path++ = '\0';
        if (list[0] == '\0')
            read_mounts(root, &(struct membership){NULL, path}, limits);
        for (int i = 0; i < 2; i++)
            if (is_in_list(list, controllers[i]))
                read_mounts(root, &(struct membership){controllers[i], path}, limits);
    }
    free(line);
    if (in != NULL)
        fclose(in);
}
