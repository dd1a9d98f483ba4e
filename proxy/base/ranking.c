#include "base/ranking.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 1024 };

bool ranking_add(struct ranking *ranking, uint64_t key, uint32_t number)
{
    if (ranking->count == ranking->capacity) {
        size_t capacity = ranking->capacity * 2 + CAPACITY_MIN;
        struct ranked *more = reallocarray(ranking->at, capacity, sizeof(*more));
        if (more == NULL)
            return false;
        ranking->at = more;
        ranking->capacity = capacity;
    }
    ranking->at[ranking->count++] = (struct ranked){.key = key, .number = number};
    return true;
}

static int compare(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

void ranking_sort(struct ranking *ranking)
{
    if (ranking->count != 0)
        qsort(ranking->at, ranking->count, sizeof(*ranking->at), compare);
}

void ranking_free(struct ranking *ranking)
{
    free(ranking->at);
    *ranking = (struct ranking){0};
}
