/* What tests ask of the inside of a gate, and the few things that they change there: the only file
 * of the tests, beside the tests of each source file, that knows how the datapath keeps its
 * sessions. For tests in memory (struct gate) and for fuzz targets (struct fuzz_gate). An address
 * of a device is one toward the first listener. */
#ifndef GATE_VIEW_H
#define GATE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session/closing.h"
#include "worker/datapath.h"

enum {
    GATE_CID_MAX = RECORD_CID_MAX,
    GATE_NOT_THERE = 255, /* in place of the length of a connection ID */
    /* Sessions that their device has closed, of which records are missing: how many, how long, and
     * how many bytes of records to each. */
    GATE_CLOSING_MAX = SESSION_CLOSING_MAX,
    GATE_CLOSING_MS = CLOSING_MS,
    GATE_CLOSING_BYTES = CLOSING_BYTES,
};

/* Established sessions, and handshakes that have proved their address. */
uint32_t gate_session_count(const struct datapath *dp);
uint32_t gate_handshake_count(const struct datapath *dp);
/* No session or handshake is there, or found by any address or connection ID. */
bool gate_is_empty(const struct datapath *dp);
/* Nothing that has ended waits to be freed. */
bool gate_is_reaped(const struct datapath *dp);
/* When the gate wants to be called; TIMERS_NONE = nothing is left to do. */
uint64_t gate_next_due_ms(const struct datapath *dp);
/* The same, of sessions and handshakes alone. */
uint64_t gate_next_timer_ms(const struct datapath *dp);

/* What sessions and handshakes take, and what belongs to them, without the library's own. */
size_t gate_bytes_kept(const struct datapath *dp);

/* An established session is found at the address. */
bool gate_has_session_at(const struct datapath *dp, const struct addr *client);
/* The device of the session that is found at the address has proved that it is there. */
bool gate_is_proved_at(const struct datapath *dp, const struct addr *client);
/* The connection ID that the gate gave to the device, whose handshake may still run. Returns its
 * length, GATE_NOT_THERE if nothing is found at the address. */
size_t gate_copy_cid(const struct datapath *dp, const struct addr *client,
                     uint8_t cid[GATE_CID_MAX]);
size_t gate_cid_bytes(const struct datapath *dp, const struct addr *client);
/* Digests of the credential of the session that is found at the address; there must be one. */
struct credential_digests gate_digests_of(const struct datapath *dp, const struct addr *client);
/* Largest datagram that fits into a record for the session's device; 0 = no session there. */
size_t gate_plaintext_max(const struct datapath *dp, const struct addr *client);
/* What other workers call the session; all zero = no session there. */
struct identities_session gate_name_of(const struct datapath *dp, const struct addr *client);

/* Address toward the backend: of the session at that address (no family = no session there), of a
 * slot, used or not; the socket of all, and its port. */
struct addr gate_slot_addr_of(const struct datapath *dp, const struct addr *client);
struct addr gate_slot_addr(const struct datapath *dp, uint32_t slot);
struct udp_socket *gate_backend_socket(struct datapath *dp);
uint16_t gate_backend_port(const struct datapath *dp);
uint32_t gate_slot_max(const struct datapath *dp);
/* Of each bucket, from its first address on. */
void gate_set_slot_max(struct datapath *dp, uint32_t slot_max);
/* An established session has this address toward the backend. */
bool gate_has_session_from(const struct datapath *dp, const struct addr *source);
/* Ends it, without a word; nothing happens if there is none. */
void gate_end_session_from(struct datapath *dp, const struct addr *source);

/* Sessions that their device has closed and that wait for records from before; when the wait for
 * the oldest one is over. */
uint32_t gate_closing_count(const struct datapath *dp);
uint64_t gate_closing_end_ms(const struct datapath *dp);

/* As if the process were killed while the session at that address changes, or while it ends as
 * evicted, just after that was decided. */
void gate_tear(struct datapath *dp, const struct addr *client, bool is_ending);
/* What the next record to the device is sealed with: the explicit nonce, or the number. */
uint64_t gate_next_nonce(const struct datapath *dp, const struct addr *client);

/* As if this were worker number index of that many. */
void gate_set_worker(struct datapath *dp, uint32_t index, uint32_t count);
/* Who is asked to end a session of another worker. */
void gate_set_end_elsewhere(struct datapath *dp,
                            void (*end_elsewhere)(void *, const struct identities_session *),
                            void *context);

/* How much keys may be used; NULL = as the RFCs say. Borrowed. */
void gate_set_record_limits(struct datapath *dp, const struct record_limits *limits);

/* This worker's share of what is limited; of the first listener where each has its own. */
struct gate_limits {
    uint32_t session_max, handshake_max, handshakes_per_s, hellos_per_s;
};
struct gate_limits gate_limits_of(const struct datapath *dp);

/* What a fuzz target's input leaves behind on purpose, and the next one must not find: the object
 * that waits for the next hello, and the alerts of handshakes that failed a moment ago. */
void gate_forget_spare(struct datapath *dp);
void gate_forget_refusals(struct datapath *dp);

#endif
