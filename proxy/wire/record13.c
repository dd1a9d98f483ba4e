#include "wire/record13.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/kdf.h>

#include "base/bytes.h"

enum {
    HEADER_MAX = RECORD13_CID_AT + RECORD_CID_MAX + 2 + 2,
    INNER_MAX = RECORD_PLAINTEXT_MAX + 1,  /* the type included (RFC 8446 section 5.4) */
    BODY_MAX = RECORD_PLAINTEXT_MAX + 256, /* RFC 8446 section 5.2 */
};

/* ---- keys ----------------------------------------------------------------------------------- */

static enum wc_HashType hash_of(enum aead aead)
{
    return aead == AEAD_AES_256_GCM ? WC_HASH_TYPE_SHA384 : WC_HASH_TYPE_SHA256;
}

size_t record13_secret_bytes(enum aead aead)
{
    return aead == AEAD_AES_256_GCM ? 48 : 32;
}

/* HKDF-Expand-Label of RFC 8446 section 7.1, with the prefix of RFC 9147 section 5.9 (R20). */
static bool expand(enum aead aead, const uint8_t *secret, const char *label, uint8_t *out,
                   size_t out_len)
{
    static const uint8_t prefix[] = "dtls13"; /* no space behind it */
    return wc_Tls13_HKDF_Expand_Label(out, (word32)out_len, secret,
                                      (word32)record13_secret_bytes(aead), prefix,
                                      sizeof(prefix) - 1, (const byte *)label,
                                      (word32)strlen(label), NULL, 0, (int)hash_of(aead)) == 0;
}

size_t record13_keys_bytes(enum aead aead)
{
    return 2 * aead_key_bytes(aead) + AEAD_NONCE_BYTES;
}

static const uint8_t *number_key_of(enum aead aead, const uint8_t *keys)
{
    return keys + aead_key_bytes(aead);
}

static const uint8_t *iv_of(enum aead aead, const uint8_t *keys)
{
    return keys + 2 * aead_key_bytes(aead);
}

bool record13_derive(uint8_t *keys, enum aead aead, const uint8_t *secret)
{
    size_t key_bytes = aead_key_bytes(aead);
    return expand(aead, secret, "key", keys, key_bytes) &&
           expand(aead, secret, "sn", keys + key_bytes, key_bytes) &&
           expand(aead, secret, "iv", keys + 2 * key_bytes, AEAD_NONCE_BYTES);
}

bool record13_update(enum aead aead, const uint8_t *secret, uint8_t *next)
{
    uint8_t updated[RECORD13_SECRET_MAX];
    size_t bytes = record13_secret_bytes(aead);
    bool ok = expand(aead, secret, "traffic upd", updated, bytes);
    if (ok)
        memcpy(next, updated, bytes);
    bytes_wipe(updated, sizeof(updated));
    return ok;
}

/* ---- both directions ------------------------------------------------------------------------ */

/* R7: without the epoch (RFC 8446 section 5.3). */
static void make_nonce(const uint8_t *iv, uint64_t number, uint8_t nonce[AEAD_NONCE_BYTES])
{
    memcpy(nonce, iv, AEAD_NONCE_BYTES);
    for (int i = 0; i < 8; i++)
        nonce[AEAD_NONCE_BYTES - 1 - i] ^= (uint8_t)(number >> 8 * i);
}

/* ---- opening -------------------------------------------------------------------------------- */

struct header {
    size_t len, number_at, number_bytes;
    const struct record13_epoch *epoch;
};

/* R1 to R4. */
static enum record_verdict read_header(const struct record13_reader *reader, const uint8_t *data,
                                       size_t len, bool is_first, struct header *header,
                                       struct record_content *content)
{
    content->record_len = len;
    if (len == 0 || !record_is_ciphertext13(data[0]))
        return RECORD_MALFORMED;
    bool has_cid = (data[0] & RECORD13_HAS_CID) != 0,
         has_length = (data[0] & RECORD13_HAS_LENGTH) != 0;
    if (has_cid ? reader->cid_len == 0 : reader->cid_len != 0 && is_first)
        return RECORD_WRONG_CID;
    header->number_at = RECORD13_CID_AT + (has_cid ? reader->cid_len : 0);
    header->number_bytes = (data[0] & RECORD13_HAS_16_BITS) != 0 ? 2 : 1;
    header->len = header->number_at + header->number_bytes + (has_length ? 2 : 0);
    if (len < header->len)
        return RECORD_MALFORMED;
    if (has_cid && memcmp(data + RECORD13_CID_AT, reader->cid, reader->cid_len) != 0)
        return RECORD_WRONG_CID;
    size_t rest = len - header->len;
    size_t body = has_length ? record_body_len(data, header->len) : rest;
    if (body > rest || body > BODY_MAX)
        return RECORD_MALFORMED;
    content->record_len = header->len + body;
    if (body < AEAD_SAMPLE_BYTES)
        return RECORD_TOO_SHORT;
    for (size_t i = 0; i < reader->epoch_count; i++) {
        if (record_is_of_epoch13(data[0], reader->epochs[i].epoch)) {
            header->epoch = &reader->epochs[i];
            content->epoch = header->epoch->epoch;
            return RECORD_OPENED;
        }
    }
    return RECORD_WRONG_EPOCH;
}

