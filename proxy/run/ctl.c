#include "run/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config_load.h"
#include "run/command.h"
#include "run/control_socket.h"
#include "run/ctl_table.h"

static const char HELP[] =
    "Usage: dtlsgate ctl [-c FILE | --socket PATH] [--json] COMMAND [OPTION]... [ARGUMENT]\n"
    "Asks a running gate, or tells it what to do.\n"
    "\n"
    "  -c, --config FILE   the gate's settings, which name its socket: `control`; without it\n"
    "                      " CONFIG_PATH "\n"
    "      --socket PATH   the socket itself; without both, and where that file names none\n"
    "                      that can be read, " CTL_SOCKET "\n"
    "      --json          the answer as the gate gives it: JSON, one object a line\n"
    "  -h, --help          print this, or with a command what that does\n"
    "\n"
    "Commands:\n";

static const char HELP_END[] =
    "\n"
    "Exit status: 0 done; 1 the gate says no; 2 wrong usage; 3 no gate answers there.\n";

struct arguments {
    const char *config_path, *socket_path;
    bool is_json, is_help;
    const char *const *words; /* the command */
    size_t word_count;
};

static int fail(enum ctl_status status, const char *text)
{
    fflush(stdout);
    fprintf(stderr, "dtlsgate ctl: %s\n", text);
    return status;
}

/* ---- arguments ------------------------------------------------------------------------------ */

/* What stands before the command. */
static bool take_option(struct arguments *arguments, char **at, int left, int *taken,
                        struct err *err)
{
    const char **value = NULL;
    *taken = 1;
    if (strcmp(at[0], "--json") == 0)
        arguments->is_json = true;
    else if (strcmp(at[0], "--help") == 0 || strcmp(at[0], "-h") == 0)
        arguments->is_help = true;
    else if (strcmp(at[0], "-c") == 0 || strcmp(at[0], "--config") == 0)
        value = &arguments->config_path;
    else if (strcmp(at[0], "--socket") == 0)
        value = &arguments->socket_path;
    else
        return err_set(err, "there is no option '%.40s'; --help shows them", at[0]);
    if (value == NULL)
        return true;
    if (left < 2)
        return err_set(err, "a value is missing after %s", at[0]);
    *value = at[1];
    *taken = 2;
    return true;
}

static bool parse(struct arguments *arguments, int count, char **at, struct err *err)
{
    int i = 1, taken;
    *arguments = (struct arguments){0};
    for (; i < count && at[i][0] == '-'; i += taken)
        if (!take_option(arguments, at + i, count - i, &taken, err))
            return false;
    arguments->words = (const char *const *)at + i;
    arguments->word_count = (size_t)(count - i);
    for (size_t j = 1; j < arguments->word_count; j++)
        arguments->is_help = arguments->is_help || strcmp(arguments->words[j], "--help") == 0;
    if (arguments->config_path != NULL && arguments->socket_path != NULL)
        return err_set(err, "-c and --socket both name the socket: give one of them");
    return true;
}

static int help(const struct arguments *arguments)
{
    enum command command;
    if (arguments->word_count > 0 && command_find(&command, arguments->words[0])) {
        command_help(command, stdout);
        return CTL_DONE;
    }
    fputs(HELP, stdout);
    command_list(stdout);
    fputs(HELP_END, stdout);
    return CTL_DONE;
}

/* The path of the file's setting; the caller frees it. The rest of the file may be full of errors:
 * a reload says so, and nobody is kept from asking for one. */
static char *path_of_config(const char *config_path, struct err *err)
{
    struct problems problems;
    char *path = NULL;
    problems_init(&problems);
    struct config *config = config_load_partly(config_path, &problems);
    if (config == NULL)
        err_set(err, "%s", problems.count != 0 ? problems.texts[0] : "the settings cannot be read");
    else if (config->gate.control[0] == '\0' && problems.error_count != 0)
        err_set(err, "%s: names no socket that can be read; --socket PATH does: %s", config_path,
                problems.texts[0]);
    else if (config->gate.control[0] == '\0')
        err_set(err, "%s: `control` is not set, so that gate has no socket", config_path);
    else if ((path = strdup(config->gate.control)) == NULL)
        err_set(err, "out of memory");
    config_free(config);
    problems_deinit(&problems);
    return path;
}

