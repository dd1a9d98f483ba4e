/* What an operator and a server are told of a session or of a backend address, by value: other
 * threads read it. Never a key. One worker's thread fills it. */
#ifndef SESSION_REPORT_H
#define SESSION_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr_prefix.h"
#include "creds/psk.h"
#include "session/session_store.h"

struct session_report {
    enum session_report_kind {
        REPORT_NOBODY,    /* nobody has the backend address, and no reason is remembered */
        REPORT_SESSION,   /* established: all members are set but those of a tombstone */
        REPORT_TOMBSTONE, /* ended: slot, listener, reason, silent_ms and rest_ms are set */
    } kind;
    uint32_t slot;
    struct addr backend_source; /* with the port: what a backend sees */
    uint32_t listener;          /* number */
    /* When the session began, or the tombstone's silence; of the gate's clock. With the number it
     * is of one session only, also if a new state begins to number anew. */
    uint64_t began_ms;
    /* Of a session. */
    uint64_t number;    /* as log lines have it */
    struct addr client; /* where the device was seen last */
    bool is_proved;     /* and has proved that it is there */
    enum credential credential;
    enum dtls_version version;
    uint16_t suite;              /* IANA's code */
    uint8_t cid[RECORD_CID_MAX]; /* the gate's */
    size_t cid_len;
    uint8_t identity[PSK_IDENTITY_MAX];
    size_t identity_len;
    uint64_t age_ms, unused_ms;         /* since it began, since its last datagram */
    uint32_t from_client, from_backend; /* datagrams */
    /* Of a tombstone. */
    enum close_reason reason;
    uint64_t silent_ms; /* since the session's end, or since the backend sent there last */
    uint64_t rest_ms;   /* for so long at least the address goes to nobody, if others are left */
};

/* Of an established session, at all->now_ms. */
void session_report_fill(struct session_report *report, const struct sessions *all,
                         const struct session *session, uint64_t now_ms);
/* Of a backend address of this worker's, whoever has it; port 0 = the one that there is. With
 * another one it is nobody's. */
void session_report_source(struct session_report *report, const struct sessions *all,
                           const struct addr *source, uint64_t now_ms);

/* Which sessions are meant: those that fit all members. All zero = every one. */
struct session_filter {
    uint8_t identity[PSK_IDENTITY_MAX];
    size_t identity_len;        /* 0 = any */
    struct addr_prefix client;  /* of no family = any */
    struct addr backend_source; /* the same; port 0 = any */
    bool has_listener, has_number;
    uint32_t listener;
    uint64_t number;
};

bool session_filter_fits(const struct session_filter *filter, const struct sessions *all,
                         const struct session *session);

#endif
