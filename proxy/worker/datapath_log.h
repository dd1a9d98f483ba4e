/* The log lines of the datapath itself: limits that bite, what is wrong with a backend, and what
 * becomes of datagrams that are discarded. Each kind is bounded by itself. One worker's thread. */
#ifndef DATAPATH_LOG_H
#define DATAPATH_LOG_H

#include "base/log.h"
#include "count/counters.h"
#include "creds/generation.h"
#include "net/udp.h"
#include "state/layout.h"

struct datapath_log {
    struct log_limiter limit;   /* on a limit that bites */
    struct log_limiter backend; /* on a backend that is down */
    struct log_limiter send;    /* on what cannot be sent to one */
    struct log_limiter sender;  /* on those who are no backend */
    struct log_limiter discard; /* on datagrams that go nowhere */
    /* Listeners whose backend was said to be down, and has not answered since; by number. */
    bool is_down[LAYOUT_LISTENERS_MAX];
    uint64_t down_since_ms[LAYOUT_LISTENERS_MAX];
    uint32_t down_count;
    uint64_t now_ms;
};

void datapath_log_init(struct datapath_log *log);

/* Devices that come now are dropped without an answer. */
void datapath_log_limit(struct datapath_log *log, const struct listener *listener,
                        enum client_outcome limit);
/* The kernel did not take a datagram for the backend: an errno. */
void datapath_log_send_failed(struct datapath_log *log, const struct listener *listener, int error);
/* Somebody else than the listener's backend has sent to a session's address. */
void datapath_log_wrong_sender(struct datapath_log *log, const struct listener *listener,
                               const struct addr *from);
void datapath_log_backend_error(struct datapath_log *log, const struct listener *listener,
                                int error);

/* A datagram of the backend has come, after all. Nothing unless the log has said that it is down.
 */
void datapath_log_backend_answers(struct datapath_log *log, const struct listener *listener);

/* A datagram has ended so. Nothing unless it was discarded; to be asked at LOG_DEBUG only. */
void datapath_log_from_client(struct datapath_log *log, const struct listener *listener,
                              const struct udp_datagram *datagram, enum client_outcome outcome);
/* listener NULL: of none; late: a close_reason, or LATE_UNKNOWN, with BACKEND_late. */
void datapath_log_from_backend(struct datapath_log *log, const struct listener *listener,
                               const struct udp_datagram *datagram, enum backend_outcome outcome,
                               unsigned late);

/* Tells of lines that were held back; when to be called next, UINT64_MAX = no need. */
void datapath_log_on_time(struct datapath_log *log, uint64_t now_ms);
uint64_t datapath_log_due_ms(const struct datapath_log *log);

#endif
