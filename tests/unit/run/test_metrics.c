#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"
#include "fakes/skip_because.h"
#include "run/metrics_fixture.h"
#include "run/metrics_socket.h"

/* A port of 127.0.0.1 that was free a moment ago. */
static struct addr free_addr(sa_family_t family)
{
    struct addr addr = {.family = family};
    int fd = socket(family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (family == AF_INET) {
        memcpy(addr.ip, (uint8_t[]){127, 0, 0, 1}, 4);
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(in);
        assert_int_equal(bind(fd, (struct sockaddr *)&in, size), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
        addr.port = ntohs(in.sin_port);
    } else {
        addr.ip[15] = 1;
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
        socklen_t size = sizeof(in6);
        assert_int_equal(bind(fd, (struct sockaddr *)&in6, size), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in6, &size), 0);
        addr.port = ntohs(in6.sin6_port);
    }
    close(fd);
    return addr;
}

static void open_metrics(struct fixture *f, sa_family_t family)
{
    struct err err = {0};
    for (int attempt = 0; attempt < 10 && f->listen_fd < 0; attempt++) {
        f->addr = free_addr(family);
        f->listen_fd = metrics_socket_open(&f->addr, NULL, &err);
    }
    if (f->listen_fd >= 0)
        f->metrics = metrics_open(&f->addr, f->listen_fd, &f->source, &err);
    if (f->metrics == NULL)
        fail_msg("%s", err.text);
}

static void close_metrics(struct fixture *f)
{
    metrics_close(f->metrics);
    f->metrics = NULL;
    close(f->listen_fd);
    f->listen_fd = -1;
}

static int connect_to(const struct addr *addr)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(addr, &storage);
    int fd = socket(addr->family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
    return fd;
}

/* Sends a request as it stands, returns the whole answer. */
static const char *exchange(const struct addr *addr, const char *request)
{
    static char answer[1 << 20];
    size_t size = 0;
    int fd = connect_to(addr);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    ssize_t got;
    while ((got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0)) > 0)
        size += (size_t)got;
    answer[size] = '\0';
    close(fd);
    return answer;
}

static const char *get_as(const struct addr *addr, const char *path, const char *host)
{
    char request[200];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
             path, host);
    return exchange(addr, request);
}

static const char *get(const struct addr *addr, const char *path)
{
    return get_as(addr, path, "x");
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

#define assert_status(answer, status) assert_true(strncmp(answer, "HTTP/1.1 " #status " ", 13) == 0)

static void test_http_paths(void **state)
{
    struct fixture *f = *state;
    open_metrics(f, AF_INET);
    const char *answer = get(&f->addr, "/metrics");
    assert_status(answer, 200);
    assert_non_null(
        strstr(answer, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_line(body_of(answer), "dtlsgate_workers 2");
    answer = get(&f->addr, "/metrics?name=x");
    assert_status(answer, 200);
    answer = get(&f->addr, "/healthz");
    assert_status(answer, 200);
    assert_string_equal(body_of(answer), "ok\n");
    answer = get(&f->addr, "/readyz");
    assert_status(answer, 503);
    atomic_store(&f->is_ready, true);
    answer = get(&f->addr, "/readyz");
    assert_status(answer, 200);
    atomic_store(&f->drains.are_all, true);
    answer = get(&f->addr, "/readyz");
    assert_status(answer, 503);
    assert_non_null(strstr(body_of(answer), "drained"));
    answer = get_as(&f->addr, "/", "localhost");
    assert_status(answer, 200);
    assert_non_null(strstr(answer, "\r\nContent-Security-Policy: default-src 'none'; "));
    assert_non_null(strstr(body_of(answer), "<!doctype html>"));
    answer = get_as(&f->addr, "/nothing", "localhost");
    assert_status(answer, 404);
    assert_non_null(strstr(body_of(answer), "/metrics"));
}

/* A page of another site: what it asks for is refused before anything is looked up. */
static void test_a_page_of_another_site(void **state)
{
    static const char *const paths[] = {
        "/", "/status", "/history", "/sessions?identity=dev", "/sessions/127.1.2.3", "/nothing"};
    struct fixture *f = *state;
    open_metrics(f, AF_INET);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const char *answer = get_as(&f->addr, paths[i], "attacker.example:9684");
        assert_status(answer, 421);
        assert_non_null(strstr(body_of(answer), "http://127.0.0.1:9684/"));
    }
    assert_status(get_as(&f->addr, "/metrics?x", "attacker.example:9684"), 200);
    assert_status(get_as(&f->addr, "/", "127.0.0.1:9684"), 200);
    assert_status(exchange(&f->addr, "GET / HTTP/1.0\r\n\r\n"), 200);
}

static bool take_no_mail(void *context, uint32_t worker, struct inquiry *inquiry)
{
    struct inquiry **mailed = context;
    (void)worker;
    inquiry_ask(inquiry);
    *mailed = inquiry;
    return true;
}

/* The thread itself sees to that; no other request is needed. */
static void test_a_search_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct inquiry *mailed = NULL;
    f->source.ask = take_no_mail;
    f->source.context = &mailed;
    f->config.gate.metrics_sessions = true;
    open_metrics(f, AF_INET);
    assert_status(get_as(&f->addr, "/sessions?identity=dev", "localhost"), 200);
    assert_int_equal(atomic_load(&f->generation.references), 2);
    for (int i = 0; i < 2000 && atomic_load(&f->generation.references) != 1; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&f->generation.references), 1);
    close_metrics(f);
    free(mailed); /* it is the worker's */
}

