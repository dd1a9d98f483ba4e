/* How much of a worker's time strangers get. As long as sessions carry data, ClientHellos that are
 * answered statelessly have a fixed share of the time that passes, so that a flood of them leaves
 * the rest to sessions, and the processor to the backend; hellos that begin a handshake are not
 * counted, as their devices have proved their address. Without data there is no limit. Pure: time
 * is a parameter. */
#ifndef HELLO_SHARE_H
#define HELLO_SHARE_H

#include <stdint.h>

struct hello_share {
    int64_t credit_ns; /* processor time that hellos may use now; negative = they used too much */
    uint64_t refilled_ns;
    uint64_t data_seen, data_seen_ns; /* the count of data datagrams, and when it last grew */
    uint64_t cost_ns;                 /* of one hello, a moving average; 0 = not known yet */
};

void hello_share_init(struct hello_share *share, uint64_t now_ns);

/* How many hellos may be taken from each socket in this turn of the event loop; 0 = a pause is due.
 * data_count: datagrams that sessions have carried since the start. */
uint32_t hello_share_quota(struct hello_share *share, uint64_t data_count, uint64_t now_ns);

/* `count` hellos were taken and took so much processor time; `begun` of them began a handshake. */
void hello_share_spend(struct hello_share *share, uint32_t count, uint32_t begun,
                       uint64_t spent_ns);

/* How long a pause must last, at least 1 ms. */
uint64_t hello_share_pause_ms(const struct hello_share *share);

#endif
