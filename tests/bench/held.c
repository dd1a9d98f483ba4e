#include "held.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void held_init(struct held_queue *queue)
{
    *queue = (struct held_queue){.end = &queue->first};
}

void held_add(struct held_queue *queue, uint32_t number, const void *data, size_t size)
{
    struct held *held = malloc(sizeof *held + size);
    if (!held) {
        perror("load: malloc");
        exit(1);
    }
    *held = (struct held){.number = number, .size = (uint32_t)size};
    memcpy(held->bytes, data, size);
    *queue->end = held;
    queue->end = &held->next;
}

struct held *held_take(struct held_queue *queue)
{
    struct held *held = queue->first;
    if (held) {
        queue->first = held->next;
        if (!queue->first) {
            queue->end = &queue->first;
        }
    }
    return held;
}
