/* The form in which a state stands in a file: encrypted, and so that a cut, a swap, a repetition or
 * a changed bit is seen. It knows nothing of what the state means.
 *
 *     header   magic 8, form u32, 0 u32, mark u64, salt 32, key check 16
 *     chunks   kind u32, bytes u32, offset u64; bytes encrypted; tag 16
 *
 * Numbers are big-endian. Chunk 0 holds the facts, the next ones what is not zero in the memory, in
 * ascending order, the last one is empty, and nothing follows it. AES-256-GCM; key and key check:
 * HKDF-SHA256 of the administrator's key and the salt, so that no two files have the same key;
 * nonce: the number of the chunk; additional data: the header without its mark, and the first 16
 * bytes of the chunk. The mark is 0 until the file is read. */
#ifndef RUN_STATE_SEAL_H
#define RUN_STATE_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "run/state_host.h"

struct state_facts {
    uint32_t layout;        /* the number of the memory's layout */
    uint64_t memory_bytes;  /* its size, holes included */
    uint64_t gate_ms;       /* what the gate's clock showed */
    struct state_host host; /* where and when it was written */
};

/* Writes what is in `memory` to `file`, both descriptors; `file` is empty. Neither changes
 * meanwhile. What is a hole, or zero, takes no room. Gives up at deadline_ms of CLOCK_MONOTONIC.
 * The kernel has been told to begin with the writing; whoever wants it done syncs. `bytes` receives
 * the size. */
bool state_seal_write(int file, int memory, const uint8_t *key, const struct state_facts *facts,
                      uint64_t deadline_ms, uint64_t *bytes, struct err *err) MUST_USE;

/* Whether a file begins as those that state_seal_write() wrote, of whatever form. */
bool state_seal_is_one(int file) MUST_USE;

/* A file that is being read. One owner. */
struct state_seal;

enum state_seal_verdict {
    STATE_SEAL_GOOD,
    STATE_SEAL_USED, /* marked: somebody has read it before */
    STATE_SEAL_BAD,
};

/* Reads header and facts. Both descriptors and the key are borrowed until the end; *seal is new if
 * the verdict is good. */
enum state_seal_verdict state_seal_open(struct state_seal **seal, int file, const uint8_t *key,
                                        struct state_facts *facts, struct err *err) MUST_USE;

/* Reads the rest into `memory`, which has memory_bytes and is a hole. False: what is in it now is
 * of no use. */
bool state_seal_read(struct state_seal *seal, int memory, struct err *err) MUST_USE;

/* NULL is harmless. */
void state_seal_free(struct state_seal *seal);

/* Marks the file as read, for good: it is on the disk when this returns true. */
bool state_seal_mark(int file, struct err *err) MUST_USE;

#endif
