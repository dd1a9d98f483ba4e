/* Workers as the daemon runs them: threads and sockets are real, clients and backend are of the
 * test, on the loopback interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"
#include "gate/gate_state.h"
#include "gate/gate_wolfssl.h"
#include "gate/loopback.h"
#include "gate/memory_generation.h"
#include "net/steering.h"
#include "net/udp.h"
#include "run/reload.h"
#include "run/sockets.h"
#include "worker/worker.h"

enum { WORKERS_MAX = 2 };

/* ---- a gate --------------------------------------------------------------------------------- */

struct fixture {
    struct generation *generation;
    struct state state;
    struct identities *identities;
    struct sockets *sockets;
    struct worker *workers[WORKERS_MAX];
    uint32_t count;
    struct addr listen[2];
    int backend_fd;
    struct addr backend;
    uint64_t fds_before;
};

static uint64_t open_fds(void)
{
    struct process_usage usage;
    process_read_usage(&usage);
    return usage.open_fds;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    f->fds_before = open_fds();
    f->backend_fd = loopback_open(&f->backend);
    *state = f;
    return 0;
}

static void close_gate(struct fixture *f)
{
    for (uint32_t w = 0; w < f->count; w++)
        worker_ask_to_stop(f->workers[w], WORKER_SAYS_FAREWELL);
    for (uint32_t w = 0; w < f->count; w++)
        worker_close(f->workers[w]);
    f->count = 0;
    sockets_close(f->sockets);
    f->sockets = NULL;
    reload_release(f->generation);
    identities_free(f->identities);
    state_close(&f->state);
    f->generation = NULL;
    f->identities = NULL;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_gate(f);
    close(f->backend_fd);
    uint64_t fds_after = open_fds();
    if (fds_after != f->fds_before)
        print_error("%u descriptors were open before, %u are after\n", (unsigned)f->fds_before,
                    (unsigned)fds_after);
    int result = fds_after == f->fds_before ? 0 : -1;
    free(f);
    return result;
}

/* One listener with two addresses, on ports that were free a moment ago. */
static void build(struct fixture *f)
{
    char ini[512], texts[3][ADDR_TEXT_MAX];
    struct err err = {0};
    for (int i = 0; i < 2; i++)
        close(loopback_open(&f->listen[i]));
    snprintf(ini, sizeof(ini),
             "[gate]\nworkers = 2\n[listener coaps]\nlisten = %s, %s\nbackend = %s\n"
             "psk_file = @psk\n",
             addr_format(&f->listen[0], texts[0]), addr_format(&f->listen[1], texts[1]),
             addr_format(&f->backend, texts[2]));
    f->generation = memory_generation(ini);
    f->identities = identities_new(&err);
    assert_non_null(f->identities);
    gate_state_open(&f->state, f->generation);
}

static void open_worker(struct fixture *f, uint32_t index)
{
    struct err err = {0};
    struct worker_sockets at[2];
    assert_int_equal(f->sockets->entry_count, 2);
    sockets_of_worker(f->sockets, index, at);
    const struct worker_settings settings = {
        .generation = f->generation,
        .state = &f->state,
        .identities = f->identities,
        .workers = f->workers,
        .sockets = at,
        .socket_count = 2,
        .backend = &f->sockets->backends[index],
        .index = index,
        .count = f->sockets->worker_count,
    };
    f->workers[index] = worker_open(&settings, &err);
    if (f->workers[index] == NULL)
        fail_msg("%s", err.text);
    f->count++;
}

static void open_workers(struct fixture *f, uint32_t count)
{
    struct err err = {0};
    build(f);
    f->sockets = sockets_open(f->generation, &f->state, count, true, NULL, &err);
    if (f->sockets == NULL)
        fail_msg("%s", err.text);
    for (uint32_t w = 0; w < count; w++)
        open_worker(f, w);
}

static void start_workers(struct fixture *f)
{
    struct err err = {0};
    for (uint32_t w = 0; w < f->count; w++) {
        if (!worker_start(f->workers[w], NULL, &err))
            fail_msg("%s", err.text);
    }
}

static void start(struct fixture *f, uint32_t count)
{
    open_workers(f, count);
    start_workers(f);
}

