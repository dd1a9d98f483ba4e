#include "run/keeper_patience.h"

#include <stddef.h>

static void wait_for(struct keeper_patience *patience, enum keeper_patience_for what,
                     uint64_t until_ms)
{
    patience->what = what;
    patience->until_ms = until_ms;
}

void keeper_patience_begin(struct keeper_patience *patience, uint64_t now_ms)
{
    wait_for(patience, KEEPER_PATIENCE_FOR_START, now_ms + KEEPER_PATIENCE_START_MS);
}

void keeper_patience_ready(struct keeper_patience *patience, uint64_t now_ms)
{
    if (patience->what == KEEPER_PATIENCE_FOR_START || patience->what == KEEPER_PATIENCE_FOR_SIGN)
        wait_for(patience, KEEPER_PATIENCE_FOR_SIGN, now_ms + KEEPER_PATIENCE_WATCHDOG_MS);
}

void keeper_patience_well(struct keeper_patience *patience, uint64_t now_ms)
{
    if (patience->what == KEEPER_PATIENCE_FOR_SIGN)
        patience->until_ms = now_ms + KEEPER_PATIENCE_WATCHDOG_MS;
}

void keeper_patience_end(struct keeper_patience *patience, uint64_t now_ms)
{
    if (patience->what != KEEPER_PATIENCE_FOR_END)
        wait_for(patience, KEEPER_PATIENCE_FOR_END, now_ms + KEEPER_PATIENCE_END_MS);
}

const char *keeper_patience_is_over(const struct keeper_patience *patience, uint64_t now_ms)
{
    if (patience->what == KEEPER_PATIENCE_FOR_NOTHING || now_ms < patience->until_ms)
        return NULL;
    switch (patience->what) {
    case KEEPER_PATIENCE_FOR_START: return "it does not become ready";
    case KEEPER_PATIENCE_FOR_END: return "it does not end";
    default: return "it has not shown that it is well";
    }
}
