/* The way toward the backends: one unconnected socket a worker, and one source address out of
 * 127.0.0.0/8 a session, its slot (slots.h). One worker's thread.
 *
 * The sockets of all workers share one port. A backend's answer goes to the address that the
 * session has sent from, whose last bits are its bucket, and by that the kernel gives it to the
 * session's worker (net/steering.h).
 *
 * What had been sent before a session got its address may still lie in the socket. So the gate
 * sends a mark to its own socket when it gives an address away: what is read before the mark is not
 * for the new owner. */
#ifndef BACKEND_H
#define BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/slots.h"
#include "base/addr.h"
#include "base/err.h"
#include "config/config.h"
#include "count/counters.h"
#include "net/udp.h"

#define BACKEND_NO_SLOT SLOTS_NONE
#define BACKEND_NO_OWNER UINT32_MAX

struct backend {
    struct udp_socket socket; /* its descriptor is the main thread's */
    struct udp_out out;
    struct slots slots;
    struct state *state;       /* borrowed */
    struct layout_worker *own; /* in the state: the worker's */
    /* One a listener, by its number, as the state has them. */
    struct layout_server servers[LAYOUT_LISTENERS_MAX];
    uint64_t mark_sent, mark_seen; /* numbers of the latest ones; the state has them, too */
    uint64_t mark_missed_ms;       /* since when one is missing, if these differ */
};

/* socket: of worker `worker` of `worker_count`, borrowed; udp_open_backend() has opened it. False
 * also if the loopback interface has not got the addresses. state_begin_workers() comes before. */
bool backend_open(struct backend *backend, struct state *state, const struct gate_config *gate,
                  uint32_t worker, uint32_t worker_count, const struct udp_socket *socket,
                  struct worker_counters *counters, struct err *err) MUST_USE;
/* Harmless for one that is all zero but for a socket of fd -1. */
void backend_close(struct backend *backend);

/* With other settings: how many slots there may be, for how long they are remembered, and the
 * servers that the state has now. */
void backend_set(struct backend *backend, const struct gate_config *gate);

/* ---- taking over: as in slots_adopt.h ---- */

bool backend_adopt(struct backend *backend, uint64_t now_ms, struct err *err) MUST_USE;
bool backend_claim(struct backend *backend, uint32_t slot, uint32_t owner, uint32_t listener);
uint32_t backend_adopt_end(struct backend *backend, enum close_reason reason, uint64_t now_ms);

/* ---- slots: as in slots.h ---- */

/* owner: the number of the session's cell, any but BACKEND_NO_OWNER. */
uint32_t backend_take(struct backend *backend, uint32_t bucket, uint32_t owner, uint32_t listener,
                      uint64_t now_ms, bool *is_early);
bool backend_is_exhausted(struct backend *backend, uint32_t bucket, uint64_t now_ms);
/* It will be in quarantine as a noisy one when its session ends. */
bool backend_is_noisy(const struct backend *backend, uint32_t slot);
void backend_release(struct backend *backend, uint32_t slot, enum close_reason reason,
                     uint64_t now_ms);
uint64_t backend_on_time(struct backend *backend, uint64_t now_ms);

/* Who has the slot, or BACKEND_NO_OWNER. */
uint32_t backend_owner(const struct backend *backend, uint32_t slot);
/* With the port: what a backend sees. */
struct addr backend_slot_addr(const struct backend *backend, uint32_t slot);

/* ---- to a backend ---- */

/* Room for a datagram, as udp_out_room(). */
uint8_t *backend_room(struct backend *backend, size_t size);
/* Queues the `len` bytes that the caller wrote to the room, from the slot's address to the
 * listener's server. If sending fails, *failed is set; it must stay valid until the flush. */
void backend_send(struct backend *backend, uint32_t slot, uint32_t listener, size_t len,
                  bool *failed);
void backend_flush(struct backend *backend);
/* Why the latest one that failed did: an errno. */
int backend_send_error(const struct backend *backend);

/* ---- from a backend ---- */

/* Fills the batch with what has arrived; false if nothing has. */
bool backend_receive(struct backend *backend, struct udp_in *in);

/* Whom a datagram is for. */
struct backend_recipient {
    uint32_t owner;               /* of the slot; BACKEND_NO_OWNER: it is for nobody */
    enum backend_outcome outcome; /* what became of it, if it is for nobody */
    unsigned late;                /* a close_reason, or LATE_UNKNOWN, with BACKEND_late */
    uint32_t listener;            /* UINT32_MAX if the address never was a slot */
    bool is_mark;                 /* it is the gate's own, and the rest is nothing */
};

/* Of a datagram of the batch; in their order. */
struct backend_recipient backend_recipient(struct backend *backend,
                                           const struct udp_datagram *datagram, uint64_t now_ms);

/* A batch of the socket has been dealt with; is_all: it was all that there was. Makes up for a mark
 * that the kernel has lost. */
void backend_on_batch(struct backend *backend, bool is_all, uint64_t now_ms);

/* Takes one ICMP error off the socket, over what the gate has sent to a backend: why (an errno), of
 * which listener. UINT32_MAX = of none. False if there is none. */
bool backend_take_error(struct backend *backend, uint32_t *listener, int *error);

#endif
