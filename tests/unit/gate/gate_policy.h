/* What the wire alone tells of the role policy: watches the datagrams between devices and gate and
 * fails the test when the gate says what a server must not say, or says more to a stranger than a
 * cookie. Knows nothing of sessions, on purpose. */
#ifndef GATE_POLICY_H
#define GATE_POLICY_H

#include <stdbool.h>

#include "fakes/fake_network.h"
#include "net/udp.h"

/* What is known of one address. */
struct gate_stranger {
    struct addr addr;
    uint64_t received_bytes, sent_bytes; /* as long as it is a stranger */
    uint32_t hellos, cookies, cid_datagrams;
    bool has_shown_cookie; /* sent a hello after a cookie had been sent to it */
};

struct gate_policy {
    struct gate_stranger *strangers; /* owned */
    uint32_t count, capacity;
};

void gate_policy_forget(struct gate_policy *policy);
void gate_policy_on_received(struct gate_policy *policy, const struct udp_datagram *datagram);
void gate_policy_on_sent(struct gate_policy *policy, const struct packet *packet);

/* True if the datagram is a HelloVerifyRequest or a HelloRetryRequest. */
bool gate_policy_is_cookie(const uint8_t *datagram, size_t len);

#endif
