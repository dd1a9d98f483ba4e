/* A handshake: from a good cookie until the gate has its keys, or it fails. It has the library's
 * object and its flights; nothing is a session before it is complete. One worker's thread. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/slab.h"
#include "base/timers.h"
#include "count/counters.h"
#include "handshake/arrival.h"
#include "handshake/cookie.h"
#include "handshake/flight.h"
#include "handshake/handshake_table.h"
#include "handshake/refusal.h"
#include "handshake/taken.h"

/* Who is at the other end, when a handshake is complete. */
struct handshake_who {
    uint8_t version;    /* enum dtls_version */
    uint8_t credential; /* enum credential; in a resumed session that of the first one */
    bool is_resumed;
    uint8_t identity_len;
    uint8_t identity[PSK_IDENTITY_MAX]; /* PSK identity, or see certificate_identity() */
    const char *suite;                  /* IANA name */
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
    const struct listener *listener; /* borrowed */
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

/* All handshakes of one worker. */
struct handshakes {
    struct handshake_table table;
    struct timers timers;
    struct slabs *slabs; /* borrowed; handshakes and what belongs to them; key material */
    struct handshake *oldest, *newest;
    struct handshake *ended; /* to be freed by handshakes_reap() */
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
    uint32_t worker, worker_count;
    uint32_t count;
    uint32_t *count_of; /* by listener */
};

struct handshakes_settings {
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

/* A complete one has become a session; or it fails, complete or not, for a reason of our own.
 * Counted, logged (but for the session's beginning), ended. */
void handshake_succeed(struct handshakes *all, struct handshake *handshake, uint64_t now_ms);
void handshake_fail(struct handshakes *all, struct handshake *handshake,
                    enum handshake_result result, const char *detail, uint64_t now_ms);

/* A hello proved its address and was refused at once, counted and logged in the same way; the
 * alert, if any, is sent. Takes cookie->dtls. */
void handshakes_on_refused(struct handshakes *all, struct cookie_result *cookie,
                           const struct arrival *arrival);
/* A device's alert says that it cannot use the ticket of DTLS 1.3 in its hello. */
void handshakes_on_ticket_unusable(struct handshakes *all, const struct arrival *arrival);

/* For the log: a hello that cannot be served, and the alert of a device that has neither session
 * nor handshake; has_old_ticket: its hello had something like a ticket of DTLS 1.3. */
void handshakes_on_hello_ignored(struct handshakes *all, const struct cookie_result *cookie,
                                 const struct arrival *arrival);
void handshakes_on_stranger_alert(struct handshakes *all, const struct arrival *arrival,
                                  bool has_old_ticket);

/* Timers that are due; when to be called next, TIMERS_NONE = no need. */
void handshakes_on_time(struct handshakes *all, uint64_t now_ms);
uint64_t handshakes_due_ms(const struct handshakes *all);

/* The gate stops. */
void handshakes_end_all(struct handshakes *all, uint64_t now_ms);

/* Frees those that have ended; call it when no pointer to one is held. */
void handshakes_reap(struct handshakes *all);

#endif
