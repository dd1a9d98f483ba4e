#include "run/upgrade_check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/bind_check.h"
#include "run/check.h"
#include "run/reload.h"
#include "run/sandbox.h"
#include "session/sessions_look.h"
#include "state/state.h"

enum { STATE_FD = 3 }; /* in the child */

static void end_line(struct upgrade_check *check)
{
    check->line[check->line_len] = '\0';
    if (check->line_len > 0) {
        check->say(check->context, check->line);
        memcpy(check->last_line, check->line, check->line_len + 1);
    }
    check->line_len = 0;
}

static void take_output(struct upgrade_check *check, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n')
            end_line(check);
        else if (check->line_len < sizeof(check->line) - 1)
            check->line[check->line_len++] = bytes[i];
    }
}

static void stop_watching(struct upgrade_check *check)
{
    ev_child_stop(check->loop, &check->end);
    ev_io_stop(check->loop, &check->output);
    ev_timer_stop(check->loop, &check->limit);
    close(check->output.fd);
    check->child = 0;
}

static void finish(struct upgrade_check *check, int status)
{
    char text[64];
    end_line(check);
    stop_watching(check);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
        check->done(check->context, true, "");
        return;
    }
    if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "the check ended with signal %d", WTERMSIG(status));
    else
        snprintf(text, sizeof(text), "the check ended with status %d", WEXITSTATUS(status));
    check->done(check->context, false, check->last_line[0] != '\0' ? check->last_line : text);
}

/* What is there by now; a child that does not stop talking holds up nobody. */
static void read_output(struct upgrade_check *check)
{
    char bytes[4096];
    ssize_t got = -1;
    for (int i = 0; i < 64 && (got = read(check->output.fd, bytes, sizeof(bytes))) > 0; i++)
        take_output(check, bytes, (size_t)got);
    if (got == 0)
        ev_io_stop(check->loop, &check->output);
}

static void on_output(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    read_output(watcher->data);
}

/* The loop has asked the kernel for it: nobody else can. */
static void on_end(struct ev_loop *loop, ev_child *watcher, int events)
{
    struct upgrade_check *check = watcher->data;
    (void)loop;
    (void)events;
    read_output(check);
    finish(check, watcher->rstatus);
}

static void on_limit(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct upgrade_check *check = watcher->data;
    (void)loop;
    (void)events;
    kill(check->child, SIGKILL);
    snprintf(check->last_line, sizeof(check->last_line),
             "the check was not over within %d s, and was ended", UPGRADE_CHECK_LIMIT_MS / 1000);
}

/* Without a copy of our memory, which a fork would need. */
static bool spawn(pid_t *child, const struct program *program, const char *config_path, int state,
                  int output, struct err *err)
{
    char option[] = "--" UPGRADE_CHECK_OPTION, fd[] = "3", config_option[] = "-c";
    char *argv[] = {program->argv[0], config_option, (char *)config_path, option, fd, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, state, STATE_FD);
    int error = posix_spawn(child, program->path, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error == EACCES && sandbox_refuses_program(program->path, err))
        return false;
    return error == 0 || err_set(err, "executing %s: %s", program->path, strerror(error));
}

bool upgrade_check_start(struct upgrade_check *check, struct ev_loop *loop,
                         const struct program *program, const char *config_path, int state,
                         struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return err_set(err, "no pipe to a new process: %s", strerror(errno));
    /* Above what it becomes in the child; without O_NONBLOCK, which the child need not know. */
    int output = fcntl(ends[1], F_DUPFD_CLOEXEC, STATE_FD + 1),
        memory = fcntl(state, F_DUPFD_CLOEXEC, STATE_FD + 1);
    close(ends[1]);
    bool is_started = output >= 0 && memory >= 0;
    if (!is_started)
        err_set(err, "no descriptor for a new process: %s", strerror(errno));
    else
        is_started = fcntl(output, F_SETFL, 0) == 0 &&
                     spawn(&check->child, program, config_path, memory, output, err);
    if (output >= 0)
        close(output);
    if (memory >= 0)
        close(memory);
    if (!is_started) {
        close(ends[0]);
        check->child = 0;
        return false;
    }
    check->loop = loop;
    check->line_len = 0;
    check->last_line[0] = '\0';
    ev_io_init(&check->output, on_output, ends[0], EV_READ);
    check->output.data = check;
    ev_io_start(loop, &check->output);
    ev_child_init(&check->end, on_end, check->child, 0);
    check->end.data = check;
    ev_child_start(loop, &check->end);
    ev_timer_init(&check->limit, on_limit, UPGRADE_CHECK_LIMIT_MS / 1000.0, 0.0);
    check->limit.data = check;
    ev_timer_start(loop, &check->limit);
    return true;
}

void upgrade_check_stop(struct upgrade_check *check)
{
    if (!upgrade_check_runs(check))
        return;
    pid_t child = check->child;
    stop_watching(check);
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* ---- the other side -------------------------------------------------------------------------- */

/* A start would drop them. */
static void refuse_other_cids(const struct generation *generation, struct region *region,
                              struct problems *problems)
{
    uint32_t cid_bytes[LAYOUT_LISTENERS_MAX] = {0}, lost[LAYOUT_LISTENERS_MAX];
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        cid_bytes[listener->number] = listener->config->cid_bytes;
    }
    sessions_look_at_cids(region, cid_bytes, lost);
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        if (lost[listener->number] == 0)
            continue;
        problems_error(problems,
                       "%s:%u: [listener %s] cid_length = %u: its sessions with connection IDs of "
                       "another length, %u of them, would be lost; make another listener with "
                       "another name at another address, or restart the gate to lose them",
                       generation->config->path, listener->config->lines[LISTENER_cid_bytes],
                       listener->config->name, listener->config->cid_bytes, lost[listener->number]);
    }
}

/* generation: NULL = the settings have errors. */
static void check_state(int fd, struct generation *generation, struct problems *problems)
{
    struct state state;
    struct err err = {0};
    if (!state_look(&state, fd, &err)) {
        problems_error(problems, "the state of the gate that runs: %s", err.text);
        return;
    }
    if (generation != NULL && !reload_plan(generation, &state, &err))
        problems_error(problems, "%s: %s", generation->config->path, err.text);
    else if (generation != NULL)
        refuse_other_cids(generation, &state.region, problems);
    state_close(&state);
}

int upgrade_check_run(const char *config_path, const char *state)
{
    struct problems problems;
    problems_init(&problems);
    struct generation *generation = reload_build(config_path, &problems);
    /* Going back means reading the same settings: what they cannot do must be seen before. */
    if (generation != NULL)
        bind_check_addresses(generation->config, &problems);
    check_state((int)strtol(state, NULL, 10), generation, &problems);
    for (uint32_t i = 0; i < problems.count; i++)
        fprintf(stderr, "%s: %s\n", problems.is_warning[i] ? "warning" : "error",
                problems.texts[i]);
    int status = check_status(&problems);
    reload_release(generation);
    problems_deinit(&problems);
    return status;
}
