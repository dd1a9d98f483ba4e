#include "handshakes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A device's first flight, made before the storm begins: devices boot on their own CPUs. */
struct first_flight {
    size_t size;
    uint8_t bytes[LINK_OUT_BYTES];
};

static void start_next(struct load *l);

/* Under more load than can be borne a device may be sent what was meant for its handshake before,
 * or be late: that is a result, not an error. */
static void fail_at_pace(struct load *l, struct member *m, enum member_state state)
{
    m->state = state;
    l->active--;
    l->failed++;
}

static void on_result(struct load *l, struct member *m, enum device_result result)
{
    if (result == DEVICE_WAIT) {
        member_set_deadline(l, m, device_retransmit_ms(&m->device));
        return;
    }
    if (l->pace.per_s == 0) {
        member_finish(l, m, result == DEVICE_DONE ? MEMBER_OPEN : MEMBER_BROKEN);
    } else if (result == DEVICE_FAILED) {
        device_forget(&m->device);
        fail_at_pace(l, m, MEMBER_CLOSED);
    } else if (pace_is_over(&l->pace, l->now_ns)) {
        fail_at_pace(l, m, MEMBER_OPEN);
    } else {
        member_finish(l, m, MEMBER_OPEN);
    }
}

static void start(struct load *l, struct member *m, uint64_t since_ns)
{
    l->active++;
    m->state = MEMBER_CONNECTING;
    m->tries = m->received = 0;
    m->started_ns = since_ns;
    if (!device_open(&m->device)) {
        member_finish(l, m, MEMBER_BROKEN);
        return;
    }
    on_result(l, m, device_connect(&m->device, NULL, 0));
}

static void start_next(struct load *l)
{
    if (l->first_flights || l->pace.per_s) {
        return;
    }
    while (l->active < l->concurrent && l->next < l->sessions && l->handshakes_left > 0) {
        struct member *m = &l->members[l->next++];
        if (l->is_again) {
            device_forget(&m->device);
            m->state = MEMBER_CLOSED;
        }
        if (m->state == MEMBER_CLOSED) {
            l->handshakes_left--;
            start(l, m, l->now_ns);
        }
    }
}

void handshakes_start(struct load *l, uint64_t count)
{
    l->handshakes_left = count;
    start_next(l);
}

void handshakes_start_again(struct load *l)
{
    l->is_again = true;
    l->handshakes_left = UINT64_MAX;
    start_next(l);
}

void handshakes_start_stalled(struct load *l)
{
    l->is_stalling = true;
    l->handshakes_left = UINT64_MAX;
    start_next(l);
}

void handshakes_on_datagram(struct load *l, struct member *m, const void *data, size_t size)
{
    enum { COOKIE_REPLY = 1 };
    if (l->is_stalling && ++m->received > COOKIE_REPLY) {
        member_finish(l, m, MEMBER_STALLED);
    } else {
        on_result(l, m, device_connect(&m->device, data, size));
    }
    start_next(l);
}

void handshakes_on_deadline(struct load *l, struct member *m)
{
    l->lost++;
    bool is_last = l->first_flights == NULL && ++m->tries == MEMBER_MAX_TRIES;
    if (is_last || !device_retransmit(&m->device)) {
        fprintf(stderr, "load: device %u: handshake timed out\n", m->device.number);
        on_result(l, m, DEVICE_FAILED);
    } else {
        member_set_deadline(l, m, device_retransmit_ms(&m->device));
    }
    start_next(l);
}

/* --- at a pace --- */

static bool is_resting(const struct member *m)
{
    return m->state == MEMBER_CLOSED || m->state == MEMBER_OPEN;
}

void handshakes_start_due(struct load *l)
{
    uint64_t due_ns;
    for (unsigned i = 0; i < BATCH_SIZE && pace_take(&l->pace, l->now_ns, &due_ns); i++) {
        struct member *m = &l->members[l->next_at_pace];
        l->next_at_pace = (l->next_at_pace + 1) % l->sessions;
        if (!is_resting(m)) {
            l->skipped++;
            continue;
        }
        device_forget(&m->device);
        m->state = MEMBER_CLOSED;
        start(l, m, due_ns);
    }
}

void handshakes_abandon(struct load *l)
{
    for (uint32_t i = 0; i < l->sessions; i++) {
        if (l->members[i].state == MEMBER_CONNECTING) {
            on_result(l, &l->members[i], DEVICE_FAILED);
        }
    }
}

/* --- storm --- */

static void keep_first_flight(struct device *device, const void *data, size_t size)
{
    struct load *l = (struct load *)((char *)device->group - offsetof(struct load, group));
    struct first_flight *flight = &l->first_flights[device->number];
    if (size <= sizeof flight->bytes) {
        memcpy(flight->bytes, data, size);
        flight->size = size;
    }
}

bool handshakes_start_storm(struct load *l, uint64_t spread_ms)
{
    l->first_flights = calloc(l->sessions, sizeof *l->first_flights);
    if (!l->first_flights) {
        perror("load: calloc");
        return false;
    }
    l->spread_ns = spread_ms * 1000000u;
    l->group.send = keep_first_flight;
    for (uint32_t i = 0; i < l->sessions; i++) {
        struct member *m = &l->members[i];
        device_forget(&m->device);
        m->state = MEMBER_CLOSED;
        if (!device_open(&m->device) || device_connect(&m->device, NULL, 0) != DEVICE_WAIT ||
            l->first_flights[i].size == 0) {
            fprintf(stderr, "load: device %u has no first flight of one datagram\n", i);
            return false;
        }
    }
    l->group.send = member_send;
    return true;
}

bool handshakes_send_due(struct load *l)
{
    uint64_t passed_ns = l->now_ns - l->start_ns;
    uint64_t due = passed_ns >= l->spread_ns ? l->sessions : l->sessions * passed_ns / l->spread_ns;
    while (l->next < due) {
        struct member *m = &l->members[l->next];
        const struct first_flight *flight = &l->first_flights[l->next++];
        l->active++;
        m->state = MEMBER_CONNECTING;
        m->started_ns = l->now_ns;
        member_send(&m->device, flight->bytes, flight->size);
        member_set_deadline(l, m, device_retransmit_ms(&m->device));
    }
    return l->next < l->sessions;
}

void handshakes_give_up(struct load *l)
{
    for (uint32_t i = 0; i < l->sessions; i++) {
        if (l->members[i].state == MEMBER_CONNECTING) {
            l->members[i].state = MEMBER_BROKEN;
            l->active--;
        }
    }
}

void handshakes_end_storm(struct load *l)
{
    free(l->first_flights);
    l->first_flights = NULL;
}
