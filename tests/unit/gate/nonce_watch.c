#include "gate/nonce_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <uthash.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>
#include <wolfssl/wolfcrypt/poly1305.h>

/* The names that the linker gives to a call and to what it was meant for (ld, --wrap). */
#define WRAPPED(call) __typeof__(call) __real_##call, __wrap_##call
WRAPPED(wc_AesGcmEncrypt);
WRAPPED(wc_AesCcmEncrypt);
WRAPPED(wc_AesGcmEncrypt_ex);
WRAPPED(wc_AesCcmEncrypt_ex);
WRAPPED(wc_ChaCha20Poly1305_Encrypt);
WRAPPED(wc_Chacha_Process);
WRAPPED(wc_Poly1305_MAC);

/* ---- what was seen -------------------------------------------------------------------------- */

/* Hashes stand for the bytes: of some 10 million pairs two different ones share one of 64 bits with
 * a chance of 3 in a million. */
struct use {
    uint64_t key_and_nonce;
    uint64_t content; /* additional data and plaintext */
    UT_hash_handle hh;
};

static struct use *uses;
static uint64_t seen, repeated, reused;
static bool is_tolerant;

/* What forked processes have noted since the latest collection, in memory that they share with this
 * one: it is there when they are killed. */
enum { SHARED_MAX = 1 << 16 };
static struct shared_log {
    _Atomic uint32_t count;
    struct {
        uint64_t key_and_nonce, content;
    } at[SHARED_MAX];
} * shared; /* NULL = none */
static pid_t collector;

static const uint64_t HASH_START = 0xcbf29ce484222325u;

/* FNV-1a eight bytes at a time, with a last stir: nobody chooses what is hashed here. */
static uint64_t hash(uint64_t state, const void *data, size_t len)
{
    const uint8_t *at = data;
    state = (state ^ len) * 0x100000001b3u; /* (ab, c) is not (a, bc) */
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        state = (state ^ word) * 0x9fb21c651e98df25u;
        state ^= state >> 32;
    }
    for (; len > 0; at++, len--)
        state = (state ^ *at) * 0x100000001b3u;
    return state ^ state >> 29;
}

static uint64_t hash_content(const void *aad, size_t aad_len, const void *in, size_t len)
{
    return hash(hash(HASH_START, in, len), aad, aad_len);
}

static void note_shared(uint64_t key_and_nonce, uint64_t content)
{
    uint32_t count = shared->count;
    assert_true(count < SHARED_MAX);
    shared->at[count].key_and_nonce = key_and_nonce;
    shared->at[count].content = content;
    shared->count = count + 1;
}

static void note(uint64_t key_and_nonce, uint64_t content)
{
    struct use *use;
    if (shared != NULL && getpid() != collector)
        note_shared(key_and_nonce, content);
    seen++;
    HASH_FIND(hh, uses, &key_and_nonce, sizeof(key_and_nonce), use);
    if (use == NULL) {
        use = calloc(1, sizeof(*use));
        assert_non_null(use);
        use->key_and_nonce = key_and_nonce;
        use->content = content;
        HASH_ADD(hh, uses, key_and_nonce, sizeof(use->key_and_nonce), use);
    } else if (use->content == content) {
        repeated++;
    } else {
        reused++;
        if (!is_tolerant)
            fail_msg("a key was used twice with the same nonce for different bytes; this is "
                     "encryption number %llu",
                     (unsigned long long)seen);
    }
}

void nonce_watch_reset(void)
{
    struct use *use, *next;
    HASH_ITER (hh, uses, use, next) {
        HASH_DEL(uses, use);
        free(use);
    }
    seen = repeated = reused = 0;
}

void nonce_watch_share(void)
{
    if (shared == NULL)
        shared =
            mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shared->count = 0;
    collector = getpid();
}

void nonce_watch_collect(void)
{
    for (uint32_t i = 0; i < shared->count; i++)
        note(shared->at[i].key_and_nonce, shared->at[i].content);
    shared->count = 0;
}

uint64_t nonce_watch_seen(void)
{
    return seen;
}

uint64_t nonce_watch_repeated(void)
{
    return repeated;
}

uint64_t nonce_watch_tolerate(bool tolerate)
{
    uint64_t count = reused;
    is_tolerant = tolerate;
    reused = 0;
    return count;
}

/* ---- AES ------------------------------------------------------------------------------------ */

/* The key schedule begins with the key, or with a form of it. */
static uint64_t hash_aes(const Aes *aes, const byte *nonce, word32 nonce_len)
{
    enum { KEY_MAX = 32 };
    uint64_t state = hash(HASH_START, &aes->rounds, sizeof(aes->rounds));
    return hash(hash(state, aes->key, KEY_MAX), nonce, nonce_len);
}

