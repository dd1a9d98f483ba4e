#include "classify.h"

#include "base/bytes.h"

enum {
    RECORD_HEADER = 13, /* type 1, version 2, epoch 2, sequence number 6, length 2 */
    HANDSHAKE_HEADER =
        12, /* type 1, length 3, message_seq 2, fragment_offset 3, fragment_length 3 */
    HELLO_RANDOM_END = 2 + 32, /* legacy_version and random */

    /* 2^14 bytes and what the suites add, all of them AEAD: at most 24 bytes (RFC 6347 allows
     * 2,048, RFC 9147 256). A longer one cannot be authentic, and the library would end the
     * session. */
    RECORD_LENGTH_MAX = 16384 + 256,
    CIPHERTEXT_LENGTH_MAX = 16384 + 256,
    /* Shortest DTLS 1.3 ciphertext: 16 bytes are needed to decrypt the sequence number. */
    CIPHERTEXT_LENGTH_MIN = 16,

    TYPE_CHANGE_CIPHER_SPEC = 20,
    TYPE_ALERT = 21,
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION_DATA = 23,
    TYPE_CID = 25,
    TYPE_ACK = 26,

    CLIENT_HELLO = 1,
};

/* RFC 9147 section 4: 001CSLEE. */
static bool is_ciphertext(uint8_t first_byte)
{
    return (first_byte & 0xe0) == 0x20;
}

/* Length of the DTLS 1.3 ciphertext at data, 0 if malformed. With a CID (which no session of ours
 * negotiates) the length cannot be known here; such a record extends to the end. */
static size_t ciphertext_len(const uint8_t *data, size_t len)
{
    bool has_cid = (data[0] & 0x10) != 0;
    bool has_length = (data[0] & 0x04) != 0;
    size_t header = 1 + ((data[0] & 0x08) != 0 ? 2 : 1) + (has_length ? 2 : 0);

    if (has_cid)
        return len <= CIPHERTEXT_LENGTH_MAX ? len : 0;
    if (len < header + CIPHERTEXT_LENGTH_MIN)
        return 0;
    size_t body = has_length ? bytes_get16(data + header - 2) : len - header;
    if (body < CIPHERTEXT_LENGTH_MIN || body > CIPHERTEXT_LENGTH_MAX || body > len - header)
        return 0;
    return header + body;
}

/* Length of the record with a DTLS 1.2 header at data, 0 if malformed. */
static size_t plain_header_len(const uint8_t *data, size_t len)
{
    if (len < RECORD_HEADER)
        return 0;
    uint8_t type = data[0];
    if (type < TYPE_CHANGE_CIPHER_SPEC || type > TYPE_ACK || type == 24)
        return 0;
    /* DTLS 1.0 in the record header is what hellos carry (RFC 6347 section 4.2.1). */
    if (data[1] != 0xfe || (data[2] != 0xff && data[2] != 0xfd))
        return 0;
    uint16_t epoch = bytes_get16(data + 3);
    bool needs_keys = type == TYPE_APPLICATION_DATA || type == TYPE_CID;
    if (epoch == 0 && needs_keys)
        return 0;
    size_t header = RECORD_HEADER;
    if (type == TYPE_CID) /* the length stands behind the CID; see ciphertext_len */
        return len <= RECORD_LENGTH_MAX ? len : 0;
    size_t body = bytes_get16(data + 11);
    if (body == 0 || body > RECORD_LENGTH_MAX || body > len - header)
        return 0;
    return header + body;
}

static bool is_protected(const uint8_t *record)
{
    return is_ciphertext(record[0]) || bytes_get16(record + 3) != 0;
}

/* Fills the hello's fields; false if the record is not a ClientHello. */
static bool read_hello(const uint8_t *data, size_t record_len, struct classified *result)
{
    const uint8_t *handshake = data + RECORD_HEADER;
    if (data[0] != TYPE_HANDSHAKE || record_len < RECORD_HEADER + HANDSHAKE_HEADER ||
        handshake[0] != CLIENT_HELLO)
        return false;
    uint32_t message_len = bytes_get24(handshake + 1);
    uint32_t fragment_offset = bytes_get24(handshake + 6);
    uint32_t fragment_len = bytes_get24(handshake + 9);

    result->is_fragment = fragment_offset != 0 || fragment_len != message_len;
    result->is_later_fragment = fragment_offset != 0;
    if (fragment_offset == 0 && record_len >= RECORD_HEADER + HANDSHAKE_HEADER + HELLO_RANDOM_END) {
        /* The last bytes: the first four were a clock once (RFC 5246 section 7.4.1.2). */
        const uint8_t *random_end = handshake + HANDSHAKE_HEADER + HELLO_RANDOM_END;
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

const uint8_t *classify_hello_suites(const uint8_t *data, size_t len, size_t *size)
{
    struct classified kind = {.kind = DATAGRAM_JUNK};
    size_t record_len = len > 0 && !is_ciphertext(data[0]) ? plain_header_len(data, len) : 0;
    if (record_len == 0 || is_protected(data) || !read_hello(data, record_len, &kind) ||
        kind.is_later_fragment || record_len < RECORD_HEADER + HANDSHAKE_HEADER + HELLO_RANDOM_END)
        return NULL;
    const uint8_t *end = data + record_len;
    const uint8_t *at = data + RECORD_HEADER + HANDSHAKE_HEADER + HELLO_RANDOM_END;
    at = skip_vector(at, end, 1);                      /* legacy_session_id */
    at = skip_vector(at, end, 1);                      /* cookie */
    if (at == NULL || skip_vector(at, end, 2) == NULL) /* cipher_suites */
        return NULL;
    *size = bytes_get16(at);
    return at + 2;
}

/* Length of the record at data, 0 if malformed; *body_len is set to that of its body. */
static size_t read_record(const uint8_t *data, size_t len, size_t *body_len)
{
    bool is_unified = is_ciphertext(data[0]);
    size_t record_len = is_unified ? ciphertext_len(data, len) : plain_header_len(data, len);
    size_t header = RECORD_HEADER;
    if (is_unified)
        header = 1 + ((data[0] & 0x08) != 0 ? 2 : 1) + ((data[0] & 0x04) != 0 ? 2 : 0);
    *body_len = record_len > header ? record_len - header : 0;
    return record_len;
}

size_t classify_whole_records(const uint8_t *data, size_t len, size_t bytes_max, size_t body_max)
{
    size_t at = 0;
    while (at < len) {
        size_t body_len;
        size_t record_len = read_record(data + at, len - at, &body_len);
        if (record_len == 0 || body_len > body_max || at + record_len > bytes_max)
            break;
        at += record_len;
    }
    return at;
}

struct classified classify(const uint8_t *data, size_t len)
{
    struct classified result = {.kind = DATAGRAM_JUNK};
    bool only_protected = true;
    size_t at = 0;

    while (at < len) {
        const uint8_t *record = data + at;
        size_t record_len = is_ciphertext(record[0]) ? ciphertext_len(record, len - at)
                                                     : plain_header_len(record, len - at);
        if (record_len == 0)
            break;
        if (at == 0) {
            if (is_protected(record))
                result.kind = DATAGRAM_PROTECTED;
            else
                result.kind =
                    read_hello(record, record_len, &result) ? DATAGRAM_HELLO : DATAGRAM_PLAINTEXT;
            result.first_type = record[0];
        }
        only_protected = only_protected && is_protected(record) && record[0] != TYPE_HANDSHAKE;
        at += record_len;
        result.usable_len = (uint32_t)at;
        if (only_protected)
            result.protected_len = (uint32_t)at;
    }
    return result;
}
