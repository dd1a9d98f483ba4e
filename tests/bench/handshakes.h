/* The phases in which devices shake hands: a few at once, all at once, or only halfway. */
#ifndef BENCH_HANDSHAKES_H
#define BENCH_HANDSHAKES_H

#include "member.h"

/* Closed devices shake hands, at most so many in all and l->concurrent at once. */
void handshakes_start(struct load *l, uint64_t count);

/* Every device forgets its session, as if it had rebooted, and shakes hands; at most l->concurrent
 * at once. */
void handshakes_start_again(struct load *l);

/* Every closed device proves its address and falls silent before it answers the server's flight. */
void handshakes_start_stalled(struct load *l);

/* Devices forget their session and shake hands, one after the other at the pace of l->pace; begins
 * with those that are due now. */
void handshakes_start_due(struct load *l);

/* The patience is over: devices that are still at it forget it. */
void handshakes_abandon(struct load *l);

/* Every device reboots: its first flight is ready when this returns, and the devices send them
 * within spread_ms, whatever becomes of those before. False, with a message, if one cannot. */
bool handshakes_start_storm(struct load *l, uint64_t spread_ms);

/* Storm: sends the first flights that are due. True if there are more to come. */
bool handshakes_send_due(struct load *l);

/* Storm: the time is over, whoever is not back is broken. */
void handshakes_give_up(struct load *l);

void handshakes_end_storm(struct load *l);

void handshakes_on_datagram(struct load *l, struct member *m, const void *data, size_t size);
void handshakes_on_deadline(struct load *l, struct member *m);

#endif
