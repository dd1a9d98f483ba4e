/* What records of an established session carry besides data: alerts, acknowledgements, and the
 * handshake messages that DTLS 1.3 has after the handshake. Bytes to meaning and back; pure. */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/record.h"

/* Those of RFC 8446 section 6 that we send or must tell apart. */
enum alert {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_USER_CANCELED = 90,
    ALERT_NO_RENEGOTIATION = 100, /* DTLS 1.2 */
};
enum { ALERT_BYTES = 2, ALERT_WARNING = 1, ALERT_FATAL = 2 };

struct alert_message {
    uint8_t level, code;
};

/* The name in IANA's registry, which has those of RFC 8446 section 6 and more. */
const char *alert_name(uint8_t code);

bool message_read_alert(const uint8_t *data, size_t len, struct alert_message *alert);
void message_write_alert(const struct alert_message *alert, uint8_t out[ALERT_BYTES]);

/* ---- acknowledgements (RFC 9147 section 7) --------------------------------------------------- */

struct record_number {
    uint64_t epoch, number;
};

enum { ACK_NUMBER_BYTES = 16, ACK_HEADER_BYTES = 2 };

/* How many numbers an ACK names; -1 if it is malformed. */
int message_count_acks(const uint8_t *data, size_t len);
/* One of them, from 0. */
struct record_number message_get_ack(const uint8_t *data, int index);
/* An ACK of one record; out has ACK_HEADER_BYTES + ACK_NUMBER_BYTES. */
void message_write_ack(const struct record_number *number, uint8_t *out);

/* ---- handshake messages ---------------------------------------------------------------------- */

enum handshake_type {
    HANDSHAKE_HELLO_REQUEST = 0,
    HANDSHAKE_CLIENT_HELLO = 1,
    HANDSHAKE_SERVER_HELLO = 2,
    HANDSHAKE_HELLO_VERIFY_REQUEST = 3,
    HANDSHAKE_NEW_SESSION_TICKET = 4,
    HANDSHAKE_REQUEST_CONNECTION_ID = 9,
    HANDSHAKE_NEW_CONNECTION_ID = 10,
    HANDSHAKE_FINISHED = 20,
    HANDSHAKE_KEY_UPDATE = 24,
};

/* Type 1, length 3, message_seq 2, fragment_offset 3, fragment_length 3. */
enum { HANDSHAKE_HEADER_BYTES = 12 };
enum { HELLO_RANDOM_BYTES = 32 }; /* behind the version, 2 bytes (RFC 5246 section 7.4.1.2) */

/* One fragment: RFC 9147 section 5.2. */
struct handshake_fragment {
    uint8_t type;
    uint16_t message_seq;
    uint32_t message_len, offset, len;
    const uint8_t *body; /* len bytes */
    size_t bytes;        /* with its header; others may follow in the record */
};

/* The fragment at data; false if it is malformed. */
bool message_read_fragment(const uint8_t *data, size_t len, struct handshake_fragment *fragment);
/* Header of a message in one piece. */
void message_write_header(uint8_t type, uint32_t len, uint16_t message_seq,
                          uint8_t out[HANDSHAKE_HEADER_BYTES]);

enum { KEY_UPDATE_BYTES = 1 };
/* False: neither update_not_requested nor update_requested (RFC 8446 section 4.6.3). */
bool message_read_key_update(const uint8_t *body, size_t len, bool *is_requested);

/* RFC 9147 section 9. */
enum { CID_IMMEDIATE = 0, CID_SPARE = 1 };
struct new_connection_id {
    uint8_t usage;
    const uint8_t *first; /* the first of those offered; NULL = none */
    size_t first_len;
};
bool message_read_new_connection_id(const uint8_t *body, size_t len,
                                    struct new_connection_id *message);
/* That there are no further ones: an empty list of spare IDs. */
enum { NO_CONNECTION_ID_BYTES = 3 };
void message_write_no_connection_id(uint8_t out[NO_CONNECTION_ID_BYTES]);
enum { REQUEST_CONNECTION_ID_BYTES = 1 };

#endif
