/* How often something may happen. Pure: time is a parameter, and nothing here knows what is being
 * limited. One thread.
 *
 * A limit of n per second lets n through at once and then one every 1/n s: no window of t seconds
 * sees more than n + n * t. When it bites, the preferred go first: the last quarter of a second's
 * worth, rounded down to whole ones, is theirs alone.
 *
 * Time may stand still, jump ahead or even go back: that gives at most one second's worth. */
#ifndef LIMIT_H
#define LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/keyed_hash.h"

/* A higher limit counts as this one. */
#define LIMIT_PER_S_MAX 4000000u

/* One limit. {.per_s = n} = nothing used yet. */
struct limit_bucket {
    uint32_t per_s;      /* 0 = no limit */
    uint32_t used_milli; /* thousandths of one */
    uint64_t updated_ms;
};

/* True, and one more is used, if the limit allows it. What is refused uses nothing. */
bool limit_take(struct limit_bucket *bucket, uint64_t now_ms, bool is_preferred);

/* 256 KiB: what a flood from more prefixes than that would need does not fit a gate anyway. */
#define LIMIT_PREFIX_SETS 2048
#define LIMIT_PREFIX_WAYS 8

/* What is used drains within a second, so a place that was last used longer ago is as good as an
 * empty one. */
struct limit_prefix_place {
    uint32_t tag; /* of the prefix */
    uint32_t used_milli;
    uint64_t updated_ms;
};

struct limit_prefix_set {
    struct limit_prefix_place places[LIMIT_PREFIX_WAYS];
};

/* The same limit for each /24 of IPv4 and each /56 of IPv6, in a table of fixed size.
 *
 * A prefix is found by a keyed hash: 11 bits of it choose a set of 8 places, 32 others tell the
 * prefixes there apart. A prefix without a place takes that of the one that has used the least.
 * Nobody without the key can choose a prefix that shares a set with another.
 *
 * Errors: a prefix is held to the use of another one only if both have the same 43 bits. That hits
 * an innocent prefix with a probability of n / 2^43 while n others are in use: less than one in
 * 10^8 however large the flood, since the table knows 16,384 of them. More often, a prefix is
 * forgotten and begins anew: if more than 8 in use share a set, which happens in 1 set of 4,000
 * with 4,096 of them, in 1 of 50 with 8,192, and often beyond that. Those that have used the most
 * are forgotten last, so single hellos from any number of prefixes hide no flood from one. */
struct limit_prefixes {
    struct limit_prefix_set *sets; /* NULL = no limit */
    struct keyed_hash_key hash_key;
    uint32_t per_s;
};

/* per_s = 0: no limit, and no memory. */
bool limit_prefixes_init(struct limit_prefixes *prefixes, uint32_t per_s, struct err *err) MUST_USE;
/* Harmless on a zeroed one. */
void limit_prefixes_deinit(struct limit_prefixes *prefixes);

/* As limit_take, for the prefix of that address. */
bool limit_take_prefix(struct limit_prefixes *prefixes, const struct addr *client, uint64_t now_ms,
                       bool is_preferred);

#endif
