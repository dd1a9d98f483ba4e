#include "wire/message.h"

#include "base/bytes.h"

bool message_read_alert(const uint8_t *data, size_t len, struct alert_message *alert)
{
    if (len != ALERT_BYTES)
        return false;
    *alert = (struct alert_message){.level = data[0], .code = data[1]};
    return true;
}

void message_write_alert(const struct alert_message *alert, uint8_t out[ALERT_BYTES])
{
    out[0] = alert->level;
    out[1] = alert->code;
}

/* ---- acknowledgements ----------------------------------------------------------------------- */

static uint64_t get64(const uint8_t *at)
{
    return (uint64_t)bytes_get32(at) << 32 | bytes_get32(at + 4);
}

static void put64(uint8_t *at, uint64_t value)
{
    bytes_put32(at, (uint32_t)(value >> 32));
    bytes_put32(at + 4, (uint32_t)value);
}

int message_count_acks(const uint8_t *data, size_t len)
{
    if (len < ACK_HEADER_BYTES)
        return -1;
    size_t bytes = bytes_get16(data);
    if (bytes != len - ACK_HEADER_BYTES || bytes % ACK_NUMBER_BYTES != 0)
        return -1;
    return (int)(bytes / ACK_NUMBER_BYTES);
}

struct record_number message_get_ack(const uint8_t *data, int index)
{
    const uint8_t *at = data + ACK_HEADER_BYTES + (size_t)index * ACK_NUMBER_BYTES;
    return (struct record_number){.epoch = get64(at), .number = get64(at + 8)};
}

void message_write_ack(const struct record_number *number, uint8_t *out)
{
    bytes_put16(out, ACK_NUMBER_BYTES);
    put64(out + ACK_HEADER_BYTES, number->epoch);
    put64(out + ACK_HEADER_BYTES + 8, number->number);
}

/* ---- handshake messages --------------------------------------------------------------------- */

static void put24(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 16);
    bytes_put16(at + 1, (uint16_t)value);
}

bool message_read_fragment(const uint8_t *data, size_t len, struct handshake_fragment *fragment)
{
    if (len < HANDSHAKE_HEADER_BYTES)
        return false;
    *fragment = (struct handshake_fragment){
        .type = data[0],
        .message_len = bytes_get24(data + 1),
        .message_seq = bytes_get16(data + 4),
        .offset = bytes_get24(data + 6),
        .len = bytes_get24(data + 9),
        .body = data + HANDSHAKE_HEADER_BYTES,
    };
    fragment->bytes = HANDSHAKE_HEADER_BYTES + fragment->len;
    return fragment->len <= len - HANDSHAKE_HEADER_BYTES &&
           fragment->offset + fragment->len <= fragment->message_len;
}

void message_write_header(uint8_t type, uint32_t len, uint16_t message_seq,
                          uint8_t out[HANDSHAKE_HEADER_BYTES])
{
    out[0] = type;
    put24(out + 1, len);
    bytes_put16(out + 4, message_seq);
    put24(out + 6, 0);
    put24(out + 9, len);
}

bool message_read_key_update(const uint8_t *body, size_t len, bool *is_requested)
{
    if (len != KEY_UPDATE_BYTES || body[0] > 1)
        return false;
    *is_requested = body[0] == 1;
    return true;
}

/* struct { ConnectionId cids<0..2^16-1>; ConnectionIdUsage usage; }, and each ID is opaque<0..255>.
 */
bool message_read_new_connection_id(const uint8_t *body, size_t len,
                                    struct new_connection_id *message)
{
    *message = (struct new_connection_id){0};
    if (len < 3)
        return false;
    size_t list = bytes_get16(body), at = 2;
    if (list != len - 3 || body[len - 1] > CID_SPARE)
        return false;
    message->usage = body[len - 1];
    while (at < 2 + list) {
        size_t cid_len = body[at++];
        if (cid_len > 2 + list - at)
            return false;
        if (message->first == NULL) {
            message->first = body + at;
            message->first_len = cid_len;
        }
        at += cid_len;
    }
    return true;
}

void message_write_no_connection_id(uint8_t out[NO_CONNECTION_ID_BYTES])
{
    bytes_put16(out, 0);
    out[2] = CID_SPARE;
}

const char *alert_name(uint8_t code)
{
    switch (code) {
    case 0: return "close_notify";
    case 10: return "unexpected_message";
    case 20: return "bad_record_mac";
    case 21: return "decryption_failed";
    case 22: return "record_overflow";
    case 30: return "decompression_failure";
    case 40: return "handshake_failure";
    case 41: return "no_certificate";
    case 42: return "bad_certificate";
    case 43: return "unsupported_certificate";
    case 44: return "certificate_revoked";
    case 45: return "certificate_expired";
    case 46: return "certificate_unknown";
    case 47: return "illegal_parameter";
    case 48: return "unknown_ca";
    case 49: return "access_denied";
    case 50: return "decode_error";
    case 51: return "decrypt_error";
    case 52: return "too_many_cids_requested";
    case 60: return "export_restriction";
    case 70: return "protocol_version";
    case 71: return "insufficient_security";
    case 80: return "internal_error";
    case 86: return "inappropriate_fallback";
    case 90: return "user_canceled";
    case 100: return "no_renegotiation";
    case 109: return "missing_extension";
    case 110: return "unsupported_extension";
    case 111: return "certificate_unobtainable";
    case 112: return "unrecognized_name";
    case 113: return "bad_certificate_status_response";
    case 114: return "bad_certificate_hash_value";
    case 115: return "unknown_psk_identity";
    case 116: return "certificate_required";
    case 117: return "general_error";
    case 120: return "no_application_protocol";
    case 121: return "ech_required";
    default: return "an alert without a name";
    }
}
