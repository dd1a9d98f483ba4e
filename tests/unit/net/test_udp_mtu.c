/* A path that takes less than a datagram has: the kernel, which knows the path's MTU and sees to it
 * that nobody forges it below what any path takes, sends fragments. What a backend has written
 * arrives whole or not at all, and no size is refused (RFC 9147 section 4.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/skip_because.h"
#include "net/udp_fixture.h"

enum { SIZES = 6, NO_NAMESPACE = 255 };

static const size_t sizes[SIZES] = {64, 1152, 1280, 1472, 9000, 16384};

/* How many of the sizes arrive whole where every link takes only mtu_bytes. */
static int arrived_over(struct udp_out *out, const char *address, unsigned mtu_bytes)
{
    static uint8_t bytes[UDP_DATAGRAM_MAX];
    struct udp_socket listener;
    char command[64];
    int arrived = 0;
    snprintf(command, sizeof(command), "ip link set lo up mtu %u", mtu_bytes);
    if (unshare(CLONE_NEWNET) != 0 || system(command) != 0)
        return NO_NAMESPACE;
    udp_fixture_open_listener(&listener, address);
    int fd = udp_fixture_open_plain(udp_fixture_parse(address));
    struct addr to = udp_fixture_name_of(fd);
    for (int i = 0; i < SIZES; i++) {
        bool failed = false;
        struct addr from;
        memset(bytes, i, sizes[i]);
        udp_fixture_queue(out, &listener, &udp_fixture_unset, &to, bytes, sizes[i], &failed);
        udp_out_flush(out);
        if (!failed && udp_fixture_receive_plain(fd, bytes, sizeof(bytes), &from) == sizes[i])
            arrived++;
    }
    close(fd);
    udp_close(&listener);
    return arrived;
}

/* In a child, since a network namespace is for good. */
static void assert_all_arrive(struct udp_out *out, const char *address, unsigned mtu_bytes)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(arrived_over(out, address, mtu_bytes));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_NAMESPACE)
        skip_because("a network namespace needs root");
    assert_int_equal(WEXITSTATUS(status), SIZES);
}

static void test_path_of_a_small_mtu(void **state)
{
    struct udp_fixture *f = *state;
    assert_all_arrive(&f->out, "127.0.0.1:1", 576);
}

static void test_path_of_a_small_mtu_ipv6(void **state)
{
    struct udp_fixture *f = *state;
    assert_all_arrive(&f->out, "[::1]:1", 1280);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BUFFERS(test_path_of_a_small_mtu),
        WITH_BUFFERS(test_path_of_a_small_mtu_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
