/* A client in memory and the gate's object for it, face to face: no network, no session. The keys
 * are those below. */
#ifndef DTLS_PAIR_H
#define DTLS_PAIR_H

#include "gate/memory_client.h"
#include "handshake/cookie.h"

enum { DTLS_PAIR_QUEUE_MAX = 64 };

/* In the PSK file: one as long as both may be, one as short, and device1 with 0123456789abcdef. */
#define LONG_IDENTITY                                                  \
    "0123456789012345678901234567890123456789012345678901234567890123" \
    "urn:dev:ops:0123456789:\xc3\xa4\xc3\xb6\xc3\xbc-0123456789012345678901234567890123"
#define LONG_KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHORT_IDENTITY "1"
#define SHORT_KEY "k"

/* The gate's, for devices that ask for connection IDs. */
extern const uint8_t dtls_pair_cid[8];

struct datagrams {
    struct client_message at[DTLS_PAIR_QUEUE_MAX];
    uint32_t count;
};

/* A client and the gate's object for it, with what they have sent and not yet read. */
struct dtls_pair {
    struct generation *generation;
    struct cookie_front front;
    struct memory_client *client;
    struct dtls *dtls;
    struct datagrams to_gate, to_client;
    enum dtls_event event; /* the last one */
    bool was_established;
    size_t rest_len; /* of the datagram fed last: what the object was not handed */
};

/* For cmocka. */
int dtls_pair_set_up(void **state);
/* The same with more lines for the listener. */
int dtls_pair_set_up_with(void **state, const char *settings);
int dtls_pair_tear_down(void **state);

/* Lets both talk until neither has more to say. Anything may come of it. */
void dtls_pair_meet(struct dtls_pair *pair, const struct client_kind *kind);
/* The same; fails the test unless a session comes of it. */
void dtls_pair_meet_well(struct dtls_pair *pair, const struct client_kind *kind);
/* Only the cookie exchange: what the gate then has to say is in to_client. */
void dtls_pair_meet_briefly(struct dtls_pair *pair, const struct client_kind *kind);
/* The handshake until the very moment when it is complete: what the gate has said last is still in
 * to_client. */
void dtls_pair_meet_just(struct dtls_pair *pair, const struct client_kind *kind);
void dtls_pair_talk(struct dtls_pair *pair);

/* Gives the gate's object a datagram, unless its handshake is complete. */
void dtls_pair_feed(struct dtls_pair *pair, const uint8_t *data, size_t len);

void dtls_pair_empty(struct datagrams *queue);

/* A sender for objects of a test's own. */
void dtls_pair_gate_sends(void *owner, const uint8_t *datagram, size_t len);

#endif
