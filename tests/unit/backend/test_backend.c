/* The socket toward the backends, shared by all workers: what goes out, whom it is for what comes
 * in, and marks. All on real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backend/backend.h"
#include "net/udp_fixture.h"
#include "state/state_listeners.h"

enum { TOMBSTONE_MS = 247000, LISTENERS = 2, WORKERS_MAX = 8, BUCKET = 0x5a3 };

struct fixture {
    struct state state;
    struct counters by_listener[LISTENERS + 1];
    struct whole_counters whole;
    struct worker_counters counters;
    struct gate_config config;
    struct state_listener listeners[LISTENERS];
    struct backend workers[WORKERS_MAX];
    struct udp_socket sockets[WORKERS_MAX];
    uint32_t worker_count;
    int servers[LISTENERS];
    struct udp_in in;
};

enum { OWNER_A = 7, OWNER_B = 70000 };
static const uint32_t NOBODY = BACKEND_NO_OWNER;

static void open_workers(struct fixture *f, uint32_t count)
{
    struct err err = {0};
    for (uint32_t w = 0; w < count; w++) {
        uint16_t port = w > 0 ? f->sockets[0].bound.port : (uint16_t)f->config.backend_port;
        if (!udp_open_backend(&f->sockets[w], port, w == 0, &err) ||
            !backend_open(&f->workers[w], &f->state, &f->config, w, count, &f->sockets[w],
                          &f->counters, &err))
            fail_msg("%s", err.text);
    }
    f->worker_count = count;
    if (count > 1 && !steering_attach_backend(f->sockets[0].fd, count, &err))
        fail_msg("%s", err.text);
    for (uint32_t w = 0; w < count; w++)
        udp_discard(&f->sockets[w]);
}

static void close_workers(struct fixture *f)
{
    for (uint32_t w = 0; w < f->worker_count; w++)
        backend_close(&f->workers[w]);
    for (uint32_t w = 0; w < f->worker_count; w++)
        udp_close(&f->sockets[w]);
    f->worker_count = 0;
}

static void load_listeners(struct fixture *f)
{
    struct err err = {0};
    assert_true(state_listeners_plan(&f->state, f->listeners, LISTENERS, &err));
    assert_true(state_listeners_commit(&f->state, f->listeners, LISTENERS, TOMBSTONE_MS, &err));
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    if (f == NULL || !udp_in_init(&f->in))
        return -1;
    f->counters = (struct worker_counters){
        .listener_count = LISTENERS, .by_listener = f->by_listener, .whole = &f->whole};
    f->config = (struct gate_config){.max_sessions = 100, .tombstone_ms = TOMBSTONE_MS};
    f->listeners[0].name = "first";
    f->listeners[1].name = "second";
    for (int i = 0; i < LISTENERS; i++) {
        f->servers[i] = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
        f->listeners[i].server = udp_fixture_name_of(f->servers[i]);
    }
    if (!state_create(&f->state, &err))
        return -1;
    load_listeners(f);
    state_begin_workers(&f->state, 1);
    open_workers(f, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_workers(f);
    udp_in_deinit(&f->in);
    for (int i = 0; i < LISTENERS; i++)
        close(f->servers[i]);
    state_close(&f->state);
    free(f);
    return 0;
}

static uint32_t take(struct backend *backend, uint32_t bucket, uint32_t owner, uint32_t listener)
{
    bool is_early;
    uint32_t slot = backend_take(backend, bucket, owner, listener, 1000, &is_early);
    assert_true(slot != BACKEND_NO_SLOT);
    return slot;
}

/* Reads one batch; returns the marks in it. */
static uint32_t read_marks(struct fixture *f, uint64_t now_ms)
{
    uint32_t marks = 0;
    if (!backend_receive(&f->workers[0], &f->in))
        return 0;
    for (uint32_t i = 0; i < f->in.count; i++)
        marks += backend_recipient(&f->workers[0], &f->in.at[i], now_ms).is_mark;
    backend_on_batch(&f->workers[0], f->in.count < UDP_BATCH, now_ms);
    return marks;
}

