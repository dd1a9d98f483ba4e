#include "wire/record12.h"

#include <string.h>

#include "base/bytes.h"

enum {
    EXPLICIT = 8, /* bytes of AES's explicit nonce (RFC 5288 section 3, RFC 6655 section 3) */
    SALT = 4,
    BODY_MAX = 16384 + 2048, /* RFC 5246 section 6.2.3 */
    AAD_MAX = 23 + RECORD_CID_MAX,
};

#define EPOCH ((uint64_t)1 << 48)
#define NUMBER_MASK (EPOCH - 1)

static size_t explicit_bytes(enum aead aead)
{
    return aead == AEAD_CHACHA20_POLY1305 ? 0 : EXPLICIT;
}

size_t record12_iv_bytes(enum aead aead)
{
    return aead == AEAD_CHACHA20_POLY1305 ? AEAD_NONCE_BYTES : SALT;
}

/* R33: salt and explicit nonce as they stand in the record; or the IV with epoch and number. */
static void make_nonce(const struct record12_keys *keys, const uint8_t *epoch_and_number,
                       const uint8_t *explicit_nonce, uint8_t nonce[AEAD_NONCE_BYTES])
{
    if (keys->aead != AEAD_CHACHA20_POLY1305) {
        memcpy(nonce, keys->iv, SALT);
        memcpy(nonce + SALT, explicit_nonce, EXPLICIT);
        return;
    }
    memcpy(nonce, keys->iv, AEAD_NONCE_BYTES);
    for (int i = 0; i < 8; i++)
        nonce[4 + i] ^= epoch_and_number[i];
}

/* R32. `type` is that of the header; plaintext_len includes what is padding and type in a record
 * with a connection ID. */
static size_t make_aad(const struct record12_keys *keys, const uint8_t *header,
                       size_t plaintext_len, uint8_t aad[AAD_MAX])
{
    uint8_t *at = aad;
    if (keys->cid_len != 0) { /* RFC 9146 section 5.3 */
        memset(at, 0xff, 8);
        at[8] = RECORD_TLS12_CID;
        at[9] = (uint8_t)keys->cid_len;
        at += 10;
        memcpy(at, header, RECORD_CID_AT + keys->cid_len);
        at += RECORD_CID_AT + keys->cid_len;
    } else { /* RFC 5246 section 6.2.3.3 */
        memcpy(at, header + RECORD_EPOCH_AT, 8);
        memcpy(at + 8, header, 3);
        at += 11;
    }
    bytes_put16(at, (uint16_t)plaintext_len);
    return (size_t)(at + 2 - aad);
}

/* R30, R31, R35: what can be told from the header. `*header_len` is set with RECORD_OPENED. */
static enum record_verdict read_header(const struct record12_keys *keys,
                                       const struct record_window *window, const uint8_t *data,
                                       size_t len, size_t *header_len,
                                       struct record_content *content)
{
    content->record_len = len;
    /* No type of 1.2 begins so (RFC 9147 section 4.1). */
    if (len < RECORD_HEADER_BYTES || record_is_ciphertext13(data[0]))
        return RECORD_MALFORMED;
    bool has_cid = data[0] == RECORD_TLS12_CID;
    /* Without one of ours, nobody knows how long the other one is. */
    if (has_cid && keys->cid_len == 0)
        return RECORD_MALFORMED;
    size_t header = RECORD_HEADER_BYTES + (has_cid ? keys->cid_len : 0);
    if (len < header)
        return RECORD_MALFORMED;
    size_t body = record_body_len(data, header);
    if (body > len - header || body > BODY_MAX)
        return RECORD_MALFORMED;
    content->record_len = header + body;
    *header_len = header;
    if (bytes_get16(data + RECORD_VERSION_AT) != RECORD_DTLS12)
        return RECORD_MALFORMED;
    uint64_t number = (uint64_t)bytes_get32(data + RECORD_EPOCH_AT) << 32 |
                      bytes_get32(data + RECORD_EPOCH_AT + 4);
    content->epoch = number >> 48;
    content->number = number & NUMBER_MASK;
    if (keys->cid_len != 0 &&
        (!has_cid || memcmp(data + RECORD_CID_AT, keys->cid, keys->cid_len) != 0))
        return RECORD_WRONG_CID;
    if (content->epoch != 1)
        return RECORD_WRONG_EPOCH;
    if (body < explicit_bytes(keys->aead) + aead_tag_bytes(keys->aead))
        return RECORD_TOO_SHORT;
    return record_window_has(window, content->number) ? RECORD_REPLAYED : RECORD_OPENED;
}

