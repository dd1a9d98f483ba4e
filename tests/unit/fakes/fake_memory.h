/* Memory of a state that the kernel does not give: fallocate(), replaced for the whole test
 * program.
 */
#ifndef FAKE_MEMORY_H
#define FAKE_MEMORY_H

#include <stdint.h>

/* From now on there is none for these bytes of any file, if they have none yet; 0, 0 = there is. */
void fake_memory_refuse(uint64_t from, uint64_t to);

/* What is zero in the file has no memory any more, page by page: as in one that was read from a
 * state file. */
void fake_memory_drop_zeros(int fd);

#endif
