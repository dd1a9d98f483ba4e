/* Devices that cannot use the ticket which they offer. wolfSSL before 5.9.1 answers the cookie of
 * DTLS 1.3 (HelloRetryRequest) with an alert if its hello has a ticket, at every handshake anew;
 * the gate keeps nothing of a stranger and would not know what the alert is about. So the latest
 * ones with something like a ticket of ours are remembered for a moment, in a place of fixed size.
 * One worker's thread. */
#ifndef DATAPATH_TICKETS_H
#define DATAPATH_TICKETS_H

#include "session/sessions.h"
#include "wire/classify.h"

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
        bool is_known;
    } at[DATAPATH_TICKETS_MAX];
    uint32_t next;
    uint64_t end_ms; /* of the latest one */
};

/* The hello of a stranger has been answered with that reply. */
void datapath_tickets_note(struct datapath_tickets *tickets, const struct sessions *all,
                           const struct listener *listener, const struct udp_datagram *hello,
                           const uint8_t *reply, size_t reply_len);

enum datapath_ticket {
    DATAPATH_TICKET_NONE,
    DATAPATH_TICKET_OLD,   /* of this gate before a restart, or of another one; anybody can make one
                            */
    DATAPATH_TICKET_KNOWN, /* of a key in use: who never had or saw a ticket cannot make one */
};

/* Of a device without a session: whether it is the alert of one that was noted, which is forgotten
 * with it. */
enum datapath_ticket datapath_tickets_take(struct datapath_tickets *tickets,
                                           const struct sessions *all,
                                           const struct listener *listener,
                                           const struct udp_datagram *d,
                                           const struct classified *kind);

#endif
