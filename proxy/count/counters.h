/* Counters of one listener in one worker, made from counters.def. Written by the worker's thread
 * alone; read at any time by the metrics thread. */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How a datagram from a device ended. */
enum client_outcome {
#define CLIENT_OUTCOME(name, help) CLIENT_##name,
#include "count/counters_each.h"
    CLIENT_OUTCOME_COUNT
};

/* How a datagram from a backend ended. */
enum backend_outcome {
#define BACKEND_OUTCOME(name, help) BACKEND_##name,
#include "count/counters_each.h"
    BACKEND_OUTCOME_COUNT
};

/* Stable codes, see counters.def. */
enum close_reason {
#define CLOSE_REASON(code, name, help) CLOSE_##name = (code),
#include "count/counters_each.h"
    CLOSE_REASON_COUNT
};

/* Label of a late backend datagram: a close_reason, or LATE_UNKNOWN: no session is remembered at
 * that address (its tombstone has ended, or there never was one). */
enum { LATE_UNKNOWN = CLOSE_REASON_COUNT, LATE_REASON_COUNT };

enum handshake_result {
#define HANDSHAKE_RESULT(name, help) HANDSHAKE_##name,
#include "count/counters_each.h"
    HANDSHAKE_RESULT_COUNT
};

/* Stable codes: they stand in the state of sessions, which outlives the process, and so does enum
 * credential. */
enum dtls_version { VERSION_UNKNOWN = 0, VERSION_1_2 = 1, VERSION_1_3 = 2, VERSION_COUNT };

enum credential {
    CREDENTIAL_UNKNOWN = 0,
    CREDENTIAL_PSK = 1,
    CREDENTIAL_CERTIFICATE = 2,
    CREDENTIAL_NONE = 3,
    CREDENTIAL_COUNT
};

/* Upper bounds in milliseconds of the histogram of handshake durations; +Inf follows. */
#define HANDSHAKE_BUCKETS_MS 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 60000, 120000
enum { HANDSHAKE_BUCKET_COUNT = 12 };

/* Upper bounds in microseconds of histograms of what a worker does; +Inf follows. */
#define DURATION_BUCKETS_US 100, 300, 1000, 3000, 10000, 30000, 100000
enum { DURATION_BUCKET_COUNT = 7 };

typedef _Atomic uint64_t counter;

struct durations {
    counter bucket[DURATION_BUCKET_COUNT + 1]; /* not cumulative */
    counter ns_sum;
};

/* The bytes stand where the cache line is that each datagram touches. They are those of UDP's
 * payload: with the records' headers toward devices, plaintext toward backends. */
struct counters {
    counter client_received, backend_received;
    counter client_bytes_received, client_bytes_sent;
    counter backend_bytes_received, backend_bytes_sent;
    counter client[CLIENT_OUTCOME_COUNT];
    counter backend[BACKEND_OUTCOME_COUNT];
    counter late[LATE_REASON_COUNT];
    counter closed[CLOSE_REASON_COUNT];
    counter handshakes[VERSION_COUNT][CREDENTIAL_COUNT][HANDSHAKE_RESULT_COUNT]; /* full ones */
    counter resumptions[VERSION_COUNT][CREDENTIAL_COUNT];    /* established ones, by a ticket */
    counter handshake_ms_bucket[HANDSHAKE_BUCKET_COUNT + 1]; /* not cumulative */
    counter handshake_ms_sum;                                /* of established handshakes */
    /* A gauge: `sessions` by what they are; [1]: with a connection ID. */
    counter sessions_by[VERSION_COUNT][CREDENTIAL_COUNT][2];
#define COUNTER(name, help) counter name;
#define GAUGE(name, help) counter name;
#include "count/counters_each.h"
};

/* What a worker counts that is of no listener. */
struct whole_counters {
#define MINIMUM(name, help) counter name; /* milliseconds; 0 = none */
#define DURATION(name, help) struct durations name;
#include "count/counters_each.h"
};

/* All counters of one worker, which lie in the state: see counters_area.h. `by_listener` has
 * listener_count + 1 entries: the last one takes backend datagrams that belong to no listener.
 * `turn` is odd while the worker counts a batch, so that a reader can take a copy in which received
 * = sum of outcomes (a sequence lock). `seen_ms` is for watchdog.h. */
struct worker_counters {
    counter turn;
    counter seen_ms; /* when it last went round its loop, of CLOCK_MONOTONIC; 0 = never yet */
    uint32_t listener_count;
    struct counters *by_listener; /* borrowed */
    struct whole_counters *whole; /* borrowed */
};

/* Counting is a load and a store, since only one thread writes. Release order keeps it inside the
 * odd `turn` for a reader that loads with acquire. */
static inline void counter_add(counter *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_release);
}

static inline void counter_subtract(counter *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) - n,
                          memory_order_release);
}

/* For a minimum, which has no 0: less than a millisecond counts as one. */
static inline void counter_lower(counter *c, uint64_t ms)
{
    uint64_t least = atomic_load_explicit(c, memory_order_relaxed);
    if (least == 0 || ms < least)
        atomic_store_explicit(c, ms != 0 ? ms : 1, memory_order_release);
}

static inline uint64_t counter_get(const counter *c)
{
    return atomic_load_explicit(c, memory_order_acquire);
}

void durations_add(struct durations *durations, uint64_t ns);

/* Around the counting of a batch (received, outcomes, late), so that a reader never sees half of
 * it. Not nested. Other counters stand for themselves. */
static inline void counters_begin_turn(struct worker_counters *worker)
{
    counter_add(&worker->turn, 1);
}

static inline void counters_end_turn(struct worker_counters *worker)
{
    counter_add(&worker->turn, 1);
}

/* Adds a copy of worker->by_listener[index] to sum, taken between two turns, so received = sum of
 * outcomes. For threads other than the worker's: waits for the end of a turn, until deadline_ms of
 * CLOCK_MONOTONIC. False if the worker was in its turn all the time (it hangs); then datagrams
 * still on their way are left out of received, so that the sums hold even so. */
bool counters_add_copy(struct counters *sum, const struct worker_counters *worker, uint32_t index,
                       uint64_t deadline_ms);

/* Label texts, from counters.def. */
const char *client_outcome_name(enum client_outcome outcome);
const char *backend_outcome_name(enum backend_outcome outcome);
const char *close_reason_name(enum close_reason reason);
const char *late_reason_name(unsigned reason);
const char *handshake_result_name(enum handshake_result result);
const char *dtls_version_name(enum dtls_version version); /* "1.2", "1.3", "unknown" */
const char *credential_name(enum credential credential);  /* "psk", "certificate", ... */

#endif
