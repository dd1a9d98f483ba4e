#include "run/gate.h"

#include <ev.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "handshake/dtls.h"
#include "net/steering.h"
#include "net/udp.h"
#include "run/check.h"
#include "run/control.h"
#include "run/crew.h"
#include "run/gate_log.h"
#include "run/history.h"
#include "run/host.h"
#include "run/main_loop.h"
#include "run/metrics.h"
#include "run/privileges.h"
#include "run/reload.h"
#include "run/reloads.h"
#include "run/report_json.h"
#include "run/sandbox.h"
#include "run/signals.h"
#include "run/sockets.h"
#include "run/state_keep.h"
#include "run/succession.h"
#include "run/swap.h"
#include "run/upgrade.h"
#include "run/watchdog.h"
#include "state/state_starts.h"

/* Shorter than the 10 s that Docker and our systemd unit wait before they kill. */
enum { STOP_LIMIT_MS = 8000 };

/* Everything that runs. Freed in the reverse order of its members. */
struct gate {
    struct succession succession;
    struct state state;
    struct upgrade upgrade;
    bool says_farewell; /* at the end */
    uint64_t stop_deadline_ms;
    struct swap swap; /* settings and sockets */
    struct crew crew;
    struct metrics *metrics;
    struct metrics_source metrics_source;
    struct control *control; /* NULL = there is no socket */
    struct drains drains;
    struct history *history; /* owned */
    struct reloads reloads;
    ev_async swap_watcher; /* a worker has gone over to other settings */
    struct ev_loop *loop;
    struct signals signals;
    uint64_t started_ms;
    struct report_start begun; /* what is told of the start */
    _Atomic bool is_ready;
    ev_timer watchdog_timer; /* of main's loop, its data is this gate */
    struct watchdog_log watchdog_log;
};

/* ---- start ---------------------------------------------------------------------------------- */

static struct generation *in_force(const struct gate *gate)
{
    return gate->swap.generation;
}

static bool open_sockets(struct gate *gate, struct err *err)
{
    uint32_t wanted = in_force(gate)->config->gate.workers;
    if (!udp_try_batches(err))
        return false;
    bool may_steer = steering_is_possible(err);
    if (!may_steer) {
        log_text(LOG_WARNING, "single_worker",
                 "%s; running one worker (workers = %u), and its sessions share a queue with "
                 "strangers: a flood of ClientHellos can crowd out their datagrams",
                 err->text, wanted);
        wanted = 1;
    }
    if (!reload_enter_state(in_force(gate), &gate->state, err))
        return false;
    gate->swap.sockets = sockets_open(in_force(gate), &gate->state, wanted, may_steer,
                                      &gate->succession.handover, err);
    return gate->swap.sockets != NULL;
}

/* While there may be the privilege for a low port. */
static bool open_metrics_socket(struct gate *gate, struct err *err)
{
    const struct addr *addr = &in_force(gate)->config->gate.metrics;
    return addr->family == 0 || succession_open_metrics(&gate->succession, addr, err);
}

static bool open_metrics(struct gate *gate, struct err *err)
{
    const struct addr *addr = &in_force(gate)->config->gate.metrics;
    gate->metrics_source = (struct metrics_source){
        .workers = gate->crew.counters,
        .worker_count = gate->crew.count,
        .inherited = &gate->crew.inherited,
        .swap = &gate->swap,
        .tls_library_version = dtls_library_version(),
        .is_ready = &gate->is_ready,
        .drains = &gate->drains,
        .history = gate->history,
        .started_ms = gate->started_ms,
        .start = &gate->begun,
        .ask = crew_ask,
        .context = &gate->crew,
    };
    if (addr->family == 0)
        return true;
    gate->metrics = metrics_open(addr, gate->succession.metrics, &gate->metrics_source, err);
    return gate->metrics != NULL;
}

/* Whether the sessions outlive a stop in good order. */
static bool is_state_kept(const struct gate *gate)
{
    return succession_keeps_state(&gate->succession) || state_keep_is_possible(in_force(gate));
}

static void begin_upgrade(void *context, struct control_answer answer)
{
    struct gate *gate = context;
    upgrade_begin(&gate->upgrade, &answer);
}

