#include "wire/classify.h"

#include "base/bytes.h"
#include "wire/message.h"

enum {
    HELLO_RANDOM_END = 2 + HELLO_RANDOM_BYTES, /* legacy_version and random */

    /* 2^14 bytes and what the suites add, all of them AEAD: at most 24 bytes (RFC 6347 allows
     * 2,048, RFC 9147 256). A longer one cannot be authentic, and the library would end the
     * session. */
    RECORD_LENGTH_MAX = RECORD_PLAINTEXT_MAX + 256,
    CIPHERTEXT_LENGTH_MAX = RECORD_PLAINTEXT_MAX + 256,
    /* Shortest DTLS 1.3 ciphertext: 16 bytes are needed to decrypt the sequence number. */
    CIPHERTEXT_LENGTH_MIN = AEAD_SAMPLE_BYTES,
};

/* A record as its header tells it. */
struct record {
    size_t len; /* with its header */
    size_t body_len;
    const uint8_t *cid; /* NULL if it has none */
    bool is_protected;
};

/* The record at data; false if it is malformed. cid_len: of the connection IDs that the listener
 * gives out, since no record tells it. With 0 nobody has one; such a record cannot be read and
 * extends to the end. */
static bool read_ciphertext(const uint8_t *data, size_t len, size_t cid_len, struct record *record)
{
    bool has_cid = (data[0] & RECORD13_HAS_CID) != 0;
    bool has_length = (data[0] & RECORD13_HAS_LENGTH) != 0;
    size_t header = RECORD13_CID_AT + (has_cid ? cid_len : 0) +
                    ((data[0] & RECORD13_HAS_16_BITS) != 0 ? 2 : 1) + (has_length ? 2 : 0);

    if (len < header + CIPHERTEXT_LENGTH_MIN)
        return false;
    size_t body = len - header;
    if (has_length && !(has_cid && cid_len == 0))
        body = record_body_len(data, header);
    if (body < CIPHERTEXT_LENGTH_MIN || body > CIPHERTEXT_LENGTH_MAX || body > len - header)
        return false;
    *record = (struct record){.len = header + body,
                              .body_len = body,
                              .cid = has_cid ? data + RECORD13_CID_AT : NULL,
                              .is_protected = true};
    return true;
}

/* A list of record numbers: RFC 9147 section 7. Over another one the library ends the handshake. */
static bool is_ack(const uint8_t *body, size_t len)
{
    return len >= 2 && bytes_get16(body) == len - 2 && (len - 2) % 16 == 0;
}

static bool is_known_type(uint8_t type)
{
    switch (type) {
    case RECORD_CHANGE_CIPHER_SPEC:
    case RECORD_ALERT:
    case RECORD_HANDSHAKE:
    case RECORD_APPLICATION_DATA:
    case RECORD_TLS12_CID:
    case RECORD_ACK: return true;
    default: return false;
    }
}

/* The same for the header of DTLS 1.2, which plaintext of DTLS 1.3 has too. What is protected may
 * have any type: the session that authenticates it answers (RFC 5246 section 7.2.2). */
static bool read_plain_header(const uint8_t *data, size_t len, size_t cid_len,
                              struct record *record)
{
    if (len < RECORD_HEADER_BYTES)
        return false;
    uint8_t type = data[0];
    uint16_t epoch = record_epoch(data);
    /* In plaintext the version says nothing (RFC 9147 section 4); what is protected under this
     * header is of DTLS 1.2 and says so. */
    if (epoch != 0 && bytes_get16(data + RECORD_VERSION_AT) != RECORD_DTLS12)
        return false;
    bool has_cid = type == RECORD_TLS12_CID;
    if (epoch == 0 && (!is_known_type(type) || type == RECORD_APPLICATION_DATA || has_cid))
        return false;
    size_t header = RECORD_HEADER_BYTES + (has_cid ? cid_len : 0);
    if (len <= header)
        return false;
    size_t body = has_cid && cid_len == 0 ? len - header : record_body_len(data, header);
    if (body == 0 || body > RECORD_LENGTH_MAX || body > len - header)
        return false;
    if (epoch == 0 && type == RECORD_ACK && !is_ack(data + header, body))
        return false;
    *record = (struct record){.len = header + body,
                              .body_len = body,
                              .cid = has_cid ? data + RECORD_CID_AT : NULL,
                              .is_protected = epoch != 0};
    return true;
}

static bool read_record(const uint8_t *data, size_t len, size_t cid_len, struct record *record)
{
    return record_is_ciphertext13(data[0]) ? read_ciphertext(data, len, cid_len, record)
                                           : read_plain_header(data, len, cid_len, record);
}