/* R6: the number with these lowest bits that is nearest to the one expected next. */
static uint64_t reconstruct(uint64_t expected, uint64_t low, size_t bytes)
{
    uint64_t span = (uint64_t)1 << 8 * bytes, half = span / 2;
    uint64_t number = (expected & ~(span - 1)) | low;
    if (number + half < expected)
        return number + span;
    if (number > expected + half && number >= span)
        return number - span;
    return number;
}

enum record_verdict record13_open(struct aead_work *work, const struct record13_reader *reader,
                                  const uint8_t *data, size_t len, bool is_first, uint8_t *room,
                                  struct record_content *content)
{
    struct header header;
    *content = (struct record_content){.data = room};
    enum record_verdict verdict = read_header(reader, data, len, is_first, &header, content);
    if (verdict != RECORD_OPENED)
        return verdict;
    const enum aead aead = reader->aead;
    const uint8_t *keys = header.epoch->keys;
    const uint8_t *body = data + header.len;
    uint8_t aad[HEADER_MAX], mask[AEAD_MASK_BYTES], nonce[AEAD_NONCE_BYTES];
    if (!aead_mask(work, aead, number_key_of(aead, keys), body, mask))
        return RECORD_FORGED;
    /* R7: the header as sent, the number in clear. */
    memcpy(aad, data, header.len);
    uint64_t low = 0;
    for (size_t i = 0; i < header.number_bytes; i++) {
        aad[header.number_at + i] ^= mask[i];
        low = low << 8 | aad[header.number_at + i];
    }
    content->number = reconstruct(header.epoch->window->next, low, header.number_bytes);
    make_nonce(iv_of(aead, keys), content->number, nonce);
    const struct aead_text text = {
        .key = keys,
        .nonce = nonce,
        .aad = aad,
        .aad_len = header.len,
        .in = body,
        .in_len = content->record_len - header.len,
        .out = room,
    };
    if (!aead_open(work, aead, &text))
        return RECORD_FORGED;
    if (record_window_has(header.epoch->window, content->number)) /* R8: only now */
        return RECORD_REPLAYED;
    record_window_take(header.epoch->window, content->number);
    content->data_len = text.in_len - aead_tag_bytes(aead);
    bool is_too_long = content->data_len > INNER_MAX;
    if (!record_take_type(content))
        return is_too_long ? RECORD_TOO_LONG : RECORD_WITHOUT_TYPE;
    return is_too_long || content->data_len > reader->plaintext_max ? RECORD_TOO_LONG
                                                                    : RECORD_OPENED;
}

/* ---- sealing -------------------------------------------------------------------------------- */

/* Bytes of zeros behind the type, so that there are enough to sample (R9, RFC 9147 section 4.2.3).
 */
static size_t padding(enum aead aead, size_t inner_len)
{
    size_t tag_bytes = aead_tag_bytes(aead);
    return inner_len + tag_bytes < AEAD_SAMPLE_BYTES ? AEAD_SAMPLE_BYTES - tag_bytes - inner_len
                                                     : 0;
}

size_t record13_seal(struct aead_work *work, const struct record13_writer *writer, uint64_t number,
                     uint8_t type, const uint8_t *data, size_t data_len, uint8_t *out)
{
    const enum aead aead = writer->aead;
    const uint8_t *keys = writer->keys;
    bool has_cid = writer->cid_len != 0;
    size_t number_at = RECORD13_CID_AT + writer->cid_len, header_len = number_at + 4;
    size_t inner_len = data_len + 1 + padding(aead, data_len + 1);
    size_t body_len = inner_len + aead_tag_bytes(aead);
    uint8_t *body = out + header_len;
    if (data_len != 0)
        memmove(body, data, data_len);
    memset(body + data_len, 0, inner_len - data_len);
    body[data_len] = type;
    out[0] = (uint8_t)(RECORD13_FIXED | (has_cid ? RECORD13_HAS_CID : 0) | RECORD13_HAS_16_BITS |
                       RECORD13_HAS_LENGTH | (writer->epoch & RECORD13_EPOCH_MASK));
    if (has_cid)
        memcpy(out + RECORD13_CID_AT, writer->cid, writer->cid_len);
    bytes_put16(out + number_at, (uint16_t)number);
    bytes_put16(out + number_at + 2, (uint16_t)body_len);

    uint8_t nonce[AEAD_NONCE_BYTES], mask[AEAD_MASK_BYTES];
    make_nonce(iv_of(aead, keys), number, nonce);
    const struct aead_text text = {
        .key = keys,
        .nonce = nonce,
        .aad = out,
        .aad_len = header_len,
        .in = body,
        .in_len = inner_len,
        .out = body,
    };
    if (!aead_seal(work, aead, &text) ||
        !aead_mask(work, aead, number_key_of(aead, keys), body, mask))
        return 0;
    out[number_at] ^= mask[0];
    out[number_at + 1] ^= mask[1];
    return header_len + body_len;
}
