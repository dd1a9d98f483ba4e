/* Makes state files out of any chunks, sealed under the right key: the form as run/state_seal.h
 * says it, written a second time, and for files that a gate would never write. */
#ifndef STATE_FORGE_H
#define STATE_FORGE_H

#include <stddef.h>
#include <stdint.h>

#include "run/state_seal.h"

enum { FORGE_FACTS = 1, FORGE_PIECE = 2, FORGE_END = 3 };
enum {
    FORGE_HEADER_BYTES = 72,
    FORGE_HEAD_BYTES = 16,
    FORGE_TAG_BYTES = 16,
    FORGE_FACTS_BYTES = 68
};
enum { FORGE_CHUNK_BYTES = FORGE_HEAD_BYTES + FORGE_TAG_BYTES }; /* besides what is in it */

struct state_forge {
    uint8_t *out; /* the test's, large enough */
    size_t size;
    uint64_t number;
    uint8_t keys[48];
};

/* Writes a header; the salt is `salt` 32 times. */
void state_forge_begin(struct state_forge *forge, uint8_t *out, const uint8_t *key, uint8_t salt);
void state_forge_chunk(struct state_forge *forge, uint32_t kind, uint64_t offset, const void *plain,
                       size_t bytes);
void state_forge_facts(struct state_forge *forge, const struct state_facts *facts);

#endif
