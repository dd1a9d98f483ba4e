#include "crowd.h"

#include "random.h"

#include <stdio.h>
#include <stdlib.h>

void crowd_init(struct crowd *crowd, uint32_t all)
{
    *crowd = (struct crowd){.size = all};
}

void crowd_deinit(struct crowd *crowd)
{
    free(crowd->numbers);
    *crowd = (struct crowd){0};
}

void crowd_take(struct crowd *crowd, uint32_t first, uint32_t size)
{
    free(crowd->numbers);
    *crowd = (struct crowd){.first = first, .size = size, .random = crowd->random};
}

void crowd_draw(struct crowd *crowd, uint32_t size, uint32_t all)
{
    if (!crowd->numbers) {
        crowd->numbers = malloc(all * sizeof *crowd->numbers);
        if (!crowd->numbers) {
            perror("load: malloc");
            exit(1);
        }
        for (uint32_t i = 0; i < all; i++) {
            crowd->numbers[i] = i;
        }
    }
    crowd->size = size;
    crowd->next = 0;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t other = i + (uint32_t)(random_next(&crowd->random) % (all - i));
        uint32_t number = crowd->numbers[other];
        crowd->numbers[other] = crowd->numbers[i];
        crowd->numbers[i] = number;
    }
}

uint32_t crowd_number(const struct crowd *crowd, uint32_t i)
{
    return crowd->numbers ? crowd->numbers[i] : crowd->first + i;
}

uint32_t crowd_next(struct crowd *crowd)
{
    uint32_t number = crowd_number(crowd, crowd->next);
    crowd->next = crowd->next + 1 == crowd->size ? 0 : crowd->next + 1;
    return number;
}
