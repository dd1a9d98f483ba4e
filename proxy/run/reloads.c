#include "run/reloads.h"

#include "base/log.h"
#include "base/notify.h"
#include "run/gate_log.h"

static void tell_problems(const struct reloads *reloads, const struct problems *problems)
{
    gate_log_problems(problems);
    for (uint32_t i = 0; i < problems->count; i++) {
        for (uint32_t a = 0; a < reloads->answer_count; a++)
            control_answer_problem(reloads->answers[a], problems->is_warning[i],
                                   problems->texts[i]);
    }
}

static void answer(struct reloads *reloads, bool is_ok, const char *text)
{
    for (uint32_t a = 0; a < reloads->answer_count; a++)
        control_answer_end(reloads->answers[a], is_ok, text);
    reloads->answer_count = 0;
}

static void begin(struct reloads *reloads)
{
    struct problems problems;
    reloads->is_wanted = false;
    for (uint32_t a = 0; a < reloads->waiting_count; a++)
        reloads->answers[reloads->answer_count++] = reloads->waiting[a];
    reloads->waiting_count = 0;
    notify_send_reloading(); /* the service manager waits for READY=1 */
    problems_init(&problems);
    bool has_begun = swap_begin(reloads->swap, &problems);
    tell_problems(reloads, &problems);
    problems_deinit(&problems);
    if (has_begun)
        return;
    log_text(LOG_ERROR, "reload_failed", "the settings that were in force stay in force");
    answer(reloads, false, "the settings that were in force stay in force");
    notify_send("READY=1");
}

void reloads_ask(struct reloads *reloads)
{
    if (swap_is_idle(reloads->swap))
        begin(reloads);
    else
        reloads->is_wanted = true;
}

void reloads_ask_with_answer(struct reloads *reloads, struct control_answer who)
{
    if (reloads->waiting_count == RELOADS_ANSWERS_MAX) {
        control_answer_end(who, false, "many others wait for a reload already");
        return;
    }
    reloads->waiting[reloads->waiting_count++] = who;
    reloads_ask(reloads);
}

static void tell_done(struct reloads *reloads)
{
    struct log_line line;
    const struct generation *generation = reloads->swap->generation;
    log_begin(&line, LOG_INFO, "reloaded");
    log_add_u64(&line, "listeners", generation->config->listener_count);
    log_end(&line);
    drains_recount(reloads->drains, generation);
    reloads->on_done(reloads->context);
    answer(reloads, true, "");
    notify_send("READY=1");
}

void reloads_go_on(struct reloads *reloads)
{
    if (swap_go_on(reloads->swap))
        tell_done(reloads);
    if (reloads->is_wanted && swap_is_idle(reloads->swap))
        begin(reloads);
}