static void ask_to_reload(void *context, struct control_answer answer)
{
    struct gate *gate = context;
    reloads_ask_with_answer(&gate->reloads, answer);
}

static void leave_loop(struct gate *gate, const char *why)
{
    log_text(LOG_INFO, "stopping", "%s", why);
    upgrade_stop(&gate->upgrade);
    ev_break(gate->loop, EVBREAK_ALL);
}

static void stop(void *context, struct control_answer answer, bool with_farewell)
{
    struct gate *gate = context;
    gate->says_farewell = with_farewell || !is_state_kept(gate);
    control_answer_end(answer, true, "");
    leave_loop(gate, "dtlsgate ctl stop");
}

/* As the user that the gate runs as. */
static bool open_control(struct gate *gate, struct err *err)
{
    const struct gate_config *config = &in_force(gate)->config->gate;
    const struct control_source source = {
        .generation = &gate->swap.generation,
        .workers = gate->crew.counters,
        .worker_count = gate->crew.count,
        .ask = crew_ask,
        .context = &gate->crew,
        .drains = &gate->drains,
        .history = gate->history,
        .started_ms = gate->started_ms,
        .start = &gate->begun,
        .reloads = &gate->swap.record,
        .is_ready = &gate->is_ready,
        .actions = {.context = gate,
                    .reload = ask_to_reload,
                    .upgrade = begin_upgrade,
                    .stop = stop},
    };
    if (config->control[0] == '\0')
        return true;
    gate->control = control_open(gate->loop, config, &source, err);
    return gate->control != NULL;
}

static bool drop_privileges(const struct gate *gate, struct err *err)
{
    const char *user = in_force(gate)->config->gate.user;
    if (user[0] == '\0')
        return true;
    if (geteuid() != 0) {
        if (!privileges_are_of(user)) /* as after an upgrade */
            log_text(LOG_INFO, "user_kept", "not started as root: user = %s has no effect", user);
        return true;
    }
    if (!privileges_drop(user, err))
        return false;
    privileges_forbid_core_dumps(); /* becoming another user has set the flag again */
    state_keep_check(in_force(gate));
    return true;
}

static void note_start(struct gate *gate)
{
    bool is_refused = gate->succession.aside.count != 0;
    gate->begun.state = !gate->state.is_new ? "taken_over" : is_refused ? "refused" : "new";
    gate->begun.count = state_starts_count(&gate->state);
    gate->begun.is_after_crash =
        gate->state.is_new ? is_refused : state_starts_is_after_crash(&gate->state);
    upgrade_record_begin(&gate->begun.upgrade, gate->succession.upgrade,
                         gate->succession.upgrade_text);
}

static bool confine(const struct gate *gate, struct err *err)
{
    return sandbox_confine(in_force(gate)->config, gate->succession.program,
                           gate->succession.binary, err);
}

/* Sockets first, while there may be the privilege for low ports; threads last, so that all of them
 * are confined. */
static bool start(struct gate *gate, struct err *err)
{
    note_start(gate);
    gate->history = history_new();
    if (gate->history == NULL)
        return err_set(err, "out of memory");
    if (!open_sockets(gate, err) ||
        !crew_open(&gate->crew, in_force(gate), &gate->state, gate->swap.sockets,
                   &gate->begun.sessions, err) ||
        !open_metrics_socket(gate, err))
        return false;
    host_log_warnings(in_force(gate)->config);
    return drop_privileges(gate, err) && confine(gate, err) && open_metrics(gate, err) &&
           open_control(gate, err) && crew_start(&gate->crew, sandbox_of_worker(), err);
}

static enum gate_log_fate fate_of_sessions(const struct gate *gate)
{
    if (gate->says_farewell)
        return GATE_LOG_NO_FAREWELL;
    if (gate->upgrade.is_due ? gate->succession.handover.has_store
                             : succession_keeps_state(&gate->succession))
        return GATE_LOG_KEPT;
    return in_force(gate)->config->gate.state_file[0] != '\0' ? GATE_LOG_NO_FILE : GATE_LOG_LOST;
}

