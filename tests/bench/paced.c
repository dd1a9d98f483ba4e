#include "paced.h"

#include "numbered.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIN_NS = 10000000 };

struct paced_request {
    uint64_t due_ns;
    uint32_t device;
    bool is_answered;
};

struct paced {
    uint64_t run;
    struct paced_request *requests; /* owned, by sequence number */
    size_t count, room;
    uint32_t *answers; /* owned: how many came in each bin since the start */
    size_t bins, bins_room;
    uint64_t answered, twice;
    uint64_t broken;      /* requests of devices whose session has ended */
    uint64_t at_backend;  /* requests that were there, by the latest answer */
    uint64_t heard_ns;    /* when the last answer came */
    uint64_t silence_ns;  /* the longest time without any answer ... */
    uint64_t silence_end; /* ... and when it was over */
};

/* More room for an array: twice as much, and zeroed. */
static void *grow(void *old, size_t *room, size_t item_bytes)
{
    enum { FIRST_ROOM = 4096 };
    size_t before = *room;
    *room = before ? 2 * before : FIRST_ROOM;
    uint8_t *grown = realloc(old, *room * item_bytes);
    if (!grown) {
        perror("load: realloc");
        exit(1);
    }
    memset(grown + before * item_bytes, 0, (*room - before) * item_bytes);
    return grown;
}

bool paced_start(struct load *l)
{
    if (l->payload_bytes < sizeof(struct numbered)) {
        fprintf(stderr, "load: paced: --payload %zu at least\n", sizeof(struct numbered));
        return false;
    }
    for (uint32_t i = 0; i < l->sessions; i++) {
        if (l->members[i].state != MEMBER_OPEN) {
            fprintf(stderr, "load: paced before handshakes\n");
            return false;
        }
    }
    if (!l->paced) {
        l->paced = calloc(1, sizeof *l->paced);
        if (!l->paced) {
            perror("load: calloc");
            return false;
        }
    }
    struct paced *p = l->paced;
    for (size_t i = 0; i < p->bins; i++) {
        p->answers[i] = 0;
    }
    *p = (struct paced){.run = l->now_ns,
                        .requests = p->requests,
                        .room = p->room,
                        .answers = p->answers,
                        .bins_room = p->bins_room,
                        .heard_ns = l->now_ns};
    return true;
}

void paced_free(struct paced *p)
{
    if (p) {
        free(p->requests);
        free(p->answers);
        free(p);
    }
}

static void fill(uint8_t *payload, size_t size, const struct numbered *head)
{
    memset(payload, (int)(head->device + head->sequence), size);
    memcpy(payload, head, sizeof *head);
}

static void send_request(struct load *l, struct member *m, uint64_t due_ns)
{
    uint8_t payload[PHASES_PAYLOAD_MAX];
    struct paced *p = l->paced;
    if (p->count == p->room) {
        p->requests = grow(p->requests, &p->room, sizeof *p->requests);
    }
    struct numbered head = {
        .mark = numbered_mark, .device = m->device.number, .run = p->run, .sequence = p->count};
    p->requests[p->count++] = (struct paced_request){.due_ns = due_ns, .device = m->device.number};
    fill(payload, l->payload_bytes, &head);
    if (m->state == MEMBER_BROKEN) {
        p->broken++;
    } else if (!device_send(&m->device, payload, l->payload_bytes)) {
        m->state = MEMBER_BROKEN;
    }
}

void paced_send_due(struct load *l)
{
    uint64_t due_ns;
    for (unsigned i = 0; i < BATCH_SIZE && pace_take(&l->pace, l->now_ns, &due_ns); i++) {
        send_request(l, &l->members[crowd_next(&l->crowd)], due_ns);
    }
}

