#include "gate/gate_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "count/counters_area.h"
#include "run/reload.h"

void gate_state_open(struct state *state, struct generation *generation)
{
    struct err err = {0};
    if (state_create(state, &err) && reload_enter_state(generation, state, &err) &&
        counters_area_adopt(state, GATE_STATE_WORKERS, &err)) {
        state_begin_workers(state, 1);
        return;
    }
    fprintf(stderr, "gate_state: %s\n", err.text);
    abort();
}

int gate_state_set_up(void **at)
{
    struct state *state = malloc(sizeof(*state));
    struct err err;
    *at = state;
    return state != NULL && state_create(state, &err) ? 0 : -1;
}

int gate_state_tear_down(void **at)
{
    state_close(*at);
    free(*at);
    return 0;
}