/* A worker that hangs would hold up the end, too. */
static void stop_crew_or_exit(struct gate *gate)
{
    uint32_t hanging;
    gate->stop_deadline_ms = clock_now_ms() + STOP_LIMIT_MS;
    if (crew_stop(&gate->crew, gate->says_farewell ? WORKER_SAYS_FAREWELL : WORKER_LEAVES_SESSIONS,
                  gate->stop_deadline_ms, &hanging))
        return;
    gate_log_stop_failed(hanging, fate_of_sessions(gate));
    if (gate->upgrade.is_due && gate->upgrade.asker >= 0)
        control_answer_end_at(gate->upgrade.asker, false, "a worker does not end");
    log_stop();
    _exit(EXIT_RUN_TIME);
}

static void close_gate(struct gate *gate)
{
    bool was_ready = atomic_exchange(&gate->is_ready, false);
    stop_crew_or_exit(gate);
    if (was_ready && !gate->says_farewell)
        gate_log_kept(crew_session_count(&gate->crew));
    metrics_close(gate->metrics); /* reads the workers' counters */
    control_close(gate->control);
    history_free(gate->history);
    crew_close(&gate->crew);
}

/* ---- while it runs -------------------------------------------------------------------------- */

/* Other sockets are there. */
static void on_reloaded(void *context)
{
    struct gate *gate = context;
    succession_keep(&gate->succession, gate->swap.sockets, clock_now_ms());
}

/* Called by workers. */
static void wake_for_swap(void *context)
{
    struct gate *gate = context;
    ev_async_send(gate->loop, &gate->swap_watcher);
}

static void on_swap(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct gate *gate = watcher->data;
    (void)loop;
    (void)events;
    reloads_go_on(&gate->reloads);
}

static void prepare_reloads(struct gate *gate, const char *config_path)
{
    gate->swap.path = config_path;
    gate->swap.state = &gate->state;
    gate->swap.workers = gate->crew.workers;
    gate->swap.worker_count = gate->crew.count;
    gate->swap.wake = wake_for_swap;
    gate->swap.context = gate;
    gate->reloads = (struct reloads){
        .swap = &gate->swap, .drains = &gate->drains, .on_done = on_reloaded, .context = gate};
    ev_async_init(&gate->swap_watcher, on_swap);
    gate->swap_watcher.data = gate;
    ev_async_start(gate->loop, &gate->swap_watcher);
}

static void look_at_counters(struct gate *gate)
{
    const struct history_source source = {.workers = gate->crew.counters,
                                          .worker_count = gate->crew.count,
                                          .inherited = &gate->crew.inherited};
    history_look(gate->history, &source, in_force(gate), clock_now_ms());
}

static void on_watchdog_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gate *gate = timer->data;
    (void)loop;
    (void)events;
    bool is_healthy = watchdog_log_look(&gate->watchdog_log, gate->crew.counters, gate->crew.count,
                                        clock_now_ms());
    if (is_healthy && notify_wants_watchdog())
        notify_send("WATCHDOG=1");
    succession_keep_rest(&gate->succession, gate->swap.sockets, clock_now_ms());
    reloads_go_on(&gate->reloads);
    look_at_counters(gate);
}

/* ---- signals -------------------------------------------------------------------------------- */

static void end(void *context, const char *signal)
{
    struct gate *gate = context;
    gate->says_farewell = !is_state_kept(gate);
    leave_loop(gate, signal);
}

static void upgrade(void *context)
{
    struct gate *gate = context;
    upgrade_begin(&gate->upgrade, NULL);
}

static void reload(void *context)
{
    struct gate *gate = context;
    reloads_ask(&gate->reloads);
}

static void watch_signals(struct gate *gate)
{
    const struct signal_actions actions = {
        .end = end, .reload = reload, .upgrade = upgrade, .context = gate};
    signals_watch(&gate->signals, &actions, gate->loop);
}

/* NULL: *status is what the program ends with. */
static struct generation *read_settings(const char *config_path, int *status)
{
    struct problems problems;
    problems_init(&problems);
    struct generation *generation = reload_build(config_path, &problems);
    if (generation != NULL)
        gate_log_set(&generation->config->gate);
    gate_log_problems(&problems);
    *status = check_status(&problems);
    problems_deinit(&problems);
    return generation;
}