/* Adds a worker's counters to sum, which holds zeros, and returns it. */
static struct counters *add_counters(struct counters *sum, const struct fixture *f, uint32_t worker)
{
    assert_true(counters_add_copy(sum, worker_counters(f->workers[worker]), 0,
                                  loopback_clock_ms() + LOOPBACK_LIMIT_MS));
    uint64_t outcomes = 0;
    for (int i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        outcomes += counter_get(&sum->client[i]);
    assert_int_equal(outcomes, counter_get(&sum->client_received));
    return sum;
}

#define read_counter(f, worker, member) \
    counter_get(&add_counters(&(struct counters){0}, f, worker)->member)

/* Waits until a worker has counted that many datagrams from devices. */
static void wait_for_received(const struct fixture *f, uint32_t worker, uint64_t count)
{
    uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    while (read_counter(f, worker, client_received) < count && loopback_clock_ms() < end_ms)
        poll(NULL, 0, 1);
    assert_int_equal(read_counter(f, worker, client_received), count);
}

static void wait_for_client_outcome(const struct fixture *f, enum client_outcome outcome,
                                    uint64_t count)
{
    uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    while (read_counter(f, 0, client[outcome]) < count && loopback_clock_ms() < end_ms)
        poll(NULL, 0, 1);
    assert_int_equal(read_counter(f, 0, client[outcome]), count);
}

/* A batch is counted after its answers have left. */
static void wait_for_forwarded(const struct fixture *f, uint32_t worker, uint64_t count)
{
    uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    while (read_counter(f, worker, backend[BACKEND_forwarded]) < count &&
           loopback_clock_ms() < end_ms)
        poll(NULL, 0, 1);
    assert_int_equal(read_counter(f, worker, backend[BACKEND_forwarded]), count);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_never_started(void **state)
{
    struct fixture *f = *state;
    open_workers(f, 1);
    worker_close(NULL);
}

static void test_address_in_use(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    build(f);
    /* The second address is taken: the first one's socket is open by then. */
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(&f->listen[1], &storage);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&storage, size), 0);
    uint64_t fds = open_fds();
    assert_null(sockets_open(f->generation, &f->state, 1, true, NULL, &err));
    char text[ADDR_TEXT_MAX];
    assert_non_null(strstr(err.text, addr_format(&f->listen[1], text)));
    assert_int_equal(open_fds(), fds);
    close(fd);
}

static void test_junk_is_counted_and_not_answered(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    struct addr client;
    int fd = loopback_open(&client);
    for (int i = 0; i < 50; i++)
        loopback_send(fd, &f->listen[i % 2], "GET / HTTP/1.1\r\n\r\n", (size_t)i % 18);
    wait_for_received(f, 0, 50);
    assert_int_equal(read_counter(f, 0, client[CLIENT_not_dtls]), 50);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 0), 0);
    close(fd);
}

/* What the kernel drops of them is no datagram of a session, and is not counted as such. */
static void test_hellos_have_a_queue_of_their_own(void **state)
{
    struct fixture *f = *state;
    enum { HELLOS = 30000, OTHERS = 50 };
    static const uint8_t hello[1400] = {22, 0xfe, 0xfd, [11] = 1, [13] = 1};
    uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    struct addr client;
    open_workers(f, 1);
    int fd = loopback_open(&client);
    for (int i = 0; i < HELLOS; i++)
        loopback_send(fd, &f->listen[0], hello, sizeof(hello));
    for (int i = 0; i < OTHERS; i++)
        loopback_send(fd, &f->listen[0], "not a record", 12);
    start_workers(f);
    wait_for_client_outcome(f, CLIENT_not_dtls, OTHERS);
    /* The number stands on hellos that arrive later. */
    uint64_t sent = HELLOS, seen;
    do {
        assert_true(loopback_clock_ms() < end_ms);
        loopback_send(fd, &f->listen[0], hello, sizeof(hello));
        sent++;
        poll(NULL, 0, 5);
        seen =
            read_counter(f, 0, client_received) - OTHERS + read_counter(f, 0, hello_kernel_drops);
    } while (seen < sent);
    assert_int_equal(seen, sent);
    assert_true(read_counter(f, 0, hello_kernel_drops) > 0);
    assert_int_equal(read_counter(f, 0, client_kernel_drops), 0);
    close(fd);
}

static void test_through_and_back(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    for (int i = 0; i < 2; i++) {
        struct loopback_device device;
        char text[64];
        struct addr source;
        loopback_device_connect(&device, &f->listen[i]);
        assert_true(memory_client_send(device.client, "question", 8));
        assert_int_equal(loopback_receive(f->backend_fd, text, sizeof(text), &source), 8);
        assert_memory_equal(text, "question", 8);
        assert_int_equal(source.ip[0], 127);
        assert_true(source.ip[1] != 0);
        loopback_send(f->backend_fd, &source, "answer", 6);
        while (device.client->message_count == 0)
            loopback_device_receive(&device);
        assert_int_equal(memory_client_last(device.client).len, 6);
        assert_memory_equal(memory_client_last(device.client).data, "answer", 6);
        wait_for_forwarded(f, 0, (uint64_t)i + 1);
        assert_int_equal(read_counter(f, 0, sessions), i + 1);
        loopback_device_free(&device);
    }
}

static void test_backend_that_is_down(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    close(f->backend_fd);
    struct loopback_device device;
    loopback_device_connect(&device, &f->listen[0]);
    uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    while (read_counter(f, 0, backend_icmp_errors) == 0 && loopback_clock_ms() < end_ms) {
        assert_true(memory_client_send(device.client, "question", 8));
        poll(NULL, 0, 5);
    }
    assert_true(read_counter(f, 0, backend_icmp_errors) > 0);
    assert_int_equal(read_counter(f, 0, sessions), 1);
    loopback_device_free(&device);
    f->backend_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* for the tear-down */
}

