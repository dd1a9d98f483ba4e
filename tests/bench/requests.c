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

static void start_request(struct load *l, struct member *m)
{
    if (is_over(l)) {
        return;
    }
    l->todo--;
    l->active++;
    m->state = MEMBER_WAITING;
    m->tries = 0;
    m->sequence++;
    m->started_ns = l->now_ns;
    send_request(l, m);
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
            start_request(l, m);
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

bool requests_start(struct load *l, const char *amount)
{
    char *end;
    unsigned long long n = strtoull(amount, &end, 10);
    bool is_seconds = strcmp(end, "s") == 0;
    if (n == 0 || end == amount || (*end != 0 && !is_seconds)) {
        fprintf(stderr, "load: requests:%s: want a count or seconds, as 20000 or 5s\n", amount);
        return false;
    }
    l->todo = is_seconds ? UINT64_MAX : n;
    l->stop_ns = is_seconds ? l->now_ns + n * 1000000000u : 0;
    for (uint32_t i = 0; i < l->sessions; i++) {
        if (l->members[i].state != MEMBER_OPEN) {
            fprintf(stderr, "load: requests before handshakes\n");
            return false;
        }
        start_request(l, &l->members[i]);
    }
    return true;
}
