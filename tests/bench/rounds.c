#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t rounds_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double rounds_median(unsigned count, double measure(void *context), void *context)
{
    double *results = calloc(count, sizeof *results);
    if (!results) {
        perror("calloc");
        exit(1);
    }
    measure(context);
    for (unsigned i = 0; i < count; i++) {
        results[i] = measure(context);
    }
    qsort(results, count, sizeof *results, compare);
    double median = results[count / 2];
    free(results);
    return median;
}
