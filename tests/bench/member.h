/* One device in its phase: state, deadline and result; common to all phases. */
#ifndef BENCH_MEMBER_H
#define BENCH_MEMBER_H

#include "phases.h"

enum { MEMBER_MAX_TRIES = 5 };

enum member_state {
    MEMBER_CLOSED,
    MEMBER_CONNECTING,
    MEMBER_OPEN,
    MEMBER_WAITING, /* for the answer to a request */
    MEMBER_STALLED, /* fell silent in its handshake, on purpose */
    MEMBER_ASLEEP,  /* has a session at the server, and forgot its own side of it */
    MEMBER_BROKEN
};

struct member {
    struct device device;
    enum member_state state;
    uint32_t sequence; /* of the request in flight */
    unsigned tries;
    unsigned received; /* datagrams of this handshake */
    unsigned held;     /* datagrams that arrived and are not read yet; storm only */
    uint64_t started_ns;
    uint64_t deadline_ns;
};

/* The device_send_fn of all phases. */
void member_send(struct device *device, const void *data, size_t size);

void member_set_deadline(struct load *l, struct member *m, uint64_t after_ms);

/* The member waits no longer. In state BROKEN it is out of the run, which is an error. */
void member_finish(struct load *l, struct member *m, enum member_state state);

/* Exits with a message when there are too many. */
void member_count_error(struct load *l);

#endif
