/* The way toward the backends: one unconnected socket a worker, one source address out of
 * 127.0.0.0/8 a session, and tombstones. One worker's thread.
 *
 * A session's source address is its slot number, so the backend's answer names the slot by its
 * destination. When a session ends, its slot becomes a tombstone: it remembers why and when, and is
 * not given to another device before the tombstone time has passed. Free slots are taken oldest
 * first, so an address stays unused as long as possible. */
#ifndef BACKEND_H
#define BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "counters.h"
#include "udp.h"

#define BACKEND_NO_SLOT UINT32_MAX

enum backend_slot_state { SLOT_TAKEN, SLOT_TOMBSTONE };

struct backend_slot {
    union {
        void *owner;          /* SLOT_TAKEN: the session; borrowed */
        uint64_t released_ms; /* SLOT_TOMBSTONE */
    };
    uint32_t next_free;
    uint8_t state;  /* enum backend_slot_state */
    uint8_t reason; /* enum close_reason, of a tombstone */
    uint8_t listener;
};

struct backend {
    struct udp_socket socket;
    struct backend_slot **chunks; /* of slots, so that nothing is copied when there are more */
    uint32_t slot_count, chunk_count, slot_max;
    uint32_t oldest_free, newest_free;
    uint32_t worker, worker_count;
    uint64_t tombstone_ms;
};

/* Slots of different workers never share an address. */
bool backend_open(struct backend *backend, uint32_t worker, uint32_t worker_count,
                  uint64_t tombstone_ms, struct err *err) MUST_USE;
void backend_close(struct backend *backend);

/* Takes a slot for a session; BACKEND_NO_SLOT if there is none. *is_early is set if its tombstone
 * had not ended. */
uint32_t backend_take(struct backend *backend, void *owner, uint32_t listener, uint64_t now_ms,
                      bool *is_early);
void backend_release(struct backend *backend, uint32_t slot, enum close_reason reason,
                     uint64_t now_ms);

/* Who has the slot, or NULL. */
void *backend_owner(const struct backend *backend, uint32_t slot);

struct addr backend_slot_addr(const struct backend *backend, uint32_t slot);

/* What an address of ours that a backend sent to belongs to. */
struct backend_found {
    void *owner;       /* the session, or NULL */
    unsigned late;     /* without owner: a close_reason, or LATE_UNKNOWN */
    uint32_t listener; /* UINT32_MAX if the address never was a slot */
};

struct backend_found backend_find(const struct backend *backend, const struct addr *addr,
                                  uint64_t now_ms);

#endif
