/* The last flight of a handshake of DTLS 1.2, which the gate has sent: if the device has not got
 * it, it repeats its own (T4). One worker's thread. */
#ifndef LAST_FLIGHT_H
#define LAST_FLIGHT_H

#include "handshake/flight.h"
#include "session/session_store.h"

/* Takes it from the handshake's flight, if there is one that may be needed; without memory it is
 * not kept, and the device begins anew. */
void last_flight_keep(struct sessions *all, struct session *s, struct flight *flight);
/* Harmless if there is none. */
void last_flight_drop(struct sessions *all, struct session *s);

/* The device's Finished has come again. False if there is nothing to repeat any more. */
bool last_flight_repeat(struct sessions *all, struct session *s);

/* When it is to be dropped; TIMERS_NONE = there is none. */
uint64_t last_flight_due_ms(const struct session *s);

#endif
