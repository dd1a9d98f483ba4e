/* What association.c and association_13.c share. */
#ifndef ASSOCIATION_INSIDE_H
#define ASSOCIATION_INSIDE_H

#include "session/association.h"

/* Seals and sends one record under the present keys. */
enum association_sealed association_send(struct association *association,
                                         const struct association_call *call, uint8_t type,
                                         const uint8_t *data, size_t len);

/* The device broke a rule: tells it, and says so. */
void association_fail(struct association *association, const struct association_call *call,
                      enum alert alert, struct association_opened *opened);

/* ---- DTLS 1.3 ------------------------------------------------------------------------------- */

bool association_13_init(struct association *association, const struct taken *taken,
                         uint64_t now_ms) MUST_USE;
void association_13_deinit(struct association_13 *v13);

/* Opens a record: what it was opened with, and what that means for older keys. */
enum record_verdict association_13_open(struct association *association,
                                        const struct association_call *call, const uint8_t *data,
                                        size_t len, bool is_first, uint8_t *room,
                                        struct record_content *content);

/* The contents of records of epoch 3 and later: of type handshake and ACK. */
void association_13_on_handshake(struct association *association,
                                 const struct association_call *call,
                                 const struct record_content *content,
                                 struct association_opened *opened);
void association_13_on_ack(struct association *association, const struct association_call *call,
                           const struct record_content *content, struct association_opened *opened);
/* A record of epoch 2. */
void association_13_on_remainder(struct association *association,
                                 const struct association_call *call,
                                 const struct record_content *content,
                                 struct association_opened *opened);

/* After each record that was opened or sealed: our own keys may be worn by half. */
void association_13_look_after_keys(struct association *association,
                                    const struct association_call *call);

#endif