static void count_answer(struct load *l, const struct numbered *head)
{
    struct paced *p = l->paced;
    struct paced_request *request = &p->requests[head->sequence];
    if (request->is_answered) {
        p->twice++;
        return;
    }
    request->is_answered = true;
    p->answered++;
    if (head->at_backend > p->at_backend) {
        p->at_backend = head->at_backend;
    }
    latency_add(&l->latency, l->now_ns - request->due_ns);
    if (l->now_ns - p->heard_ns > p->silence_ns) {
        p->silence_ns = l->now_ns - p->heard_ns;
        p->silence_end = l->now_ns;
    }
    p->heard_ns = l->now_ns;
    size_t bin = (l->now_ns - l->start_ns) / BIN_NS;
    while (bin >= p->bins_room) {
        p->answers = grow(p->answers, &p->bins_room, sizeof *p->answers);
    }
    p->answers[bin]++;
    p->bins = bin + 1 > p->bins ? bin + 1 : p->bins;
}

static void on_answer(struct load *l, struct member *m, const uint8_t *answer, size_t size)
{
    uint8_t expected[PHASES_PAYLOAD_MAX];
    struct numbered head;
    struct paced *p = l->paced;
    if (size == l->payload_bytes) {
        memcpy(&head, answer, sizeof head);
        fill(expected, size, &head);
        bool is_ours = head.mark == numbered_mark && head.device == m->device.number;
        if (is_ours && head.run < p->run) {
            l->late++;
            return;
        }
        if (is_ours && head.run == p->run && head.sequence < p->count && head.at_backend > 0 &&
            p->requests[head.sequence].device == head.device &&
            memcmp(answer, expected, size) == 0) {
            count_answer(l, &head);
            return;
        }
    }
    fprintf(stderr, "load: device %u: %zu bytes came back that were not sent\n", m->device.number,
            size);
    member_count_error(l);
}

void paced_on_datagram(struct load *l, struct member *m, const void *data, size_t size)
{
    uint8_t answer[PHASES_PAYLOAD_MAX];
    size_t answer_bytes = sizeof answer;
    if (m->state != MEMBER_OPEN) {
        return;
    }
    switch (device_read(&m->device, data, size, answer, &answer_bytes)) {
    case DEVICE_DONE: on_answer(l, m, answer, answer_bytes); break;
    case DEVICE_WAIT: break;
    case DEVICE_FAILED: m->state = MEMBER_BROKEN; break; /* a close_notify: a result, no error */
    }
}

bool paced_is_complete(const struct load *l)
{
    return l->paced->answered + l->paced->broken == l->paced->count;
}

static uint64_t count_broken_members(const struct load *l)
{
    uint64_t broken = 0;
    for (uint32_t i = 0; i < l->sessions; i++) {
        broken += l->members[i].state == MEMBER_BROKEN;
    }
    return broken;
}

void paced_print(struct load *l, const char *phase)
{
    const struct paced *p = l->paced;
    uint64_t back = p->at_backend > p->answered ? p->at_backend - p->answered : 0;
    printf("{\"phase\": \"%s\", \"suite\": \"%s\", \"sessions\": %" PRIu32
           ", \"start_ns\": %" PRIu64 ", \"done\": %" PRIu64 ", \"sent\": %zu",
           phase, l->group.suite, l->sessions, l->start_ns, p->answered, p->count);
    printf(", \"lost\": %" PRIu64 ", \"lost_requests\": %" PRIu64 ", \"lost_answers\": %" PRIu64
           ", \"twice\": %" PRIu64 ", \"late\": %" PRIu64 ", \"broken\": %" PRIu64,
           p->count - p->answered, p->count - p->answered - back, back, p->twice, l->late,
           count_broken_members(l));
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f",
           latency_percentile_us(&l->latency, 0.50), latency_percentile_us(&l->latency, 0.99),
           latency_percentile_us(&l->latency, 1.0));
    printf(", \"silence_us\": %.1f, \"silence_end_ns\": %" PRIu64 ", \"kernel_drops\": %" PRIu64
           ", \"errors\": %" PRIu64 ", \"answers\": [",
           (double)p->silence_ns / 1e3, p->silence_end,
           link_kernel_drops(&l->link) - l->drops_before, l->errors + l->link.errors);
    for (size_t i = 0; i < p->bins; i++) {
        printf("%s%" PRIu32, i > 0 ? "," : "", p->answers[i]);
    }
    printf("]}\n");
    fflush(stdout);
}
