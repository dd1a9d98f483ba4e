/* The kinds of devices that many tests use, each once and by a name that says what it is. A test
 * that needs a peculiar one takes one of these and changes it:
 *     struct client_kind kind = *gate_kind("1.2 psk ccm-8");
 *     kind.mtu_bytes = 300;
 * A table of devices that fail, where no two are alike, is put together from the parts below. */
#ifndef CLIENT_KINDS_H
#define CLIENT_KINDS_H

#include "gate/memory_client.h"

/* The identity and key of devices.psk, and an identity whose key is another one there. */
#define IDENTITY "device1"
#define KEY "0123456789abcdef"
#define OTHER_IDENTITY "device2"

/* One of each way to authenticate and to agree on keys, without connection IDs, tickets and the
 * like: they can connect to USUAL of gate_fixture.h. The last has no name. */
extern const struct client_kind gate_kinds[];

/* Any kind by its name: one of those, or one of the variants in client_kinds.c. A name holds the
 * version, the credential and the suite ("any": all of the library's), which is left out if it is
 * the usual one: CCM-8 with an ECDSA certificate in 1.2, GCM in 1.3. Behind a comma:
 *     cid             it takes a connection ID of the gate, and has an empty one itself
 *     cid 4           both have one, its own of 4 bytes
 *     ticket          it asks for one of DTLS 1.2; those of 1.3 come in any case
 *     fragment 512    max_fragment_length
 *     single records  each in a datagram of its own
 *     mtu 256         of its datagrams while it shakes hands
 *     rsa server      it knows the CA of rsa-server.pem
 *     large hello     of 1.3, with its usual key shares: the hello comes in fragments
 * Ends the program if there is none. Works without cmocka. */
const struct client_kind *gate_kind(const char *name);

/* ---- parts ---------------------------------------------------------------------------------- */

/* The device lacks what it authenticates with: .identity of a PSK in 1.2, .certificate, or all of
 * .identity and .key. It does not look at the server's certificate. */
#define PSK_12 .version = VERSION_1_2, .suites = "PSK-AES128-CCM-8", .key = KEY
#define ECDSA_12 .version = VERSION_1_2, .suites = "ECDHE-ECDSA-AES128-CCM-8"
#define LARGE_13 .version = VERSION_1_3, .suites = "TLS13-AES128-GCM-SHA256"
#define SUITE_13(suite) .version = VERSION_1_3, .suites = suite, .has_small_hello = true
#define GCM_13 SUITE_13("TLS13-AES128-GCM-SHA256")

/* What it can authenticate with. */
#define WITH_PSK .identity = IDENTITY, .key = KEY
#define WITH_CERTIFICATE .certificate = "device", .ca = "ca"

#endif
