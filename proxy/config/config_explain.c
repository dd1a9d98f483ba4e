#include "config/config_explain.h"

#include <ctype.h>
#include <string.h>

struct config_shown config_explain_show(const char *value)
{
    struct config_shown shown;
    if (snprintf(shown.text, sizeof(shown.text), "%s", value) >= (int)sizeof(shown.text))
        memcpy(shown.text + sizeof(shown.text) - sizeof("..."), "...", sizeof("..."));
    return shown;
}

/* As a shell, Compose or systemd would put something in its place. */
static bool has_variable(const char *value)
{
    return strstr(value, "${") || strstr(value, "$(") ||
           (value[0] == '$' && (isalpha((unsigned char)value[1]) || value[1] == '_'));
}

const char *config_explain_oddity(const char *value)
{
    size_t len = strlen(value);
    if (value[0] == ';' || strstr(value, " ;"))
        return "contains a semicolon; a comment after a value needs a space before it";
    if (value[0] == '#' || strstr(value, " #") || strstr(value, "\t#"))
        return "contains a #; a comment after a value begins with a space and a semicolon";
    if (len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0])
        return "is in quotes, which would be part of it; leave them out";
    if (has_variable(value))
        return "contains a variable, and nothing is put in its place here; write the value itself";
    return NULL;
}

/* `port` is what stands behind the last colon. */
static bool explain_range(const char *port, const char *example, bool is_list, struct err *err)
{
    size_t digits = strspn(port, "0123456789");
    if (digits == 0 || port[digits] != '-')
        return true;
    return err_set(
        err, "%.20s is a range of ports, and an address has one port, such as %s%s", port, example,
        is_list ? "; write each port as an address of its own, with commas between" : "");
}

static bool explain_star(const char *port, const char *example, bool is_list, struct err *err)
{
    if (is_list)
        return err_set(err,
                       "* is not an address; every address of this machine is 0.0.0.0:%.5s, "
                       "[::]:%.5s",
                       port, port);
    return err_set(err, "* is not an address; write it like %.*s:%.5s",
                   (int)(strrchr(example, ':') - example), example, port);
}

bool config_explain_addr(const char *text, const char *example, bool is_list, struct err *err)
{
    const char *scheme = strstr(text, "://");
    const char *port = strrchr(text, ':') ? strrchr(text, ':') + 1 : text;
    bool has_port = *port != '\0' && port[strspn(port, "0123456789")] == '\0';
    const char *example_port = strrchr(example, ':') + 1;
    size_t host_len = strcspn(text, ":");
    if (scheme)
        return err_set(err,
                       "%.*s:// does not belong here; write only the address and the port, such as "
                       "%s",
                       (int)(scheme - text < 20 ? scheme - text : 20), text, example);
    if (strchr(text, ','))
        return err_set(err, "more than one address, and this setting takes one, such as %s",
                       example);
    if (strpbrk(text, " \t"))
        return err_set(err, "a space within an address; %s%s",
                       is_list ? "several addresses are separated by commas, such as "
                               : "write it like ",
                       is_list ? "0.0.0.0:5684, [::]:5684" : example);
    if (host_len == 9 && strncmp(text, "localhost", 9) == 0)
        return err_set(err, "names are not resolved, not even localhost; write 127.0.0.1:%.5s",
                       has_port ? port : example_port);
    if (text[0] == '*' && (host_len == 1 || strncmp(text, "*.", 2) == 0))
        return explain_star(has_port ? port : example_port, example, is_list, err);
    if (has_port && (port == text || port == text + 1))
        return err_set(err, "a port without an address; write it like %.*s:%.20s",
                       (int)(example_port - 1 - example), example, port);
    return explain_range(port, example, is_list, err);
}

bool config_explain_path(const char *text, bool is_list, struct err *err)
{
    static const char *const nothing[] = {"off", "none", "no", "false"};
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
        if (strcmp(text, nothing[i]) == 0)
            return err_set(err,
                           "that would be a file of this name; leave the value empty for none, or "
                           "write ./%s",
                           text);
    if (text[0] == '~')
        return err_set(err, "~ does not stand for a home folder here; write the whole path, or "
                            "./~ for a file whose name begins so");
    if (is_list && (strstr(text, " /") || strstr(text, "\t/")))
        return err_set(err, "a space before a path; several files are separated by commas");
    return true;
}