/* Before the call: it may work in place, and a process may be killed over it. */
int __wrap_wc_AesGcmEncrypt(Aes *aes, byte *out, const byte *in, word32 len, const byte *nonce,
                            word32 nonce_len, byte *tag, word32 tag_len, const byte *aad,
                            word32 aad_len)
{
    note(hash_aes(aes, nonce, nonce_len), hash_content(aad, aad_len, in, len));
    return __real_wc_AesGcmEncrypt(aes, out, in, len, nonce, nonce_len, tag, tag_len, aad, aad_len);
}

int __wrap_wc_AesCcmEncrypt(Aes *aes, byte *out, const byte *in, word32 len, const byte *nonce,
                            word32 nonce_len, byte *tag, word32 tag_len, const byte *aad,
                            word32 aad_len)
{
    note(hash_aes(aes, nonce, nonce_len), hash_content(aad, aad_len, in, len));
    return __real_wc_AesCcmEncrypt(aes, out, in, len, nonce, nonce_len, tag, tag_len, aad, aad_len);
}

/* These take the nonce from the object, and say afterwards which it was: the library's calls. Their
 * contents are hashed before. */
int __wrap_wc_AesGcmEncrypt_ex(Aes *aes, byte *out, const byte *in, word32 len, byte *nonce_out,
                               word32 nonce_len, byte *tag, word32 tag_len, const byte *aad,
                               word32 aad_len)
{
    uint64_t content = hash_content(aad, aad_len, in, len);
    int error = __real_wc_AesGcmEncrypt_ex(aes, out, in, len, nonce_out, nonce_len, tag, tag_len,
                                           aad, aad_len);
    if (error == 0)
        note(hash_aes(aes, nonce_out, nonce_len), content);
    return error;
}

int __wrap_wc_AesCcmEncrypt_ex(Aes *aes, byte *out, const byte *in, word32 len, byte *nonce_out,
                               word32 nonce_len, byte *tag, word32 tag_len, const byte *aad,
                               word32 aad_len)
{
    uint64_t content = hash_content(aad, aad_len, in, len);
    int error = __real_wc_AesCcmEncrypt_ex(aes, out, in, len, nonce_out, nonce_len, tag, tag_len,
                                           aad, aad_len);
    if (error == 0)
        note(hash_aes(aes, nonce_out, nonce_len), content);
    return error;
}

/* ---- ChaCha20-Poly1305 ---------------------------------------------------------------------- */

/* The cipher's state has key and nonce as words, in the same order where words are little-endian.
 */
enum { CHACHA_KEY = 32, CHACHA_NONCE = 12 };

static uint64_t hash_chacha(const void *key, const void *nonce)
{
    return hash(hash(HASH_START, key, CHACHA_KEY), nonce, CHACHA_NONCE);
}

int __wrap_wc_ChaCha20Poly1305_Encrypt(const byte *key, const byte *nonce, const byte *aad,
                                       word32 aad_len, const byte *in, word32 len, byte *out,
                                       byte *tag)
{
    note(hash_chacha(key, nonce), hash_content(aad, aad_len, in, len));
    return __real_wc_ChaCha20Poly1305_Encrypt(key, nonce, aad, aad_len, in, len, out, tag);
}

/* The library puts records together from the cipher and the authenticator: to encrypt, the cipher
 * runs over the data and then the authenticator; to decrypt, the other way round. Before either the
 * cipher makes the authenticator's key from block 0. */
static struct {
    bool is_there; /* by the latest call of the cipher */
    uint64_t key_and_nonce, in;
} enciphered;

int __wrap_wc_Chacha_Process(ChaCha *chacha, byte *out, const byte *in, word32 len)
{
    enum { KEY_AT = 4, BLOCK_AT = 12, NONCE_AT = 13 }; /* words of the cipher's state */
    enciphered.is_there = chacha->X[BLOCK_AT] != 0;
    if (enciphered.is_there) {
        enciphered.key_and_nonce = hash_chacha(&chacha->X[KEY_AT], &chacha->X[NONCE_AT]);
        enciphered.in = hash(HASH_START, in, len);
    }
    return __real_wc_Chacha_Process(chacha, out, in, len);
}

int __wrap_wc_Poly1305_MAC(Poly1305 *poly, const byte *aad, word32 aad_len, const byte *in,
                           word32 len, byte *tag, word32 tag_len)
{
    int error = __real_wc_Poly1305_MAC(poly, aad, aad_len, in, len, tag, tag_len);
    if (error == 0 && enciphered.is_there)
        note(enciphered.key_and_nonce, hash(enciphered.in, aad, aad_len));
    enciphered.is_there = false;
    return error;
}
