/* Sessions whose devices sleep: the wolfSSL object gives way to its exported state, and comes back
 * when there is something for it to do. Nobody outside can tell. Part of session.c; one worker's
 * thread. */
#ifndef SESSION_PARK_H
#define SESSION_PARK_H

#include <stdbool.h>
#include <stdint.h>

struct session;
struct sessions;

/* An established session has its object now, or has it no more. */
void session_count_live(struct session *session, bool is_live);

/* Parks a session that has its object, if the library can export it and nothing is on its way. */
void session_park(struct session *session);

/* Gives a parked session its object again; harmless if it has it. False: out of memory, and it
 * stays parked. */
bool session_wake(struct session *session);

enum session_wake_result { SESSION_AWAKE, SESSION_LIMITED, SESSION_NO_MEMORY };

/* The same for a datagram from the backend: it counts among live_sessions. */
bool session_wake_for_backend(struct session *session);

/* The same for a record from the network, which may be forged: those that were are bounded in what
 * they cost. Devices that were not bothered in this way lately go first. */
enum session_wake_result session_wake_for_client(struct session *session);

/* After the datagram that the session was woken for: if it was not put to use, it is parked again.
 * was_authentic: it was not for nothing. Harmless if it was awake before, or has ended. */
void session_settle(struct session *session, bool was_authentic);

/* A session was put to use: it stays awake. */
void session_stay_awake(struct session *session);

/* Parks those that were not used for park_after, and the least recently used ones beyond
 * live_sessions; not too many at once, which shows in when it is due next. */
void sessions_park_idle(struct sessions *sessions);
uint64_t sessions_park_due_ms(const struct sessions *sessions);

/* Another session is about to be live: beyond live_sessions the least recently used one makes room
 * for it. Workers may read many datagrams between two calls of sessions_park_idle. */
void sessions_make_room(struct sessions *sessions);

#endif
