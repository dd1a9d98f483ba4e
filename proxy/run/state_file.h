/* The state file: the whole state, written once when the gate stops, read once when it starts. A
 * state that is used twice uses record numbers twice, and with them nonces (RFC 5116 section 3.1).
 * So a file is marked as read, removed, and the folder synced, before anything in it is used; what
 * cannot be removed is not used.
 *
 *     memory inherited | file                                       | what the start does
 *     yes              | none                                       | takes the memory
 *     yes              | any                                        | takes the memory; removes the
 *                      |                                            | file unread, or else marks it
 *     no               | none                                       | new state
 *     no               | good                                       | marks, removes, uses it
 *     no               | marked                                     | new state; removes it
 *     no               | torn, damaged, of another key, layout or   | new state; leaves the file
 *                      | form, too old, from the future, locked by  | where and as it is
 *                      | another gate, not to be removed            |
 *
 * Where memory is inherited it is newer than any file: a gate writes its file when nothing else
 * uses the state any more. If such a file can neither be removed nor marked, the memory is used all
 * the same, and somebody must remove the file by hand.
 *
 * What this cannot see: a copy of the file that was made before it was read, and a disk that was
 * set back. */
#ifndef RUN_STATE_FILE_H
#define RUN_STATE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "run/state_host.h"

struct state_file {
    const char *path;
    const uint8_t *key;  /* STATE_KEY_BYTES */
    uint32_t layout;     /* of the state that is written, or that can be read */
    uint64_t max_age_ms; /* an older one is refused */
    struct state_host host;
};

/* What was read. */
struct state_taken {
    int memory; /* descriptor of a region, the caller's now; -1: nothing was read */
    uint64_t file_bytes;
    uint64_t age_ms;  /* since it was written */
    uint64_t gate_ms; /* what the gate's clock showed then */
    bool is_same_machine, is_same_boot;
};

enum state_file_found {
    STATE_FILE_NONE,
    STATE_FILE_TAKEN,
    STATE_FILE_REFUSED, /* err says why, and what has become of the file */
};

/* Reads the file, once and for all. */
enum state_file_found state_file_take(const struct state_file *file, struct state_taken *taken,
                                      struct err *err) MUST_USE;

/* Memory was inherited: what stands in the file must never be used. STATE_FILE_TAKEN: there was
 * one, and nobody can use it any more; STATE_FILE_REFUSED: it is still there. */
enum state_file_found state_file_forget(const char *path, struct err *err) MUST_USE;

/* Writes the state that `memory` is the descriptor of, in place of a file that may be there; it is
 * complete, and on the disk, or it is not there at all. Nothing uses the state meanwhile, nor after
 * it. Gives up at deadline_ms of CLOCK_MONOTONIC, but for a disk that does not answer. *bytes
 * receives its size. */
bool state_file_write(const struct state_file *file, int memory, uint64_t gate_ms,
                      uint64_t deadline_ms, uint64_t *bytes, struct err *err) MUST_USE;

/* Whether this user can write, and remove, a file of that path. */
bool state_file_check(const char *path, struct err *err) MUST_USE;

#endif
