#include "phases.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST_SOURCE = 0x7fc80001, /* 127.200.0.1: device 0 */
    QUIET_MS = 20,             /* no datagram for so long: the phase has settled */
    REQUEST_TIMEOUT_MS = 1000,
    MAX_TRIES = 5,
    MAX_ERRORS = 10
};

enum state { CLOSED, CONNECTING, OPEN, WAITING, BROKEN };

struct member {
    struct device device;
    enum state state;
    uint32_t sequence; /* of the request in flight */
    unsigned tries;
    uint64_t started_ns;
    uint64_t deadline_ns;
};

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct load *load_of(const struct device *device)
{
    return (struct load *)((char *)device->group - offsetof(struct load, group));
}

static void send_datagram(struct device *device, const void *data, size_t size)
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
    batch_add(&l->out, &l->target, (struct in_addr){htonl(FIRST_SOURCE + device->number)}, kept,
              size);
}

static void set_deadline(struct load *l, struct member *m, uint64_t after_ms)
{
    m->deadline_ns = l->now_ns + after_ms * 1000000u;
}

static void count_error(struct load *l)
{
    if (++l->errors >= MAX_ERRORS) {
        fprintf(stderr, "load: gave up after %d errors\n", MAX_ERRORS);
        exit(1);
    }
}

/* The member waits no longer; it is open, or broken and out of the run. */
static void finish(struct load *l, struct member *m, enum state state)
{
    m->state = state;
    l->active--;
    if (state == BROKEN) {
        count_error(l);
    } else {
        l->done++;
        latency_add(&l->latency, l->now_ns - m->started_ns);
    }
}

/* --- handshakes --- */

static void start_handshakes(struct load *l);

static void on_handshake_result(struct load *l, struct member *m, enum device_result result)
{
    if (result == DEVICE_WAIT) {
        set_deadline(l, m, device_retransmit_ms(&m->device));
        return;
    }
    finish(l, m, result == DEVICE_DONE ? OPEN : BROKEN);
}

static void start_handshakes(struct load *l)
{
    while (l->active < l->concurrent && l->next < l->sessions) {
        struct member *m = &l->members[l->next++];
        if (m->state != CLOSED) {
            continue;
        }
        l->active++;
        m->state = CONNECTING;
        m->tries = 0;
        m->started_ns = l->now_ns;
        if (!device_open(&m->device)) {
            finish(l, m, BROKEN);
            continue;
        }
        on_handshake_result(l, m, device_connect(&m->device, NULL, 0));
    }
}

static void on_handshake_deadline(struct load *l, struct member *m)
{
    l->lost++;
    if (++m->tries == MAX_TRIES || !device_retransmit(&m->device)) {
        fprintf(stderr, "load: device %u: handshake timed out\n", m->device.number);
        finish(l, m, BROKEN);
        return;
    }
    set_deadline(l, m, device_retransmit_ms(&m->device));
}

/* --- requests --- */

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
    set_deadline(l, m, REQUEST_TIMEOUT_MS);
    if (!device_send(&m->device, payload, l->payload_bytes)) {
        finish(l, m, BROKEN);
    }
}

static void start_request(struct load *l, struct member *m)
{
    if (l->todo == 0 || (l->stop_ns != 0 && l->now_ns >= l->stop_ns)) {
        return;
    }
    l->todo--;
    l->active++;
    m->state = WAITING;
    m->tries = 0;
    m->sequence++;
    m->started_ns = l->now_ns;
    send_request(l, m);
}

static void on_request_deadline(struct load *l, struct member *m)
{
    l->lost++;
    if (++m->tries == MAX_TRIES) {
        fprintf(stderr, "load: device %u: no answer\n", m->device.number);
        finish(l, m, BROKEN);
        return;
    }
    send_request(l, m);
}

/* An answer to a request that was sent again may come twice; anything else unexpected is an
 * error. */
