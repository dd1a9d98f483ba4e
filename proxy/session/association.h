/* An established session's keys, record numbers and protocol state: the RFCs call it an
 * association. It opens and seals records, and answers what the protocol itself answers. It is
 * plain data: it knows no library object, no socket, no table. What goes to the device leaves
 * through the caller's function, within the call. One worker's thread. Rules: R1 to R38, T5 to T9.
 */
#ifndef ASSOCIATION_H
#define ASSOCIATION_H

#include "handshake/taken.h"
#include "session/association_state.h"

/* How many bytes it takes, keys included. */
size_t association_bytes(const struct taken *taken);
/* The same of one that is there. */
size_t association_size(const struct association *association);

/* Begins in association_bytes() of the caller's, with what was taken over, which it copies. False:
 * out of memory, nothing to deinit. */
bool association_init(struct association *association, const struct taken *taken,
                      struct cells *cells, uint64_t now_ms) MUST_USE;
/* Wipes all of it. */
void association_deinit(struct association *association, struct cells *cells);

/* Opens the record at the beginning of what is left of a datagram; is_first: of the datagram. room
 * takes len bytes and does not overlap it. */
void association_open(struct association *association, const struct association_call *call,
                      const uint8_t *data, size_t len, bool is_first, uint8_t *room,
                      struct association_opened *opened);

/* The longest plaintext that one record to the device takes. */
size_t association_plaintext_max(const struct association *association);

/* Sends data as one record, never more; it may be empty. */
enum association_sealed association_seal(struct association *association,
                                         const struct association_call *call, const uint8_t *data,
                                         size_t len) MUST_USE;

/* Sends an alert. The session ends. */
void association_send_alert(struct association *association, const struct association_call *call,
                            enum alert alert);

/* After ASSOCIATION_CLOSED: a record from before the close_notify has not come, and would be taken.
 */
bool association_has_gap(const struct association *association);

/* When association_on_time() is to be called; UINT64_MAX = no need. */
uint64_t association_due_ms(const struct association *association);
void association_on_time(struct association *association, const struct association_call *call);

/* Changes our own keys, if nothing is unacknowledged; else as soon as that is. DTLS 1.3. */
void association_update_keys(struct association *association, const struct association_call *call);

#endif
