#include "run/succession.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/notify.h"
#include "run/check.h"
#include "run/control_source.h"
#include "run/keeper.h"
#include "run/metrics_socket.h"
#include "run/state_choice.h"
#include "state/state_starts.h"
#include "version.h"

/* A store that does not listen holds up the main thread for 3 s each time. */
enum { KEEP_AGAIN_MS = 30000 };

void succession_begin(struct succession *all, const struct program *program, bool wants_store,
                      struct state *state)
{
    struct err err = {0};
    *all = (struct succession){.program = program, .state = state, .metrics = -1};
    all->binary = program_open_self();
    all->upgrade = upgrade_result_take(all->upgrade_text, sizeof(all->upgrade_text));
    if (!handover_inherit(&all->handover, wants_store, &err))
        log_text(LOG_ERROR, "handover_failed", "%s; starting without what is there", err.text);
    all->asker = handover_take(&all->handover, HANDOVER_ASKER);
}

bool succession_take_state(struct succession *all, const struct generation *generation,
                           struct err *err)
{
    int memory = handover_take(&all->handover, HANDOVER_STATE);
    bool is_inherited = memory >= 0;
    memory = state_keep_take(generation, memory);
    switch (state_choice_make(all->state, &all->handover, memory, DTLSGATE_VERSION, all->binary,
                              &all->aside, err)) {
    case STATE_CHOICE_TAKEN:
        /* Its file is gone: killed before it is ready, the process would leave nothing. */
        if (!is_inherited)
            handover_store(&all->handover, HANDOVER_STATE, all->state->region.fd);
        return true;
    case STATE_CHOICE_NEW: return true;
    case STATE_CHOICE_GO_BACK:
        log_stop();
        handover_exec(NULL, fd_list_find(&all->handover.inherited, HANDOVER_BINARY)->fd,
                      all->program->argv, &all->handover.inherited, err);
        return false;
    case STATE_CHOICE_FAILED: return false;
    }
    return false;
}

bool succession_open_metrics(struct succession *all, const struct addr *addr, struct err *err)
{
    all->metrics = metrics_socket_open(addr, &all->handover, err);
    return all->metrics >= 0;
}

bool succession_keeps_state(const struct succession *all)
{
    return all->handover.has_store && getenv(KEEPER_VARIABLE) == NULL;
}

/* ---- to the next process -------------------------------------------------------------------- */

static bool add_all(struct fd_list *list, const struct fd_list *from, struct err *err)
{
    for (uint32_t i = 0; i < from->count; i++) {
        if (!fd_list_add(list, from->items[i].name, from->items[i].fd, err))
            return false;
    }
    return true;
}

/* What the next process is to have; borrowed. */
static bool make_list(const struct succession *all, const struct sockets *sockets,
                      struct fd_list *list, struct err *err)
{
    return fd_list_add(list, HANDOVER_STATE, all->state->region.fd, err) &&
           (all->binary < 0 || fd_list_add(list, HANDOVER_BINARY, all->binary, err)) &&
           add_all(list, &all->aside, err) && sockets_list(sockets, list, err) &&
           (all->metrics < 0 || fd_list_add(list, HANDOVER_METRICS, all->metrics, err));
}

void succession_keep(struct succession *all, const struct sockets *sockets, uint64_t now_ms)
{
    struct fd_list list = {0};
    struct err err = {0};
    if (!all->handover.is_settled)
        state_starts_note_ready(all->state);
    bool is_listed = make_list(all, sockets, &list, &err);
    if (!is_listed)
        log_text(LOG_WARNING, "descriptor_not_kept", "%s", err.text);
    bool is_kept = is_listed && handover_keep(&all->handover, &list);
    all->keep_again_ms = is_kept ? 0 : now_ms + KEEP_AGAIN_MS;
    fd_list_free(&list);
}

void succession_keep_rest(struct succession *all, const struct sockets *sockets, uint64_t now_ms)
{
    if (all->keep_again_ms > 0 && now_ms >= all->keep_again_ms)
        succession_keep(all, sockets, now_ms);
}

