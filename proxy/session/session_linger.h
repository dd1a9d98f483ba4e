/* Sessions that their device has closed, for a moment. A closure ends what has a later record
 * number, not what arrives later (RFC 9147 section 5.10): a device that deregisters and closes
 * sends both at once, and the network may turn them round. So if records from before a close_notify
 * are missing, the library's object is kept when the session ends, and what comes of them goes to
 * the backend, from the same address. It is not a session any more: its device is never sent
 * anything, and nothing of it is found, moved or counted. Part of session.c; one worker's thread.
 */
#ifndef SESSION_LINGER_H
#define SESSION_LINGER_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/dtls.h"
#include "net/udp.h"
#include "session/session_table.h"
#include "wire/classify.h"

struct session;
struct sessions;

enum {
    /* The latest ones. Each takes what a live session takes, 8 to 10 kB. */
    SESSION_LINGERS_MAX = 64,
    /* A radio link that repeats what was lost delays it by a second, if that. */
    SESSION_LINGER_MS = 2000,
    /* Fed to each, at most: there is no other bound on what the library keeps of them. As many
     * records of the usual size as its window has places for, and more. */
    SESSION_LINGER_BYTES = 128 * 1024,
};

struct session_linger {
    struct dtls *dtls;               /* owned; NULL = has ended */
    const struct listener *listener; /* borrowed */
    struct dtls_record_number closure;
    struct addr client; /* its records are found by that if it has no connection ID */
    uint8_t cid[TABLE_CID_MAX];
    uint8_t cid_len;
    uint32_t slot; /* the tombstone of its backend address */
    uint32_t bytes_left;
    uint64_t end_ms;
};

/* A ring. Those that have ended before their time stay in their place until it has come. */
struct session_lingers {
    struct session_linger at[SESSION_LINGERS_MAX];
    uint32_t oldest, count;
};

/* The session ends over a close_notify, which has been answered: takes its dtls if records from
 * before are missing. */
void session_linger_begin(struct session *session);

/* Data from before the device's close_notify goes to the backend. False if there is none in the
 * datagram: it is to be treated as if nothing lingered. */
bool session_linger_forward(struct sessions *sessions, const struct listener *listener,
                            const struct udp_datagram *datagram, const struct classified *kind,
                            bool *send_failed);

/* The backend address is given to another session. */
void session_linger_yield(struct sessions *sessions, uint32_t slot);

/* Those whose time is over at sessions->now_ms end; when that is to be called next. */
void session_linger_on_time(struct sessions *sessions);
uint64_t session_linger_due_ms(const struct sessions *sessions);

void session_linger_end_all(struct sessions *sessions);

#endif
