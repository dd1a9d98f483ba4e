#include "run/state_forge.h"

#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/hmac.h>

static const char purpose[] = "dtlsgate state file 1";

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

void state_forge_begin(struct state_forge *forge, uint8_t *out, const uint8_t *key, uint8_t salt)
{
    *forge = (struct state_forge){.out = out, .size = FORGE_HEADER_BYTES};
    memset(out, 0, FORGE_HEADER_BYTES);
    memcpy(out, "dtlsgst\xff", 8);
    put(out + 8, 1, 4);
    memset(out + 24, salt, 32);
    must(wc_HKDF(WC_SHA256, key, 32, out + 24, 32, (const uint8_t *)purpose, sizeof(purpose) - 1,
                 forge->keys, sizeof(forge->keys)) == 0);
    memcpy(out + 56, forge->keys + 32, 16);
}

void state_forge_chunk(struct state_forge *forge, uint32_t kind, uint64_t offset, const void *plain,
                       size_t bytes)
{
    uint8_t aad[FORGE_HEADER_BYTES + FORGE_HEAD_BYTES], nonce[12] = {0};
    uint8_t *head = forge->out + forge->size;
    Aes aes;
    put(head, kind, 4);
    put(head + 4, bytes, 4);
    put(head + 8, offset, 8);
    put(nonce + 4, forge->number++, 8);
    memcpy(aad, forge->out, FORGE_HEADER_BYTES);
    memcpy(aad + FORGE_HEADER_BYTES, head, FORGE_HEAD_BYTES);
    uint8_t *sealed = head + FORGE_HEAD_BYTES;
    must(wc_AesInit(&aes, NULL, INVALID_DEVID) == 0 &&
         wc_AesGcmSetKey(&aes, forge->keys, 32) == 0 &&
         wc_AesGcmEncrypt(&aes, sealed, plain, (word32)bytes, nonce, sizeof(nonce), sealed + bytes,
                          FORGE_TAG_BYTES, aad, sizeof(aad)) == 0);
    wc_AesFree(&aes);
    forge->size += FORGE_CHUNK_BYTES + bytes;
}

void state_forge_facts(struct state_forge *forge, const struct state_facts *facts)
{
    uint8_t plain[FORGE_FACTS_BYTES];
    put(plain, facts->layout, 4);
    put(plain + 4, facts->memory_bytes, 8);
    put(plain + 12, facts->gate_ms, 8);
    put(plain + 20, facts->host.wall_ms, 8);
    put(plain + 28, facts->host.since_boot_ms, 8);
    memcpy(plain + 36, facts->host.boot_id, 16);
    memcpy(plain + 52, facts->host.machine_id, 16);
    state_forge_chunk(forge, FORGE_FACTS, 0, plain, sizeof(plain));
}
