/* How long the keeper waits for a sign of its gate before it kills it. Times are those of the
 * caller's monotonic clock. */
#ifndef KEEPER_PATIENCE_H
#define KEEPER_PATIENCE_H

#include <stdint.h>

enum {
    KEEPER_PATIENCE_START_MS = 120000,   /* a million keys and sessions on a slow machine */
    KEEPER_PATIENCE_WATCHDOG_MS = 30000, /* as WatchdogSec= of the unit */
    KEEPER_PATIENCE_END_MS = 9000,       /* shorter than the 10 s after which Docker kills */
};

struct keeper_patience {
    enum keeper_patience_for {
        KEEPER_PATIENCE_FOR_NOTHING,
        KEEPER_PATIENCE_FOR_START, /* until it is ready */
        KEEPER_PATIENCE_FOR_SIGN,  /* that it is well */
        KEEPER_PATIENCE_FOR_END,   /* it was told to end, and nothing that it says changes that */
    } what;
    uint64_t until_ms;
};

/* A gate was started. */
void keeper_patience_begin(struct keeper_patience *patience, uint64_t now_ms);

/* It is ready. */
void keeper_patience_ready(struct keeper_patience *patience, uint64_t now_ms);

/* It says that it is well, which counts once it is ready. */
void keeper_patience_well(struct keeper_patience *patience, uint64_t now_ms);

/* It was told to end. Told again, it has no more time for it. */
void keeper_patience_end(struct keeper_patience *patience, uint64_t now_ms);

/* Why the gate is to be killed now; NULL: it is not. */
const char *keeper_patience_is_over(const struct keeper_patience *patience, uint64_t now_ms);

#endif