static void prepare_upgrade(struct gate *gate, const char *config_path)
{
    gate->upgrade = (struct upgrade){
        .loop = gate->loop,
        .program = gate->succession.program,
        .config_path = config_path,
        .crew = &gate->crew,
        .state = gate->state.region.fd,
        .record = &gate->begun.upgrade,
        .asker = -1,
    };
}

/* Who hears that it is ready may rely on it that its sessions outlive it. */
static void get_ready(struct gate *gate)
{
    succession_keep(&gate->succession, gate->swap.sockets, clock_now_ms());
    gate_log_ready(in_force(gate), gate->crew.count);
    atomic_store(&gate->is_ready, true);
    succession_tell(&gate->succession);
    notify_send("READY=1");
    look_at_counters(gate);
    ev_timer_init(&gate->watchdog_timer, on_watchdog_timer, 1.0, 1.0);
    gate->watchdog_timer.data = gate;
    ev_timer_start(gate->loop, &gate->watchdog_timer);
}

/* Until it is told to end, or to become another version. False with err: it was never ready. */
static bool serve(struct gate *gate, const char *config_path, struct err *err)
{
    const struct config *config = in_force(gate)->config;
    if (!host_raise_descriptors(config, config->gate.workers, err) ||
        !main_loop_open(&gate->loop, err))
        return false;
    watch_signals(gate);
    gate->started_ms = clock_now_ms();
    if (!succession_take_state(&gate->succession, in_force(gate), err) || !start(gate, err))
        return false;
    prepare_upgrade(gate, config_path);
    prepare_reloads(gate, config_path);
    get_ready(gate);
    ev_run(gate->loop, 0);
    if (!gate->upgrade.is_due)
        notify_send("STOPPING=1");
    return true;
}

/* A service manager gives up after EXIT_USAGE, and lets go of what it keeps for the next process.
 * So the sessions would be lost over a word that is spelled wrong. */
static int status_without_settings(const struct gate *gate, int status)
{
    if (status != EXIT_USAGE ||
        fd_list_find(&gate->succession.handover.inherited, HANDOVER_STATE) == NULL)
        return status;
    log_text(LOG_ERROR, "start_failed",
             "the settings have errors; sessions of the process before are waiting, so exit status "
             "%d asks for another start, until somebody has mended the settings",
             EXIT_RUN_TIME);
    return EXIT_RUN_TIME;
}

/* Returns the exit status. */
static int run(struct gate *gate, const char *config_path)
{
    struct err err = {0};
    int status;
    struct generation *generation = read_settings(config_path, &status);
    if (generation == NULL) {
        succession_go_back(&gate->succession, NULL, "its settings have errors, which the log shows",
                           0);
        return status_without_settings(gate, status);
    }
    swap_init(&gate->swap, generation);
    bool was_ready = serve(gate, config_path, &err);
    if (!was_ready)
        log_text(LOG_ERROR, "start_failed", "%s", err.text);
    close_gate(gate);
    if (gate->upgrade.is_due)
        succession_execute(&gate->succession, in_force(gate), gate->swap.sockets,
                           gate->upgrade.asker, gate->stop_deadline_ms);
    if (!was_ready)
        succession_go_back(&gate->succession, in_force(gate), err.text, gate->stop_deadline_ms);
    return was_ready ? EXIT_SUCCESS : EXIT_RUN_TIME;
}

int gate_run(const char *config_path, const struct program *program, bool wants_store)
{
    struct gate gate = {0};
    struct err err = {0};
    if (!log_start(&err)) {
        fprintf(stderr, "dtlsgate: %s\n", err.text);
        return EXIT_RUN_TIME;
    }
    succession_begin(&gate.succession, program, wants_store, &gate.state);
    int status = run(&gate, config_path);
    succession_end(&gate.succession, in_force(&gate), status == EXIT_SUCCESS,
                   gate.stop_deadline_ms);
    if (in_force(&gate) != NULL)
        swap_deinit(&gate.swap);
    if (gate.loop != NULL)
        ev_loop_destroy(gate.loop);
    return status;
}
