/* The way toward the backends: one unconnected socket a worker, one source address out of
 * 127.0.0.0/8 a session, and a quarantine for the addresses of sessions that have ended. One
 * worker's thread.
 *
 * A session's source address is its slot number, so the backend's answer names the slot by its
 * destination. When a session ends, its slot becomes a tombstone: it remembers why, and is in
 * quarantine until it has been silent for the tombstone time. Each datagram that a backend still
 * sends to it begins that time anew, so an address that a backend never stops to send to is never
 * used again.
 *
 * What had been sent before a session got its address may still lie in the socket. So the gate
 * sends a mark to its own socket when it gives an address away: what is read before the mark is not
 * for the new owner. */
#ifndef BACKEND_H
#define BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "count/counters.h"
#include "net/udp.h"

#define BACKEND_NO_SLOT UINT32_MAX

enum backend_slot_state {
    SLOT_RESTED, /* silent for the tombstone time */
    SLOT_SILENT, /* in quarantine; nothing has come since its session ended */
    SLOT_NOISY,  /* in quarantine; something has come since */
    SLOT_TAKEN,
    SLOT_LISTS = SLOT_TAKEN, /* the states before have a list each */
};

/* There are four of them for each session that there may be. */
struct backend_slot {
    union {
        void *owner; /* SLOT_TAKEN: the session; borrowed */
        struct {
            uint32_t older, newer; /* neighbours in the list of its state */
        };
    };
    /* SLOT_TAKEN: the number of the mark since which what comes is the owner's.
     * Otherwise: milliseconds, since when it is silent. */
    uint64_t since : 44;
    uint64_t state : 3; /* enum backend_slot_state */
    uint64_t is_noisy : 1;
    uint64_t reason : 8; /* of a tombstone: a close_reason, or LATE_UNKNOWN */
    uint64_t listener : 8;
};

_Static_assert(sizeof(struct backend_slot) == 16, "README.md says so");

/* In the order of `since`. */
struct backend_list {
    uint32_t oldest, newest, count;
};

struct backend {
    struct udp_socket socket;
    struct worker_counters *counters; /* borrowed; for the gauges of addresses */
    struct backend_slot **chunks;     /* of slots, so that nothing is copied when there are more */
    uint32_t slot_count, chunk_count, slot_max;
    struct backend_list lists[SLOT_LISTS];
    uint32_t worker, worker_count;
    uint64_t tombstone_ms;
    uint64_t mark_sent, mark_seen; /* numbers of the latest ones */
    uint64_t mark_missed_ms;       /* since when one is missing, if these differ */
};

/* All workers together have max(4 x max_sessions, 65,536) addresses, or as many as there are; no
 * two workers share one. False also if the loopback interface has not got these addresses. */
bool backend_open(struct backend *backend, uint32_t worker, uint32_t worker_count,
                  uint32_t max_sessions, uint64_t tombstone_ms, struct worker_counters *counters,
                  struct err *err) MUST_USE;
void backend_close(struct backend *backend);

/* Takes a slot for a session: one that was never used, else the one that has been silent for
 * longest. If none has been silent for the tombstone time, one to which nothing was sent since its
 * session ended; *is_early is set then. BACKEND_NO_SLOT if there is none: a backend still sends to
 * all the others. */
uint32_t backend_take(struct backend *backend, void *owner, uint32_t listener, uint64_t now_ms,
                      bool *is_early);
/* backend_take() would find none. */
bool backend_is_exhausted(struct backend *backend, uint64_t now_ms);
/* It will be in quarantine as a noisy one when its session ends. */
bool backend_is_noisy(const struct backend *backend, uint32_t slot);
void backend_release(struct backend *backend, uint32_t slot, enum close_reason reason,
                     uint64_t now_ms);

/* Who has the slot, or NULL. */
void *backend_owner(const struct backend *backend, uint32_t slot);

struct addr backend_slot_addr(const struct backend *backend, uint32_t slot);

/* What an address of ours that a backend sent to belongs to. */
struct backend_found {
    void *owner;       /* the session, or NULL */
    bool is_stale;     /* what comes now was sent before the owner had the address */
    unsigned late;     /* without owner, or stale: a close_reason, or LATE_UNKNOWN */
    uint32_t slot;     /* BACKEND_NO_SLOT if the address never was a slot */
    uint32_t listener; /* UINT32_MAX then */
};

struct backend_found backend_find(const struct backend *backend, const struct addr *addr,
                                  uint64_t now_ms);

/* A backend has sent something to the slot that is for none of its sessions: if the slot is a
 * tombstone its quarantine begins anew, else with the end of its session, as a noisy one. */
void backend_on_noise(struct backend *backend, uint32_t slot, uint64_t now_ms);

/* True if that was a mark: a datagram of our own. */
bool backend_take_mark(struct backend *backend, const struct udp_datagram *datagram,
                       uint64_t now_ms);
/* A batch of the socket has been dealt with; is_all: it was all that there was. Makes up for a mark
 * that the kernel has lost. */
void backend_on_batch(struct backend *backend, bool is_all, uint64_t now_ms);

/* Ends the quarantine of those that have been silent for long enough, some of them if there are
 * many. Returns when it is to be called next: UINT64_MAX = no need. */
uint64_t backend_on_time(struct backend *backend, uint64_t now_ms);

#endif
