#include "base/timers.h"

#include <assert.h>
#include <stdlib.h>

enum { CHUNK = 4096 };

/* Places count from 1, so that the parent of place p is p / 2 and 0 can mean "not set". */
static struct timers_entry *at(const struct timers *timers, uint32_t place)
{
    return &timers->chunks[(place - 1) / CHUNK][(place - 1) % CHUNK];
}

static void put(struct timers *timers, uint32_t place, struct timers_entry entry)
{
    *at(timers, place) = entry;
    entry.timer->place = place;
}

/* Moves an entry from `place` towards the top until its parent is not later. */
static void sift_up(struct timers *timers, uint32_t place, struct timers_entry entry)
{
    while (place > 1 && at(timers, place / 2)->due_ms > entry.due_ms) {
        put(timers, place, *at(timers, place / 2));
        place /= 2;
    }
    put(timers, place, entry);
}

/* Moves an entry from `place` towards the bottom until no child is earlier. */
static void sift_down(struct timers *timers, uint32_t place, struct timers_entry entry)
{
    while (place <= timers->count / 2) {
        uint32_t child = place * 2;
        if (child < timers->count && at(timers, child + 1)->due_ms < at(timers, child)->due_ms)
            child++;
        if (at(timers, child)->due_ms >= entry.due_ms)
            break;
        put(timers, place, *at(timers, child));
        place = child;
    }
    put(timers, place, entry);
}

static void settle(struct timers *timers, uint32_t place, struct timers_entry entry)
{
    if (place > 1 && at(timers, place / 2)->due_ms > entry.due_ms)
        sift_up(timers, place, entry);
    else
        sift_down(timers, place, entry);
}

void timers_init(struct timers *timers)
{
    *timers = (struct timers){0};
}

void timers_deinit(struct timers *timers)
{
    for (uint32_t i = 0; i < timers->chunk_count; i++)
        free(timers->chunks[i]);
    free(timers->chunks);
    *timers = (struct timers){0};
}

bool timers_reserve(struct timers *timers, uint32_t count)
{
    while (count > (uint64_t)timers->chunk_count * CHUNK) {
        struct timers_entry **chunks =
            reallocarray(timers->chunks, timers->chunk_count + 1, sizeof(*chunks));
        if (chunks == NULL)
            return false;
        timers->chunks = chunks;
        chunks[timers->chunk_count] = calloc(CHUNK, sizeof(**chunks));
        if (chunks[timers->chunk_count] == NULL)
            return false;
        timers->chunk_count++;
    }
    return true;
}

void timers_set(struct timers *timers, struct timer *timer, uint64_t due_ms)
{
    if (due_ms == TIMERS_NONE) {
        timers_cancel(timers, timer);
        return;
    }
    struct timers_entry entry = {.due_ms = due_ms, .timer = timer};
    if (timer->place != 0) {
        assert(at(timers, timer->place)->timer == timer);
        settle(timers, timer->place, entry);
        return;
    }
    assert(timers->count < (uint64_t)timers->chunk_count * CHUNK);
    timers->count++;
    sift_up(timers, timers->count, entry);
}

void timers_cancel(struct timers *timers, struct timer *timer)
{
    uint32_t place = timer->place;
    if (place == 0)
        return;
    assert(place <= timers->count && at(timers, place)->timer == timer);
    struct timers_entry last = *at(timers, timers->count);
    timers->count--;
    timer->place = 0;
    if (last.timer != timer)
        settle(timers, place, last);
}

uint64_t timers_due_ms(const struct timers *timers, const struct timer *timer)
{
    return timer->place == 0 ? TIMERS_NONE : at(timers, timer->place)->due_ms;
}

uint64_t timers_next_due_ms(const struct timers *timers)
{
    return timers->count == 0 ? TIMERS_NONE : at(timers, 1)->due_ms;
}

struct timer *timers_take_due(struct timers *timers, uint64_t now_ms)
{
    if (timers->count == 0 || at(timers, 1)->due_ms > now_ms)
        return NULL;
    struct timer *timer = at(timers, 1)->timer;
    timers_cancel(timers, timer);
    return timer;
}
