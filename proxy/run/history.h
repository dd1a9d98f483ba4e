/* The last hour of what the gate counts, in steps of 10 s, and how the server behind each listener
 * does: for an operator who opens the status page when something has gone wrong already. It begins
 * anew with each process. The main thread writes it each second; any thread may read it, between
 * history_lock() and history_unlock(). */
#ifndef HISTORY_H
#define HISTORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "count/counters.h"
#include "creds/generation.h"

enum { HISTORY_STEP_MS = 10000, HISTORY_STEPS = 360 };

/* Datagrams that the kernel dropped, by where they waited. */
enum { HISTORY_DROPS_CLIENT, HISTORY_DROPS_HELLO, HISTORY_DROPS_BACKEND, HISTORY_DROPS };

/* What is kept of the gate as a whole. The last two are gauges. */
struct history_sums {
    uint64_t client[CLIENT_OUTCOME_COUNT];
    uint64_t backend[BACKEND_OUTCOME_COUNT];
    uint64_t late[LATE_REASON_COUNT];
    uint64_t closed[CLOSE_REASON_COUNT];
    uint64_t handshakes[HANDSHAKE_RESULT_COUNT]; /* resumptions are established ones */
    uint64_t kernel_drops[HISTORY_DROPS];
    uint64_t sessions, in_progress;
};
enum {
    HISTORY_SERIES = sizeof(struct history_sums) / sizeof(uint64_t),
    HISTORY_GAUGES = 2,
};

/* And of each listener; the last one is a gauge. */
struct history_listener_sums {
    uint64_t from_client, from_backend, established, failed, sessions;
};
enum {
    HISTORY_LISTENER_SERIES = sizeof(struct history_listener_sums) / sizeof(uint64_t),
    HISTORY_LISTENER_GAUGES = 1,
};

/* Times are of CLOCK_MONOTONIC, to a second; 0 = never. */
struct history_backend {
    enum history_backend_state {
        BACKEND_UNUSED,  /* nothing has been sent to it yet */
        BACKEND_ANSWERS, /* or nothing has been sent for which an answer is overdue */
        BACKEND_SILENT,  /* devices keep sending, and nothing comes back */
        BACKEND_REFUSES, /* its host says that nothing listens there */
    } state;
    uint64_t since_ms;    /* of BACKEND_SILENT and BACKEND_REFUSES */
    uint64_t answered_ms; /* when the latest datagram came from it */
    uint64_t unanswered;  /* datagrams sent to it since then */
    /* What was seen last, and how it went on since the server's latest datagram. */
    uint64_t sent, received, errors;
    uint64_t asked_ms, error_ms; /* the first one since then */
    uint32_t asked_seconds;      /* seconds in which something was sent */
};

struct history_listener {
    struct history_backend backend;
    struct history_listener_sums last;
    bool is_known; /* `last` and the backend have been filled */
    uint32_t steps[HISTORY_STEPS][HISTORY_LISTENER_SERIES];
};

/* What the counters of a number stood at. Kept when its listener goes: it may come back. */
struct history_seen {
    bool is_any; /* it has been looked at */
    struct history_sums sums;
};

struct history {
    pthread_mutex_t lock;
    uint64_t step_began_ms; /* 0 = nothing has been counted yet */
    uint32_t step_count;    /* since the start; the newest is at (step_count - 1) % HISTORY_STEPS */
    /* What all listeners have counted, also those that are gone, up to now and up to the latest
     * step. Nothing of it falls but the gauges. */
    struct history_sums total, last;
    struct history_seen seen[LAYOUT_LISTENERS_MAX + 1]; /* by number; at last: of none */
    uint32_t steps[HISTORY_STEPS][HISTORY_SERIES];      /* what a step added; gauges as they were */
    struct history_listener listeners[LAYOUT_LISTENERS_MAX]; /* by number */
};

/* Whose counters: borrowed. */
struct history_source {
    const struct worker_counters *const *workers;
    uint32_t worker_count;
    const struct worker_counters *inherited; /* NULL = there are none */
};

/* Some 2 MB, of which only what listeners need is ever touched. NULL: out of memory. */
struct history *history_new(void);
/* NULL is harmless. */
void history_free(struct history *history);

/* Looks at all counters: of the listeners of the generation, and of those before, whose sessions
 * may yet end. Each second. */
void history_look(struct history *history, const struct history_source *source,
                  const struct generation *generation, uint64_t now_ms);

void history_lock(struct history *history);
void history_unlock(struct history *history);

/* How many steps there are, and the place of the oldest. */
uint32_t history_length(const struct history *history);
static inline uint32_t history_place(const struct history *history, uint32_t step)
{
    return (history->step_count - history_length(history) + step) % HISTORY_STEPS;
}

#endif