enum record_verdict record12_open(struct aead_work *work, const struct record12_keys *keys,
                                  struct record_window *window, const uint8_t *data, size_t len,
                                  uint8_t *room, struct record_content *content)
{
    size_t header_len;
    *content = (struct record_content){.data = room};
    enum record_verdict verdict = read_header(keys, window, data, len, &header_len, content);
    if (verdict != RECORD_OPENED)
        return verdict;
    const uint8_t *body = data + header_len;
    size_t before = explicit_bytes(keys->aead);
    uint8_t nonce[AEAD_NONCE_BYTES], aad[AAD_MAX];
    make_nonce(keys, data + RECORD_EPOCH_AT, body, nonce);
    content->type = data[0];
    size_t in_len = content->record_len - header_len - before;
    content->data_len = in_len - aead_tag_bytes(keys->aead);
    const struct aead_text text = {
        .key = keys->key,
        .nonce = nonce,
        .aad = aad,
        .aad_len = make_aad(keys, data, content->data_len, aad),
        .in = body + before,
        .in_len = in_len,
        .out = room,
    };
    if (!aead_open(work, keys->aead, &text))
        return RECORD_FORGED;
    record_window_take(window, content->number);
    if (keys->cid_len != 0 && !record_take_type(content))
        return RECORD_WITHOUT_TYPE;
    return content->data_len <= keys->plaintext_max ? RECORD_OPENED : RECORD_TOO_LONG;
}

static void put_number(uint8_t *at, uint64_t number)
{
    bytes_put32(at, (uint32_t)(number >> 32));
    bytes_put32(at + 4, (uint32_t)number);
}

size_t record12_seal(struct aead_work *work, const struct record12_keys *keys, uint64_t number,
                     uint8_t type, const uint8_t *data, size_t data_len, uint8_t *out)
{
    bool has_cid = keys->cid_len != 0;
    size_t header_len = RECORD_HEADER_BYTES + keys->cid_len, before = explicit_bytes(keys->aead);
    size_t plaintext_len = data_len + has_cid;
    uint8_t *body = out + header_len;
    out[0] = has_cid ? RECORD_TLS12_CID : type;
    bytes_put16(out + RECORD_VERSION_AT, RECORD_DTLS12);
    put_number(out + RECORD_EPOCH_AT, EPOCH | number);
    if (has_cid)
        memcpy(out + RECORD_CID_AT, keys->cid, keys->cid_len);
    bytes_put16(body - 2, (uint16_t)(before + plaintext_len + aead_tag_bytes(keys->aead)));
    if (before != 0)
        put_number(body, keys->nonce_base + number); /* T8 */
    if (data_len != 0)
        memmove(body + before, data, data_len);
    if (has_cid)
        body[before + data_len] = type;

    uint8_t nonce[AEAD_NONCE_BYTES], aad[AAD_MAX];
    make_nonce(keys, out + RECORD_EPOCH_AT, body, nonce);
    const struct aead_text text = {
        .key = keys->key,
        .nonce = nonce,
        .aad = aad,
        .aad_len = make_aad(keys, out, plaintext_len, aad),
        .in = body + before,
        .in_len = plaintext_len,
        .out = body + before,
    };
    if (!aead_seal(work, keys->aead, &text))
        return 0;
    return header_len + before + plaintext_len + aead_tag_bytes(keys->aead);
}
