/* The handshakes of one worker: what one is made of, how they are found, in which order they began.
 * What happens to one of them is handshake.c and handshake_end.c. One thread. */
#ifndef HANDSHAKE_STORE_H
#define HANDSHAKE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/slab.h"
#include "base/timers.h"
#include "count/counters.h"
#include "handshake/failures.h"
#include "handshake/flight.h"
#include "handshake/handshake_table.h"
#include "handshake/refusal.h"
#include "handshake/trace.h"

/* Who is at the other end, when a handshake is complete. */
struct handshake_who {
    uint8_t version;    /* enum dtls_version */
    uint8_t credential; /* enum credential; in a resumed session that of the first one */
    bool is_resumed;
    uint8_t identity_len;
    uint8_t identity[PSK_IDENTITY_MAX]; /* PSK identity, or see certificate_identity() */
    struct credential_digests digests;  /* of the credential; resumed: that the ticket carries */
};

enum handshake_state {
    HANDSHAKE_RUNNING,
    HANDSHAKE_GIVEN_UP, /* by the device, as an alert in plaintext says, which anybody can send */
    HANDSHAKE_COMPLETE, /* the gate has the keys, and the library's object is gone */
    HANDSHAKE_ENDED,    /* freed by handshakes_reap() */
};

struct handshake {
    struct handshake_table_entry entry;         /* key: where the device was when it began */
    struct handshake_table_cid_entry cid_entry; /* cid_len 0 = it has no connection ID */
    struct timer timer;
    struct flight flight;
    struct dtls *dtls;               /* owned; NULL when complete */
    const struct listener *listener; /* of the generation that it began with, and keeps */
    struct handshake *older, *newer; /* in order of beginning; ended: older links those to free */
    uint64_t number;                 /* for logs, unique in the process; the session keeps it */
    uint64_t hello_tag;              /* of the hello that began it */
    uint64_t begun_ms;
    uint64_t given_up_ms; /* when the device's alert counts, unless it goes on */
    uint32_t fed_bytes;
    uint8_t state; /* enum handshake_state */
    uint8_t alert_code;
    bool has_stalled; /* a wrong key has been reported, or an alert */
    /* DTLS 1.3: the latest datagram of a device that uses its session already (T2); owned. */
    uint8_t *early;
    uint16_t early_len;
    struct handshake_who who; /* when complete */
};

/* In order of beginning. */
struct handshake_order {
    struct handshake *oldest, *newest;
    uint32_t count;
};

/* All handshakes of one worker. */
struct handshakes {
    struct handshake_table table;
    struct timers timers;
    struct slabs *slabs; /* borrowed; handshakes and what belongs to them; key material */
    struct handshake_order *orders; /* one a listener; owned */
    struct handshake *ended;        /* to be freed by handshakes_reap() */
    struct refusals refusals;
    struct udp_out *to_client;           /* borrowed */
    struct worker_counters *counters;    /* borrowed */
    struct log_limiter limiter;          /* for lines on handshakes that fail */
    struct log_limiter stranger_limiter; /* for lines that need no address of one's own */
    /* Whether a session has that connection ID. */
    bool (*is_cid_taken)(void *context, const struct listener *listener, const uint8_t *cid);
    void *context;
    uint64_t now_ms; /* of the call in progress */
    uint64_t next_number;
    _Atomic uint64_t *last_number; /* borrowed; in the state */
    uint32_t worker, worker_count, listener_count;
    uint32_t count;
    struct trace trace; /* whose handshakes have a line */
    struct failures failures;
};

struct handshakes_settings {
    /* The first handshake's; where that of the latest is noted, in the state. */
    uint64_t first_number;
    _Atomic uint64_t *last_number;
    uint32_t worker, worker_count, listener_count;
    struct udp_out *to_client;
    struct slabs *slabs;
    struct worker_counters *counters;
    bool (*is_cid_taken)(void *context, const struct listener *listener, const uint8_t *cid);
    void *context;
};

/* False: no memory or no random key; handshakes_deinit() is harmless then. */
bool handshakes_init(struct handshakes *all, const struct handshakes_settings *settings,
                     struct err *err) MUST_USE;
/* Frees everything; nothing is sent, counted or logged. */
void handshakes_deinit(struct handshakes *all);

/* The handshake at that address, or with that connection ID; NULL = none. */
struct handshake *handshakes_find(const struct handshakes *all, const struct listener *listener,
                                  const struct addr *client);
struct handshake *handshakes_find_cid(const struct handshakes *all, const struct listener *listener,
                                      const uint8_t *cid);
uint32_t handshakes_count_of(const struct handshakes *all, const struct listener *listener);

/* The oldest one of the listener, if its device had time enough: it may make room for another. NULL
 * if none is that old. */
struct handshake *handshakes_find_slow(const struct handshakes *all,
                                       const struct listener *listener, uint64_t now_ms);

struct counters *handshake_counters(const struct handshakes *all, const struct listener *listener);

/* One that is made and in its tables: is counted, and has its place in the order. */
void handshake_store_enter(struct handshakes *all, struct handshake *handshake);
/* Out of the tables, the order and the count, its object freed; set aside to be freed itself. */
void handshake_store_retire(struct handshakes *all, struct handshake *handshake);
/* Any one that is the oldest of its listener; NULL = there is none. */
struct handshake *handshake_store_oldest(const struct handshakes *all);
/* Forgets the datagram that came too early. */
void handshake_store_drop_early(struct handshakes *all, struct handshake *handshake);

/* Frees those that have ended; call it when no pointer to one is held. */
void handshakes_reap(struct handshakes *all);

#endif
