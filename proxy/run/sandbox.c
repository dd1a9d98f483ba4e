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
 * list of system calls, 0 = none is refused; 1 if files are confined), and the places. */
static const char VARIABLE[] = "DTLSGATE_SANDBOX";

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

static void confine_files(struct in_force *next, int binary)
{
    struct err err = {0};
    bool is_paused = log_pause();
    run_allocator_threads(false);
    next->files = sandbox_files_confine(&next->paths, binary, &err);
    run_allocator_threads(true);
    if (is_paused && !log_start(&err))
        log_partial("the log is written without a thread of its own", &err);
    if (next->files == 0)
        log_partial("files are not confined", &err);
}

/* Files first: the filter of system calls can take in threads that are there already. */
static void confine(struct in_force *next, int binary)
{
    struct err err = {0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        err_set(&err, "new privileges cannot be given up: %s", strerror(errno));
        log_partial("nothing is confined", &err);
        return;
    }
    if (!next->is_logged_only)
        confine_files(next, binary);
    bool is_filtered = sandbox_calls_confine(SANDBOX_CALLS_OF_PROCESS, next->is_logged_only, &err);
    next->calls = is_filtered ? SANDBOX_CALLS_NUMBER : 0;
    if (!is_filtered)
        log_partial("system calls are not refused", &err);
}

static void log_in_force(const struct in_force *now, bool is_inherited)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "sandbox");
    log_add(&line, "mode", now->is_logged_only ? "log" : "on");
    log_add(&line, "calls", now->calls != 0 ? "filtered" : "all");
    log_add(&line, "files", now->files != 0 ? "confined" : "all");
    log_add(&line, "inherited", is_inherited ? "yes" : "no");
    log_end(&line);
}

/* Each layer stays for good, and the kernel takes 16 of Landlock's: so none is added that changes
 * nothing. */
static bool is_same(const struct in_force *a, const struct in_force *b)
{
    char *of_a = sandbox_paths_text(&a->paths), *of_b = sandbox_paths_text(&b->paths);
    bool is_same_text = of_a != NULL && of_b != NULL && strcmp(of_a, of_b) == 0;
    free(of_a);
    free(of_b);
    return is_same_text && a->is_logged_only == b->is_logged_only &&
           a->calls == SANDBOX_CALLS_NUMBER && (a->files != 0 || a->is_logged_only);
}

static bool confine_anew(const struct config *config, const char *program, int binary,
                         const struct in_force *now, bool is_inherited, struct err *err)
{
    struct in_force next = {.is_logged_only = config->gate.sandbox == SANDBOX_LOG};
    bool is_on_before = is_inherited && !now->is_logged_only;
    if (!next.is_logged_only || is_on_before)
        sandbox_paths_of_settings(&next.paths, config, program);
    if (is_on_before) {
        next.is_logged_only = false; /* there is no way back */
        if (now->files != 0)
            sandbox_paths_limit(&next.paths, &now->paths);
    }
    bool is_same_as_before = is_inherited && is_same(now, &next);
    if (!is_same_as_before)
        confine(&next, binary);
    log_in_force(is_same_as_before ? now : &next, is_same_as_before);
    bool is_written = is_same_as_before || write_in_force(&next, err);
    sandbox_paths_free(&next.paths);
    return is_written;
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
    if (read_in_force(&now) && now.files != 0)
        sandbox_paths_check(&now.paths, config, problems);
    sandbox_paths_free(&now.paths);
}

/* The modes of files allow it: Landlock has no say in that question. */
bool sandbox_refuses_program(const char *path, struct err *err)
{
    struct in_force now;
    bool is_confined = read_in_force(&now) && now.files != 0;
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
