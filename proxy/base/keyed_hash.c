#include "base/keyed_hash.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/siphash.h>

bool keyed_hash_key_init(struct keyed_hash_key *key, struct err *err)
{
    ssize_t got;
    do
        got = getrandom(key->bytes, sizeof(key->bytes), 0);
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof(key->bytes))
        return true;
    return err_set(err, "the kernel gave no random bytes for the key of a hash table: %s",
                   got < 0 ? strerror(errno) : "too few");
}

static void hash(const struct keyed_hash_key *key, const void *data, size_t size, uint8_t *out,
                 uint8_t out_size)
{
    assert(size <= UINT32_MAX);
    int result = wc_SipHash(key->bytes, data, (uint32_t)size, out, out_size);
    assert(result == 0); /* it fails on wrong sizes only */
    (void)result;
}

uint64_t keyed_hash(const struct keyed_hash_key *key, const void *data, size_t size)
{
    uint64_t value;
    hash(key, data, size, (uint8_t *)&value, SIPHASH_MAC_SIZE_8);
    return le64toh(value);
}

void keyed_hash_wide(const struct keyed_hash_key *key, const void *data, size_t size,
                     uint8_t out[KEYED_HASH_WIDE_BYTES])
{
    hash(key, data, size, out, SIPHASH_MAC_SIZE_16);
}
