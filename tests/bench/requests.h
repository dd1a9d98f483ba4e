/* The phases of requests: a device of the crowd has one in flight at most. */
#ifndef BENCH_REQUESTS_H
#define BENCH_REQUESTS_H

#include "member.h"

/* amount: a count or a time, as 20000 or 5s. Of a time, only what is answered within it counts.
 * False, with a message, if it is neither or a device is not open. */
bool requests_start(struct load *l, const char *amount);

/* The same at the pace of l->pace: requests_start_due() begins those that are due. */
bool requests_start_at_pace(struct load *l);
void requests_start_due(struct load *l);

void requests_on_answer(struct load *l, struct member *m, const uint8_t *answer, size_t size);
void requests_on_deadline(struct load *l, struct member *m);

#endif
