#include "base/timers.h"

#include <assert.h>
#include <stdlib.h>

/* Places count from 1, so that the parent of place p is p / 2 and 0 can mean "not set". */
static struct timer **at(const struct timers *timers, uint32_t place)
{
    return &timers->heap[place - 1];
}

static void put(struct timers *timers, uint32_t place, struct timer *timer)
{
    *at(timers, place) = timer;
    timer->place = place;
}

/* Moves timer from `place` towards the top until its parent is not later. */
static void sift_up(struct timers *timers, uint32_t place, struct timer *timer)
{
    while (place > 1 && (*at(timers, place / 2))->due_ms > timer->due_ms) {
        put(timers, place, *at(timers, place / 2));
        place /= 2;
    }
    put(timers, place, timer);
}

/* Moves timer from `place` towards the bottom until no child is earlier. */
static void sift_down(struct timers *timers, uint32_t place, struct timer *timer)
{
    for (;;) {
        if (place > timers->count / 2)
            break;
        uint32_t child = place * 2;
        if (child < timers->count &&
            (*at(timers, child + 1))->due_ms < (*at(timers, child))->due_ms)
            child++;
        if ((*at(timers, child))->due_ms >= timer->due_ms)
            break;
        put(timers, place, *at(timers, child));
        place = child;
    }
    put(timers, place, timer);
}

static void settle(struct timers *timers, uint32_t place, struct timer *timer)
{
    if (place > 1 && (*at(timers, place / 2))->due_ms > timer->due_ms)
        sift_up(timers, place, timer);
    else
        sift_down(timers, place, timer);
}

void timers_init(struct timers *timers)
{
    *timers = (struct timers){0};
}

void timers_deinit(struct timers *timers)
{
    free(timers->heap);
    *timers = (struct timers){0};
}

bool timers_reserve(struct timers *timers, uint32_t count)
{
    if (count <= timers->capacity)
        return true;
    /* At least twice as many, so that reserving one by one costs O(1) each. */
    uint32_t capacity = timers->capacity > UINT32_MAX / 2 ? UINT32_MAX : timers->capacity * 2;
    if (capacity < count)
        capacity = count;
    struct timer **heap = reallocarray(timers->heap, capacity, sizeof(*heap));
    if (heap == NULL)
        return false;
    timers->heap = heap;
    timers->capacity = capacity;
    return true;
}

void timers_set(struct timers *timers, struct timer *timer, uint64_t due_ms)
{
    if (due_ms == TIMERS_NONE) {
        timers_cancel(timers, timer);
        return;
    }
    timer->due_ms = due_ms;
    if (timer->place != 0) {
        assert(*at(timers, timer->place) == timer);
        settle(timers, timer->place, timer);
        return;
    }
    assert(timers->count < timers->capacity);
    timers->count++;
    sift_up(timers, timers->count, timer);
}

void timers_cancel(struct timers *timers, struct timer *timer)
{
    uint32_t place = timer->place;
    if (place == 0)
        return;
    assert(place <= timers->count && *at(timers, place) == timer);
    struct timer *last = *at(timers, timers->count);
    timers->count--;
    timer->place = 0;
    if (last != timer)
        settle(timers, place, last);
}

uint64_t timers_next_due_ms(const struct timers *timers)
{
    return timers->count == 0 ? TIMERS_NONE : (*at(timers, 1))->due_ms;
}

struct timer *timers_take_due(struct timers *timers, uint64_t now_ms)
{
    if (timers->count == 0 || (*at(timers, 1))->due_ms > now_ms)
        return NULL;
    struct timer *timer = *at(timers, 1);
    timers_cancel(timers, timer);
    return timer;
}
