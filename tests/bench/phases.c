#include "phases.h"

#include "handshakes.h"
#include "member.h"
#include "paced.h"
#include "requests.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    STORM_MAX_S = 30,
    PATIENCE_S = 5 /* with what is not over when the time is */
};

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_datagram(struct load *l, struct member *m, const void *data, size_t size)
{
    uint8_t answer[PHASES_PAYLOAD_MAX];
    size_t answer_bytes = sizeof answer;
    enum device_result result;
    if (l->is_paced) {
        paced_on_datagram(l, m, data, size);
        return;
    }
    switch (m->state) {
    case MEMBER_CONNECTING: handshakes_on_datagram(l, m, data, size); break;
    case MEMBER_OPEN:
    case MEMBER_WAITING:
        result = device_read(&m->device, data, size, answer, &answer_bytes);
        if (result == DEVICE_DONE) {
            requests_on_answer(l, m, answer, answer_bytes);
        } else if (result == DEVICE_FAILED) {
            l->active += m->state == MEMBER_OPEN; /* member_finish() takes it away again */
            member_finish(l, m, MEMBER_BROKEN);
        }
        break;
    case MEMBER_CLOSED: /* the answer to our close_notify */
    case MEMBER_STALLED:
    case MEMBER_ASLEEP:
    case MEMBER_BROKEN: break;
    }
}

static void check_deadlines(struct load *l)
{
    if (l->now_ns < l->next_scan_ns) {
        return;
    }
    l->next_scan_ns = l->now_ns + 50000000u + 1000u * l->sessions; /* of a million in 20 ms */
    for (uint32_t i = 0; i < l->sessions && l->active > 0; i++) {
        struct member *m = &l->members[i];
        if (l->now_ns < m->deadline_ns || m->held > 0) {
            continue;
        }
        if (m->state == MEMBER_CONNECTING) {
            handshakes_on_deadline(l, m);
        } else if (m->state == MEMBER_WAITING) {
            requests_on_deadline(l, m);
        }
    }
}

/* Receives one batch and all that follows from it. False if nothing came for LINK_QUIET_MS: the
 * phase has settled. */
static bool step(struct load *l)
{
    link_flush(&l->link);
    bool came = link_receive(&l->link);
    l->now_ns = clock_ns();
    for (unsigned i = 0; i < l->link.count; i++) {
        const struct link_datagram *datagram = &l->link.arrived[i];
        on_datagram(l, &l->members[datagram->number], datagram->data, datagram->size);
    }
    check_deadlines(l);
    return came;
}

/* At a pace: reads what has come, for a thread that is behind would else only make it worse; then
 * begins what is due, and waits for a datagram no longer than until the next is. */
static void step_at_pace(struct load *l, void start_due(struct load *l))
{
    enum { MOST_BATCHES = 64 };
    for (unsigned i = 0; i < MOST_BATCHES && link_wait(&l->link, 0); i++) {
        step(l);
    }
    l->now_ns = clock_ns();
    start_due(l);
    link_flush(&l->link);
    link_wait(&l->link, pace_wait_ns(&l->pace, clock_ns()));
    check_deadlines(l);
}

static bool run_at_pace(struct load *l, const char *pace, bool is_handshakes)
{
    if (!pace_init(&l->pace, pace, l->now_ns) || (!is_handshakes && !requests_start_at_pace(l))) {
        return false;
    }
    l->stop_ns = l->pace.stop_ns;
    prctl(PR_SET_TIMERSLACK, 1000ul); /* 50 us by default, which would count as latency */
    while (!pace_is_over(&l->pace, l->now_ns)) {
        step_at_pace(l, is_handshakes ? handshakes_start_due : requests_start_due);
    }
    /* Left half done they would fill the server's room for handshakes in the next phase. */
    while (is_handshakes && l->active > 0) {
        step(l);
        if (l->now_ns - l->stop_ns > PATIENCE_S * 1000000000ull) {
            handshakes_abandon(l);
        }
    }
    return true;
}

/* The next line of standard input ends it before its time. */
static bool is_told_to_end(const struct load *l)
{
    char line[64];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (!l->reads_stdin || poll(&input, 1, 0) <= 0) {
        return false;
    }
    return !fgets(line, sizeof line, stdin) || line[0] != 0;
}

