#include "run/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd_list.h"
#include "base/log.h"
#include "base/notify.h"
#include "run/check.h"
#include "run/handover.h"
#include "run/keeper_inbox.h"
#include "run/keeper_patience.h"

enum {
    STORE_MAX = 4096, /* descriptors */
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    STEADY_MS = 10000,     /* who has been ready for so long begins with the shortest pause again */
    FAILED_STARTS_MAX = 2, /* of a program, before the one that was ready last gets its turn */
};

struct keeper {
    const struct program *program;
    char **argv; /* owned; the strings are main's */
    int signals; /* a signalfd */
    struct keeper_inbox inbox;
    struct fd_list store; /* owned, and what is in it */
    pid_t gate;           /* 0: none runs */
    bool is_ready, was_ever_ready;
    bool is_stopping; /* we were told to end */
    bool is_done;
    int status;             /* of the gate that ended last */
    uint32_t failed_starts; /* in a row, that never became ready */
    uint32_t backoff_ms;
    struct keeper_patience patience; /* with the gate */
    /* Of CLOCK_MONOTONIC; 0 = none. */
    uint64_t ready_ms;   /* since when */
    uint64_t restart_ms; /* when to start the next one */
};

/* ---- starting the gate ---------------------------------------------------------------------- */

static void set_environment(const struct keeper *keeper)
{
    char number[24];
    setenv("NOTIFY_SOCKET", keeper->inbox.name, 1);
    snprintf(number, sizeof(number), "%d", STORE_MAX);
    setenv("FDSTORE", number, 1);
    setenv(KEEPER_VARIABLE, "1", 1);
    snprintf(number, sizeof(number), "%llu", KEEPER_PATIENCE_WATCHDOG_MS * 1000ull);
    setenv("WATCHDOG_USEC", number, 1);
    snprintf(number, sizeof(number), "%d", (int)getpid());
    setenv("WATCHDOG_PID", number, 1);
}

/* In the child. What the gate watches itself stays blocked: it waits until the gate does. */
static void prepare_child(const struct keeper *keeper, pid_t parent)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &ours, NULL);
    set_environment(keeper);
    /* Alone it would hold the ports against the next one. Lost when it becomes another user. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_RUN_TIME);
}

/* In the child. Does not return. */
static void become_gate(struct keeper *keeper, pid_t parent, int report)
{
    struct err err = {0};
    const struct named_fd *last_ready = fd_list_find(&keeper->store, HANDOVER_BINARY);
    bool is_last_ready = last_ready != NULL && keeper->failed_starts >= FAILED_STARTS_MAX;
    prepare_child(keeper, parent);
    if (!is_last_ready)
        handover_exec(keeper->program->path, -1, keeper->argv, &keeper->store, &err);
    if (last_ready != NULL) {
        struct err of_last = {0};
        handover_exec(NULL, last_ready->fd, keeper->argv, &keeper->store,
                      is_last_ready ? &err : &of_last);
    }
    (void)!write(report, err.text, strlen(err.text));
    _exit(EXIT_RUN_TIME);
}

/* Returns when the child is another program, or has not become one. */
static void hear_report(int report)
{
    char text[512];
    ssize_t got = read(report, text, sizeof(text) - 1);
    if (got <= 0)
        return;
    text[got] = '\0';
    log_text(LOG_ERROR, "gate_not_started", "%s", text);
}

static void start_gate(struct keeper *keeper)
{
    int ends[2];
    pid_t parent = getpid();
    keeper->restart_ms = 0;
    keeper->is_ready = false;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        log_text(LOG_ERROR, "gate_not_started", "no pipe: %s", strerror(errno));
        keeper->restart_ms = clock_now_ms() + BACKOFF_MAX_MS;
        return;
    }
    /* Out of the way of what is handed over. */
    int report = fcntl(ends[1], F_DUPFD_CLOEXEC, 3 + (int)keeper->store.count);
    close(ends[1]);
    if (keeper->failed_starts == FAILED_STARTS_MAX &&
        fd_list_find(&keeper->store, HANDOVER_BINARY) != NULL)
        log_text(LOG_WARNING, "gate_goes_back",
                 "%s has not become ready in %d starts; starting the program that was ready last",
                 keeper->program->path, FAILED_STARTS_MAX);
    pid_t child = fork();
    if (child == 0)
        become_gate(keeper, parent, report);
    if (report >= 0)
        close(report);
    if (child > 0)
        hear_report(ends[0]);
    close(ends[0]);
    if (child < 0) {
        log_text(LOG_ERROR, "gate_not_started", "no process: %s", strerror(errno));
        keeper->restart_ms = clock_now_ms() + BACKOFF_MAX_MS;
        return;
    }
    keeper->gate = child;
    keeper_patience_begin(&keeper->patience, clock_now_ms());
}

