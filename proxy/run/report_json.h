/* What the gate tells of itself, its sessions and its failed handshakes as JSON, for the control
 * socket and for HTTP. Each function returns a new object that the caller owns; NULL: out of
 * memory. */
#ifndef REPORT_JSON_H
#define REPORT_JSON_H

#include <jansson.h>

#include "creds/generation.h"
#include "handshake/failures.h"
#include "run/drains.h"
#include "run/history.h"
#include "run/swap.h"
#include "run/upgrade_record.h"
#include "session/session_report.h"
#include "session/sessions_adopt.h"

/* A session, a tombstone or nobody. */
json_t *report_json_session(const struct session_report *report,
                            const struct generation *generation);
/* now_ms: when the failure was handed out. */
json_t *report_json_failure(const struct failure *failure, const struct generation *generation,
                            uint64_t now_ms);

/* How the process began; but for the upgrade it does not change while workers run. */
struct report_start {
    const char *state;   /* new, taken_over, or refused: one was there that could not be used */
    uint32_t count;      /* processes that had the state, with this one */
    bool is_after_crash; /* of the process before, or it left a state that cannot be used */
    struct sessions_adopted sessions; /* all 0 if the state is new */
    struct upgrade_record upgrade;    /* the latest one */
};

/* What status is made of; all borrowed. */
struct report_gate {
    const struct report_start *start;
    const struct swap_record *reloads;
    const struct generation *generation;
    const struct worker_counters *const *workers;
    uint32_t worker_count;
    const struct drains *drains;
    struct history *history; /* how backends do; NULL = nothing is told of that */
    uint64_t started_ms;     /* of CLOCK_MONOTONIC */
    bool is_ready;
};

/* {"gate": {}, "listeners": [{}]}: the gate as a whole, and each listener of the generation. No
 * identities. Waits for no worker, and says which of them do not answer. */
json_t *report_json_status(const struct report_gate *gate);

#endif
