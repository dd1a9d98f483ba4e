/* The alerts of handshakes that failed, for a while. No alert is repeated by a timer, but a device
 * that repeats the flight over which its handshake failed has not heard ours, and would go on until
 * its patience ends (RFC 6347 section 4.2.7). One worker's
 * thread. */
#ifndef REFUSAL_H
#define REFUSAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "handshake/flight.h"
#include "net/udp.h"

enum {
    REFUSALS_MAX = 64,   /* the latest ones */
    REFUSAL_REPEATS = 3, /* of each, at most */
    REFUSAL_MS = 60000,  /* for so long */
    REFUSAL_INTERVAL_MS = 250,
};

struct refusal {
    struct addr client;
    uint64_t end_ms; /* 0 = none is kept here */
    uint64_t due_ms; /* not before that once more */
    uint32_t listener;
    uint8_t repeats, alert_len;
    uint8_t alert[FLIGHT_ALERT_MAX_BYTES];
};

struct refusals {
    struct refusal at[REFUSALS_MAX];
    uint32_t next;   /* place for the next one */
    uint64_t end_ms; /* of the latest: nothing is kept any longer */
};

/* A handshake has failed: keeps the alert, if it sent one. */
void refusal_keep(struct refusals *refusals, const struct flight *flight, uint64_t now_ms);

/* The device begins anew. */
void refusal_forget(struct refusals *refusals, uint32_t listener, const struct addr *client,
                    uint64_t now_ms);

/* The datagram repeats a flight and is of no session. True if it is answered with the alert over
 * which its handshake failed. sent_bytes: see udp_out_queue(). */
bool refusal_repeat(struct refusals *refusals, const struct arrival *arrival,
                    struct udp_out *to_client, counter *sent_bytes);

#endif
