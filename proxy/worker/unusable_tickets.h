/* Devices that cannot use the ticket which they offer. wolfSSL before 5.9.1 answers the cookie of
 * DTLS 1.3 (HelloRetryRequest) with an alert if its hello has a ticket, at every handshake anew;
 * the gate keeps nothing of a stranger and would not know what the alert is about. So the latest
 * ones with something like a ticket of ours are remembered for a moment, in a place of fixed size.
 * One worker's thread. */
#ifndef UNUSABLE_TICKETS_H
#define UNUSABLE_TICKETS_H

#include "handshake/arrival.h"

enum {
    UNUSABLE_TICKETS_MAX = 32,
    /* Alert and cookie cross the network once each. */
    UNUSABLE_TICKETS_MS = 10000,
};

struct unusable_tickets {
    struct {
        struct addr client;
        uint64_t end_ms; /* 0 = free */
        uint32_t listener;
        bool is_known;
    } at[UNUSABLE_TICKETS_MAX];
    uint32_t next;
    uint64_t end_ms; /* of the latest one */
};

/* The hello of a stranger has been answered with that reply. */
void unusable_tickets_note(struct unusable_tickets *tickets, const struct arrival *arrival,
                           const uint8_t *reply, size_t reply_len);

enum ticket_noted {
    TICKET_NOTED_NONE,
    TICKET_NOTED_OLD,   /* too old, of another gate, or of one whose state was lost; anybody can
                         * make one */
    TICKET_NOTED_KNOWN, /* of a key in use: who never had or saw a ticket cannot make one */
};

/* Of a device without a session: whether it is the alert of one that was noted, which is forgotten
 * with it. */
enum ticket_noted unusable_tickets_take(struct unusable_tickets *tickets,
                                        const struct arrival *arrival);

#endif
