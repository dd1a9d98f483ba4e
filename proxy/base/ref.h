/* A field that names another object of the same memory, wherever that is mapped: by the distance
 * from itself. So it can stand in memory that outlives the process. A struct that has one must not
 * be copied or moved. */
#ifndef BASE_REF_H
#define BASE_REF_H

#include <stddef.h>
#include <stdint.h>

enum { REF_UNIT_BYTES = 16 }; /* what is named begins at a multiple of it */

/* Zeroed = names nothing. Set with a single store: who is killed over it leaves the old or the new
 * value. */
struct ref {
    int32_t units; /* from the unit that it is in itself */
};

/* Of one that names something. */
static inline void *ref_get(const struct ref *ref)
{
    return (void *)(((uintptr_t)ref & ~(uintptr_t)(REF_UNIT_BYTES - 1)) +
                    (uintptr_t)((intptr_t)ref->units * REF_UNIT_BYTES));
}

/* NULL if it names nothing. */
static inline void *ref_find(const struct ref *ref)
{
    return ref->units == 0 ? NULL : ref_get(ref);
}

/* NULL, or what is not farther than 32 GiB away, and not in the same unit. */
static inline void ref_set(struct ref *ref, const void *target)
{
    intptr_t here = (intptr_t)ref / REF_UNIT_BYTES;
    *(volatile int32_t *)&ref->units =
        target == NULL ? 0 : (int32_t)((intptr_t)target / REF_UNIT_BYTES - here);
}

#endif
