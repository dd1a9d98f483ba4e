/* Takes from the library's object what a session needs. From that instant on, whoever has it
 * protects the records, and the object is not used any more (it would use the same numbers). Part
 * of dtls.c. */
#ifndef DTLS_TAKE_OVER_H
#define DTLS_TAKE_OVER_H

#include "handshake/dtls.h"
#include "handshake/taken.h"

/* Of an object whose handshake has just been completed. False if it is in another state, or its
 * suite is unknown here: a bug. taken is to be wiped in any case. */
bool dtls_take_over(const struct dtls *dtls, struct taken *taken) MUST_USE;

#endif
