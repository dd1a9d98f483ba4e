/* Datagrams that have arrived and wait for their device, first in, first out. In a storm the thread
 * is far behind the devices that it plays; one whose answer is here must not repeat itself. */
#ifndef BENCH_HELD_H
#define BENCH_HELD_H

#include <stddef.h>
#include <stdint.h>

struct held {
    struct held *next;
    uint32_t number; /* of the device */
    uint32_t size;
    uint8_t bytes[];
};

struct held_queue {
    struct held *first, **end; /* owned */
};

void held_init(struct held_queue *queue);
void held_add(struct held_queue *queue, uint32_t number, const void *data, size_t size);

/* The caller frees it. NULL: none. */
struct held *held_take(struct held_queue *queue);

#endif