/* ---- its end -------------------------------------------------------------------------------- */

static void describe(int status, char text[64])
{
    if (WIFSIGNALED(status))
        snprintf(text, 64, "signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, 64, "exit status %d", WEXITSTATUS(status));
}

static void plan_restart(struct keeper *keeper, int status)
{
    char how[64];
    uint64_t now = clock_now_ms();
    bool was_steady = keeper->is_ready && now - keeper->ready_ms >= STEADY_MS;
    if (was_steady || keeper->backoff_ms == 0)
        keeper->backoff_ms = BACKOFF_MIN_MS;
    keeper->failed_starts = keeper->is_ready ? 0 : keeper->failed_starts + 1;
    describe(status, how);
    log_text(LOG_ERROR, "gate_died", "%s; starting it again in %u ms, with %u descriptors kept",
             how, keeper->backoff_ms, keeper->store.count);
    keeper->restart_ms = now + keeper->backoff_ms;
    keeper->backoff_ms *= 2;
    if (keeper->backoff_ms > BACKOFF_MAX_MS)
        keeper->backoff_ms = BACKOFF_MAX_MS;
}

/* Settings that only a person can mend end us, as they end the unit: but not once there are
 * sessions to be kept for the time after that. */
static void gate_ended(struct keeper *keeper, int status)
{
    keeper->gate = 0;
    keeper->patience = (struct keeper_patience){0};
    keeper->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    bool is_for_a_person = keeper->status == EXIT_USAGE && !keeper->was_ever_ready;
    if (keeper->is_stopping || keeper->status == EXIT_SUCCESS || is_for_a_person)
        keeper->is_done = true;
    else
        plan_restart(keeper, status);
}

/* ---- what the gate says --------------------------------------------------------------------- */

static void keep_descriptor(struct keeper *keeper, const struct keeper_message *message)
{
    struct err err = {0};
    const struct named_fd *old = fd_list_find(&keeper->store, message->name);
    if (old != NULL && fd_list_is_same_file(old->fd, message->fd)) {
        close(message->fd);
        return;
    }
    if (keeper->store.count >= STORE_MAX)
        err_set(&err, "%d descriptors are kept already", STORE_MAX);
    else if (fd_list_add(&keeper->store, message->name, message->fd, &err))
        return;
    log_text(LOG_WARNING, "descriptor_not_kept", "%s: %s", message->name, err.text);
    close(message->fd);
}

static void drop_descriptors(struct keeper *keeper, const char *name)
{
    struct named_fd *item;
    while ((item = fd_list_find(&keeper->store, name)) != NULL) {
        close(item->fd);
        fd_list_remove(&keeper->store, item);
    }
}

static void hear(struct keeper *keeper, const struct keeper_message *message)
{
    switch (message->kind) {
    case KEEPER_STORE: keep_descriptor(keeper, message); return;
    case KEEPER_REMOVE: drop_descriptors(keeper, message->name); return;
    case KEEPER_WATCHDOG:
        keeper_patience_well(&keeper->patience, clock_now_ms());
        if (notify_wants_watchdog())
            notify_send("WATCHDOG=1");
        return;
    case KEEPER_READY:
        keeper->is_ready = keeper->was_ever_ready = true;
        keeper->failed_starts = 0;
        keeper->ready_ms = clock_now_ms();
        keeper_patience_ready(&keeper->patience, keeper->ready_ms);
        notify_send(message->text);
        return;
    case KEEPER_LOGFMT: log_set_format(LOG_LOGFMT); return;
    case KEEPER_JSON: log_set_format(LOG_JSON); return;
    case KEEPER_OTHER: notify_send(message->text); return;
    }
}

static void read_inbox(struct keeper *keeper)
{
    struct keeper_message message;
    while (keeper_inbox_read(&keeper->inbox, keeper->gate, &message))
        hear(keeper, &message);
}

/* ---- signals and time ----------------------------------------------------------------------- */

/* What the gate said with its last breath comes first. */
static void reap(struct keeper *keeper)
{
    int status;
    pid_t pid;
    read_inbox(keeper);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == keeper->gate)
            gate_ended(keeper, status);
    }
}

