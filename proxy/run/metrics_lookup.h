/* What the metrics address tells beside /metrics, as JSON: /status, the last hour (/history), and
 * whose a backend address is (/sessions/127.a.b.c). The metrics thread, but for opening and
 * closing. */
#ifndef METRICS_LOOKUP_H
#define METRICS_LOOKUP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "run/metrics_text.h"

/* Asks workers, and waits a second for each answer: longer than that takes one that hangs. */
struct metrics_lookup {
    const struct metrics_source *source; /* borrowed */
    int answered_fd;                     /* eventfd; written by a worker that has answered */
};

struct metrics_lookup_answer {
    unsigned status; /* of HTTP */
    bool is_json;
    char *text;         /* owned; NULL: `fixed` */
    const char *fixed;  /* a literal */
    uint64_t max_age_s; /* for so long what it says is true: who has or had the address */
    char etag[64];      /* changes when another session has the address; "" = none */
};

bool metrics_lookup_open(struct metrics_lookup *lookup,
                         const struct metrics_source *source) MUST_USE;
/* When workers have ended: they may still answer what nobody waits for any more. */
void metrics_lookup_close(struct metrics_lookup *lookup);

struct metrics_lookup_answer metrics_lookup_status(const struct metrics_lookup *lookup);
struct metrics_lookup_answer metrics_lookup_history(const struct metrics_lookup *lookup);
/* Whether it is told who has a session, and the answer where it is not. */
bool metrics_lookup_tells_sessions(const struct metrics_lookup *lookup);
struct metrics_lookup_answer metrics_lookup_untold(void);
/* Takes what a search has found. */
struct metrics_lookup_answer metrics_lookup_found(json_t *found);
/* address: what stands behind /sessions/. */
struct metrics_lookup_answer metrics_lookup_session(const struct metrics_lookup *lookup,
                                                    const char *address);

#endif