static void on_answer(struct load *l, struct member *m, const uint8_t *answer, size_t size)
{
    uint8_t expected[PHASES_PAYLOAD_MAX];
    fill_payload(l, m, expected);
    if (size == l->payload_bytes && memcmp(answer, expected, size) == 0) {
        if (m->state != WAITING) {
            l->late++;
            return;
        }
        finish(l, m, OPEN);
        start_request(l, m);
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
    count_error(l);
}

/* --- every phase --- */

static void on_datagram(struct load *l, struct member *m, const void *data, size_t size)
{
    uint8_t answer[PHASES_PAYLOAD_MAX];
    size_t answer_bytes = sizeof answer;
    enum device_result result;
    switch (m->state) {
    case CONNECTING:
        on_handshake_result(l, m, device_connect(&m->device, data, size));
        start_handshakes(l);
        break;
    case OPEN:
    case WAITING:
        result = device_read(&m->device, data, size, answer, &answer_bytes);
        if (result == DEVICE_DONE) {
            on_answer(l, m, answer, answer_bytes);
        } else if (result == DEVICE_FAILED) {
            l->active += m->state == OPEN; /* finish() takes it away again */
            finish(l, m, BROKEN);
        }
        break;
    case CLOSED: /* the answer to our close_notify */
    case BROKEN: break;
    }
}

static void check_deadlines(struct load *l)
{
    if (l->now_ns < l->next_scan_ns) {
        return;
    }
    l->next_scan_ns = l->now_ns + 50000000u;
    for (uint32_t i = 0; i < l->sessions && l->active > 0; i++) {
        struct member *m = &l->members[i];
        if ((m->state == CONNECTING || m->state == WAITING) && l->now_ns >= m->deadline_ns) {
            if (m->state == CONNECTING) {
                on_handshake_deadline(l, m);
                start_handshakes(l);
            } else {
                on_request_deadline(l, m);
            }
        }
    }
}

/* Receives one batch and all that follows from it. False if nothing came for QUIET_MS. */
static bool step(struct load *l)
{
    batch_flush(&l->out);
    bool came = batch_receive(&l->in, l->fd);
    l->now_ns = clock_ns();
    for (unsigned i = 0; i < l->in.count; i++) {
        uint32_t number = ntohl(batch_local(&l->in, i).s_addr) - FIRST_SOURCE;
        if (number < l->sessions) {
            on_datagram(l, &l->members[number], l->in.vectors[i].iov_base,
                        l->in.messages[i].msg_len);
        }
    }
    check_deadlines(l);
    return came;
}

static void print_result(struct load *l, const char *phase, double seconds)
{
    printf("{\"phase\": \"%s\", \"suite\": \"%s\", \"sessions\": %" PRIu32 ", \"done\": %" PRIu64
           ", \"seconds\": %.6f, \"per_s\": %.1f",
           phase, l->group.suite, l->sessions, l->done, seconds,
           seconds > 0 ? (double)l->done / seconds : 0);
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"lost\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"errors\": %" PRIu64 "}\n",
           latency_percentile_us(&l->latency, 0.50), latency_percentile_us(&l->latency, 0.99),
           l->lost, l->late, l->errors + l->out.errors);
    fflush(stdout);
}

static void close_all(struct load *l)
{
    for (uint32_t i = 0; i < l->sessions; i++) {
        struct member *m = &l->members[i];
        if (m->state != CLOSED) {
            device_close(&m->device);
            m->state = CLOSED;
            l->done++;
        }
    }
}

/* requests:20000 or requests:5s. Needs every device to be open. */
static bool start_requests(struct load *l, const char *amount)
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
        if (l->members[i].state != OPEN) {
            fprintf(stderr, "load: requests before handshakes\n");
            return false;
        }
        start_request(l, &l->members[i]);
    }
    return true;
}

bool phases_run(struct load *l, const char *phase)
{
    l->next = 0;
    l->done = l->lost = l->late = l->errors = l->out.errors = 0;
    latency_reset(&l->latency);
    l->now_ns = clock_ns();
    uint64_t start_ns = l->now_ns;
    if (strcmp(phase, "handshakes") == 0) {
        start_handshakes(l);
    } else if (strncmp(phase, "requests:", 9) == 0) {
        if (!start_requests(l, phase + 9)) {
            return false;
        }
    } else if (strcmp(phase, "close") == 0) {
        close_all(l);
    } else {
        fprintf(stderr, "load: unknown phase %s\n", phase);
        return false;
    }
    while (l->active > 0) {
        step(l);
    }
    batch_flush(&l->out);
    double seconds = (double)(l->now_ns - start_ns) / 1e9;
    while (step(l)) {
    }
    print_result(l, phase, seconds);
    return l->errors + l->out.errors == 0;
}

static void open_socket(struct load *l)
{
    l->fd = batch_open((struct in_addr){INADDR_ANY}, 0, BATCH_PKTINFO);
    struct timeval quiet = {.tv_usec = QUIET_MS * 1000};
    if (setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet) != 0) {
        perror("load: SO_RCVTIMEO");
        exit(1);
    }
    batch_in_init(&l->in);
    batch_out_init(&l->out, l->fd);
}

void phases_init(struct load *l)
{
    l->group.send = send_datagram;
    l->members = calloc(l->sessions, sizeof *l->members);
    if (!l->members) {
        perror("load: calloc");
        exit(1);
    }
    for (uint32_t i = 0; i < l->sessions; i++) {
        l->members[i].device = (struct device){.group = &l->group, .number = i};
    }
    open_socket(l);
}

void phases_deinit(struct load *l)
{
    close_all(l);
    batch_flush(&l->out);
    batch_in_deinit(&l->in);
    latency_deinit(&l->latency);
    free(l->members);
    close(l->fd);
}
