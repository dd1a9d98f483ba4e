#include "wire/aead.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include "base/bytes.h"
#include "base/registers.h"
#include "base/secret.h"

/* The schedule of the last key stays in it until the next record: so it is where keys are. */
struct aead_work {
    struct secret memory; /* that all of it is in */
    Aes aes;
    ChaCha chacha; /* for masks only */
};

/* wolfCrypt's functions for AES with GCM and with CCM are alike. */
static const struct mode {
    int (*set_key)(Aes *aes, const byte *key, word32 key_bytes);
    int (*encrypt)(Aes *aes, byte *out, const byte *in, word32 len, const byte *nonce,
                   word32 nonce_bytes, byte *tag, word32 tag_bytes, const byte *aad,
                   word32 aad_len);
    int (*decrypt)(Aes *aes, byte *out, const byte *in, word32 len, const byte *nonce,
                   word32 nonce_bytes, const byte *tag, word32 tag_bytes, const byte *aad,
                   word32 aad_len);
} gcm = {wc_AesGcmSetKey, wc_AesGcmEncrypt, wc_AesGcmDecrypt},
  ccm = {wc_AesCcmSetKey, wc_AesCcmEncrypt, wc_AesCcmDecrypt};

static const struct mode *mode_of(enum aead aead)
{
    return aead == AEAD_AES_128_GCM || aead == AEAD_AES_256_GCM ? &gcm : &ccm;
}

struct aead_work *aead_work_new(void)
{
    struct secret memory;
    if (!secret_new(&memory, sizeof(struct aead_work)))
        return NULL;
    struct aead_work *work = (struct aead_work *)(void *)memory.bytes;
    work->memory = memory;
    if (wc_AesInit(&work->aes, NULL, INVALID_DEVID) != 0) {
        secret_free(&memory);
        return NULL;
    }
    return work;
}

void aead_work_free(struct aead_work *work)
{
    if (work == NULL)
        return;
    struct secret memory = work->memory;
    wc_AesFree(&work->aes);
    secret_free(&memory);
}

static bool seal_text(struct aead_work *work, enum aead aead, const struct aead_text *text)
{
    const struct mode *mode = mode_of(aead);
    word32 key_bytes = (word32)aead_key_bytes(aead), tag_bytes = (word32)aead_tag_bytes(aead);
    word32 len = (word32)text->in_len, aad_len = (word32)text->aad_len;
    uint8_t *tag = text->out + text->in_len;
    if (aead == AEAD_CHACHA20_POLY1305)
        return wc_ChaCha20Poly1305_Encrypt(text->key, text->nonce, text->aad, aad_len, text->in,
                                           len, text->out, tag) == 0;
    return mode->set_key(&work->aes, text->key, key_bytes) == 0 &&
           mode->encrypt(&work->aes, text->out, text->in, len, text->nonce, AEAD_NONCE_BYTES, tag,
                         tag_bytes, text->aad, aad_len) == 0;
}

static bool open_text(struct aead_work *work, enum aead aead, const struct aead_text *text)
{
    const struct mode *mode = mode_of(aead);
    word32 key_bytes = (word32)aead_key_bytes(aead), tag_bytes = (word32)aead_tag_bytes(aead);
    if (text->in_len < tag_bytes)
        return false;
    word32 len = (word32)text->in_len - tag_bytes, aad_len = (word32)text->aad_len;
    const uint8_t *tag = text->in + len;
    if (aead == AEAD_CHACHA20_POLY1305)
        return wc_ChaCha20Poly1305_Decrypt(text->key, text->nonce, text->aad, aad_len, text->in,
                                           len, tag, text->out) == 0;
    return mode->set_key(&work->aes, text->key, key_bytes) == 0 &&
           mode->decrypt(&work->aes, text->out, text->in, len, text->nonce, AEAD_NONCE_BYTES, tag,
                         tag_bytes, text->aad, aad_len) == 0;
}

static bool mask_by_chacha(struct aead_work *work, const uint8_t *number_key, const uint8_t *sample,
                           uint8_t *mask)
{
    static const uint8_t zeros[AEAD_MASK_BYTES];
    /* The sample's first four bytes are the block counter, little-endian (RFC 9147 4.2.3). */
    word32 counter = (word32)sample[0] | (word32)sample[1] << 8 | (word32)sample[2] << 16 |
                     (word32)sample[3] << 24;
    return wc_Chacha_SetKey(&work->chacha, number_key, 32) == 0 &&
           wc_Chacha_SetIV(&work->chacha, sample + 4, counter) == 0 &&
           wc_Chacha_Process(&work->chacha, mask, zeros, AEAD_MASK_BYTES) == 0;
}

static bool make_mask(struct aead_work *work, enum aead aead, const uint8_t *number_key,
                      const uint8_t *sample, uint8_t *mask)
{
    uint8_t block[AES_BLOCK_SIZE];
    if (aead == AEAD_CHACHA20_POLY1305)
        return mask_by_chacha(work, number_key, sample, mask);
    if (wc_AesSetKeyDirect(&work->aes, number_key, (word32)aead_key_bytes(aead), NULL,
                           AES_ENCRYPTION) != 0 ||
        wc_AesEncryptDirect(&work->aes, block, sample) != 0)
        return false;
    memcpy(mask, block, AEAD_MASK_BYTES);
    return true;
}

/* ---- what leaves nothing of a key behind ----------------------------------------------------- */

bool aead_seal(struct aead_work *work, enum aead aead, const struct aead_text *text)
{
    bool is_sealed = seal_text(work, aead, text);
    registers_wipe();
    return is_sealed;
}

bool aead_open(struct aead_work *work, enum aead aead, const struct aead_text *text)
{
    bool is_open = open_text(work, aead, text);
    registers_wipe();
    return is_open;
}

bool aead_mask(struct aead_work *work, enum aead aead, const uint8_t *number_key,
               const uint8_t sample[AEAD_SAMPLE_BYTES], uint8_t mask[AEAD_MASK_BYTES])
{
    bool is_made = make_mask(work, aead, number_key, sample, mask);
    registers_wipe();
    return is_made;
}