/* Of a datagram that the listener's server sends to the slot. */
static struct backend_recipient recipient_of(struct fixture *f, uint32_t slot, uint32_t listener,
                                             uint64_t now_ms)
{
    const struct udp_datagram datagram = {.from = f->listeners[listener].server,
                                          .to = backend_slot_addr(&f->workers[0], slot),
                                          .data = (const uint8_t *)"x",
                                          .len = 1};
    return backend_recipient(&f->workers[0], &datagram, now_ms);
}

static bool is_stale(struct fixture *f, uint32_t slot, uint64_t now_ms)
{
    struct backend_recipient recipient = recipient_of(f, slot, 0, now_ms);
    assert_true(recipient.owner == NOBODY || recipient.owner == OWNER_A);
    if (recipient.owner == NOBODY) {
        assert_int_equal(recipient.outcome, BACKEND_late);
        assert_int_equal(recipient.late, LATE_UNKNOWN);
    }
    return recipient.owner == NOBODY;
}

/* A slot whose mark has been read. */
static uint32_t take_and_read_mark(struct fixture *f, uint32_t owner, uint32_t listener)
{
    uint32_t slot = take(&f->workers[0], BUCKET, owner, listener);
    for (int i = 0; i < 1000 && read_marks(f, 1000) == 0; i++)
        usleep(100);
    return slot;
}

/* ---- what was sent before ------------------------------------------------------------------- */

/* The socket is a queue: what lay there when the address was given away is read before the mark. */
static void test_a_mark_parts_before_from_after(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = take(&f->workers[0], BUCKET, OWNER_A, 0);
    assert_true(is_stale(f, slot, 1000));
    uint32_t other = take(&f->workers[0], BUCKET + 1, OWNER_A, 0);
    for (uint32_t marks = 0; marks < 2;)
        marks += read_marks(f, 1000);
    assert_false(is_stale(f, slot, 1000));
    assert_false(is_stale(f, other, 1000));
    uint32_t third = take(&f->workers[0], BUCKET, OWNER_A, 0);
    assert_false(is_stale(f, slot, 1000));
    assert_true(is_stale(f, third, 1000));
}

/* Then all that is older has been read when the socket was seen empty a second later. */
static void test_a_lost_mark(void **state)
{
    struct fixture *f = *state;
    struct backend *backend = &f->workers[0];
    uint32_t slot = take(backend, BUCKET, OWNER_A, 0);
    backend_on_batch(backend, true, 1999);
    assert_true(is_stale(f, slot, 1999));
    backend_on_batch(backend, false, 2000);
    assert_true(is_stale(f, slot, 2000));
    backend_on_batch(backend, true, 2000);
    assert_false(is_stale(f, slot, 2000));
}

static void test_what_is_no_mark(void **state)
{
    struct fixture *f = *state;
    struct backend *backend = &f->workers[0];
    uint64_t number = 1;
    struct addr self = backend_slot_addr(backend, slots_number(0, 0));
    struct addr other = self, elsewhere = self;
    uint32_t slot = take(backend, BUCKET, OWNER_A, 0);
    other.port ^= 1;
    elsewhere.ip[3]++;
    const struct udp_datagram datagrams[] = {
        {.from = other, .to = self, .data = (uint8_t *)&number, .len = 8},
        {.from = self, .to = elsewhere, .data = (uint8_t *)&number, .len = 8},
        {.from = self, .to = self, .data = (uint8_t *)&number, .len = 7},
    };
    for (int i = 0; i < 3; i++)
        assert_false(backend_recipient(backend, &datagrams[i], 0).is_mark);
    assert_true(is_stale(f, slot, 0));
    /* A mark that was not sent yet would be one of the future. */
    number = 2;
    const struct udp_datagram mark = {
        .from = self, .to = self, .data = (uint8_t *)&number, .len = 8};
    assert_true(backend_recipient(backend, &mark, 0).is_mark);
    assert_true(is_stale(f, slot, 0));
    number = 1;
    assert_true(backend_recipient(backend, &mark, 0).is_mark);
    assert_false(is_stale(f, slot, 0));
}

/* ---- whom a datagram is for ----------------------------------------------------------------- */

