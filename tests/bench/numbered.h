/* Head of a payload that has a number, so that of each one that does not come back it can be told
 * how far it came. The backend counts those that reach it, and writes the count into its answer:
 * who gets fewer answers than the last one's count lost them on the way back. */
#ifndef BENCH_NUMBERED_H
#define BENCH_NUMBERED_H

#include <stdint.h>

/* No device has this number, which is what other payloads begin with. */
static const uint32_t numbered_mark = UINT32_MAX;

struct numbered {
    uint32_t mark;
    uint32_t device;
    uint64_t run; /* larger in each run; the backend's count begins anew */
    uint64_t sequence;
    uint64_t at_backend; /* 0 until it was there; the first one there is 1 */
};

#endif
