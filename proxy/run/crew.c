#include "run/crew.h"

#include <stdlib.h>

#include "count/counters_area.h"
#include "run/reload.h"
#include "run/take_over.h"

/* ---- beginning ------------------------------------------------------------------------------ */

/* What they share; and room for them. */
static bool prepare(struct crew *crew, const struct generation *generation, struct state *state,
                    uint32_t count, struct err *err)
{
    crew->identities = identities_new(err);
    if (crew->identities == NULL)
        return false;
    state_begin_workers(state, count);
    if (!counters_area_adopt(state, count, err) || !reload_begin_counters(generation, state, err))
        return false;
    crew->inherited = counters_area_of(state, COUNTERS_INHERITED);
    crew->workers = calloc(count, sizeof(struct worker *));
    crew->counters = calloc(count, sizeof(struct worker_counters *));
    return (crew->workers != NULL && crew->counters != NULL) ||
           err_set(err, "out of memory for %u workers", count);
}

static struct worker *open_one(struct crew *crew, struct generation *generation,
                               struct state *state, const struct sockets *sockets, struct err *err)
{
    uint32_t index = crew->count;
    struct worker_sockets at[CONFIG_LISTENERS_MAX * CONFIG_LISTEN_MAX];
    sockets_of_worker(sockets, index, at);
    const struct worker_settings settings = {
        .generation = generation,
        .state = state,
        .identities = crew->identities,
        .workers = crew->workers,
        .sockets = at,
        .socket_count = sockets->entry_count,
        .backend = &sockets->backends[index],
        .index = index,
        .count = sockets->worker_count,
    };
    return worker_open(&settings, err);
}

static bool open_all(struct crew *crew, struct generation *generation, struct state *state,
                     const struct sockets *sockets, struct err *err)
{
    while (crew->count < sockets->worker_count) {
        struct worker *worker = open_one(crew, generation, state, sockets, err);
        if (worker == NULL)
            return false;
        crew->counters[crew->count] = worker_counters(worker);
        crew->workers[crew->count++] = worker;
    }
    return true;
}

bool crew_open(struct crew *crew, struct generation *generation, struct state *state,
               struct sockets *sockets, struct sessions_adopted *adopted, struct err *err)
{
    *crew = (struct crew){0};
    *adopted = (struct sessions_adopted){0};
    if (prepare(crew, generation, state, sockets->worker_count, err) &&
        open_all(crew, generation, state, sockets, err) &&
        take_over_sessions(crew->workers, crew->count, state, adopted, err) &&
        sockets_give_waiting(sockets, crew->workers, err))
        return true;
    crew_close(crew);
    return false;
}

bool crew_start(struct crew *crew, void (*confine)(void), struct err *err)
{
    for (uint32_t i = 0; i < crew->count; i++) {
        if (!worker_start(crew->workers[i], confine, err))
            return false;
    }
    return true;
}

/* ---- while they run ------------------------------------------------------------------------- */

bool crew_ask(void *context, uint32_t worker, struct inquiry *inquiry)
{
    const struct crew *crew = context;
    return worker_ask(crew->workers[worker], inquiry);
}

void crew_hold_hellos(const struct crew *crew)
{
    for (uint32_t i = 0; i < crew->count; i++)
        worker_hold_hellos(crew->workers[i]);
}

uint64_t crew_session_count(const struct crew *crew)
{
    uint64_t count = 0;
    for (uint32_t w = 0; w < crew->count; w++) {
        for (uint32_t i = 0; i < crew->counters[w]->listener_count; i++)
            count += counter_get(&crew->counters[w]->by_listener[i].sessions);
    }
    return count;
}

uint64_t crew_handshake_count(const struct crew *crew)
{
    uint64_t count = 0;
    for (uint32_t w = 0; w < crew->count; w++) {
        for (uint32_t i = 0; i < crew->counters[w]->listener_count; i++)
            count += counter_get(&crew->counters[w]->by_listener[i].handshakes_in_progress);
    }
    return count;
}

/* ---- end ------------------------------------------------------------------------------------ */

bool crew_stop(struct crew *crew, enum worker_end end, uint64_t deadline_ms, uint32_t *hanging)
{
    for (uint32_t i = 0; i < crew->count; i++)
        worker_ask_to_stop(crew->workers[i], end);
    for (*hanging = 0; *hanging < crew->count; ++*hanging) {
        if (!worker_join(crew->workers[*hanging], deadline_ms))
            return false;
    }
    return true;
}

void crew_close(struct crew *crew)
{
    for (uint32_t i = 0; i < crew->count; i++)
        worker_close(crew->workers[i]);
    free(crew->workers);
    free(crew->counters);
    identities_free(crew->identities);
    *crew = (struct crew){0};
}