static void test_a_session_gets_what_its_server_sends(void **state)
{
    struct fixture *f = *state;
    uint32_t a = take_and_read_mark(f, OWNER_A, 0), b = take_and_read_mark(f, OWNER_B, 1);
    assert_int_equal(recipient_of(f, a, 0, 1000).owner, OWNER_A);
    struct backend_recipient recipient = recipient_of(f, b, 1, 1000);
    assert_int_equal(recipient.owner, OWNER_B);
    assert_int_equal(recipient.listener, 1);
    assert_int_equal(backend_owner(&f->workers[0], a), OWNER_A);
    assert_false(backend_is_noisy(&f->workers[0], a));
}

static void test_a_tombstone_tells_why_and_is_kept_by_what_comes(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = take_and_read_mark(f, OWNER_A, 0);
    backend_release(&f->workers[0], slot, CLOSE_idle, 2000);
    assert_true(backend_owner(&f->workers[0], slot) == NOBODY);
    uint64_t now_ms = 2000;
    for (int i = 0; i < 3; i++) {
        now_ms += TOMBSTONE_MS - 1;
        struct backend_recipient recipient = recipient_of(f, slot, 0, now_ms);
        assert_true(recipient.owner == NOBODY);
        assert_int_equal(recipient.outcome, BACKEND_late);
        assert_int_equal(recipient.late, CLOSE_idle);
        assert_int_equal(recipient.listener, 0);
        assert_int_equal(counter_get(&f->by_listener[0].backend_addresses_noisy), 1);
    }
    assert_int_equal(recipient_of(f, slot, 0, now_ms + TOMBSTONE_MS).late, LATE_UNKNOWN);
}

static void test_others_than_the_server_are_not_heard(void **state)
{
    struct fixture *f = *state;
    struct backend *backend = &f->workers[0];
    uint32_t slot = take_and_read_mark(f, OWNER_A, 0);
    const struct udp_datagram stranger = {.from = udp_fixture_parse("127.0.0.9:5683"),
                                          .to = backend_slot_addr(backend, slot)};
    struct backend_recipient recipient = backend_recipient(backend, &stranger, 1000);
    assert_true(recipient.owner == NOBODY);
    assert_int_equal(recipient.outcome, BACKEND_wrong_sender);
    assert_int_equal(recipient.listener, 0);
    assert_false(backend_is_noisy(backend, slot));
    /* The server of another listener is not forgotten. */
    recipient = recipient_of(f, slot, 1, 1000);
    assert_true(recipient.owner == NOBODY);
    assert_int_equal(recipient.outcome, BACKEND_wrong_sender);
    assert_true(backend_is_noisy(backend, slot));
    assert_int_equal(recipient_of(f, slot, 0, 1000).owner, OWNER_A);
}

static void test_an_address_that_never_was_a_slot(void **state)
{
    struct fixture *f = *state;
    struct backend_recipient recipient = recipient_of(f, slots_number(BUCKET, 0), 0, 0);
    assert_true(recipient.owner == NOBODY);
    assert_int_equal(recipient.outcome, BACKEND_late);
    assert_int_equal(recipient.late, LATE_UNKNOWN);
    assert_true(recipient.listener == UINT32_MAX);
    assert_false(recipient.is_mark);
}

static void send_through(struct backend *backend, uint32_t slot, uint32_t listener, bool *failed)
{
    memcpy(backend_room(backend, 8), "question", 8);
    backend_send(backend, slot, listener, 8, failed);
    backend_flush(backend);
}

/* ---- after a change ------------------------------------------------------------------------- */

