/* A session's wolfSSL object as bytes, and the object again: what dtls.c does not need to know. */
#ifndef DTLS_PARK_H
#define DTLS_PARK_H

#include "handshake/dtls.h"

/* The library's own bound is 514 bytes; a connection ID and a few more of ours. */
#define DTLS_EXPORT_MAX 1024
#define DTLS_EXPORT_COMMON_MAX 128

/* The state of an established session. Key material but for the first common_len bytes, which are
 * the same for many sessions: settings, suite. */
struct dtls_export {
    size_t len, common_len;
    uint8_t bytes[DTLS_EXPORT_MAX];
};

/* False if the library cannot, or has begun something that is not done. */
bool dtls_export(struct dtls *dtls, struct dtls_export *state) MUST_USE;

/* An object that goes on where the exported one was, but with a sender that is not set yet; NULL if
 * out of memory. The connection ID is the gate's own, as given to dtls_set_cid(); NULL = none. */
struct dtls *dtls_import(const struct listener *listener, enum dtls_version version,
                         const uint8_t *cid, size_t cid_len, const struct dtls_export *state);

enum dtls_can_park { DTLS_CAN_PARK_UNKNOWN, DTLS_CAN_PARK_YES, DTLS_CAN_PARK_NO };

/* Asks the library whether an export of such a session has all that is in it. wolfSSL 5.9.2
 * exports sessions of DTLS 1.3 too, but without their keys (pull request 11095 would do it).
 * Unknown: out of memory, or this session cannot be exported now. */
enum dtls_can_park dtls_can_park(struct dtls *dtls, enum dtls_version version, const uint8_t *cid,
                                 size_t cid_len);

#endif