void succession_tell(struct succession *all)
{
    char text[512] = "";
    if (all->upgrade == UPGRADE_DONE) {
        snprintf(text, sizeof(text), "from %s to %s", all->upgrade_text, DTLSGATE_VERSION);
        log_text(LOG_INFO, "upgraded", "%s", text);
    } else if (all->upgrade == UPGRADE_FAILED) {
        snprintf(text, sizeof(text), "%s; this version goes on", all->upgrade_text);
        log_text(LOG_ERROR, "upgrade_failed", "%s", text);
    }
    if (all->asker >= 0)
        control_answer_end_at(all->asker, all->upgrade == UPGRADE_DONE, text);
    all->asker = -1;
    all->upgrade = UPGRADE_NONE;
}

/* The state in the list; where nothing was executed yet it may not be in there. */
static bool find_state(struct succession *all, const struct fd_list *list)
{
    const struct named_fd *memory = fd_list_find(list, HANDOVER_STATE);
    struct err err = {0};
    if (all->state->header == NULL)
        return memory != NULL && state_adopt(all->state, memory->fd, &err);
    if (memory != NULL)
        all->state->region.fd = memory->fd;
    return true;
}

/* No program takes our place. A descriptor is known by its name in the list only: under the numbers
 * that we had are others now (handover_exec()). So nothing may be closed any more. */
static _Noreturn void end_without_next(struct succession *all, const struct generation *generation,
                                       const struct fd_list *list, const char *why,
                                       uint64_t deadline_ms)
{
    const struct named_fd *asker = fd_list_find(list, HANDOVER_ASKER);
    bool is_written =
        generation != NULL && state_keep_is_possible(generation) && find_state(all, list);
    const char *sessions = is_written ? "its sessions go into the state_file"
                           : all->handover.has_store
                               ? "its sessions stay with the service manager"
                               : "its sessions are lost, and their devices must shake hands again";
    log_text(LOG_ERROR, "upgrade_failed", "%s; the program ends, and %s", why, sessions);
    if (asker != NULL)
        control_answer_end_at(asker->fd, false, why);
    if (is_written)
        state_keep_write(generation, all->state->region.fd, state_now_ms(all->state), deadline_ms);
    _exit(EXIT_RUN_TIME);
}

void succession_execute(struct succession *all, const struct generation *generation,
                        const struct sockets *sockets, int asker, uint64_t deadline_ms)
{
    struct fd_list list = {0};
    struct err err = {0};
    bool is_listed = (asker < 0 || fd_list_add(&list, HANDOVER_ASKER, asker, &err)) &&
                     make_list(all, sockets, &list, &err);
    notify_send_reloading(); /* READY=1 of the next one ends it */
    state_starts_note_stop(all->state);
    log_stop();
    if (is_listed)
        upgrade_execute(all->program, all->binary, &list, &err);
    end_without_next(all, generation, &list, err.text, deadline_ms);
}

void succession_go_back(struct succession *all, const struct generation *generation,
                        const char *why, uint64_t deadline_ms)
{
    struct err err = {0};
    if (all->handover.is_settled || !upgrade_may_go_back(&all->handover))
        return;
    if (all->state->header != NULL)
        state_starts_note_stop(all->state);
    log_text(LOG_ERROR, "upgrade_failed", "%s; executing the version before again", why);
    log_stop();
    state_close(all->state);
    upgrade_go_back(&all->handover, all->program, why, &err);
    end_without_next(all, generation, &all->handover.inherited, err.text, deadline_ms);
}

void succession_end(struct succession *all, const struct generation *generation, bool was_ready,
                    uint64_t deadline_ms)
{
    struct state *state = all->state;
    if (state->header != NULL)
        state_starts_note_stop(state);
    if (state->header != NULL && generation != NULL && (was_ready || !state->is_new))
        state_keep_write(generation, state->region.fd, state_now_ms(state), deadline_ms);
    state_close(state);
    fd_list_close(&all->aside);
    handover_close(&all->handover);
    if (all->binary >= 0)
        close(all->binary);
    if (all->metrics >= 0)
        close(all->metrics);
}
