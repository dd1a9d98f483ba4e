/* The lines of a session whose identity an operator traces: each record of the device, and each
 * datagram either way, whatever the log level. One worker's thread. */
#ifndef SESSION_TRACE_H
#define SESSION_TRACE_H

#include "session/session_store.h"

/* What a record of the device was, that has just been opened or not. */
void session_trace_record(struct sessions *all, const struct session *session,
                          const struct association_opened *opened);
/* What became of a datagram of the device. */
void session_trace_from_client(struct sessions *all, const struct session *session, size_t len,
                               enum client_outcome outcome);
/* The same of one of the backend; the record that it went in is the latest of the session. */
void session_trace_from_backend(struct sessions *all, const struct session *session, size_t len,
                                enum backend_outcome outcome);

#endif