static void test_health_of_workers(void **state)
{
    struct fixture *f = *state;
    struct timespec now;
    open_metrics(f, AF_INET);
    clock_gettime(CLOCK_MONOTONIC, &now);
    f->workers[0].seen_ms = (uint64_t)now.tv_sec * 1000;
    f->workers[1].seen_ms = ((uint64_t)now.tv_sec - 5) * 1000;
    assert_status(get(&f->addr, "/healthz"), 200); /* late, but it may come back */
    f->workers[1].seen_ms = ((uint64_t)now.tv_sec - 75) * 1000;
    const char *answer = get(&f->addr, "/healthz");
    assert_status(answer, 503);
    assert_non_null(
        strstr(body_of(answer), "worker 1 does not come back to its event loop: silent for 7"));
    clock_gettime(CLOCK_MONOTONIC, &now);
    f->workers[1].seen_ms = (uint64_t)now.tv_sec * 1000;
    assert_status(get(&f->addr, "/healthz"), 200);
}

static void test_http_methods(void **state)
{
    struct fixture *f = *state;
    open_metrics(f, AF_INET);
    const char *answer =
        exchange(&f->addr, "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_status(answer, 200);
    const char *length = strstr(answer, "Content-Length: ");
    assert_non_null(length);
    assert_true(atoi(length + strlen("Content-Length: ")) > 1000);
    assert_string_equal(body_of(answer), "");
    answer = exchange(&f->addr, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                "Content-Length: 5\r\n\r\nhello");
    assert_status(answer, 405);
    assert_non_null(strstr(answer, "\r\nAllow: GET, HEAD\r\n"));
    answer = exchange(&f->addr, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                "Content-Length: 5\r\n\r\nhello");
    assert_status(answer, 200);
    answer = exchange(&f->addr, "\x16\xfe\xfd not http\r\n\r\n");
    assert_null(strstr(answer, " 200 "));
}

static void test_http_over_ipv6(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has_ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == 0;
    if (fd >= 0)
        close(fd);
    if (!has_ipv6)
        skip_because("this machine has no ::1");
    open_metrics(f, AF_INET6);
    assert_status(get(&f->addr, "/healthz"), 200);
}

static void test_port_in_use(void **state)
{
    struct fixture *f = *state;
    open_metrics(f, AF_INET);
    struct err err = {0};
    assert_int_equal(metrics_socket_open(&f->addr, NULL, &err), -1);
    char port[20];
    snprintf(port, sizeof(port), "127.0.0.1:%u", f->addr.port);
    assert_non_null(strstr(err.text, port));
    assert_non_null(strstr(err.text, "in use"));
    assert_non_null(strstr(err.text, "choose another port"));
    struct addr addr = f->addr;
    assert_status(get(&addr, "/healthz"), 200); /* leaves a connection in TIME_WAIT */
    close_metrics(f);
    f->listen_fd = metrics_socket_open(&addr, NULL, &err); /* at once */
    assert_true(f->listen_fd >= 0);
}

static void test_address_of_another_machine(void **state)
{
    (void)state;
    struct addr addr = {.family = AF_INET, .port = 9684, .ip = {192, 0, 2, 1}};
    struct err err = {0};
    assert_int_equal(metrics_socket_open(&addr, NULL, &err), -1);
    assert_non_null(strstr(err.text, "192.0.2.1:9684"));
    assert_non_null(strstr(err.text, "does not have that address"));
}

static double clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* time() is the virtual clock's in these programs */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* True if the server has closed the connection. */
static bool is_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* Clients that connect and say nothing, or no more than a beginning, hold up nobody, however many
 * they are; nor do they hold more than their share of descriptors, and not for long. Takes as long
 * as the server's time limit, 10 s. */
static void test_slow_clients(void **state)
{
    struct fixture *f = *state;
    enum { SLOW = 64, AT_ONCE = 16 };
    int fds[SLOW];
    struct process_usage before, after;
    open_metrics(f, AF_INET);
    process_read_usage(&before);
    double begin_s = clock_s();
    for (int i = 0; i < SLOW; i++) {
        fds[i] = connect_to(&f->addr);
        if (i % 2 == 0)
            send(fds[i], "GET /me", 7, MSG_NOSIGNAL);
        if (i % 8 == 7)
            assert_status(get(&f->addr, "/healthz"), 200);
    }
    for (int i = 0; i < 5; i++)
        assert_status(get(&f->addr, "/healthz"), 200);
    assert_true(clock_s() - begin_s < 5);
    process_read_usage(&after);
    assert_true(after.open_fds <= before.open_fds + SLOW + AT_ONCE);
    int open_count = 0;
    for (int i = 0; i < SLOW; i++)
        open_count += !is_closed(fds[i]);
    assert_in_range(open_count, 1, AT_ONCE);
    do {
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
        open_count = 0;
        for (int i = 0; i < SLOW; i++) {
            if (i % 2 == 0) /* as slow as can be */
                send(fds[i], "t", 1, MSG_NOSIGNAL);
            open_count += !is_closed(fds[i]);
        }
    } while (open_count > 0 && clock_s() - begin_s < 60);
    assert_int_equal(open_count, 0);
    assert_true(clock_s() - begin_s > 9);
    for (int i = 0; i < SLOW; i++)
        close(fds[i]);
}

/* Clients that ask for much and read nothing. */
static void test_clients_that_do_not_read(void **state)
{
    struct fixture *f = *state;
    enum { CLIENTS = 64, REQUESTS = 200 };
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    int fds[CLIENTS];
    struct process_usage before, after;
    open_metrics(f, AF_INET);
    free(metrics_text_render(&f->source));
    process_read_usage(&before);
    double begin_s = clock_s();
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(&f->addr);
        for (int r = 0; r < REQUESTS; r++)
            send(fds[i], request, sizeof(request) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (i % 16 == 15)
            assert_status(get(&f->addr, "/healthz"), 200);
    }
    assert_status(get(&f->addr, "/metrics"), 200);
    assert_true(clock_s() - begin_s < 10);
    process_read_usage(&after);
#if !defined(__SANITIZE_ADDRESS__) /* which keeps what was given back for a while */
    assert_true(after.resident_bytes < before.resident_bytes + (32 << 20));
#endif
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

/* The descriptors run out while it runs; when there are some again, it serves again. */
static void test_descriptors_run_out(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    open_metrics(f, AF_INET);
    assert_status(get(&f->addr, "/healthz"), 200);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = connect_to(&f->addr);
    assert_status(get(&f->addr, "/healthz"), 200); /* the four have been accepted */
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(&f->addr, &storage);
    int waiting = socket(AF_INET, SOCK_STREAM, 0);
    struct rlimit tight = {.rlim_cur = 3, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_int_equal(connect(waiting, (struct sockaddr *)&storage, size), 0);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    struct timespec pause = {.tv_sec = 1};
    nanosleep(&pause, NULL); /* time is the subject: so long it tries in vain */
    struct process_usage before, after;
    process_read_usage(&before);
    nanosleep(&pause, NULL);
    process_read_usage(&after);
    assert_true(after.cpu_us - before.cpu_us < 200000); /* and does not try all the time */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    double begin_s = clock_s();
    assert_status(get(&f->addr, "/healthz"), 200);
    assert_true(clock_s() - begin_s < 2);
    close(waiting);
}

static void test_no_descriptor_left(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    struct err err = {0};
    struct addr addr = free_addr(AF_INET);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    f->listen_fd = metrics_socket_open(&addr, NULL, &err); /* none is left for the library's */
    assert_true(f->listen_fd >= 0);
    struct rlimit tight = {.rlim_cur = (rlim_t)f->listen_fd + 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct metrics *metrics = metrics_open(&addr, f->listen_fd, &f->source, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_null(metrics);
    assert_non_null(strstr(err.text, "did not start"));
}

static volatile sig_atomic_t signal_thread_is_main;
static pthread_t main_thread;

static void on_signal(int number)
{
    (void)number;
    signal_thread_is_main = pthread_equal(pthread_self(), main_thread) ? 1 : -1;
}

/* With the signal blocked in this thread, a thread that does not block it would take it. */
static void test_signals_stay_with_main(void **state)
{
    struct fixture *f = *state;
    sigset_t set, before;
    main_thread = pthread_self();
    signal_thread_is_main = 0;
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigaction(SIGUSR1, &action, &old);
    open_metrics(f, AF_INET);
    assert_status(get(&f->addr, "/healthz"), 200); /* its thread runs */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    kill(getpid(), SIGUSR1);
    assert_status(get(&f->addr, "/healthz"), 200);
    assert_int_equal(signal_thread_is_main, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(signal_thread_is_main, 1);
    sigaction(SIGUSR1, &old, NULL);
}

static void test_descriptors_are_closed(void **state)
{
    struct fixture *f = *state;
    struct process_usage before, after;
    process_read_usage(&before);
    open_metrics(f, AF_INET);
    assert_status(get(&f->addr, "/metrics"), 200);
    close_metrics(f);
    process_read_usage(&after);
    assert_int_equal(before.open_fds, after.open_fds);
    metrics_close(NULL);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, metrics_fixture_set_up, metrics_fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_http_paths),
        TEST(test_a_page_of_another_site),
        TEST(test_a_search_is_forgotten),
        TEST(test_health_of_workers),
        TEST(test_http_methods),
        TEST(test_http_over_ipv6),
        TEST(test_port_in_use),
        TEST(test_address_of_another_machine),
        TEST(test_slow_clients),
        TEST(test_clients_that_do_not_read),
        TEST(test_descriptors_run_out),
        TEST(test_no_descriptor_left),
        TEST(test_signals_stay_with_main),
        TEST(test_descriptors_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
