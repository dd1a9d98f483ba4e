#include "config/config_paths.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_explain.h"
#include "config/config_item.h"

void config_string_free(config_string *member)
{
    char *text;
    memcpy(&text, member, sizeof(text)); /* the member points to const, but it is ours */
    free(text);
    *member = NULL;
}

bool config_string_parse(const char *text, config_string *member, struct err *err)
{
    char *copy = strdup(text);
    if (!copy) {
        err_set(err, "out of memory");
        return false;
    }
    config_string_free(member);
    *member = copy;
    return true;
}

static bool parse_path(const char *text, const char *folder, config_string *member, struct err *err)
{
    if (text[0] == '\0' || text[0] == '/')
        return config_string_parse(text, member, err);
    char path[PATH_MAX];
    bool is_root = strcmp(folder, "/") == 0;
    int len = snprintf(path, sizeof(path), "%s/%s", is_root ? "" : folder, text);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        err_set(err, "the path is too long with the folder of the configuration file before it; "
                     "write an absolute path");
        return false;
    }
    return config_string_parse(path, member, err);
}

bool config_path_parse(const char *text, const char *folder, config_string *member, struct err *err)
{
    return config_explain_path(text, false, err) && parse_path(text, folder, member, err);
}

void config_paths_free(struct config_paths *paths)
{
    for (uint32_t i = 0; i < paths->count; i++)
        config_string_free(&paths->at[i]);
    *paths = (struct config_paths){0};
}

static bool has_path(const struct config_paths *paths, const char *path)
{
    for (uint32_t i = 0; i < paths->count; i++)
        if (strcmp(paths->at[i], path) == 0)
            return true;
    return false;
}

static bool add_path(struct config_paths *paths, const char *item, const char *folder,
                     struct err *err)
{
    if (item[0] == '\0')
        return err_set(err, "a path between commas is missing; paths are separated by one comma "
                            "each");
    if (paths->count == CONFIG_PATHS_MAX)
        return err_set(err, "more than %d files; put several into one", CONFIG_PATHS_MAX);
    config_string path = NULL;
    if (!config_explain_path(item, true, err) || !parse_path(item, folder, &path, err))
        return false;
    if (has_path(paths, path)) {
        err_set(err, "%.300s stands there twice; name each file once", path);
        config_string_free(&path);
        return false;
    }
    paths->at[paths->count++] = path;
    return true;
}

bool config_paths_parse(const char *text, const char *folder, struct config_paths *member,
                        struct err *err)
{
    struct config_paths paths = {0};
    for (const char *rest = text[0] != '\0' ? text : NULL; rest;) {
        char item[PATH_MAX];
        if (!config_item_take(&rest, item, sizeof(item))) {
            config_paths_free(&paths);
            return err_set(err, "a path is too long");
        }
        if (!add_path(&paths, item, folder, err)) {
            config_paths_free(&paths);
            return false;
        }
    }
    config_paths_free(member);
    *member = paths;
    return true;
}

void config_paths_format(const struct config_paths *paths, char *text, size_t size)
{
    size_t len = 0;
    for (uint32_t i = 0; i < paths->count && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s", i ? ", " : "", paths->at[i]);
}
