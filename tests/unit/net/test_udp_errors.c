/* What fails, what is refused and what is lost, each counted where it belongs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/skip_because.h"
#include "net/udp_fixture.h"

/* ---- failures ------------------------------------------------------------------------------- */

static void test_only_the_failing_datagram_is_marked(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr good = udp_fixture_name_of(fd);
    struct addr unreachable =
        udp_fixture_parse("255.255.255.255:9");              /* EACCES: not without SO_BROADCAST */
    struct addr foreign = udp_fixture_parse("192.0.2.77:1"); /* as a source: not ours */
    static uint8_t bytes[UDP_DATAGRAM_MAX];
    bool failed[8] = {false};
    for (uint8_t i = 0; i < 8; i++) {
        bytes[0] = i;
        bool is_bad_source = i == 3;
        const struct addr *to = i == 0 || i == 4 || i == 7 ? &unreachable : &good;
        udp_fixture_queue(&f->out, &listener, is_bad_source ? &foreign : &udp_fixture_unset, to,
                          bytes, i == 5 ? 60000 : 1, &failed[i]);
    }
    udp_fixture_queue(&f->out, &listener, &udp_fixture_unset, &unreachable, bytes, 1,
                      NULL); /* nobody asks */
    udp_out_flush(&f->out);
    for (uint8_t i = 0; i < 8; i++)
        assert_int_equal(failed[i], i == 0 || i == 3 || i == 4 || i == 7);
    static const uint8_t expected[] = {1, 2, 5, 6};
    for (int i = 0; i < 4; i++) {
        struct addr from;
        udp_fixture_receive_plain(fd, bytes, sizeof(bytes), &from);
        assert_int_equal(bytes[0], expected[i]);
    }
    assert_false(udp_fixture_has_arrived(fd));
    close(fd);
    udp_close(&listener);
}

static void test_too_large_is_marked(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_name_of(fd);
    bool failed[3] = {false};
    counter sent_bytes = 0;
    udp_out_room(&f->out, 65536); /* larger than UDP allows, smaller than the arena */
    udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, 1, &failed[0], &sent_bytes);
    udp_out_room(&f->out, 65536);
    udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, 65508, &failed[1], &sent_bytes);
    udp_out_room(&f->out, 1);
    udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, 1, &failed[2], &sent_bytes);
    udp_out_flush(&f->out);
    assert_false(failed[0]);
    assert_true(failed[1]);
    assert_false(failed[2]);
    assert_int_equal(counter_get(&sent_bytes), 1 + 1);
    close(fd);
    udp_close(&listener);
}

/* A port of 127.0.0.1 that nobody listens on: its socket has just been closed. */
static struct addr closed_port(void)
{
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr addr = udp_fixture_name_of(fd);
    close(fd);
    return addr;
}

static void test_error_queue_names_the_sender(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket backend;
    struct addr dead = closed_port();
    udp_fixture_open_backend(&backend);
    static const char *const sources[] = {"127.1.0.0:1", "127.44.55.66:1", "127.255.255.254:1"};
    for (int i = 0; i < 3; i++) {
        struct addr source = udp_fixture_parse(sources[i]);
        udp_fixture_queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
    }
    udp_out_flush(&f->out);
    for (int i = 0; i < 3; i++) {
        struct addr from, to, source = udp_fixture_parse(sources[i]);
        int error;
        assert_true(udp_take_error(&backend, &from, &to, &error));
        assert_true(addr_equal(&to, &dead));
        assert_int_equal(error, ECONNREFUSED);
        assert_int_equal(from.family, AF_INET);
        assert_memory_equal(from.ip, source.ip, 4);
    }
    struct addr from, to;
    int error;
    assert_false(udp_take_error(&backend, &from, &to, &error));
    udp_close(&backend);
}

/* Datagrams to a living backend are sent and received although those to a dead one cause errors
 * which the kernel reports to whatever call comes next. */
static void test_pending_errors_lose_nothing(void **state)
{
    struct udp_fixture *f = *state;
    enum { EACH = 30 };
    struct udp_socket backend;
    struct addr dead = closed_port(), source = udp_fixture_parse("127.5.6.7:1");
    udp_fixture_open_backend(&backend);
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr alive = udp_fixture_name_of(fd);
    bool failed[EACH] = {false};
    for (uint8_t i = 0; i < EACH; i++) {
        udp_fixture_queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
        udp_fixture_queue(&f->out, &backend, &source, &alive, &i, 1, &failed[i]);
    }
    udp_out_flush(&f->out);
    struct addr from, to;
    /* The error is there before the batch. */
    uint8_t last = EACH;
    bool last_failed = false;
    udp_fixture_queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
    udp_out_flush(&f->out);
    udp_fixture_queue(&f->out, &backend, &source, &alive, &last, 1, &last_failed);
    udp_out_flush(&f->out);
    assert_false(last_failed);
    for (uint8_t i = 0; i < EACH; i++) {
        uint8_t number;
        assert_false(failed[i]);
        assert_int_equal(udp_fixture_receive_plain(fd, &number, 1, &from), 1);
        assert_int_equal(number, i);
        udp_fixture_send_plain(fd, &from, &number, 1);
    }
    assert_int_equal(udp_fixture_receive_plain(fd, &last, 1, &from), 1);
    assert_int_equal(last, EACH);
    /* Answers are there, with an error before them. */
    udp_fixture_queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
    udp_out_flush(&f->out);
    uint8_t next = 0;
    for (int attempt = 0; attempt < 4 && next < EACH; attempt++) {
        if (!udp_receive(&backend, &f->in))
            continue; /* the error was reported instead */
        for (uint32_t i = 0; i < f->in.count; i++, next++) {
            assert_int_equal(f->in.at[i].data[0], next);
            assert_memory_equal(f->in.at[i].to.ip, source.ip, 4);
            assert_true(addr_equal(&f->in.at[i].from, &alive));
        }
    }
    assert_int_equal(next, EACH);
    int error, errors = 0;
    while (udp_take_error(&backend, &from, &to, &error))
        errors++;
    assert_int_equal(errors, EACH + 2);
    close(fd);
    udp_close(&backend);
}

