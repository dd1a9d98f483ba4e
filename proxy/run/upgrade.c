#include "run/upgrade.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "version.h"

/* In the environment of the program that is executed. */
static const char FROM[] = "DTLSGATE_UPGRADED_FROM", FAILED[] = "DTLSGATE_UPGRADE_FAILED";

/* ---- until it is executed ------------------------------------------------------------------- */

static const double LOOK_S = 0.01;
static const char TOLD_TO_END[] = "the gate was told to end";

static void answer(struct upgrade *upgrade, const char *why_not)
{
    if (upgrade->has_answer)
        control_answer_end(upgrade->answer, false, why_not);
    upgrade->has_answer = false;
}

static void give_up(struct upgrade *upgrade, const char *why)
{
    log_text(LOG_ERROR, "upgrade_failed", "%s; this version goes on", why);
    upgrade_record_refused(upgrade->record);
    answer(upgrade, why);
}

/* Those that the gate watches: one that comes now is kept until the next program watches. */
static void hold_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t ours;
    sigemptyset(&ours);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&ours, numbers[i]);
    sigprocmask(SIG_BLOCK, &ours, NULL);
}

/* In the last turn of the loop no signal may come that only another turn would act on. */
static void on_wait(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct upgrade *upgrade = timer->data;
    (void)events;
    uint64_t left = crew_handshake_count(upgrade->crew);
    if (left > 0 && clock_now_ms() < upgrade->deadline_ms)
        return;
    if (!upgrade->holds_signals) {
        upgrade->holds_signals = true;
        hold_signals();
        return;
    }
    ev_timer_stop(loop, timer);
    upgrade->is_waiting = false;
    upgrade->is_due = true;
    log_text(LOG_INFO, "upgrade", "executing %s; %llu handshakes in progress end",
             upgrade->program->path, (unsigned long long)left);
    upgrade->asker = upgrade->has_answer ? control_answer_detach(upgrade->answer) : -1;
    upgrade->has_answer = false;
    ev_break(loop, EVBREAK_ALL);
}

/* A ClientHello that is read from now on would begin a handshake that cannot be completed. */
static void wait_for_handshakes(struct upgrade *upgrade)
{
    crew_hold_hellos(upgrade->crew);
    upgrade->is_waiting = true;
    upgrade->deadline_ms = clock_now_ms() + UPGRADE_HANDSHAKES_MS;
    ev_timer_init(&upgrade->wait, on_wait, LOOK_S, LOOK_S);
    upgrade->wait.data = upgrade;
    ev_timer_start(upgrade->loop, &upgrade->wait);
}

static void on_line(void *context, const char *line)
{
    const struct upgrade *upgrade = context;
    static const char WARNING[] = "warning: ";
    bool is_warning = strncmp(line, WARNING, sizeof(WARNING) - 1) == 0;
    log_text(is_warning ? LOG_WARNING : LOG_ERROR, "upgrade_check", "%s", line);
    if (upgrade->has_answer)
        control_answer_problem(upgrade->answer, is_warning, line);
}

static void on_checked(void *context, bool is_good, const char *why_not)
{
    struct upgrade *upgrade = context;
    if (is_good)
        wait_for_handshakes(upgrade);
    else
        give_up(upgrade, why_not);
}

/* NULL: nothing. */
static const char *what_stands_against(const struct upgrade *upgrade)
{
    if (upgrade->has_stopped)
        return TOLD_TO_END;
    if (upgrade_check_runs(&upgrade->check) || upgrade->is_waiting || upgrade->is_due)
        return "an upgrade has begun already";
    return NULL;
}

void upgrade_begin(struct upgrade *upgrade, const struct control_answer *asker)
{
    struct err err = {0};
    const char *why_not = what_stands_against(upgrade);
    if (why_not != NULL) {
        if (asker != NULL)
            control_answer_end(*asker, false, why_not);
        return;
    }
    upgrade->has_answer = asker != NULL;
    if (asker != NULL)
        upgrade->answer = *asker;
    upgrade->check.say = on_line;
    upgrade->check.done = on_checked;
    upgrade->check.context = upgrade;
    log_text(LOG_INFO, "upgrade", "asking %s whether it can go on", upgrade->program->path);
    if (!upgrade_check_start(&upgrade->check, upgrade->loop, upgrade->program, upgrade->config_path,
                             upgrade->state, &err))
        give_up(upgrade, err.text);
}

void upgrade_stop(struct upgrade *upgrade)
{
    upgrade->has_stopped = true;
    upgrade_check_stop(&upgrade->check);
    if (upgrade->is_waiting)
        ev_timer_stop(upgrade->loop, &upgrade->wait);
    upgrade->is_waiting = upgrade->is_due = false;
    answer(upgrade, TOLD_TO_END);
    if (upgrade->asker >= 0)
        control_answer_end_at(upgrade->asker, false, TOLD_TO_END);
    upgrade->asker = -1;
}

/* ---- execution ------------------------------------------------------------------------------ */

void upgrade_execute(const struct program *program, int binary, struct fd_list *list,
                     struct err *err)
{
    struct err of_fallback = {0};
    hold_signals();
    setenv(FROM, DTLSGATE_VERSION, 1);
    if (binary >= 0 && !fd_list_add(list, HANDOVER_FALLBACK, binary, err))
        return;
    handover_exec(program->path, -1, program->argv, list, err);
    struct named_fd *fallback = fd_list_find(list, HANDOVER_FALLBACK);
    if (fallback == NULL)
        return;
    unsetenv(FROM);
    setenv(FAILED, err->text, 1);
    int fd = fallback->fd;
    fd_list_remove(list, fallback);
    handover_exec(NULL, fd, program->argv, list, &of_fallback);
}

void upgrade_go_back(struct handover *handover, const struct program *program, const char *why,
                     struct err *err)
{
    struct named_fd *fallback = fd_list_find(&handover->inherited, HANDOVER_FALLBACK);
    int fd = fallback->fd;
    hold_signals();
    unsetenv(FROM);
    setenv(FAILED, why, 1);
    fd_list_remove(&handover->inherited, fallback);
    handover_exec(NULL, fd, program->argv, &handover->inherited, err);
}

enum upgrade_result upgrade_result_take(char *text, size_t size)
{
    const char *failed = getenv(FAILED), *from = getenv(FROM);
    enum upgrade_result result = failed != NULL ? UPGRADE_FAILED
                                 : from != NULL ? UPGRADE_DONE
                                                : UPGRADE_NONE;
    snprintf(text, size, "%s", failed != NULL ? failed : from != NULL ? from : "");
    unsetenv(FAILED);
    unsetenv(FROM);
    return result;
}
