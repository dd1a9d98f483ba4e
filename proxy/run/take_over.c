#include "run/take_over.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "worker/datapath.h"

/* What one worker has to do, in a thread of its own. */
struct part {
    struct datapath *datapath;
    struct sessions_adopt *adopt;
    uint64_t now_ms;
    struct sessions_adopted adopted;
    struct err err;
    bool is_done;
    pthread_t thread;
};

static void *adopt(void *argument)
{
    struct part *part = argument;
    part->is_done =
        datapath_adopt(part->datapath, part->adopt, part->now_ms, &part->adopted, &part->err);
    return NULL;
}

static void *sweep(void *argument)
{
    struct part *part = argument;
    datapath_adopt_sweep(part->datapath, part->adopt);
    return NULL;
}

/* Returns when all have ended. Without a thread it is done here. */
static void do_all(struct part *parts, uint32_t count, void *(*what)(void *))
{
    bool *has_thread = calloc(count, sizeof(*has_thread));
    for (uint32_t i = 0; i < count; i++) {
        int error = has_thread != NULL && i > 0
                        ? pthread_create(&parts[i].thread, NULL, what, &parts[i])
                        : -1;
        if (error == 0)
            has_thread[i] = true;
        else if (i > 0)
            what(&parts[i]);
    }
    what(&parts[0]);
    for (uint32_t i = 1; i < count && has_thread != NULL; i++)
        if (has_thread[i])
            pthread_join(parts[i].thread, NULL);
    free(has_thread);
}

static bool claim_all(struct part *parts, uint32_t count, struct err *err)
{
    do_all(parts, count, adopt);
    for (uint32_t i = 0; i < count; i++) {
        if (!parts[i].is_done) {
            *err = parts[i].err;
            return false;
        }
    }
    return true;
}

static struct sessions_adopted sum_of(const struct part *parts, uint32_t count)
{
    struct sessions_adopted sum = {0};
    for (uint32_t i = 0; i < count; i++)
        sessions_adopted_add(&sum, &parts[i].adopted);
    return sum;
}

static void log_taken_over(const struct sessions_adopted *sum, uint64_t took_ms)
{
    struct log_line line;
    log_begin(&line, sessions_adopted_lost(sum) == sum->removed ? LOG_INFO : LOG_WARNING,
              "sessions_taken_over");
    log_add_u64(&line, "count", sum->kept);
    log_add_u64(&line, "torn", sum->torn);
    log_add_u64(&line, "listener_removed", sum->removed);
    log_add_u64(&line, "cid_length_changed", sum->cid_length_changed);
    log_add_u64(&line, "other_machine", sum->other_machine);
    log_add_u64(&line, "had_ended", sum->ended);
    log_add_ms(&line, "duration_s", took_ms);
    log_end(&line);
}

bool take_over_sessions(struct worker *const *workers, uint32_t count, struct state *state,
                        struct sessions_adopted *sum, struct err *err)
{
    struct sessions_adopt shared;
    uint64_t begun_ms = state_now_ms(state);
    if (state->is_new)
        return true;
    struct part *parts = calloc(count, sizeof(*parts));
    if (parts == NULL)
        return err_set(err, "out of memory for %u workers", count);
    bool ok = sessions_adopt_begin(&shared, &state->region, state_is_copy(state),
                                   state_is_of_this_machine(state), err);
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (struct part){
            .datapath = worker_datapath(workers[i]), .adopt = &shared, .now_ms = begun_ms};
    ok = ok && claim_all(parts, count, err);
    if (ok) {
        do_all(parts, count, sweep);
        state_note_renewed(state);
        *sum = sum_of(parts, count);
        log_taken_over(sum, state_now_ms(state) - begun_ms);
    }
    sessions_adopt_end(&shared);
    free(parts);
    return ok;
}
