#include "role.h"

#include "base/bytes.h"

enum {
    RECORD_HEADER = 13,
    TYPE_CHANGE_CIPHER_SPEC = 20,
    TYPE_HANDSHAKE = 22,
    HELLO_REQUEST = 0,
    CLIENT_HELLO = 1,
    SERVER_HELLO = 2,
    HELLO_VERIFY_REQUEST = 3,
};

static bool is_plaintext_record(const uint8_t *record)
{
    return (record[0] & 0xe0) == 0 && bytes_get16(record + 3) == 0;
}

/* A cookie reply is one plaintext record with a HelloVerifyRequest or a HelloRetryRequest, which
 * is a ServerHello message (RFC 8446 section 4.1.4). A ServerHello proper never comes out of the
 * stateless front: there is no state to make one from. */
static bool is_cookie_reply(const uint8_t *datagram, size_t len)
{
    if (len <= RECORD_HEADER || !is_plaintext_record(datagram) || datagram[0] != TYPE_HANDSHAKE)
        return false;
    uint8_t message = datagram[RECORD_HEADER];
    return bytes_get16(datagram + 11) == len - RECORD_HEADER &&
           (message == HELLO_VERIFY_REQUEST || message == SERVER_HELLO);
}

/* Walks the plaintext records of a datagram; those of later epochs are opaque and follow them.
 * False if one of them is something that a server in this phase never says. */
static bool has_only_server_records(const uint8_t *datagram, size_t len, bool is_established)
{
    size_t at = 0;
    while (len - at > RECORD_HEADER && is_plaintext_record(datagram + at)) {
        const uint8_t *record = datagram + at;
        size_t body = bytes_get16(record + 11);
        if (body > len - at - RECORD_HEADER)
            return false;
        if (is_established && record[0] != TYPE_CHANGE_CIPHER_SPEC)
            return false;
        if (record[0] == TYPE_HANDSHAKE &&
            (record[RECORD_HEADER] == CLIENT_HELLO || record[RECORD_HEADER] == HELLO_REQUEST))
            return false;
        at += RECORD_HEADER + body;
    }
    return true;
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
        /* In plaintext only the ChangeCipherSpec of a repeated last flight. */
        return has_only_server_records(datagram, len, true);
    case ROLE_ENDED: return false;
    }
    return false;
}