static void test_backend_is_loopback_only(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket backend;
    udp_fixture_open_backend(&backend);
    static const char *const elsewhere[] = {"192.0.2.1:5683", "8.8.8.8:5683"};
    for (int i = 0; i < 2; i++) {
        bool failed = false;
        struct addr to = udp_fixture_parse(elsewhere[i]), source = udp_fixture_parse("127.1.2.3:1");
        udp_fixture_queue(&f->out, &backend, &source, &to, "x", 1, &failed);
        udp_out_flush(&f->out);
        /* Sent it may be, but into the loopback interface: nobody there takes it. */
        char name[16] = "";
        socklen_t size = sizeof(name);
        assert_int_equal(getsockopt(backend.fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size), 0);
        assert_string_equal(name, "lo");
    }
    udp_close(&backend);
}

static void test_kernel_drops_are_counted(void **state)
{
    struct udp_fixture *f = *state;
    enum { SENT = 400 };
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int small = 8192;
    setsockopt(listener.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    uint32_t received = 0, dropped = 0;
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < SENT; i++)
            udp_fixture_send_plain(fd, &listener.bound, "0123456789", 10);
        while (udp_receive(&listener, &f->in)) {
            received += f->in.count;
            dropped += f->in.new_kernel_drops;
        }
        /* The number stands on datagrams that arrive later. */
        udp_fixture_send_plain(fd, &listener.bound, "x", 1);
        udp_fixture_receive(&listener, &f->in);
        received += f->in.count;
        dropped += f->in.new_kernel_drops;
        assert_true(dropped > 0);
        assert_int_equal(received + dropped, round * (SENT + 1));
    }
    close(fd);
    udp_close(&listener);
}

/* ---- a full socket buffer -------------------------------------------------------------------- */

enum { BURST = 64, BURST_BYTES = 1000 };

/* How many of a burst through a slow interface are not taken; -1: no such interface can be made. */
static int lost_of_burst(struct udp_out *out, uint32_t wait_ms)
{
    struct udp_socket listener;
    int small = 8192;
    bool failed[BURST] = {false};
    int lost = 0;
    if (unshare(CLONE_NEWNET) != 0 ||
        system("ip link set lo up && tc qdisc add dev lo root tbf rate 4mbit burst 16kb "
               "latency 5s") != 0)
        return -1;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    assert_int_equal(setsockopt(listener.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_name_of(fd);
    out->wait_ms = wait_ms;
    for (int i = 0; i < BURST; i++) {
        memset(udp_out_room(out, BURST_BYTES), i, BURST_BYTES);
        udp_out_queue(out, &listener, &udp_fixture_unset, &to, BURST_BYTES, &failed[i], NULL);
    }
    udp_out_flush(out);
    for (int i = 0; i < BURST; i++)
        lost += failed[i];
    close(fd);
    udp_close(&listener);
    return lost;
}

/* In a child, since a network namespace is for good. Its exit status is the number, 255 = -1. */
static int lost_of_burst_in_child(struct udp_out *out, uint32_t wait_ms)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(lost_of_burst(out, wait_ms) & 0xff);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_full_buffer_is_waited_for_when_asked(void **state)
{
    struct udp_fixture *f = *state;
    int lost = lost_of_burst_in_child(&f->out, 0);
    if (lost == 255)
        skip_because("a slow interface needs root and tc");
    assert_true(lost > 0);
    assert_int_equal(lost_of_burst_in_child(&f->out, 3000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BUFFERS(test_only_the_failing_datagram_is_marked),
        WITH_BUFFERS(test_too_large_is_marked),
        WITH_BUFFERS(test_error_queue_names_the_sender),
        WITH_BUFFERS(test_pending_errors_lose_nothing),
        WITH_BUFFERS(test_backend_is_loopback_only),
        WITH_BUFFERS(test_kernel_drops_are_counted),
        WITH_BUFFERS(test_full_buffer_is_waited_for_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
