/* Sockets that another process has opened: taken over by their descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/udp_fixture.h"

/* What waits in it is read by who takes it, and it is bound where it was. */
static void what_waits_is_read(void **state)
{
    static const char *const listens[] = {"127.0.0.1:1", "[::1]:1"};
    struct udp_fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        struct udp_socket before, after;
        struct err err = {0};
        udp_fixture_open_listener(&before, listens[i]);
        struct addr from = before.bound;
        from.port = 0;
        int sender = udp_fixture_open_plain(from);
        udp_fixture_send_plain(sender, &before.bound, "one", 3);
        int fd = dup(before.fd); /* without the flags of the descriptor */
        udp_close(&before);
        assert_true(udp_adopt(&after, fd, &err));
        assert_int_equal(after.fd, fd);
        assert_true(addr_equal(&after.bound, &before.bound));
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        udp_fixture_receive(&after, &f->in);
        assert_int_equal(f->in.count, 1);
        assert_memory_equal(f->in.at[0].data, "one", 3);
        assert_true(addr_equal(&f->in.at[0].to, &before.bound)); /* packet info is still on */
        udp_close(&after);
        close(sender);
    }
}

static int option_of(int fd, int name)
{
    int value = 0;
    socklen_t size = sizeof(value);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, name, &value, &size), 0);
    return value;
}

/* As after net.core.rmem_max was raised and the gate started again. */
static void an_adopted_socket_has_the_buffers_of_a_new_one(void **state)
{
    struct udp_socket before, after;
    struct err err = {0};
    int small = 5000, large;
    (void)state;
    udp_fixture_open_listener(&before, "127.0.0.1:1");
    large = option_of(before.fd, SO_RCVBUF);
    assert_int_equal(setsockopt(before.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(setsockopt(before.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_int_equal(option_of(before.fd, SO_RCVBUF), 2 * small);
    assert_true(udp_adopt(&after, before.fd, &err));
    assert_int_equal(option_of(after.fd, SO_RCVBUF), large);
    assert_true(option_of(after.fd, SO_SNDBUF) > 2 * small);
    /* One for hellos has more. */
    udp_set_receive_buffer(&after, UDP_HELLO_BUFFER_BYTES);
    large = option_of(after.fd, SO_RCVBUF);
    assert_true(udp_adopt(&before, after.fd, &err));
    assert_int_equal(option_of(before.fd, SO_RCVBUF), large);
    udp_close(&after);
}

/* What the kernel has dropped before was counted by the process before. */
static void drops_of_before_are_not_counted_again(void **state)
{
    enum { MANY = 200, BYTES = 1000 };
    static const uint8_t data[BYTES];
    struct udp_fixture *f = *state;
    struct udp_socket before, after;
    struct err err = {0};
    int small = 1;
    udp_fixture_open_listener(&before, "127.0.0.1:1");
    assert_int_equal(setsockopt(before.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    struct addr from = before.bound;
    from.port = 0;
    int sender = udp_fixture_open_plain(from);
    for (int i = 0; i < MANY; i++)
        udp_fixture_send_plain(sender, &before.bound, data, BYTES);
    assert_true(udp_adopt(&after, before.fd, &err));
    assert_true(after.kernel_drops > 0);
    while (udp_receive(&after, &f->in)) /* those that wait have a count of before */
        assert_int_equal(f->in.new_kernel_drops, 0);
    udp_fixture_send_plain(sender, &after.bound, data, BYTES);
    udp_fixture_receive(&after, &f->in);
    assert_int_equal(f->in.new_kernel_drops, 0);
    udp_close(&after);
    close(sender);
}

static void what_is_no_udp_socket_is_refused(void **state)
{
    struct udp_socket socket_;
    struct err err = {0};
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_false(udp_adopt(&socket_, fds[0], &err));
    assert_non_null(strstr(err.text, "no UDP socket"));
    assert_int_equal(socket_.fd, -1);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    assert_false(udp_adopt(&socket_, fds[0], &err));
    close(fds[0]);
    close(fds[1]);
    assert_false(udp_adopt(&socket_, -1, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BUFFERS(what_waits_is_read),
        WITH_BUFFERS(an_adopted_socket_has_the_buffers_of_a_new_one),
        WITH_BUFFERS(drops_of_before_are_not_counted_again),
        cmocka_unit_test(what_is_no_udp_socket_is_refused),
    };
    return cmocka_run_group_tests_name("udp_socket", tests, NULL, NULL);
}
