#include "state/state_starts.h"

#include <string.h>

/* The latest is number 0, the one before it 1; NULL = there is none. */
static struct layout_start *start_at(const struct state *state, uint32_t back)
{
    uint32_t count = state->header->start_count;
    if (back >= count || back >= LAYOUT_STARTS_MAX)
        return NULL;
    return &state->header->starts[(count - 1 - back) % LAYOUT_STARTS_MAX];
}

static void set_build(char build[LAYOUT_BUILD_MAX], const char *name)
{
    memset(build, 0, LAYOUT_BUILD_MAX);
    memcpy(build, name, strnlen(name, LAYOUT_BUILD_MAX));
}

void state_starts_note(struct state *state, const char *build)
{
    struct layout_header *header = state->header;
    struct layout_start *start = &header->starts[header->start_count % LAYOUT_STARTS_MAX];
    start->begun_ms = state_now_ms(state);
    start->progress = LAYOUT_START_BEGUN;
    set_build(start->build, build);
    header->start_count++;
}

void state_starts_note_ready(struct state *state)
{
    struct layout_start *start = start_at(state, 0);
    if (start != NULL)
        start->progress = LAYOUT_START_READY;
}

void state_starts_note_stop(struct state *state)
{
    struct layout_start *start = start_at(state, 0);
    if (start != NULL)
        start->progress = LAYOUT_START_STOPPED;
}

static bool is_of(const struct layout_start *start, const char *build)
{
    char wanted[LAYOUT_BUILD_MAX];
    set_build(wanted, build);
    return memcmp(start->build, wanted, sizeof(wanted)) == 0;
}

uint32_t state_starts_crashes_within(const struct state *state, const char *build, uint64_t ms)
{
    const struct layout_start *start;
    uint64_t now_ms = state_now_ms(state);
    uint32_t count = 0;
    for (uint32_t back = 1; (start = start_at(state, back)) != NULL; back++)
        count += start->progress != LAYOUT_START_STOPPED && now_ms - start->begun_ms <= ms &&
                 is_of(start, build);
    return count;
}

uint32_t state_starts_failed(const struct state *state, const char *build)
{
    const struct layout_start *start;
    uint32_t count = 0;
    while ((start = start_at(state, count + 1)) != NULL && start->progress == LAYOUT_START_BEGUN &&
           is_of(start, build))
        count++;
    return count;
}

bool state_starts_is_after_crash(const struct state *state)
{
    const struct layout_start *before = start_at(state, 1);
    return before != NULL && before->progress != LAYOUT_START_STOPPED;
}

uint32_t state_starts_count(const struct state *state)
{
    return state->header->start_count;
}
