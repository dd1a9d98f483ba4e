/* For memory that outlives the process: the order in which stores happen. Who is killed has done
 * all stores before some point of the program and none behind it, if the compiler has left them in
 * their order: the processor keeps it, as far as one thread can see, and the memory is the same for
 * who looks afterwards. */
#ifndef BASE_ORDER_H
#define BASE_ORDER_H

#include <stdatomic.h>

/* What stands before is stored before what follows. Costs no instruction. */
static inline void order_stores(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

#endif
