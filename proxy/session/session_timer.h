/* When a session needs attention: one timer, set to the earliest of its deadlines or before. One
 * worker's thread. */
#ifndef SESSION_TIMER_H
#define SESSION_TIMER_H

#include "session/session_store.h"

/* When it ends for want of use. */
uint64_t session_timer_idle_due_ms(const struct sessions *all, const struct session *s);

/* Sets the timer to the earliest deadline. */
void session_timer_set(struct sessions *all, struct session *s);
/* The association may have a deadline that is earlier now. One that moved away is noticed when the
 * timer fires: a datagram then costs no heap operation. */
void session_timer_advance(struct sessions *all, struct session *s);

#endif
