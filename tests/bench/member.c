#include "member.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_ERRORS = 10 };

static struct load *load_of(const struct device *device)
{
    return (struct load *)((char *)device->group - offsetof(struct load, group));
}

void member_send(struct device *device, const void *data, size_t size)
{
    link_send(&load_of(device)->link, device->number, data, size);
}

void member_set_deadline(struct load *l, struct member *m, uint64_t after_ms)
{
    m->deadline_ns = l->now_ns + after_ms * 1000000u;
}

void member_count_error(struct load *l)
{
    if (++l->errors >= MAX_ERRORS) {
        fprintf(stderr, "load: gave up after %d errors\n", MAX_ERRORS);
        exit(1);
    }
}

void member_finish(struct load *l, struct member *m, enum member_state state)
{
    m->state = state;
    l->active--;
    if (state == MEMBER_BROKEN) {
        member_count_error(l);
    } else {
        l->done++;
        latency_add(&l->latency, l->now_ns - m->started_ns);
    }
}
