#include "wire/role.h"

#include "base/bytes.h"
#include "wire/message.h"

/* The random of a ServerHello that is a HelloRetryRequest: RFC 8446 section 4.1.3. */
static const uint8_t retry_random[HELLO_RANDOM_BYTES] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

static bool is_retry_request(const uint8_t *message, size_t len)
{
    size_t random_at = HANDSHAKE_HEADER_BYTES + 2; /* behind the version */
    return message[0] == HANDSHAKE_SERVER_HELLO && len >= random_at + HELLO_RANDOM_BYTES &&
           memcmp(message + random_at, retry_random, HELLO_RANDOM_BYTES) == 0;
}

/* A cookie reply is one plaintext record with a HelloVerifyRequest or a HelloRetryRequest. */
static bool is_cookie_reply(const uint8_t *datagram, size_t len)
{
    if (len <= RECORD_HEADER_BYTES || datagram[0] != RECORD_HANDSHAKE ||
        record_epoch(datagram) != 0)
        return false;
    const uint8_t *message = datagram + RECORD_HEADER_BYTES;
    size_t message_len = len - RECORD_HEADER_BYTES;
    return record_body_len(datagram, RECORD_HEADER_BYTES) == message_len &&
           (message[0] == HANDSHAKE_HELLO_VERIFY_REQUEST || is_retry_request(message, message_len));
}

/* A plaintext record that a server may send in this phase. Its body is at least a byte long. */
static bool is_server_record(const uint8_t *record, bool is_established)
{
    switch (record[0]) {
    case RECORD_CHANGE_CIPHER_SPEC: return true;
    case RECORD_HANDSHAKE:
        if (is_established)
            return record[RECORD_HEADER_BYTES] == HANDSHAKE_NEW_SESSION_TICKET;
        return record[RECORD_HEADER_BYTES] != HANDSHAKE_CLIENT_HELLO &&
               record[RECORD_HEADER_BYTES] != HANDSHAKE_HELLO_REQUEST;
    case RECORD_ALERT:
    case RECORD_ACK: return !is_established;
    default: return false;
    }
}

/* Walks the records; what the protected ones say cannot be seen. A DTLS 1.3 ciphertext is taken for
 * the last, and so is a record with a connection ID, whose length only the device knows. False if a
 * record is malformed or is something that a server in this phase never says. */
static bool has_only_server_records(const uint8_t *datagram, size_t len, bool is_established)
{
    size_t at = 0;
    while (at < len && !record_is_ciphertext13(datagram[at])) {
        const uint8_t *record = datagram + at;
        if (len - at <= RECORD_HEADER_BYTES)
            return false;
        if (record[0] == RECORD_TLS12_CID)
            return record_epoch(record) != 0;
        size_t body = record_body_len(record, RECORD_HEADER_BYTES);
        if (body == 0 || body > len - at - RECORD_HEADER_BYTES)
            return false;
        bool is_plaintext = record_epoch(record) == 0;
        if (is_plaintext && !is_server_record(record, is_established))
            return false;
        at += RECORD_HEADER_BYTES + body;
    }
    return true;
}

/* One record that is an alert, or protected, so that it cannot be seen what it is. */
static bool is_alert(const uint8_t *datagram, size_t len)
{
    if (record_is_ciphertext13(datagram[0]))
        return true;
    if (!has_only_server_records(datagram, len, false))
        return false;
    return datagram[0] == RECORD_TLS12_CID ||
           (datagram[0] == RECORD_ALERT &&
            len == RECORD_HEADER_BYTES + record_body_len(datagram, RECORD_HEADER_BYTES));
}

bool role_may_send(enum role role, enum role_phase phase, const uint8_t *datagram, size_t len,
                   size_t request_len)
{
    if (role != ROLE_SERVER_ONLY || len == 0)
        return false;
    switch (phase) {
    case ROLE_STRANGER:
        return is_cookie_reply(datagram, len) && len <= ROLE_AMPLIFICATION_MAX * request_len;
    case ROLE_HANDSHAKE: return has_only_server_records(datagram, len, false);
    case ROLE_SESSION:
        /* In plaintext only what begins a repeated last flight: the ticket, ChangeCipherSpec. */
        return has_only_server_records(datagram, len, true);
    case ROLE_REFUSED: return len <= request_len && is_alert(datagram, len);
    case ROLE_ENDED: return false;
    }
    return false;
}
