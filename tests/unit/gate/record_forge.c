#include "gate/record_forge.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

size_t record_forge_13(struct aead_work *work, enum aead aead, const uint8_t *keys, uint8_t first,
                       const uint8_t *cid, size_t cid_len, uint64_t number, const uint8_t *inner,
                       size_t inner_len, uint8_t *out)
{
    size_t at = 1, number_bytes = (first & FORGE_HAS_16_BITS) != 0 ? 2 : 1;
    uint8_t nonce[AEAD_NONCE_BYTES], mask[AEAD_MASK_BYTES];
    out[0] = first;
    if ((first & FORGE_HAS_CID) != 0) {
        memcpy(out + 1, cid, cid_len);
        at += cid_len;
    }
    size_t number_at = at;
    if (number_bytes == 2)
        out[at++] = (uint8_t)(number >> 8);
    out[at++] = (uint8_t)number;
    if ((first & FORGE_HAS_LENGTH) != 0) {
        bytes_put16(out + at, (uint16_t)(inner_len + aead_tag_bytes(aead)));
        at += 2;
    }
    memcpy(nonce, keys + 2 * aead_key_bytes(aead), sizeof(nonce));
    for (int i = 0; i < 8; i++)
        nonce[11 - i] ^= (uint8_t)(number >> 8 * i);
    const struct aead_text text = {.key = keys,
                                   .nonce = nonce,
                                   .aad = out,
                                   .aad_len = at,
                                   .in = inner,
                                   .in_len = inner_len,
                                   .out = out + at};
    bool ok = aead_seal(work, aead, &text) &&
              aead_mask(work, aead, keys + aead_key_bytes(aead), out + at, mask);
    assert(ok);
    (void)ok;
    for (size_t i = 0; i < number_bytes; i++)
        out[number_at + i] ^= mask[i];
    return at + inner_len + aead_tag_bytes(aead);
}
