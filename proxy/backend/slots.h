/* Addresses toward the backends: each session has one of its own, its slot, and that of a session
 * which has ended is in quarantine. One worker's; no socket. What is known of a slot lies in the
 * state, for the next process; the order of those in quarantine is rebuilt from that.
 *
 * When a session ends its slot becomes a tombstone: it remembers why, and is in quarantine until it
 * has been silent for the tombstone time. Each datagram that a backend still sends to it begins
 * that time anew, so an address that a backend never stops to send to is never used again.
 *
 * A slot's number is the last 24 bits of its address in 127.0.0.0/8. The last 12 of these are its
 * bucket (net/steering.h), the others count within the bucket. 127.0.0.0/16 is left alone:
 * 127.0.0.1 and what people configure by hand live there. */
#ifndef SLOTS_H
#define SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "count/counters.h"
#include "net/steering.h"
#include "state/state.h"

#define SLOTS_NONE UINT32_MAX

enum {
    SLOTS_FIRST_INDEX = 16,                  /* 127.1.0.0 */
    SLOTS_LAST_INDEX = STEERING_BUCKETS - 2, /* the one behind has the broadcast address */
    SLOTS_BUCKET_MAX = SLOTS_LAST_INDEX - SLOTS_FIRST_INDEX + 1,
};

/* Stable codes: they stand in the state. */
enum slot_state {
    SLOT_NEVER = 0,  /* was never used */
    SLOT_SILENT = 1, /* in quarantine; nothing has come since its session ended */
    SLOT_NOISY = 2,  /* in quarantine; something has come since */
    SLOT_RESTED = 3, /* silent for the tombstone time */
    SLOT_TAKEN = 4,
};

/* There are four of them for each session that there may be. In the state: all that says something
 * is in one word, which is written at once, so that no kill leaves half of it. */
struct backend_slot {
    union {
        uint32_t owner; /* SLOT_TAKEN: what slots_take() was given */
        uint32_t older; /* SLOT_SILENT, SLOT_NOISY: neighbours in the list of its state */
    };
    union {
        uint32_t is_claimed; /* SLOT_TAKEN, while the state is taken over: its session is there */
        uint32_t newer;
    };
    union {
        uint64_t word;
        struct {
            /* SLOT_TAKEN: what slots_take() was given. Otherwise: since when it is silent, in
             * milliseconds of the gate's clock. */
            uint64_t since : 44;
            uint64_t state : 3; /* enum slot_state */
            uint64_t is_noisy : 1;
            uint64_t reason : 8; /* of a tombstone: a close_reason + 1; 0 = LATE_UNKNOWN */
            uint64_t listener : 8;
        };
    };
};

_Static_assert(sizeof(struct backend_slot) == 16, "docs/operations.md says so");
_Static_assert(sizeof(struct backend_slot) == LAYOUT_SLOT_BYTES, "the layout of the state");

/* What fits into `since`: 557 years. */
#define SLOTS_SINCE_MASK ((1ull << 44) - 1)

/* In the order of `since`. */
struct slots_list {
    uint32_t oldest, newest, count;
};

struct slots {
    struct worker_counters *counters; /* borrowed; for the gauges of addresses */
    struct state *state;              /* borrowed */
    struct backend_slot *at;          /* in the state, see slots.c */
    /* How many slots of each bucket were ever used; owned. The worker's buckets: each
     * worker_count-th of all. */
    uint16_t *counts;
    struct slots_list silent, noisy;
    uint32_t worker, worker_count;
    /* A bucket may have `share` slots whatever the others have, and as many more as are left of
     * extra_max. */
    uint32_t share, extra_max, extra_count;
    /* The index of each bucket's first slot, random: with another state at the same port hardly
     * anybody is given what the sessions before had, which backends may still send to. */
    uint32_t first;
    uint64_t tombstone_ms;
};

/* How many slots all workers have together: max(4 x max_sessions, 65,536), or as many as there are.
 */
uint64_t slots_pool(uint32_t max_sessions);

/* Of slots_pool() half are for each bucket alike, half for buckets that need more. None of those
 * that the state has is known yet: slots_adopt.h. */
bool slots_init(struct slots *slots, struct state *state, uint32_t worker, uint32_t worker_count,
                uint32_t max_sessions, uint64_t tombstone_ms, struct worker_counters *counters,
                struct err *err) MUST_USE;
void slots_deinit(struct slots *slots);

/* With other settings. There may be more slots than that for a while: those that are in use. */
void slots_set(struct slots *slots, uint32_t max_sessions, uint64_t tombstone_ms);

/* ---- taking and giving back ---- */

/* Takes a slot of the bucket, which must be the worker's, for a session: one that was never used,
 * as long as the bucket has its share; else the one that has been silent for longest, if that is
 * the tombstone time; else one that was never used. If there is none of these, the longest silent
 * one to which nothing was sent since its session ended; *is_early is set then. SLOTS_NONE if there
 * is none: a backend still sends to all the others. `owner` and `since` are for the caller. */
uint32_t slots_take(struct slots *slots, uint32_t bucket, uint32_t owner, uint32_t listener,
                    uint64_t since, uint64_t now_ms, bool *is_early);
/* slots_take() would find none. */
bool slots_is_exhausted(struct slots *slots, uint32_t bucket, uint64_t now_ms);
void slots_release(struct slots *slots, uint32_t slot, enum close_reason reason, uint64_t now_ms);

/* A backend has sent something to the slot that is for none of its sessions: if the slot is a
 * tombstone its quarantine begins anew, else with the end of its session, as a noisy one. */
void slots_on_noise(struct slots *slots, uint32_t slot, uint64_t now_ms);

/* Ends the quarantine of those that have been silent for long enough, some of them if there are
 * many. Returns when it is to be called next: UINT64_MAX = no need. */
uint64_t slots_on_time(struct slots *slots, uint64_t now_ms);

/* NULL if the number is none of a slot of this worker's that was ever used. Valid until a slot is
 * taken or comes to rest. */
const struct backend_slot *slots_find(const struct slots *slots, uint32_t slot);
/* What a datagram to a slot that nobody has is late for: a close_reason, or LATE_UNKNOWN. */
unsigned slots_late_reason(const struct slots *slots, const struct backend_slot *slot,
                           uint64_t now_ms);

static inline uint32_t slots_bucket_of(uint32_t slot)
{
    return slot % STEERING_BUCKETS;
}

static inline uint32_t slots_number(uint32_t bucket, uint32_t index)
{
    return (index + SLOTS_FIRST_INDEX) * STEERING_BUCKETS + bucket;
}

/* Its port is 0. */
struct addr slots_addr(uint32_t slot);
/* SLOTS_NONE if the address is not in 127.0.0.0/8. */
uint32_t slots_number_of_addr(const struct addr *addr);

#endif
