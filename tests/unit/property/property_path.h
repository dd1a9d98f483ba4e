/* Where the sessions with a connection ID are (RFC 9146 section 6), and how they are found. Part of
 * the model: it knows who sent each datagram, and judges what the gate tells of its moves. */
#ifndef PROPERTY_PATH_H
#define PROPERTY_PATH_H

#include "property/property_model.h"

/* What the records of a device's datagram show: the epoch, and its connection ID. */
void path_read_record(struct model *model, const struct packet *packet, struct origin *origin);

/* What the log tells. The life's own fields are set already; it is not among the live ones yet. */
void path_on_established(struct model *model, uint32_t life);
void path_on_moved(struct model *model, uint32_t life, const struct addr *to);

/* Explains each move of the step by a datagram that may cause it, and misses none that must. */
void path_judge(struct model *model);

/* A datagram of that plaintext length for the device was sent (bytes of the packet), or was kept
 * back: may the gate do so? */
void path_on_forwarded(const struct model *model, struct life *life, uint32_t bytes);
void path_on_kept_back(const struct model *model, const struct life *life, uint32_t len);
/* Another datagram went there; it may be of a session that has not proved its address. */
void path_on_sent(struct model *model, uint32_t listener, const struct packet *packet);

/* The outcomes of records without a connection ID, or with one that nobody has. */
void path_check_outcomes(struct model *model);

#endif
