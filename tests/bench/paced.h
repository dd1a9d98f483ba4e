/* The phase paced: every device has its turn, at a rate that does not wait for anything, and of
 * each datagram it is known what became of it. Nothing is sent again and no device shakes hands
 * anew, so whatever a server loses while it is replaced shows. */
#ifndef BENCH_PACED_H
#define BENCH_PACED_H

#include "member.h"

/* Every session must be there; paced is kept from phase to phase, and freed by paced_free(). False,
 * with a message, if one is not. */
bool paced_start(struct load *l);
void paced_free(struct paced *paced);

/* Sends what is due at the pace of l->pace. */
void paced_send_due(struct load *l);

/* A datagram has come for the device. */
void paced_on_datagram(struct load *l, struct member *m, const void *data, size_t size);

/* Whether every request has its answer. */
bool paced_is_complete(const struct load *l);

/* Prints the result, as one JSON object. */
void paced_print(struct load *l, const char *phase);

#endif
