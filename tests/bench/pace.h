/* Open loop: something begins so many times a second, whether what began before has ended or not. A
 * latency counts from the moment that it was due, so a wait in front of the door counts too. */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t per_s; /* 0: no pace is set */
    uint64_t start_ns, stop_ns;
    uint64_t taken;
};

/* text: RATE:SECONDS. False, with a message, if it is not. */
bool pace_init(struct pace *pace, const char *text, uint64_t now_ns);

/* Takes the next that is due; *due_ns: since when. False: none is due yet, or the time is over. */
bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *due_ns);

bool pace_is_over(const struct pace *pace, uint64_t now_ns);

/* Nanoseconds until there is something to do. */
uint64_t pace_wait_ns(const struct pace *pace, uint64_t now_ns);

#endif
