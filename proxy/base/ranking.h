/* Numbers in the order of their keys: collected first, sorted once. One owner. */
#ifndef BASE_RANKING_H
#define BASE_RANKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ranked {
    uint64_t key;
    uint32_t number;
};

/* Zeroed = empty. */
struct ranking {
    struct ranked *at; /* owned */
    size_t count, capacity;
};

/* False: out of memory. */
bool ranking_add(struct ranking *ranking, uint64_t key, uint32_t number) MUST_USE;
/* By key, and by number where keys are the same. */
void ranking_sort(struct ranking *ranking);
/* Harmless if it is empty. */
void ranking_free(struct ranking *ranking);

#endif
