/* run/metrics_socket.c: what comes from the process before. Texts of errors: test_metrics.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "run/metrics_socket.h"

/* Of 127.0.0.1, at a port that was free a moment ago. */
static struct addr free_addr(void)
{
    struct addr addr = {.family = AF_INET, .ip = {127, 0, 0, 1}}, bound;
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(&addr, &storage);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&storage, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&storage, &size), 0);
    assert_true(addr_from_sockaddr(&bound, (struct sockaddr *)&storage));
    close(fd);
    return bound;
}

static int connect_to(const struct addr *addr)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(addr, &storage);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
    return fd;
}

/* As a process leaves it to the next one: what it takes, and the copy for the one after it. */
static void hand_over(int fd, struct handover *handover)
{
    struct err err = {0};
    *handover = (struct handover){.count = 1};
    handover->at = calloc(1, sizeof(*handover->at));
    assert_non_null(handover->at);
    assert_true(
        fd_list_add(&handover->inherited, HANDOVER_METRICS, fcntl(fd, F_DUPFD_CLOEXEC, 0), &err));
    handover->at[0] = handover->inherited.items[0];
    handover->at[0].fd = fd;
}

static int open_at(const struct addr *addr, struct handover *handover)
{
    struct err err = {0};
    int fd = metrics_socket_open(addr, handover, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    return fd;
}

/* Who has asked between two processes is answered by the second. */
static void it_goes_on_with_who_waits_in_it(void **state)
{
    struct addr addr = free_addr();
    struct handover handover;
    (void)state;
    int before = open_at(&addr, NULL);
    int client = connect_to(&addr);
    hand_over(before, &handover);
    int fd = open_at(&addr, &handover);
    assert_int_equal(fd, before);
    assert_int_equal(handover.at[0].fd, -1);
    int accepted = accept(fd, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(client);
    close(fd);
    handover_close(&handover);
}

/* One that would be in the way of it is let go of. */
static void another_address_gets_another_one(void **state)
{
    (void)state;
    for (int is_everywhere = 0; is_everywhere < 2; is_everywhere++) {
        struct addr addr = free_addr(), next = is_everywhere ? addr : free_addr();
        struct handover handover;
        if (is_everywhere)
            memset(next.ip, 0, sizeof(next.ip));
        hand_over(open_at(&addr, NULL), &handover);
        int fd = open_at(&next, &handover);
        assert_null(fd_list_find(&handover.inherited, HANDOVER_METRICS));
        assert_int_equal(handover.at[0].fd, -1);
        close(connect_to(is_everywhere ? &addr : &next));
        int accepted = accept(fd, NULL, NULL);
        assert_true(accepted >= 0);
        close(accepted);
        close(fd);
        handover_close(&handover);
    }
}

static void without_one_it_is_new(void **state)
{
    struct addr addr = free_addr();
    struct handover handover = {0};
    (void)state;
    int fd = open_at(&addr, &handover);
    close(connect_to(&addr));
    close(fd);
    handover_close(&handover);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_on_with_who_waits_in_it),
        cmocka_unit_test(another_address_gets_another_one),
        cmocka_unit_test(without_one_it_is_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
