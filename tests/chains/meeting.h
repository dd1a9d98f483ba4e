/* A device that shows a chain of certificates meets the gate's own objects, in memory: a complete
 * handshake with its cookie, all cryptography done. What the device shows is not checked or mended
 * by its library; in DTLS 1.2, where it can be seen, that is checked. */
#ifndef MEETING_H
#define MEETING_H

#include <stddef.h>
#include <stdint.h>

#include "count/counters.h"
#include "creds/generation.h"

enum { MEETING_SHOWN_MAX = 32, MEETING_TEXT_MAX = 512 };

/* What a device has to show. */
struct meeting_device {
    uint8_t *chain; /* PEM, the device's own first; owned by the caller */
    size_t chain_len;
    uint8_t *key; /* PEM */
    size_t key_len;
};

enum meeting_end {
    MEETING_ACCEPTED, /* established, and the certificate has passed */
    MEETING_REFUSED,
    MEETING_BROKEN, /* the test itself: the device's library cannot show this */
};

struct meeting_result {
    enum meeting_end end;
    enum handshake_result reason; /* MEETING_REFUSED */
    char detail[MEETING_TEXT_MAX];
    char identity[MEETING_TEXT_MAX]; /* MEETING_ACCEPTED: in hex */
    int alert;                       /* that the device got; -1 = none */
};

/* Any thread; many may share the listener, as workers do. */
void meeting_hold(const struct generation *generation, const struct meeting_device *device,
                  enum dtls_version version, struct meeting_result *result);

#endif