static void on_signal(struct keeper *keeper, int number)
{
    if (number == SIGCHLD) {
        reap(keeper);
        return;
    }
    if (number == SIGTERM || number == SIGINT) {
        keeper->is_stopping = true;
        keeper->is_done = keeper->gate == 0;
        keeper_patience_end(&keeper->patience, clock_now_ms());
    }
    if (keeper->gate > 0)
        kill(keeper->gate, number);
}

static void read_signals(struct keeper *keeper)
{
    struct signalfd_siginfo info;
    while (read(keeper->signals, &info, sizeof(info)) == sizeof(info))
        on_signal(keeper, (int)info.ssi_signo);
}

static int wait_ms(const struct keeper *keeper)
{
    uint64_t now = clock_now_ms(), due = UINT64_MAX;
    if (keeper->restart_ms > 0)
        due = keeper->restart_ms;
    if (keeper->patience.what != KEEPER_PATIENCE_FOR_NOTHING && keeper->patience.until_ms < due)
        due = keeper->patience.until_ms;
    if (due == UINT64_MAX)
        return -1;
    return due > now ? (int)(due - now) : 0;
}

static void do_what_is_due(struct keeper *keeper)
{
    uint64_t now = clock_now_ms();
    const char *why = keeper_patience_is_over(&keeper->patience, now);
    if (keeper->gate > 0 && why != NULL) {
        log_text(LOG_ERROR, "gate_killed", "%s", why);
        keeper->patience = (struct keeper_patience){0};
        kill(keeper->gate, SIGKILL);
    }
    if (keeper->restart_ms > 0 && now >= keeper->restart_ms)
        start_gate(keeper);
}

static void run(struct keeper *keeper)
{
    struct pollfd fds[] = {{.fd = keeper->signals, .events = POLLIN},
                           {.fd = keeper->inbox.fd, .events = POLLIN}};
    start_gate(keeper);
    while (!keeper->is_done) {
        if (poll(fds, 2, wait_ms(keeper)) < 0 && errno != EINTR) {
            log_text(LOG_ERROR, "event_loop_failed", "poll: %s", strerror(errno));
            return;
        }
        read_inbox(keeper);
        read_signals(keeper);
        if (!keeper->is_done)
            do_what_is_due(keeper);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static bool take_signals(struct keeper *keeper, struct err *err)
{
    static const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t ours;
    sigemptyset(&ours);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&ours, numbers[i]);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    keeper->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    return keeper->signals >= 0 || err_set(err, "no signalfd: %s", strerror(errno));
}

/* getopt_long takes the beginning of the word as well. */
static bool is_our_option(const char *word)
{
    size_t len = strlen(word);
    return len > 2 && strncmp(word, KEEPER_OPTION, len) == 0;
}

static bool copy_arguments(struct keeper *keeper, struct err *err)
{
    char *const *from = keeper->program->argv;
    size_t count = 0, used = 0;
    while (from[count] != NULL)
        count++;
    keeper->argv = calloc(count + 1, sizeof(*keeper->argv));
    if (keeper->argv == NULL)
        return err_set(err, "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (!is_our_option(from[i]))
            keeper->argv[used++] = from[i];
    }
    return true;
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= STORE_MAX + 64)
        return;
    limit.rlim_cur = limit.rlim_max < STORE_MAX + 64 ? limit.rlim_max : STORE_MAX + 64;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int keeper_run(const struct program *program)
{
    struct keeper keeper = {.program = program, .signals = -1, .inbox.fd = -1};
    struct err err = {0};
    raise_descriptors();
    bool is_open = take_signals(&keeper, &err) && log_start(&err) &&
                   copy_arguments(&keeper, &err) && keeper_inbox_open(&keeper.inbox, &err);
    if (is_open) {
        run(&keeper);
    } else {
        log_text(LOG_ERROR, "start_failed", "keeper: %s", err.text);
        keeper.status = EXIT_RUN_TIME;
    }
    fd_list_close(&keeper.store);
    keeper_inbox_close(&keeper.inbox);
    if (keeper.signals >= 0)
        close(keeper.signals);
    free(keeper.argv);
    log_stop();
    return keeper.status;
}
