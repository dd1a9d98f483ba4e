#include "run/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "run/sandbox_calls.h"
#include "run/sandbox_files.h"
#include "run/sandbox_paths.h"

/* What is in force, in the environment: a line `MODE CALLS FILES` (on or log; the number of the
 * list of system calls, 0 = none is refused; which threads are confined to files), and the places.
 */
static const char VARIABLE[] = "DTLSGATE_SANDBOX";

enum { FILES_OF_NONE, FILES_OF_ALL, FILES_BUT_LOG };

struct in_force {
    bool is_logged_only;
    int calls, files;
    struct sandbox_paths paths; /* owned */
};

/* Sanitizers trace their own process, and write where they are told. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const char left_out[] = "this program was built with a sanitizer";
#elif !defined(__x86_64__) && !defined(__aarch64__)
static const char left_out[] = "the system calls of this kind of machine are not known";
#else
static const char left_out[] = "";
#endif

/* jemalloc's, of the program only. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
    __attribute__((weak));

/* Landlock is for the thread that asks for it, and what it starts: there may be no other one. */
static void run_allocator_threads(bool is_on)
{
    if (mallctl != NULL)
        (void)mallctl("background_thread", NULL, NULL, &is_on, sizeof(is_on));
}

/* ---- what is in force ----------------------------------------------------------------------- */

/* False: nothing of ours. Somebody's filter there must be: else the variable has come from nobody
 * who confined anything. */
static bool read_in_force(struct in_force *now)
{
    const char *text = getenv(VARIABLE);
    char mode[4];
    *now = (struct in_force){0};
    if (text == NULL || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ||
        sscanf(text, "%3s %d %d", mode, &now->calls, &now->files) != 3)
        return false;
    now->is_logged_only = strcmp(mode, "log") == 0;
    sandbox_paths_parse(&now->paths, text + strcspn(text, "\n") + (strchr(text, '\n') != NULL));
    return true;
}

static bool write_in_force(const struct in_force *now, struct err *err)
{
    char *places = sandbox_paths_text(&now->paths), *text = NULL;
    bool is_written = places != NULL && !now->paths.is_incomplete &&
                      asprintf(&text, "%s %d %d\n%s", now->is_logged_only ? "log" : "on",
                               now->calls, now->files, places) >= 0 &&
                      setenv(VARIABLE, text, 1) == 0;
    free(places);
    free(text);
    return is_written || err_set_passing(err, "out of memory for the sandbox");
}

/* ---- confining ------------------------------------------------------------------------------ */

static void log_partial(const char *what, const struct err *err)
{
    log_text(LOG_WARNING, "sandbox_partial", "%s: %s", what, err->text);
}

static void log_confined_files(const struct in_force *now, bool is_confined, const struct err *err)
{
    if (!is_confined)
        log_partial(now->files == FILES_OF_NONE ? "files are not confined"
                                                : "files are confined as they were before",
                    err);
    else if (now->files == FILES_BUT_LOG)
        log_text(LOG_WARNING, "sandbox_partial",
                 "files are not confined in the thread of the log, which waits for a stderr that "
                 "takes nothing; the next upgrade tries again");
}

/* Takes `paths` if they are in force then; false: what was is. A thread of the log that waits for
 * stderr cannot be stopped, so it is not confined: the others are all the same. */
static bool confine_files(struct in_force *now, struct sandbox_paths *paths, int binary)
{
    struct err err = {0}, err_of_log = {0};
    bool is_paused = log_pause(), is_log_left = log_has_thread();
    run_allocator_threads(false);
    bool is_confined = sandbox_files_confine(paths, binary, &err);
    run_allocator_threads(true);
    if (is_paused && !log_start(&err_of_log))
        log_partial("the log is written without a thread of its own", &err_of_log);
    if (is_confined) {
        sandbox_paths_free(&now->paths);
        now->paths = *paths;
        *paths = (struct sandbox_paths){0};
        now->files = is_log_left ? FILES_BUT_LOG : FILES_OF_ALL;
    }
    log_confined_files(now, is_confined, &err);
    return is_confined;
}

static bool confine_calls(struct in_force *now)
{
    struct err err = {0};
    bool is_filtered = sandbox_calls_confine(SANDBOX_CALLS_OF_PROCESS, now->is_logged_only, &err);
    if (is_filtered)
        now->calls = SANDBOX_CALLS_NUMBER;
    else
        log_partial(now->calls == 0 ? "system calls are not refused"
                                    : "system calls are refused as they were before",
                    &err);
    return is_filtered;
}