static bool run_paced(struct load *l, const char *pace)
{
    if (!pace_init(&l->pace, pace, l->now_ns) || !paced_start(l)) {
        return false;
    }
    l->is_paced = true;
    prctl(PR_SET_TIMERSLACK, 1000ul);
    while (!pace_is_over(&l->pace, l->now_ns) && !is_told_to_end(l)) {
        step_at_pace(l, paced_send_due);
    }
    l->stop_ns = l->now_ns;
    while (!paced_is_complete(l) && l->now_ns - l->stop_ns < PATIENCE_S * 1000000000ull) {
        step(l);
    }
    return true;
}

/* The same in a storm: takes what the socket has, then reads a part of it. */
static void step_in_storm(struct load *l)
{
    l->now_ns = clock_ns();
    bool has_more = handshakes_send_due(l);
    link_flush(&l->link);
    uint64_t timeout_ns = l->held.first || has_more ? 0 : LINK_QUIET_MS * 1000000ull;
    while (link_wait(&l->link, timeout_ns) && link_receive(&l->link)) {
        for (unsigned i = 0; i < l->link.count; i++) {
            const struct link_datagram *datagram = &l->link.arrived[i];
            held_add(&l->held, datagram->number, datagram->data, datagram->size);
            l->members[datagram->number].held++;
        }
        timeout_ns = 0;
    }
    l->now_ns = clock_ns();
    for (unsigned i = 0; i < BATCH_SIZE; i++) {
        struct held *held = held_take(&l->held);
        if (!held) {
            break;
        }
        struct member *m = &l->members[held->number];
        m->held--;
        on_datagram(l, m, held->bytes, held->size);
        free(held);
    }
    check_deadlines(l);
}

static bool run_storm(struct load *l, const char *spread)
{
    char *end;
    unsigned long spread_ms = strtoul(spread, &end, 10);
    if (end == spread || *end != 0 || spread_ms == 0) {
        fprintf(stderr, "load: storm:%s: want milliseconds\n", spread);
        return false;
    }
    held_init(&l->held);
    bool ok = handshakes_start_storm(l, spread_ms);
    l->start_ns = l->now_ns = clock_ns();
    while (ok && (l->next < l->sessions || l->active > 0)) {
        step_in_storm(l);
        if (l->now_ns - l->start_ns > STORM_MAX_S * 1000000000ull) {
            handshakes_give_up(l);
            break;
        }
    }
    for (struct held *held; (held = held_take(&l->held));) {
        l->members[held->number].held--;
        free(held);
    }
    handshakes_end_storm(l);
    return ok;
}

static void print_result(struct load *l, const char *phase, double seconds)
{
    printf("{\"phase\": \"%s\", \"suite\": \"%s\", \"sessions\": %" PRIu32 ", \"done\": %" PRIu64
           ", \"seconds\": %.6f, \"per_s\": %.1f",
           phase, l->group.suite, l->sessions, l->done, seconds,
           seconds > 0 ? (double)l->done / seconds : 0);
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"lost\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"kernel_drops\": %" PRIu64 ", \"errors\": %" PRIu64,
           latency_percentile_us(&l->latency, 0.50), latency_percentile_us(&l->latency, 0.99),
           l->lost, l->late, link_kernel_drops(&l->link) - l->drops_before,
           l->errors + l->link.errors);
    printf(", \"offered\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"failed\": %" PRIu64 "}\n",
           l->pace.taken, l->skipped, l->failed);
    fflush(stdout);
}

static void put_to_sleep(struct load *l)
{
    for (uint32_t i = 0; i < l->sessions; i++) {
        struct member *m = &l->members[i];
        if (m->state == MEMBER_OPEN) {
            device_forget(&m->device);
            m->state = MEMBER_ASLEEP;
            l->done++;
        }
    }
}

static void close_all(struct load *l)
{
    for (uint32_t i = 0; i < l->sessions; i++) {
        struct member *m = &l->members[i];
        if (m->state == MEMBER_STALLED) {
            device_forget(&m->device);
        } else if (m->state != MEMBER_CLOSED && m->state != MEMBER_ASLEEP) {
            device_close(&m->device);
            l->done++;
        }
        m->state = MEMBER_CLOSED;
    }
}

