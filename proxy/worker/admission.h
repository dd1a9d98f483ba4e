/* Who may begin a handshake, and who goes first: what strangers may cost a listener. One worker's
 * thread. */
#ifndef ADMISSION_H
#define ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/handshake.h"
#include "net/limit.h"
#include "session/session.h"

/* This worker's share of what a listener may bear. */
struct admission_limits {
    uint32_t handshake_max; /* at once */
    struct limit_bucket handshakes;
    struct limit_prefixes hellos;
};

struct admission {
    struct admission_limits *limits; /* by number of the listener; owned */
};

bool admission_init(struct admission *admission, const struct generation *generation,
                    uint32_t worker_count, struct err *err) MUST_USE;
void admission_deinit(struct admission *admission);

/* With other limits; what has been used is not forgotten. */
void admission_set(struct admission *admission, const struct generation *generation,
                   uint32_t worker_count);

/* A share of a limit over all workers, at least 1; 0 of 0. */
uint32_t admission_share(uint32_t limit, uint32_t worker_count);

/* May the ClientHello of an unknown device be looked at? CLIENT_cookie_sent: yes; else the limit
 * that bites. */
enum client_outcome admission_of_hello(struct admission *admission, const struct sessions *sessions,
                                       const struct arrival *arrival);

/* May a device that has proved its address begin? CLIENT_handshake_begun: yes, but *slow, if it is
 * set, has to make way; else the limit that bites. */
enum client_outcome admission_of_handshake(struct admission *admission,
                                           const struct handshakes *handshakes,
                                           struct sessions *sessions, const struct arrival *arrival,
                                           struct handshake **slow);

#endif