/* The caller frees it. Who may use the socket need not be one who may read the settings, so these
 * are only asked if nobody names either. */
static char *find_socket(const struct arguments *arguments, struct err *err)
{
    if (arguments->config_path != NULL)
        return path_of_config(arguments->config_path, err);
    char *path = NULL;
    if (arguments->socket_path == NULL)
        path = path_of_config(CONFIG_PATH, err);
    if (path == NULL)
        path = strdup(arguments->socket_path != NULL ? arguments->socket_path : CTL_SOCKET);
    if (path == NULL)
        err_set(err, "out of memory");
    return path;
}

/* ---- conversation --------------------------------------------------------------------------- */

static bool send_all(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        text += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* One object of the answer. -1 to go on, or the exit status. */
static int take_answer(const struct arguments *arguments, struct ctl_table *table, const char *line)
{
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    int status = -1;
    if (!json_is_object(object)) {
        json_decref(object);
        return fail(CTL_NO_GATE, "what answers there is no gate of this version");
    }
    if (arguments->is_json)
        fputs(line, stdout);
    if (json_is_true(json_object_get(object, "done"))) {
        const char *error = json_string_value(json_object_get(object, "error"));
        status = json_is_true(json_object_get(object, "ok")) ? CTL_DONE : CTL_REFUSED;
        if (!arguments->is_json)
            ctl_table_end(table, object);
        if (status == CTL_REFUSED && error != NULL && !arguments->is_json)
            fail(CTL_REFUSED, error);
    } else if (!arguments->is_json) {
        ctl_table_add(table, object);
    }
    json_decref(object);
    return status;
}

static int read_answer(const struct arguments *arguments, struct ctl_table *table, int fd)
{
    FILE *from = fdopen(fd, "r");
    char *line = NULL;
    size_t room = 0;
    int status = -1;
    if (from == NULL) {
        close(fd);
        return fail(CTL_NO_GATE, "out of memory");
    }
    while (status < 0 && getline(&line, &room, from) > 0)
        status = take_answer(arguments, table, line);
    free(line);
    fclose(from);
    if (status < 0)
        return fail(CTL_NO_GATE, "the gate has ended the conversation before it has answered");
    if (fflush(stdout) != 0)
        return fail(CTL_REFUSED, "the answer cannot be written");
    return status;
}

static int converse(const struct arguments *arguments, enum command command, const char *path)
{
    char line[COMMAND_LINE_MAX + 2];
    struct ctl_table table = {.command = command};
    struct err err = {0};
    if (!command_join(arguments->words, arguments->word_count, line, &err))
        return fail(CTL_USAGE, err.text);
    int fd = control_socket_connect(path, &err);
    if (fd < 0)
        return fail(CTL_NO_GATE, err.text);
    if (!send_all(fd, line, strlen(line))) {
        close(fd);
        return fail(CTL_NO_GATE, "the gate has ended the conversation");
    }
    return read_answer(arguments, &table, fd);
}

int ctl_run(int count, char **at)
{
    struct arguments arguments;
    struct command_request request;
    struct err err = {0};
    if (!parse(&arguments, count, at, &err))
        return fail(CTL_USAGE, err.text);
    if (arguments.is_help)
        return help(&arguments);
    if (!command_parse(&request, arguments.words, arguments.word_count, &err))
        return fail(CTL_USAGE, err.text);
    char *path = find_socket(&arguments, &err);
    if (path == NULL)
        return fail(CTL_USAGE, err.text);
    int status = converse(&arguments, request.command, path);
    free(path);
    return status;
}