/* What stands behind "name:"; NULL: the phase has another name. */
static const char *argument_of(const char *phase, const char *name)
{
    size_t n = strlen(name);
    return strncmp(phase, name, n) == 0 && phase[n] == ':' ? phase + n + 1 : NULL;
}

static bool draw_crowd(struct load *l, const char *text)
{
    char *end;
    unsigned long size = strtoul(text, &end, 10), first = 0;
    bool is_in_order = *end == ':';
    if (is_in_order) {
        first = strtoul(end + 1, &end, 10);
    }
    if (*end != 0 || size == 0 || size > l->sessions || first > l->sessions - size) {
        fprintf(stderr, "load: active:%s: want 1 to %" PRIu32 "\n", text, l->sessions);
        return false;
    }
    if (is_in_order) {
        crowd_take(&l->crowd, (uint32_t)first, (uint32_t)size);
    } else {
        crowd_draw(&l->crowd, (uint32_t)size, l->sessions);
    }
    return true;
}

static bool start_phase(struct load *l, const char *phase)
{
    const char *argument;
    if (strcmp(phase, "handshakes") == 0) {
        handshakes_start(l, UINT64_MAX);
    } else if ((argument = argument_of(phase, "handshakes"))) {
        handshakes_start(l, strtoull(argument, NULL, 10));
    } else if (strcmp(phase, "reconnect") == 0) {
        handshakes_start_again(l);
    } else if (strcmp(phase, "stall") == 0) {
        handshakes_start_stalled(l);
    } else if ((argument = argument_of(phase, "storm"))) {
        return run_storm(l, argument);
    } else if ((argument = argument_of(phase, "active"))) {
        return draw_crowd(l, argument);
    } else if ((argument = argument_of(phase, "requests"))) {
        return requests_start(l, argument);
    } else if ((argument = argument_of(phase, "requests-at"))) {
        return run_at_pace(l, argument, false);
    } else if ((argument = argument_of(phase, "handshakes-at"))) {
        return run_at_pace(l, argument, true);
    } else if ((argument = argument_of(phase, "paced"))) {
        return run_paced(l, argument);
    } else if (strcmp(phase, "close") == 0) {
        close_all(l);
    } else if (strcmp(phase, "sleep") == 0) {
        put_to_sleep(l);
    } else {
        fprintf(stderr, "load: unknown phase %s\n", phase);
        return false;
    }
    return true;
}

bool phases_run(struct load *l, const char *phase)
{
    l->next = 0;
    l->is_again = l->is_stalling = l->is_paced = false;
    l->stop_ns = 0;
    l->pace = (struct pace){0};
    l->done = l->lost = l->late = l->skipped = l->failed = l->errors = l->link.errors = 0;
    l->drops_before = link_kernel_drops(&l->link);
    latency_reset(&l->latency);
    l->start_ns = l->now_ns = clock_ns();
    if (!start_phase(l, phase)) {
        return false;
    }
    while (l->active > 0) {
        step(l);
    }
    link_flush(&l->link);
    uint64_t end_ns = l->stop_ns != 0 ? l->stop_ns : l->now_ns;
    double seconds = (double)(end_ns - l->start_ns) / 1e9;
    while (step(l)) {
    }
    if (l->is_paced) {
        paced_print(l, phase);
    } else {
        print_result(l, phase, seconds);
    }
    return l->errors + l->link.errors == 0;
}

void phases_init(struct load *l)
{
    l->group.send = member_send;
    l->members = calloc(l->sessions, sizeof *l->members);
    if (!l->members) {
        perror("load: calloc");
        exit(1);
    }
    for (uint32_t i = 0; i < l->sessions; i++) {
        l->members[i].device = (struct device){.group = &l->group, .number = i};
    }
    crowd_init(&l->crowd, l->sessions);
    l->link.devices = l->sessions;
    link_open(&l->link);
}

void phases_deinit(struct load *l)
{
    close_all(l);
    link_close(&l->link);
    latency_deinit(&l->latency);
    crowd_deinit(&l->crowd);
    paced_free(l->paced);
    free(l->members);
}