/* Questions go to the new server at once; what the old one was asked it may still answer. */
static void test_a_server_that_has_moved(void **state)
{
    struct fixture *f = *state;
    struct backend *backend = &f->workers[0];
    char text[16];
    struct addr source;
    bool failed = false;
    uint32_t slot = take_and_read_mark(f, OWNER_A, 0);
    struct addr old = f->listeners[0].server;
    int moved = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    f->listeners[0].server = udp_fixture_name_of(moved);
    load_listeners(f);
    backend_set(backend, &f->config);
    send_through(backend, slot, 0, &failed);
    assert_int_equal(udp_fixture_receive_plain(moved, text, sizeof(text), &source), 8);
    uint64_t until_ms = backend->servers[0].before_until_ms;
    assert_int_equal(recipient_of(f, slot, 0, until_ms).owner, OWNER_A);
    const struct udp_datagram late = {.from = old, .to = backend_slot_addr(backend, slot)};
    assert_int_equal(backend_recipient(backend, &late, until_ms - 1).owner, OWNER_A);
    struct backend_recipient recipient = backend_recipient(backend, &late, until_ms);
    assert_true(recipient.owner == NOBODY);
    assert_int_equal(recipient.outcome, BACKEND_wrong_sender);
    close(moved);
}

/* Killed, and begun anew with the same state. */
static void restart(struct fixture *f, uint32_t count)
{
    struct err err = {0};
    int fd = fcntl(f->state.region.fd, F_DUPFD_CLOEXEC, 0);
    close_workers(f);
    state_close(&f->state);
    if (!state_adopt(&f->state, fd, &err))
        fail_msg("%s", err.text);
    state_begin_workers(&f->state, count);
    memset(f->by_listener, 0, sizeof(f->by_listener));
    open_workers(f, count);
    for (uint32_t w = 0; w < count; w++)
        assert_true(backend_adopt(&f->workers[w], 3000, &err));
}

static void test_what_is_late_stays_late_over_a_restart(void **state)
{
    struct fixture *f = *state;
    uint32_t a = take_and_read_mark(f, OWNER_A, 0), b = take_and_read_mark(f, OWNER_B, 1);
    backend_release(&f->workers[0], b, CLOSE_idle, 2000);
    restart(f, 1);
    assert_true(backend_claim(&f->workers[0], a, OWNER_A, 0));
    assert_int_equal(backend_adopt_end(&f->workers[0], CLOSE_torn, 3000), 0);
    assert_int_equal(recipient_of(f, a, 0, 3000).owner, OWNER_A);
    struct backend_recipient recipient = recipient_of(f, b, 1, 3000);
    assert_true(recipient.owner == NOBODY);
    assert_int_equal(recipient.outcome, BACKEND_late);
    assert_int_equal(recipient.late, CLOSE_idle);
    assert_int_equal(recipient.listener, 1);
    assert_int_equal(counter_get(&f->by_listener[1].backend_addresses_noisy), 1);
}

/* Its mark had not come back: what lies in the socket may be for the owner before. */
static void test_a_new_session_waits_for_a_mark_after_a_restart(void **state)
{
    struct fixture *f = *state;
    uint32_t old = take_and_read_mark(f, OWNER_A, 0);
    uint32_t new = take(&f->workers[0], BUCKET, OWNER_A, 0);
    restart(f, 1);
    assert_false(is_stale(f, old, 3000));
    assert_true(is_stale(f, new, 3000));
    for (int i = 0; i < 1000 && read_marks(f, 3000) == 0; i++)
        usleep(100);
    assert_false(is_stale(f, new, 3000));
    /* And so does one that begins then. */
    uint32_t third = take(&f->workers[0], BUCKET, OWNER_A, 0);
    assert_true(is_stale(f, third, 3000));
    assert_false(is_stale(f, new, 3000));
}

/* ---- all workers at one port ---------------------------------------------------------------- */

/* The server answers; only the worker whose session has sent reads the answer. */
static void assert_round_trip(struct fixture *f, uint32_t bucket, uint32_t listener)
{
    char text[16];
    bool failed = false;
    struct addr source;
    uint32_t worker = steering_worker_of_bucket(bucket, f->worker_count);
    struct backend *backend = &f->workers[worker];
    uint32_t slot = take(backend, bucket, OWNER_A, listener);
    struct addr expected = backend_slot_addr(backend, slot);
    send_through(backend, slot, listener, &failed);
    assert_false(failed);
    assert_int_equal(udp_fixture_receive_plain(f->servers[listener], text, sizeof(text), &source),
                     8);
    assert_true(addr_equal(&source, &expected));
    udp_fixture_send_plain(f->servers[listener], &source, "answer", 6);
    uint32_t owner = NOBODY;
    bool has_seen_mark = false;
    for (int i = 0; i < 10000 && owner == NOBODY; i++) {
        if (!backend_receive(backend, &f->in)) {
            usleep(100);
            continue;
        }
        for (uint32_t d = 0; d < f->in.count; d++) {
            struct backend_recipient recipient = backend_recipient(backend, &f->in.at[d], 1000);
            has_seen_mark |= recipient.is_mark;
            if (!recipient.is_mark)
                owner = recipient.owner;
        }
    }
    assert_true(has_seen_mark);
    assert_int_equal(owner, OWNER_A);
}