/* Fills the hello's fields; false if the record is not a ClientHello. */
static bool read_hello(const uint8_t *data, size_t record_len, struct classified *result)
{
    const uint8_t *handshake = data + RECORD_HEADER_BYTES;
    if (data[0] != RECORD_HANDSHAKE || record_len < RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES ||
        handshake[0] != HANDSHAKE_CLIENT_HELLO)
        return false;
    uint32_t message_len = bytes_get24(handshake + 1);
    uint32_t fragment_offset = bytes_get24(handshake + 6);
    uint32_t fragment_len = bytes_get24(handshake + 9);

    result->is_fragment = fragment_offset != 0 || fragment_len != message_len;
    result->is_later_fragment = fragment_offset != 0;
    if (fragment_offset == 0 &&
        record_len >= RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + HELLO_RANDOM_END) {
        /* The last bytes: the first four were a clock once (RFC 5246 section 7.4.1.2). */
        const uint8_t *random_end = handshake + HANDSHAKE_HEADER_BYTES + HELLO_RANDOM_END;
        memcpy(&result->hello_tag, random_end - 8, 8);
        /* legacy_session_id<0..32>, then cookie<0..255>: RFC 6347 section 4.2.1. */
        const uint8_t *end = data + record_len;
        if (random_end < end && (size_t)(end - random_end) > 1u + random_end[0])
            result->has_cookie = random_end[1 + random_end[0]] != 0;
    }
    return true;
}

/* Steps over a vector with a length of length_bytes; NULL if it does not fit. */
static const uint8_t *skip_vector(const uint8_t *at, const uint8_t *end, size_t length_bytes)
{
    if (at == NULL || (size_t)(end - at) < length_bytes)
        return NULL;
    size_t size = length_bytes == 1 ? at[0] : bytes_get16(at);
    at += length_bytes;
    return (size_t)(end - at) >= size ? at + size : NULL;
}

/* What stands behind the random of a ClientHello that begins in the datagram, and the end of its
 * record; NULL if there is none. */
static const uint8_t *behind_random(const uint8_t *data, size_t len, const uint8_t **end)
{
    struct classified kind = {.kind = DATAGRAM_JUNK};
    struct record record;
    if (len == 0 || !read_record(data, len, 0, &record) || record.is_protected ||
        !read_hello(data, record.len, &kind) || kind.is_later_fragment ||
        record.len < RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + HELLO_RANDOM_END)
        return NULL;
    *end = data + record.len;
    return data + RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + HELLO_RANDOM_END;
}

const uint8_t *classify_hello_suites(const uint8_t *data, size_t len, size_t *size)
{
    const uint8_t *end = NULL, *at = behind_random(data, len, &end);
    at = skip_vector(at, end, 1);                      /* legacy_session_id */
    at = skip_vector(at, end, 1);                      /* cookie */
    if (at == NULL || skip_vector(at, end, 2) == NULL) /* cipher_suites */
        return NULL;
    *size = bytes_get16(at);
    return at + 2;
}

/* The ticket in an extension: all of session_ticket (RFC 5077 section 3.2), or of pre_shared_key
 * the first identity (RFC 8446 section 4.2.11). */
static const uint8_t *ticket_in(uint16_t extension, const uint8_t *at, const uint8_t *end,
                                size_t *size)
{
    enum { SESSION_TICKET = 35, PRE_SHARED_KEY = 41, IDENTITY_AT = 2 + 2 };
    if (extension == SESSION_TICKET) {
        *size = (size_t)(end - at);
        return at;
    }
    if (extension != PRE_SHARED_KEY || end - at < IDENTITY_AT ||
        skip_vector(at + 2, end, 2) == NULL)
        return NULL;
    *size = bytes_get16(at + 2);
    return at + IDENTITY_AT;
}

const uint8_t *classify_hello_ticket(const uint8_t *data, size_t len, size_t *size)
{
    const uint8_t *end = NULL, *at = behind_random(data, len, &end), *next, *empty = NULL;
    at = skip_vector(at, end, 1); /* legacy_session_id */
    at = skip_vector(at, end, 1); /* cookie */
    at = skip_vector(at, end, 2); /* cipher_suites */
    at = skip_vector(at, end, 1); /* compression methods */
    if (at == NULL || end - at < 2)
        return NULL;
    /* In a fragment the extensions end early; those that are whole are looked at. */
    for (at += 2; end - at >= 4 && (next = skip_vector(at + 2, end, 2)) != NULL; at = next) {
        const uint8_t *ticket = ticket_in(bytes_get16(at), at + 4, next, size);
        if (ticket != NULL && *size != 0)
            return ticket;
        /* Of 1.2, only asked for; one of 1.3 may follow. */
        empty = empty != NULL ? empty : ticket;
    }
    *size = 0;
    return empty;
}

