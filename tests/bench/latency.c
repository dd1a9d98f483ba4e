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
    latency->values_ns[latency->count++] = value_ns < UINT32_MAX ? (uint32_t)value_ns : UINT32_MAX;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

double latency_percentile_us(struct latency *latency, double share)
{
    if (latency->count == 0) {
        return 0;
    }
    qsort(latency->values_ns, latency->count, sizeof *latency->values_ns, compare);
    size_t place = (size_t)(share * (double)(latency->count - 1));
    return latency->values_ns[place] / 1e3;
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
