/* The last handshakes that failed, for an operator who asks why a device does not come in. One
 * worker's thread. */
#ifndef FAILURES_H
#define FAILURES_H

#include <stdint.h>

#include "handshake/handshake_log.h"

enum { FAILURES_KEPT = 64, FAILURE_DETAIL_MAX = 160 };

struct failure {
    uint64_t at_ms;
    struct addr client;
    uint32_t listener; /* number */
    enum handshake_result result;
    enum dtls_version version;
    size_t identity_len; /* 0 = it named none */
    uint8_t identity[PSK_IDENTITY_MAX];
    char detail[FAILURE_DETAIL_MAX]; /* cut; "" = the reason says it all */
};

/* A ring; zeroed = none. */
struct failures {
    struct failure at[FAILURES_KEPT];
    uint64_t count; /* since the start */
};

/* identity: what the device has named, proved or not; len 0 = nothing. */
void failures_note(struct failures *failures, const struct handshake_subject *subject,
                   const struct handshake_failure *failure, const uint8_t *identity, size_t len,
                   uint64_t now_ms);
/* The newest one for 0, and so on; NULL: none is that old. */
const struct failure *failures_newest(const struct failures *failures, uint32_t index);

#endif
