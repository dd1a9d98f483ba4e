#include "latency.h"

#include <stdio.h>
#include <stdlib.h>

void latency_add(struct latency *latency, uint64_t value_ns)
{
    if (latency->count == latency->room) {
        latency->room = latency->room ? 2 * latency->room : 1 << 16;
        latency->values_ns =
            realloc(latency->values_ns, latency->room * sizeof *latency->values_ns);
        if (!latency->values_ns) {
            perror("load: realloc");
            exit(1);
        }
    }
    latency->values_ns[latency->count++] = value_ns;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

double latency_percentile_us(struct latency *latency, double share)
{
    if (latency->count == 0) {
        return 0;
    }
    qsort(latency->values_ns, latency->count, sizeof *latency->values_ns, compare);
    size_t place = (size_t)(share * (double)(latency->count - 1));
    return (double)latency->values_ns[place] / 1e3;
}

void latency_reset(struct latency *latency)
{
    latency->count = 0;
}

void latency_deinit(struct latency *latency)
{
    free(latency->values_ns);
    *latency = (struct latency){0};
}