static bool give_up_privileges(void)
{
    struct err err = {0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        return true;
    err_set(&err, "new privileges cannot be given up: %s", strerror(errno));
    log_partial("nothing is confined", &err);
    return false;
}

static void log_in_force(const struct in_force *now, bool is_inherited)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "sandbox");
    log_add(&line, "mode", now->is_logged_only ? "log" : "on");
    log_add(&line, "calls", now->calls != 0 ? "filtered" : "all");
    log_add(&line, "files",
            now->files == FILES_OF_ALL    ? "confined"
            : now->files == FILES_BUT_LOG ? "partly"
                                          : "all");
    log_add(&line, "inherited", is_inherited ? "yes" : "no");
    log_end(&line);
}

static bool is_same_text(const struct sandbox_paths *a, const struct sandbox_paths *b)
{
    char *of_a = sandbox_paths_text(a), *of_b = sandbox_paths_text(b);
    bool is_same = of_a != NULL && of_b != NULL && strcmp(of_a, of_b) == 0;
    free(of_a);
    free(of_b);
    return is_same;
}

/* Within what is in force already. True: a layer was added. Each stays for good, and the kernel
 * takes 16 of Landlock's: so none is added that changes nothing. Files first: the filter of system
 * calls can take in threads that are there already. */
static bool confine(struct in_force *now, const struct config *config, const char *program,
                    int binary)
{
    struct sandbox_paths paths = {0};
    bool has_files = now->is_logged_only, has_calls = now->calls == SANDBOX_CALLS_NUMBER;
    if (!has_files) {
        sandbox_paths_of_settings(&paths, config, program);
        if (now->files != FILES_OF_NONE)
            sandbox_paths_limit(&paths, &now->paths);
        has_files = now->files == FILES_OF_ALL && is_same_text(&paths, &now->paths);
    }
    bool is_possible = (has_files && has_calls) || give_up_privileges();
    bool has_files_layer = is_possible && !has_files && confine_files(now, &paths, binary);
    bool has_calls_layer = is_possible && !has_calls && confine_calls(now);
    sandbox_paths_free(&paths);
    return has_files_layer || has_calls_layer;
}

/* There is no way back from on to log; and what was only logged is as nothing to what refuses. */
static bool confine_anew(const struct config *config, const char *program, int binary,
                         struct in_force *now, bool is_inherited, struct err *err)
{
    bool is_logged_only = config->gate.sandbox == SANDBOX_LOG;
    if (!is_inherited || (now->is_logged_only && !is_logged_only)) {
        sandbox_paths_free(&now->paths);
        *now = (struct in_force){.is_logged_only = is_logged_only};
        is_inherited = false;
    }
    bool has_layer = confine(now, config, program, binary);
    log_in_force(now, is_inherited && !has_layer);
    return write_in_force(now, err);
}

bool sandbox_confine(const struct config *config, const struct program *program, int binary,
                     struct err *err)
{
    struct in_force now;
    bool is_inherited = read_in_force(&now), is_good = true;
    if (config->gate.sandbox == SANDBOX_OFF && is_inherited)
        log_text(LOG_WARNING, "sandbox_inherited",
                 "sandbox = off: in force after a restart only; what the version before has given "
                 "up nobody gives back");
    else if (config->gate.sandbox != SANDBOX_OFF && left_out[0] != '\0')
        log_text(LOG_INFO, "sandbox", "nothing is confined: %s", left_out);
    else if (config->gate.sandbox != SANDBOX_OFF)
        is_good = confine_anew(config, program->path, binary, &now, is_inherited, err);
    sandbox_paths_free(&now.paths);
    return is_good;
}

/* ---- a worker's thread ---------------------------------------------------------------------- */

static void confine_worker(bool is_logged_only)
{
    struct err err = {0};
    if (!sandbox_calls_confine(SANDBOX_CALLS_OF_WORKER, is_logged_only, &err))
        log_partial("a worker may make the calls of the whole process", &err);
}

static void refuse_to_worker(void)
{
    confine_worker(false);
}

static void watch_worker(void)
{
    confine_worker(true);
}

sandbox_thread *sandbox_of_worker(void)
{
    struct in_force now;
    bool is_confined = read_in_force(&now) && now.calls != 0;
    sandbox_paths_free(&now.paths);
    return !is_confined ? NULL : now.is_logged_only ? watch_worker : refuse_to_worker;
}

/* ---- later ---------------------------------------------------------------------------------- */

void sandbox_check(const struct config *config, struct problems *problems)
{
    struct in_force now;
    if (read_in_force(&now) && now.files != FILES_OF_NONE)
        sandbox_paths_check(&now.paths, config, problems);
    sandbox_paths_free(&now.paths);
}

/* The modes of files allow it: Landlock has no say in that question. */
bool sandbox_refuses_program(const char *path, struct err *err)
{
    struct in_force now;
    bool is_confined = read_in_force(&now) && now.files != FILES_OF_NONE;
    sandbox_paths_free(&now.paths);
    if (!is_confined || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
        return false;
    err_set(
        err,
        "executing %s: sandbox = on allows only what lies in the folder that the program was in "
        "at the start, where links led then included, and no script; put it there, or restart "
        "the gate",
        path);
    return true;
}
