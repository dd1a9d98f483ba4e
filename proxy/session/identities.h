/* Which sessions belong to the same identity, over all workers, so that sessions_per_identity can
 * be held. Knows sessions by worker and number only and ends none itself. One object in the
 * process; all functions may be called by any thread. Touched when sessions begin and end, never on
 * the way of a datagram. However many sessions an identity has, each call takes time in proportion
 * to the logarithm of that. */
#ifndef IDENTITIES_H
#define IDENTITIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/keyed_hash.h"
#include "count/counters.h"

struct identities;

/* Stands for a listener, a kind of credential and an identity of any length. Kept by the session;
 * of no use to another identities object. */
struct identities_key {
    uint8_t bytes[KEYED_HASH_WIDE_BYTES];
};

/* Numbers are unique within a worker and not used again. The slot is where the worker looks for the
 * session, and is the number of another one later. */
struct identities_session {
    uint32_t worker, slot;
    uint64_t number;
};

/* NULL with err if there is no memory or no random key. */
struct identities *identities_new(struct err *err);
/* No thread may use it any more. NULL is harmless. */
void identities_free(struct identities *identities);

void identities_make_key(const struct identities *identities, uint32_t listener,
                         enum credential kind, const void *identity, size_t identity_size,
                         struct identities_key *key);

/* A session has begun. True if its identity has more than `limit` now: `victim` is the oldest one
 * then, already forgotten here, and the caller sees to it that it ends. By the time its worker
 * hears of that it may have ended by itself. At most one is named; it is never `self`. There may be
 * more after a lower limit: identities_take_surplus().
 *
 * limit 0 = no limit: nothing is kept. Out of memory the session is not kept either: it does not
 * count, and no later one ends it. */
bool identities_begin(struct identities *identities, const struct identities_key *key,
                      uint32_t limit, struct identities_session self,
                      struct identities_session *victim) MUST_USE;

/* A lower limit than before may have left more: to be called after identities_begin() has named
 * one, as often as one is to end. It is never `self`. */
bool identities_take_surplus(struct identities *identities, const struct identities_key *key,
                             uint32_t limit, struct identities_session self,
                             struct identities_session *victim) MUST_USE;

/* A session that has begun before counts from now on: it is of a process before, or had no limit.
 * In any order, they stand in that of their numbers, before all that identities_begin() was told
 * of. None is named that would have to end; out of memory it does not count. Harmless if it is
 * known. */
void identities_adopt(struct identities *identities, const struct identities_key *key,
                      struct identities_session self);

/* A session has ended. Harmless if it is not known, or was a victim. */
void identities_end(struct identities *identities, const struct identities_key *key,
                    struct identities_session self);

/* Sessions that are known. */
uint32_t identities_count(struct identities *identities);

#endif
