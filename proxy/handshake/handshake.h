/* A handshake: from a good cookie until the gate has its keys, or it fails. It has the library's
 * object and its flights; nothing is a session before it is complete. One worker's thread. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "handshake/cookie.h"
#include "handshake/handshake_end.h"
#include "handshake/handshake_store.h"
#include "handshake/taken.h"

/* Where the handshake stands after a datagram. */
struct handshake_step {
    enum client_outcome outcome;
    /* Complete: the gate has the keys, the library's object is gone, and whoever called makes a
     * session of it, or refuses it. */
    bool is_complete;
    uint32_t used_bytes; /* of the datagram; the rest is the session's */
    struct taken taken;  /* secret: to be wiped; valid if complete */
};

/* The hello proved the device's address: begins a handshake, and takes cookie->dtls. An unfinished
 * one at the same address is given up. step->outcome: what became of the hello. NULL: it has failed
 * already, or there is no memory. */
struct handshake *handshake_begin(struct handshakes *all, struct cookie_result *cookie,
                                  const struct arrival *arrival, struct handshake_step *step);

/* The first len bytes of a datagram go to the handshake, which may have ended then: then nothing of
 * step but the outcome counts. */
void handshake_receive(struct handshakes *all, struct handshake *handshake,
                       const struct arrival *arrival, size_t len, struct handshake_step *step);

/* The device repeats its hello, or sends what it can only send when it has missed something. */
void handshake_repeat(struct handshakes *all, struct handshake *handshake, uint64_t now_ms);

/* Timers that are due; when to be called next, TIMERS_NONE = no need. */
void handshakes_on_time(struct handshakes *all, uint64_t now_ms);
uint64_t handshakes_due_ms(const struct handshakes *all);

#endif
