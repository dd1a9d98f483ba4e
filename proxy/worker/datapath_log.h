/* The log lines of the datapath itself: limits that bite, and what is wrong with a backend. Each
 * kind is held to a line a second. One worker's thread. */
#ifndef DATAPATH_LOG_H
#define DATAPATH_LOG_H

#include "base/log.h"
#include "count/counters.h"
#include "creds/generation.h"

struct datapath_log {
    struct log_limiter limit;   /* on a limit that bites */
    struct log_limiter backend; /* on a backend that is down */
    struct log_limiter send;    /* on what cannot be sent to one */
    struct log_limiter sender;  /* on those who are no backend */
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

/* Tells of lines that were held back; when to be called next, UINT64_MAX = no need. */
void datapath_log_on_time(struct datapath_log *log, uint64_t now_ms);
uint64_t datapath_log_due_ms(const struct datapath_log *log);

#endif
