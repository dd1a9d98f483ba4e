/* What a core dump of this process would hold. */
#ifndef CORE_DUMP_H
#define CORE_DUMP_H

#include <stdbool.h>

/* True if the kernel leaves the page of this address out of core dumps (madvise MADV_DONTDUMP). */
bool core_dump_leaves_out(const void *address);

#endif
