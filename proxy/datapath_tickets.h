/* Devices that cannot use the ticket which they offer. wolfSSL before 5.9.1 answers the cookie of
 * DTLS 1.3 (HelloRetryRequest) with an alert if its hello has a ticket, at every handshake anew;
 * the gate keeps nothing of a stranger and would not know what the alert is about. So the latest
 * ones whose ticket names a key of ours are remembered for a moment, in a place of fixed size: who
 * never had a ticket of the listener, nor saw one, cannot get in there. One worker's thread. */
#ifndef DATAPATH_TICKETS_H
#define DATAPATH_TICKETS_H

#include "classify.h"
#include "sessions.h"

enum {
    DATAPATH_TICKETS_MAX = 32,
    /* Alert and cookie cross the network once each. */
    DATAPATH_TICKETS_MS = 10000,
};

struct datapath_tickets {
    struct {
        struct addr client;
        uint64_t end_ms; /* 0 = free */
        uint32_t listener;
    } at[DATAPATH_TICKETS_MAX];
    uint32_t next;
    uint64_t end_ms; /* of the latest one */
};

/* The hello of a stranger has been answered with that reply. */
void datapath_tickets_note(struct datapath_tickets *tickets, const struct sessions *all,
                           const struct listener *listener, const struct udp_datagram *hello,
                           const uint8_t *reply, size_t reply_len);

/* Of a device without a session. True if it is the alert of one that was noted, which is forgotten
 * with it. */
bool datapath_tickets_is_refusal(struct datapath_tickets *tickets, const struct sessions *all,
                                 const struct listener *listener, const struct udp_datagram *d,
                                 const struct classified *kind);

#endif
