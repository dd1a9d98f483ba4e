/* Who has a port, as the kernel tells it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "net/udp_fixture.h"
#include "net/udp_holders.h"

static struct addr with_port(const char *text, uint16_t port)
{
    struct addr addr = udp_fixture_parse(text);
    addr.port = port;
    return addr;
}

/* The same port elsewhere, and the other family's, is in nobody's way. */
static void assert_found(const char *text, const char *overlaps, const char *is_beside)
{
    struct udp_socket one, self;
    struct fd_list ours = {0};
    struct err err = {0};
    udp_fixture_open_listener(&one, text);
    struct addr addr = with_port(overlaps, one.bound.port);
    struct addr beside = with_port(is_beside, one.bound.port);
    assert_true(udp_open_listener(&self, &addr, &err));

    assert_false(udp_holders_overlap(&ours, &addr));
    assert_false(udp_holders_are_ours(&addr, self.fd, &ours, &err));
    assert_non_null(strstr(err.text, "another program has this port"));
    /* A copy of the descriptor is the same socket. */
    assert_true(fd_list_add(&ours, "one", fcntl(one.fd, F_DUPFD_CLOEXEC, 0), &err));
    assert_true(udp_holders_overlap(&ours, &addr));
    assert_false(udp_holders_overlap(&ours, &beside));
    assert_true(udp_holders_are_ours(&addr, self.fd, &ours, &err));
    fd_list_close(&ours);
    udp_close(&one);
    assert_true(udp_holders_are_ours(&addr, self.fd, &ours, &err));
    udp_close(&self);
}

static void test_addresses_that_overlap(void **state)
{
    (void)state;
    assert_found("127.0.0.1:1", "0.0.0.0:1", "127.0.0.2:1");
    assert_found("0.0.0.0:1", "127.0.0.1:1", "[::1]:1");
    assert_found("[::1]:1", "[::]:1", "[::2]:1");
    assert_found("[::]:1", "[::1]:1", "127.0.0.1:1");
}

static void test_what_is_no_socket_holds_nothing(void **state)
{
    struct fd_list ours = {0};
    struct err err = {0};
    struct addr addr = udp_fixture_parse("0.0.0.0:1");
    (void)state;
    assert_true(fd_list_add(&ours, "binary", open("/proc/self/exe", O_RDONLY | O_CLOEXEC), &err));
    assert_false(udp_holders_overlap(&ours, &addr));
    assert_false(udp_holders_overlap(NULL, &addr));
    fd_list_close(&ours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_that_overlap),
        cmocka_unit_test(test_what_is_no_socket_holds_nothing),
    };
    return cmocka_run_group_tests_name("udp_holders", tests, NULL, NULL);
}
