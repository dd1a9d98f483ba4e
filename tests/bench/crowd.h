/* Which devices make requests: all, or some that are drawn at random. */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <stdbool.h>
#include <stdint.h>

struct crowd {
    uint32_t *numbers; /* owned; the first size of them are drawn; NULL: none were */
    uint32_t first;    /* without numbers: those from this one on */
    uint32_t size;
    uint32_t next; /* whose turn it is */
    uint64_t random;
};

/* All of so many devices. */
void crowd_init(struct crowd *crowd, uint32_t all);
void crowd_deinit(struct crowd *crowd);

/* Some that follow each other, instead. */
void crowd_take(struct crowd *crowd, uint32_t first, uint32_t size);

/* Draws others, each at most once; the same ones in every run. */
void crowd_draw(struct crowd *crowd, uint32_t size, uint32_t all);

/* The number of device i of the crowd. */
uint32_t crowd_number(const struct crowd *crowd, uint32_t i);

/* The next in turn, without end. */
uint32_t crowd_next(struct crowd *crowd);

#endif
