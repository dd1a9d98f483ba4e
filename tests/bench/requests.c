#include "requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_TIMEOUT_MS = 1000 };

static void fill_payload(const struct load *l, const struct member *m, uint8_t *payload)
{
    memset(payload, (int)(m->device.number + m->sequence), l->payload_bytes);
    memcpy(payload, &m->device.number, 4);
    memcpy(payload + 4, &m->sequence, 4);
}

static void send_request(struct load *l, struct member *m)
{
    uint8_t payload[PHASES_PAYLOAD_MAX];
    fill_payload(l, m, payload);
    member_set_deadline(l, m, REQUEST_TIMEOUT_MS);
    if (!device_send(&m->device, payload, l->payload_bytes)) {
        member_finish(l, m, MEMBER_BROKEN);
    }
}

static bool is_over(const struct load *l)
{
    return l->todo == 0 || (l->stop_ns != 0 && l->now_ns >= l->stop_ns);
}

static void start_request(struct load *l, struct member *m, uint64_t since_ns)
{
    l->todo--;
    l->active++;
    m->state = MEMBER_WAITING;
    m->tries = 0;
    m->sequence++;
    m->started_ns = since_ns;
    send_request(l, m);
}

/* A device of the crowd without a request in flight, if there soon is one; or m (may be NULL). */
static struct member *find_idle(struct load *l, struct member *m)
{
    enum { LOOK_AT = 16 };
    for (unsigned i = 0; i < LOOK_AT; i++) {
        struct member *candidate = &l->members[crowd_next(&l->crowd)];
        if (candidate->state == MEMBER_OPEN) {
            return candidate;
        }
    }
    return m;
}

/* Closed loop: an answer is followed by the next request, of the same device if all have their turn
 * at once. */
static void go_on(struct load *l, struct member *m)
{
    if (l->pace.per_s == 0 && !is_over(l)) {
        start_request(l, l->crowd.size <= l->in_flight ? m : find_idle(l, m), l->now_ns);
    }
}

void requests_start_due(struct load *l)
{
    uint64_t due_ns;
    for (unsigned i = 0; i < BATCH_SIZE && pace_take(&l->pace, l->now_ns, &due_ns); i++) {
        struct member *m = find_idle(l, NULL);
        if (m) {
            start_request(l, m, due_ns);
        } else {
            l->skipped++;
        }
    }
}

/* The time is over: the member's request, answered or not, does not count. */
static void leave(struct load *l, struct member *m)
{
    m->state = MEMBER_OPEN;
    l->active--;
}

void requests_on_deadline(struct load *l, struct member *m)
{
    l->lost++;
    if (l->stop_ns != 0 && is_over(l)) {
        leave(l, m);
    } else if (++m->tries == MEMBER_MAX_TRIES) {
        fprintf(stderr, "load: device %u: no answer\n", m->device.number);
        member_finish(l, m, MEMBER_BROKEN);
    } else {
        send_request(l, m);
    }
}

/* An answer to a request that was sent again may come twice; anything else unexpected is an
 * error. */
void requests_on_answer(struct load *l, struct member *m, const uint8_t *answer, size_t size)
{
    uint8_t expected[PHASES_PAYLOAD_MAX];
    fill_payload(l, m, expected);
    if (size == l->payload_bytes && memcmp(answer, expected, size) == 0) {
        if (m->state != MEMBER_WAITING) {
            l->late++;
        } else if (l->stop_ns != 0 && l->now_ns >= l->stop_ns) {
            leave(l, m);
        } else {
            member_finish(l, m, MEMBER_OPEN);
            go_on(l, m);
        }
        return;
    }
    uint32_t sequence = 0;
    if (size == l->payload_bytes) {
        memcpy(&sequence, answer + 4, sizeof sequence);
    }
    if (sequence != 0 && sequence < m->sequence) {
        l->late++;
        return;
    }
    fprintf(stderr, "load: device %u: %zu bytes came back that were not sent\n", m->device.number,
            size);
    member_count_error(l);
}

static bool are_open(const struct load *l)
{
    for (uint32_t i = 0; i < l->crowd.size; i++) {
        if (l->members[crowd_number(&l->crowd, i)].state != MEMBER_OPEN) {
            fprintf(stderr, "load: requests before handshakes\n");
            return false;
        }
    }
    return true;
}

bool requests_start(struct load *l, const char *amount)
{
    char *end;
    unsigned long long n = strtoull(amount, &end, 10);
    bool is_seconds = strcmp(end, "s") == 0;
    if (n == 0 || end == amount || (*end != 0 && !is_seconds)) {
        fprintf(stderr, "load: requests:%s: want a count or seconds, as 20000 or 5s\n", amount);
        return false;
    }
    if (!are_open(l)) {
        return false;
    }
    l->todo = is_seconds ? UINT64_MAX : n;
    l->stop_ns = is_seconds ? l->now_ns + n * 1000000000u : 0;
    l->crowd.next = 0;
    for (uint32_t i = 0; i < l->crowd.size && i < l->in_flight && !is_over(l); i++) {
        start_request(l, &l->members[crowd_next(&l->crowd)], l->now_ns);
    }
    return true;
}

bool requests_start_at_pace(struct load *l)
{
    l->todo = UINT64_MAX;
    l->stop_ns = l->pace.stop_ns;
    l->crowd.next = 0;
    return are_open(l);
}