bool classify_is_coap(const uint8_t *data, size_t len)
{
    enum { HEADER_BYTES = 4, TOKEN_MAX = 8, METHOD_MAX = 7, MARKER = 0xff };
    if (len < HEADER_BYTES || data[0] >> 6 != 1)
        return false;
    size_t token_len = data[0] & 15, end = HEADER_BYTES + token_len;
    uint8_t class = data[1] >> 5, detail = data[1] & 31;
    if (token_len > TOKEN_MAX || end > len)
        return false;
    if (data[1] == 0) /* Empty: of CoAP's ping, an acknowledgement, a reset */
        return len == HEADER_BYTES;
    if (class == 0 ? detail > METHOD_MAX : class != 2 && class != 4 && class != 5)
        return false;
    /* Options, or the marker and a payload; 15 for the difference of an option means nothing else.
     */
    return end == len || data[end] >> 4 != 15 || (data[end] == MARKER && len > end + 1);
}

size_t classify_record_len(const uint8_t *data, size_t len, size_t cid_len, size_t body_max)
{
    struct record record;
    if (len == 0 || !read_record(data, len, cid_len, &record) || record.body_len > body_max)
        return 0;
    return record_is_ciphertext13(data[0]) || is_known_type(data[0]) ? record.len : 0;
}

size_t classify_before_plain_ack(const uint8_t *data, size_t len, size_t cid_len)
{
    size_t at = 0;
    struct record record;
    while (at < len && read_record(data + at, len - at, cid_len, &record) &&
           (record.is_protected || data[at] != RECORD_ACK))
        at += record.len;
    return at;
}

void classify_level_versions(uint8_t *data, size_t len, size_t cid_len)
{
    struct record record;
    for (size_t at = 0; at < len && read_record(data + at, len - at, cid_len, &record);
         at += record.len) {
        if (!record.is_protected)
            bytes_put16(data + at + RECORD_VERSION_AT, RECORD_DTLS12);
    }
}

size_t classify_before_missing_cid(const uint8_t *data, size_t len, size_t cid_len)
{
    size_t at = 0;
    struct record record;
    while (at < len && read_record(data + at, len - at, cid_len, &record) &&
           !(record.is_protected && record.cid == NULL))
        at += record.len;
    return at;
}

/* Records of different sessions never share a datagram (RFC 9147 section 4). */
static bool has_same_cid(const uint8_t *cid, const uint8_t *other, size_t cid_len)
{
    if (cid == NULL || other == NULL)
        return cid == other;
    return memcmp(cid, other, cid_len) == 0;
}

bool classify_is_of_flight(const struct classified *kind)
{
    switch (kind->kind) {
    case DATAGRAM_PLAINTEXT: return kind->first_type == RECORD_HANDSHAKE;
    case DATAGRAM_PROTECTED:
        /* In DTLS 1.3 they are of epoch 2, whose lowest two bits are in the header. */
        return record_is_ciphertext13(kind->first_type)
                   ? record_is_of_epoch13(kind->first_type, 2)
                   : kind->first_type == RECORD_HANDSHAKE || kind->first_type == RECORD_TLS12_CID;
    default: return false;
    }
}

static void read_alert(const uint8_t *body, size_t len, struct classified *result)
{
    if (len != 2)
        return;
    result->alert_level = body[0];
    result->alert_code = body[1];
}

struct classified classify(const uint8_t *data, size_t len, size_t cid_len)
{
    struct classified result = {.kind = DATAGRAM_JUNK};
    struct record record;
    bool only_protected = true, has_alert = false;

    for (size_t at = 0; at < len && read_record(data + at, len - at, cid_len, &record);
         at += record.len) {
        if (at == 0) {
            if (record.is_protected)
                result.kind = DATAGRAM_PROTECTED;
            else
                result.kind =
                    read_hello(data, record.len, &result) ? DATAGRAM_HELLO : DATAGRAM_PLAINTEXT;
            result.first_type = data[0];
            result.cid = record.cid;
        }
        only_protected =
            only_protected && record.is_protected && has_same_cid(record.cid, result.cid, cid_len);
        if (!has_alert && !record.is_protected && data[at] == RECORD_ALERT) {
            has_alert = true;
            read_alert(data + at + RECORD_HEADER_BYTES, record.body_len, &result);
        }
        result.usable_len = (uint32_t)(at + record.len);
        if (!has_alert)
            result.before_alert_len = result.usable_len;
        if (only_protected)
            result.protected_len = result.usable_len;
    }
    return result;
}
