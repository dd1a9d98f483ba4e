/* Finding a device by its identity, over HTTP: the workers are asked one after the other, in many
 * small turns. A request waits a moment for that, and is told what was found so far; who wants the
 * rest asks again. There is one search at a time. The metrics thread, but for opening and closing.
 */
#ifndef METRICS_SEARCH_H
#define METRICS_SEARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "run/metrics_text.h"
#include "worker/inquiry.h"

enum {
    /* Of each: what is found first, or failed last. */
    METRICS_SEARCH_FOUND_MAX = 20,
    /* For so long others wait for a request. */
    METRICS_SEARCH_WAIT_MS = 100,
    /* A search that nobody has asked for since then is forgotten. */
    METRICS_SEARCH_KEPT_MS = 2000,
};

struct metrics_search {
    const struct metrics_source *source; /* borrowed */
    int answered_fd;                     /* eventfd; written by a worker that has answered */
    enum metrics_search_state { SEARCH_NONE, SEARCH_ASKS, SEARCH_OVER } state;
    struct inquiry *inquiry; /* owned, unless it is with a worker */
    uint32_t worker;         /* that is asked */
    uint64_t asked_ms;       /* when somebody wanted to know; of CLOCK_MONOTONIC */
    uint8_t identity[PSK_IDENTITY_MAX];
    size_t identity_len;
    struct generation *generation; /* has a reference */
    json_t *sessions, *failures;   /* owned; NULL: out of memory */
    bool is_complete;              /* all workers have answered, and all was found */
};

bool metrics_search_open(struct metrics_search *search,
                         const struct metrics_source *source) MUST_USE;
/* When workers have ended. */
void metrics_search_close(struct metrics_search *search);

enum metrics_search_result {
    SEARCH_TOLD,
    SEARCH_BUSY,        /* with another identity */
    SEARCH_NO_IDENTITY, /* it is none */
};

/* Begins or goes on. identity: as --identity takes it, see base/printable.h.
 * *found is the caller's, NULL: out of memory. {"sessions": [], "failures": [], "over": true,
 * "complete": true}: over = asking again brings no more; complete = nothing is missing. */
enum metrics_search_result metrics_search_ask(struct metrics_search *search, const char *identity,
                                              json_t **found) MUST_USE;

/* Forgets a search that nobody asks for any more: it holds a generation, and with it the keys of
 * devices that a reload may have removed. Returns when it is to be called again, UINT64_MAX if
 * there is no search. */
uint64_t metrics_search_forget_old(struct metrics_search *search, uint64_t now_ms);

#endif
