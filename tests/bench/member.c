#include "member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ERRORS = 10 };

static struct load *load_of(const struct device *device)
{
    return (struct load *)((char *)device->group - offsetof(struct load, group));
}

void member_send(struct device *device, const void *data, size_t size)
{
    struct load *l = load_of(device);
    if (size > PHASES_OUT_BYTES) {
        fprintf(stderr, "load: a datagram of %zu bytes is more than %d\n", size, PHASES_OUT_BYTES);
        exit(1);
    }
    if (l->out.count == BATCH_SIZE) {
        batch_flush(&l->out);
    }
    uint8_t *kept = l->out_bytes[l->out.count]; /* the library reuses its buffer */
    memcpy(kept, data, size);
    struct in_addr source = {htonl(MEMBER_FIRST_SOURCE + device->number)};
    batch_add(&l->out, &l->target, source, kept, size);
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
