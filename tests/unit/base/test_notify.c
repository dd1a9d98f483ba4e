/* The service manager is a socket of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/notify.h"
#include "fakes/caught_log.h"

static int open_manager(const char *path, char first, bool is_reading)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    memcpy(name.sun_path, path, strlen(path));
    name.sun_path[0] = first;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    if (is_reading) {
        struct timeval limit = {.tv_sec = 10};
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    }
    return fd;
}

static void assert_told(int manager, const char *state)
{
    char text[64] = "";
    assert_int_equal(recv(manager, text, sizeof(text) - 1, 0), strlen(state));
    assert_string_equal(text, state);
}

static void assert_arrives(const char *path, char first)
{
    int manager = open_manager(path, first, true);
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    assert_true(notify_send("READY=1"));
    assert_told(manager, "READY=1");
    assert_true(notify_send("STOPPING=1"));
    assert_told(manager, "STOPPING=1");
    close(manager);
}

static void test_a_path(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof(path), "/tmp/test_notify-%d", (int)getpid());
    unlink(path);
    assert_arrives(path, '/');
    unlink(path);
}

static void test_the_abstract_namespace(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof(path), "@test_notify-%d", (int)getpid());
    assert_arrives(path, '\0');
}

/* The descriptor that arrives is another one of the same pipe. */
static void test_a_descriptor_goes_along(void **state)
{
    char path[64], text[64] = "", byte;
    int ends[2], fd;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec into = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    (void)state;
    snprintf(path, sizeof(path), "@test_notify-fd-%d", (int)getpid());
    int manager = open_manager(path, '\0', true);
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    assert_int_equal(pipe(ends), 0);
    assert_true(notify_send_fd("FDSTORE=1\nFDNAME=state", ends[1]));
    close(ends[1]);
    assert_true(recvmsg(manager, &message, MSG_CMSG_CLOEXEC) > 0);
    assert_string_equal(text, "FDSTORE=1\nFDNAME=state");
    assert_int_equal(control.header.cmsg_type, SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(fd);
    close(ends[0]);
    close(manager);
    unsetenv("NOTIFY_SOCKET");
}

static void test_reloading_says_since_when(void **state)
{
    char path[64], text[64] = "";
    struct timespec before, after;
    unsigned long long us = 0;
    (void)state;
    snprintf(path, sizeof(path), "@test_notify-reload-%d", (int)getpid());
    int manager = open_manager(path, '\0', true);
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_true(notify_send_reloading());
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(recv(manager, text, sizeof(text) - 1, 0) > 0);
    assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
    assert_true(us / 1000000 >= (unsigned long long)before.tv_sec);
    assert_true(us / 1000000 <= (unsigned long long)after.tv_sec);
    close(manager);
    unsetenv("NOTIFY_SOCKET");
}

static void test_nobody_wants_to_know(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_true(notify_send("READY=1"));
    setenv("NOTIFY_SOCKET", "", 1);
    assert_true(notify_send("READY=1"));
}

/* And says so once. */
static void assert_fails(const char *why)
{
    static struct caught_log log;
    caught_log_begin(&log);
    bool is_sent = notify_send("READY=1");
    const char *line = caught_log_line(&log);
    caught_log_end(&log);
    assert_false(is_sent);
    assert_non_null(strstr(line, "level=warning event=notify_failed "));
    assert_non_null(strstr(line, why));
}

static void test_a_wrong_socket(void **state)
{
    static const char *const wrong[] = {
        "/nonexistent/notify", "@nobody-is-there", "relative", "vsock:2:1234", "/", "@"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        setenv("NOTIFY_SOCKET", wrong[i], 1);
        assert_fails(wrong[i]);
    }
    char too_long[300];
    memset(too_long, 'x', sizeof(too_long));
    too_long[0] = '/';
    too_long[sizeof(too_long) - 1] = '\0';
    setenv("NOTIFY_SOCKET", too_long, 1);
    assert_fails("NOTIFY_SOCKET=/xxx");
    unsetenv("NOTIFY_SOCKET");
}

static void test_who_wants_a_watchdog(void **state)
{
    char pid[24];
    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_false(notify_wants_watchdog());
    setenv("WATCHDOG_USEC", "0", 1);
    assert_false(notify_wants_watchdog());
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_true(notify_wants_watchdog());
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_true(notify_wants_watchdog());
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process, which has passed it on */
    assert_false(notify_wants_watchdog());
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* Its queue is full, and nobody reads. */
static void test_a_manager_that_is_stuck(void **state)
{
    char path[64];
    struct timespec began, ended;
    (void)state;
    snprintf(path, sizeof(path), "@test_notify-stuck-%d", (int)getpid());
    int manager = open_manager(path, '\0', false), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un name;
    socklen_t size = sizeof(name);
    assert_int_equal(getsockname(manager, (struct sockaddr *)&name, &size), 0);
    while (sendto(sender, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&name, size) == 1)
        continue;
    setenv("NOTIFY_SOCKET", path, 1);
    clock_gettime(CLOCK_MONOTONIC, &began);
    assert_fails(path);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_true(ended.tv_sec - began.tv_sec >= 2 && ended.tv_sec - began.tv_sec < 20);
    unsetenv("NOTIFY_SOCKET");
    close(sender);
    close(manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path),
        cmocka_unit_test(test_the_abstract_namespace),
        cmocka_unit_test(test_a_descriptor_goes_along),
        cmocka_unit_test(test_reloading_says_since_when),
        cmocka_unit_test(test_nobody_wants_to_know),
        cmocka_unit_test(test_a_wrong_socket),
        cmocka_unit_test(test_who_wants_a_watchdog),
        cmocka_unit_test(test_a_manager_that_is_stuck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