static void test_workers_share_a_port_and_each_gets_its_own(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 5, WORKERS_MAX};
    struct fixture *f = *state;
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        close_workers(f);
        open_workers(f, counts[n]);
        for (uint32_t i = 0; i < 40; i++)
            assert_round_trip(f, i * 1237 % STEERING_BUCKETS, i % LISTENERS);
        for (uint32_t w = 0; w < counts[n]; w++)
            assert_false(backend_receive(&f->workers[w], &f->in));
    }
}

/* As after a restart: the same port, another number of workers, and no other gate meanwhile. */
static void test_the_port_of_the_settings(void **state)
{
    struct fixture *f = *state;
    struct udp_socket second;
    struct err err;
    uint16_t port = f->sockets[0].bound.port;
    f->config.backend_port = port;
    for (uint32_t count = 3; count > 0; count--) {
        close_workers(f);
        open_workers(f, count);
        assert_int_equal(f->sockets[count - 1].bound.port, port);
        assert_false(udp_open_backend(&second, port, true, &err));
        assert_non_null(strstr(err.text, "another program has this address"));
        assert_round_trip(f, BUCKET, 0);
    }
}

static void test_what_could_not_be_sent(void **state)
{
    struct fixture *f = *state;
    struct backend *backend = &f->workers[0];
    uint32_t slot = take(backend, BUCKET, OWNER_A, 1);
    bool failed = false;
    backend->servers[1].now.port = 0; /* which nothing can be sent to */
    send_through(backend, slot, 1, &failed);
    assert_true(failed);
    assert_int_equal(backend_send_error(backend), EINVAL);
}

/* Whichever worker the kernel has given them to. */
static void test_errors_are_of_the_listener(void **state)
{
    struct fixture *f = *state;
    close(f->servers[1]);
    close_workers(f);
    open_workers(f, 3);
    f->servers[1] = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    for (uint32_t bucket = 0; bucket < 30; bucket++) {
        struct backend *backend = &f->workers[bucket % 3];
        uint32_t slot = take(backend, bucket, OWNER_A, 1);
        bool failed = false;
        send_through(backend, slot, 1, &failed);
    }
    uint32_t errors = 0, listener;
    int error;
    for (int i = 0; i < 1000 && errors < 30; i++) {
        for (uint32_t w = 0; w < 3; w++) {
            while (backend_take_error(&f->workers[w], &listener, &error)) {
                assert_int_equal(error, ECONNREFUSED);
                assert_int_equal(listener, 1);
                errors++;
            }
        }
        usleep(100);
    }
    assert_int_equal(errors, 30);
}

#define WITH_WORKER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORKER(test_a_mark_parts_before_from_after),
        WITH_WORKER(test_a_lost_mark),
        WITH_WORKER(test_what_is_no_mark),
        WITH_WORKER(test_a_session_gets_what_its_server_sends),
        WITH_WORKER(test_a_tombstone_tells_why_and_is_kept_by_what_comes),
        WITH_WORKER(test_others_than_the_server_are_not_heard),
        WITH_WORKER(test_an_address_that_never_was_a_slot),
        WITH_WORKER(test_a_server_that_has_moved),
        WITH_WORKER(test_what_is_late_stays_late_over_a_restart),
        WITH_WORKER(test_a_new_session_waits_for_a_mark_after_a_restart),
        WITH_WORKER(test_workers_share_a_port_and_each_gets_its_own),
        WITH_WORKER(test_the_port_of_the_settings),
        WITH_WORKER(test_what_could_not_be_sent),
        WITH_WORKER(test_errors_are_of_the_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