static void test_farewell(void **state)
{
    struct fixture *f = *state;
    struct loopback_device device;
    start(f, 1);
    loopback_device_connect(&device, &f->listen[0]);
    worker_ask_to_stop(f->workers[0], WORKER_SAYS_FAREWELL);
    while (device.client->state == CLIENT_UP)
        loopback_device_receive(&device);
    assert_int_equal(device.client->state, CLIENT_CLOSED);
    close_gate(f); /* which asks again */
    loopback_device_free(&device);
}

/* No word to the device: its session is the next process's. */
static void test_leaving_sessions_to_the_next_process(void **state)
{
    struct fixture *f = *state;
    struct loopback_device device;
    start(f, 1);
    loopback_device_connect(&device, &f->listen[0]);
    worker_ask_to_stop(f->workers[0], WORKER_LEAVES_SESSIONS);
    worker_ask_to_stop(f->workers[0], WORKER_SAYS_FAREWELL); /* too late */
    assert_true(worker_join(f->workers[0], loopback_clock_ms() + LOOPBACK_LIMIT_MS));
    assert_int_equal(read_counter(f, 0, sessions), 1);
    struct pollfd readable = {.fd = device.fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 0), 0);
    assert_true(memory_client_send(device.client, "question", 8)); /* waits in the socket */
    assert_int_equal(device.client->state, CLIENT_UP);
    close_gate(f);
    loopback_device_free(&device);
}

static void test_hellos_held_back(void **state)
{
    struct fixture *f = *state;
    struct loopback_device device, late;
    start(f, 2);
    loopback_device_connect(&device, &f->listen[0]);
    for (uint32_t w = 0; w < 2; w++)
        worker_hold_hellos(f->workers[w]);
    poll(NULL, 0, 50); /* until they have heard it */
    loopback_device_begin(&late, &f->listen[0]);
    struct pollfd readable = {.fd = late.fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 200), 0);
    char text[16];
    struct addr from;
    assert_true(memory_client_send(device.client, "question", 8));
    assert_int_equal(loopback_receive(f->backend_fd, text, sizeof(text), &from), 8);
    loopback_device_free(&late);
    loopback_device_free(&device);
}

struct traffic {
    const struct fixture *fixture;
    _Atomic bool must_end;
    _Atomic uint64_t sent;
};

static void *send_always(void *argument)
{
    struct traffic *traffic = argument;
    struct addr client;
    int fd = loopback_open(&client);
    while (!atomic_load(&traffic->must_end)) {
        struct sockaddr_storage storage;
        socklen_t size = addr_to_sockaddr(&traffic->fixture->listen[0], &storage);
        /* Refused when the gate has gone. */
        if (sendto(fd, "junk", 4, 0, (struct sockaddr *)&storage, size) == 4)
            atomic_fetch_add(&traffic->sent, 1);
    }
    close(fd);
    return NULL;
}

static void test_stop_under_traffic(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        struct traffic traffic = {.fixture = f};
        pthread_t thread;
        start(f, 2);
        assert_int_equal(pthread_create(&thread, NULL, send_always, &traffic), 0);
        uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
        while (read_counter(f, 0, client_received) + read_counter(f, 1, client_received) < 100)
            assert_true(loopback_clock_ms() < end_ms);
        uint64_t before_ms = loopback_clock_ms();
        close_gate(f);
        assert_true(loopback_clock_ms() - before_ms < 5000);
        atomic_store(&traffic.must_end, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

static void test_two_workers(void **state)
{
    struct fixture *f = *state;
    enum { DEVICES = 20 };
    struct loopback_device devices[DEVICES];
    uint64_t expected[WORKERS_MAX] = {0};
    start(f, 2);
    for (int i = 0; i < DEVICES; i++) {
        loopback_device_connect(&devices[i], &f->listen[i % 2]);
        expected[steering_worker_of_bucket(steering_bucket_of_addr(&devices[i].addr), 2)]++;
        loopback_device_assert_echo(&devices[i], f->backend_fd);
    }
    for (uint32_t w = 0; w < 2; w++) {
        wait_for_forwarded(f, w, expected[w]);
        assert_int_equal(read_counter(f, w, sessions), expected[w]);
    }
    close_gate(f);
    for (int i = 0; i < DEVICES; i++) {
        while (devices[i].client->state == CLIENT_UP)
            loopback_device_receive(&devices[i]);
        assert_int_equal(devices[i].client->state, CLIENT_CLOSED);
        loopback_device_free(&devices[i]);
    }
}

#define WITH_GATE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_GATE(test_never_started),
        WITH_GATE(test_address_in_use),
        WITH_GATE(test_junk_is_counted_and_not_answered),
        WITH_GATE(test_hellos_have_a_queue_of_their_own),
        WITH_GATE(test_through_and_back),
        WITH_GATE(test_backend_that_is_down),
        WITH_GATE(test_farewell),
        WITH_GATE(test_leaving_sessions_to_the_next_process),
        WITH_GATE(test_hellos_held_back),
        WITH_GATE(test_stop_under_traffic),
        WITH_GATE(test_two_workers),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
