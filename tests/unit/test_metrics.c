#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <ctype.h>
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
#include "metrics.h"

/* --- two workers, two listeners, all counters zero --- */

enum { WORKERS = 2, LISTENERS = 2 };

struct fixture {
    struct listener_config listener_configs[LISTENERS];
    struct config config;
    struct generation generation;
    struct counters counters[WORKERS][LISTENERS + 1];
    struct worker_counters workers[WORKERS];
    const struct worker_counters *worker_pointers[WORKERS];
    _Atomic bool is_ready;
    struct metrics_source source;
    struct metrics *metrics;
    struct addr addr;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->listener_configs[0] = (struct listener_config){
        .name = "coaps",
        .versions = CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3,
        .psk_file = "/devices.psk",
        .certificate = "/server.pem",
        .client_auth = CLIENT_AUTH_REQUIRED,
    };
    f->listener_configs[1] = (struct listener_config){
        .name = "a\"b\\c",
        .versions = CONFIG_VERSION_1_2,
        .psk_file = "",
        .certificate = "/server.pem",
        .client_auth = CLIENT_AUTH_NONE,
    };
    f->config = (struct config){.listeners = f->listener_configs, .listener_count = LISTENERS};
    f->generation.config = &f->config;
    for (int w = 0; w < WORKERS; w++) {
        f->workers[w].listener_count = LISTENERS;
        f->workers[w].by_listener = f->counters[w];
        f->worker_pointers[w] = &f->workers[w];
    }
    f->source = (struct metrics_source){
        .workers = f->worker_pointers,
        .worker_count = WORKERS,
        .generation = &f->generation,
        .tls_library_version = "5.9.2",
        .is_ready = &f->is_ready,
    };
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    metrics_close(f->metrics);
    free(f);
    return 0;
}

/* --- reading the text --- */

/* True if the text has exactly this line. */
static bool has_line(const char *text, const char *line)
{
    size_t size = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[size] == '\n')
            return true;
    return false;
}

#define assert_line(text, line)                           \
    do {                                                  \
        if (!has_line(text, line))                        \
            fail_msg("no line '%s' in:\n%s", line, text); \
    } while (0)

/* The sum of all samples whose line begins so. */
static uint64_t sum_of(const char *text, const char *begin)
{
    uint64_t sum = 0;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(line, begin, strlen(begin)) != 0)
            continue;
        const char *end = strchr(line, '\n');
        while (end[-1] != ' ')
            end--;
        sum += strtoull(end, NULL, 10);
    }
    return sum;
}

static double value_of(const char *text, const char *name)
{
    char begin[100];
    snprintf(begin, sizeof(begin), "\n%s ", name);
    const char *at = strstr(text, begin);
    assert_non_null(at);
    return strtod(at + strlen(begin), NULL);
}

/* --- rendering --- */

static void test_sums_and_labels(void **state)
{
    struct fixture *f = *state;
    for (int w = 0; w < WORKERS; w++) {
        struct counters *counters = f->counters[w];
        counter_add(&counters[0].client_received, 7);
        counter_add(&counters[0].client[CLIENT_forwarded], 6);
        counter_add(&counters[0].client[CLIENT_not_dtls], 1);
        counter_add(&counters[0].backend_received, 5);
        counter_add(&counters[0].backend[BACKEND_late], 5);
        counter_add(&counters[0].late[CLOSE_closed_by_client], 3);
        counter_add(&counters[0].late[LATE_UNKNOWN], 2);
        counter_add(&counters[0].closed[CLOSE_idle], 4);
        counter_add(&counters[1].sessions, 11);
        counter_add(&counters[1].handshakes_in_progress, 2);
        counter_add(&counters[1].records_discarded, 8);
        counter_add(&counters[LISTENERS].backend_received, 9);
        counter_add(&counters[LISTENERS].backend[BACKEND_wrong_sender], 9);
        counter_add(&counters[LISTENERS].backend_kernel_drops, 10);
    }
    char *text = metrics_render(&f->source);
    assert_non_null(text);
    static const char *const lines[] = {
        "dtlsgate_client_datagrams_received_total{listener=\"coaps\"} 14",
        "dtlsgate_client_datagrams_received_total{listener=\"a\\\"b\\\\c\"} 0",
        "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"forwarded\"} 12",
        "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"not_dtls\"} 2",
        "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"cookie_sent\"} 0",
        "dtlsgate_backend_datagrams_received_total 28",
        "dtlsgate_backend_datagrams_total{listener=\"coaps\",outcome=\"late\"} 10",
        "dtlsgate_backend_datagrams_total{listener=\"-\",outcome=\"wrong_sender\"} 18",
        ("dtlsgate_late_backend_datagrams_discarded_total{listener=\"coaps\","
         "reason=\"closed_by_client\"} 6"),
        "dtlsgate_late_backend_datagrams_discarded_total{listener=\"coaps\",reason=\"unknown\"} 4",
        "dtlsgate_sessions_closed_total{listener=\"coaps\",reason=\"idle\"} 8",
        "dtlsgate_sessions_closed_total{listener=\"coaps\",reason=\"shutdown\"} 0",
        "dtlsgate_sessions{listener=\"a\\\"b\\\\c\"} 22",
        "dtlsgate_sessions{listener=\"coaps\"} 0",
        "dtlsgate_handshakes_in_progress{listener=\"a\\\"b\\\\c\"} 4",
        "dtlsgate_records_discarded_total{listener=\"a\\\"b\\\\c\"} 16",
        "dtlsgate_backend_kernel_drops_total{listener=\"-\"} 20",
        "dtlsgate_workers 2",
        "dtlsgate_workers_unresponsive 0",
        "# TYPE dtlsgate_sessions gauge",
        "# TYPE dtlsgate_records_discarded_total counter",
        "# HELP dtlsgate_sessions established sessions",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(text, lines[i]);
    assert_non_null(strstr(text, "\ndtlsgate_build_info{version=\""));
    assert_non_null(strstr(text, "\",wolfssl=\"5.9.2\"} 1\n"));
    assert_null(strstr(text, "dtlsgate_sessions{listener=\"-\"}"));
    free(text);
}

static void test_every_name_is_exported(void **state)
{
    struct fixture *f = *state;
    char *text = metrics_render(&f->source);
    char wanted[200];
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++) {
        snprintf(wanted, sizeof(wanted),
                 "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"%s\"} 0",
                 client_outcome_name(i));
        assert_line(text, wanted);
    }
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++) {
        snprintf(wanted, sizeof(wanted),
                 "dtlsgate_backend_datagrams_total{listener=\"-\",outcome=\"%s\"} 0",
                 backend_outcome_name(i));
        assert_line(text, wanted);
    }
#define COUNTER(name, help)                                     \
    assert_line(text, "# HELP dtlsgate_" #name "_total " help); \
    assert_line(text, "dtlsgate_" #name "_total{listener=\"coaps\"} 0");
#define GAUGE(name, help)                                 \
    assert_line(text, "# HELP dtlsgate_" #name " " help); \
    assert_line(text, "dtlsgate_" #name "{listener=\"coaps\"} 0");
#include "counters_each.h"
    free(text);
}

static void test_handshake_series(void **state)
{
    struct fixture *f = *state;
    char *text = metrics_render(&f->source);
    /* From the start: what the settings let succeed, and nothing else. */
    static const char *const from_the_start[] = {
        ("dtlsgate_handshakes_total{listener=\"coaps\",version=\"1.2\",credential=\"psk\","
         "result=\"established\"} 0"),
        ("dtlsgate_handshakes_total{listener=\"coaps\",version=\"1.2\",credential=\"certificate\","
         "result=\"established\"} 0"),
        ("dtlsgate_handshakes_total{listener=\"coaps\",version=\"1.3\",credential=\"psk\","
         "result=\"established\"} 0"),
        ("dtlsgate_handshakes_total{listener=\"coaps\",version=\"1.3\",credential=\"certificate\","
         "result=\"established\"} 0"),
        ("dtlsgate_handshakes_total{listener=\"a\\\"b\\\\c\",version=\"1.2\",credential=\"none\","
         "result=\"established\"} 0"),
    };
    unsigned expected = sizeof(from_the_start) / sizeof(from_the_start[0]), found = 0;
    for (unsigned i = 0; i < expected; i++)
        assert_line(text, from_the_start[i]);
    for (const char *at = text; (at = strstr(at, "\ndtlsgate_handshakes_total{")) != NULL; at++)
        found++;
    assert_int_equal(found, expected);
    free(text);

    counter_add(
        &f->counters[1][0].handshakes[VERSION_UNKNOWN][CREDENTIAL_UNKNOWN][HANDSHAKE_timeout], 3);
    text = metrics_render(&f->source);
    assert_line(text, "dtlsgate_handshakes_total{listener=\"coaps\",version=\"unknown\","
                      "credential=\"unknown\",result=\"timeout\"} 3");
    free(text);
}

static void test_histogram(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].handshake_ms_bucket[0], 1);
    counter_add(&f->counters[1][0].handshake_ms_bucket[3], 2);
    counter_add(&f->counters[0][0].handshake_ms_bucket[HANDSHAKE_BUCKET_COUNT], 4);
    counter_add(&f->counters[0][0].handshake_ms_sum, 160007);
    char *text = metrics_render(&f->source);
    static const char *const lines[] = {
        "# TYPE dtlsgate_handshake_seconds histogram",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.01\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.03\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.1\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.3\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"1\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"30\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"+Inf\"} 7",
        "dtlsgate_handshake_seconds_sum{listener=\"coaps\"} 160.007",
        "dtlsgate_handshake_seconds_count{listener=\"coaps\"} 7",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(text, lines[i]);
    free(text);
}

/* What a scraper refuses: a sample before its TYPE, a family in two pieces, a series twice. */
static void test_format(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].handshakes[VERSION_1_2][CREDENTIAL_PSK][HANDSHAKE_wrong_key], 1);
    char *text = metrics_render(&f->source);
    assert_int_equal(text[strlen(text) - 1], '\n');
    char **lines = calloc(10000, sizeof(*lines));
    size_t count = 0;
    char family[200] = "";
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        size_t name_size = strcspn(line, "{ ");
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t size = strcspn(line + 7, " ");
            assert_true(line[7 + size] == ' ' && line[7 + size + 1] != '\0');
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
        } else {
            assert_true(strncmp(line, family, strlen(family)) == 0);
            assert_true(name_size == strlen(family) || strstr(family, "_seconds") != NULL);
            assert_true(isdigit((unsigned char)strrchr(line, ' ')[1]));
            *strrchr(line, ' ') = '\0';
        }
        for (size_t i = 0; i < count; i++)
            assert_string_not_equal(lines[i], line);
        assert_true(count < 10000);
        lines[count++] = line;
    }
    assert_true(count > 100);
    free(lines);
    free(text);
}

static void test_process(void **state)
{
    struct fixture *f = *state;
    char *text = metrics_render(&f->source);
    double started = value_of(text, "process_start_time_seconds");
    double now = (double)time(NULL);
    assert_true(started <= now + 1 && started > now - 600);
    assert_true(value_of(text, "process_resident_memory_bytes") > 100000);
    assert_true(value_of(text, "process_cpu_seconds_total") >= 0);
    double fds = value_of(text, "process_open_fds");
    assert_true(value_of(text, "process_max_fds") >= fds);
    free(text);
    int more[2];
    assert_int_equal(pipe(more), 0);
    text = metrics_render(&f->source);
    assert_true(value_of(text, "process_open_fds") == fds + 2);
    free(text);
    close(more[0]);
    close(more[1]);
}

/* --- a worker that counts while it is read --- */

struct counting {
    struct fixture *fixture;
    _Atomic bool must_stop;
};

static void *count_without_pause(void *arg)
{
    struct counting *counting = arg;
    struct worker_counters *worker = &counting->fixture->workers[1];
    unsigned short seed[3] = {7, 8, 9};
    while (!atomic_load_explicit(&counting->must_stop, memory_order_relaxed)) {
        struct counters *counters = &worker->by_listener[nrand48(seed) % (LISTENERS + 1)];
        counters_begin_turn(worker);
        for (int i = 0; i < 64; i++) {
            counter_add(&counters->client_received, 1);
            counter_add(&counters->client[nrand48(seed) % CLIENT_OUTCOME_COUNT], 1);
            counter_add(&counters->backend_received, 1);
            counter_add(&counters->backend[nrand48(seed) % BACKEND_OUTCOME_COUNT], 1);
        }
        counters_end_turn(worker);
        for (volatile int i = 0; i < 300; i++)
            ;
    }
    return NULL;
}

static void test_sums_hold_in_every_scrape(void **state)
{
    struct fixture *f = *state;
    struct counting counting = {.fixture = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_without_pause, &counting), 0);
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        char *text = metrics_render(&f->source);
        assert_non_null(text);
        assert_line(text, "dtlsgate_workers_unresponsive 0");
        uint64_t received = sum_of(text, "dtlsgate_client_datagrams_received_total{");
        assert_int_equal(received, sum_of(text, "dtlsgate_client_datagrams_total{"));
        assert_int_equal(sum_of(text, "dtlsgate_backend_datagrams_received_total "),
                         sum_of(text, "dtlsgate_backend_datagrams_total{"));
        assert_true(received >= last);
        last = received;
        free(text);
    }
    assert_true(last > 0);
    atomic_store(&counting.must_stop, true);
    pthread_join(thread, NULL);
}

static void test_a_hanging_worker_is_named(void **state)
{
    struct fixture *f = *state;
    counters_begin_turn(&f->workers[0]);
    counter_add(&f->counters[0][0].client_received, 2);
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 1);
    char *text = metrics_render(&f->source);
    assert_line(text, "dtlsgate_workers_unresponsive 1");
    assert_line(text, "dtlsgate_client_datagrams_received_total{listener=\"coaps\"} 1");
    free(text);
}

/* --- over HTTP --- */

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
    struct err err = {""};
    for (int attempt = 0; attempt < 10 && f->metrics == NULL; attempt++) {
        f->addr = free_addr(family);
        f->metrics = metrics_open(&f->addr, &f->source, &err);
    }
    if (f->metrics == NULL)
        fail_msg("%s", err.text);
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

static const char *get(const struct addr *addr, const char *path)
{
    char request[200];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             path);
    return exchange(addr, request);
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
    answer = get(&f->addr, "/");
    assert_status(answer, 404);
    assert_non_null(strstr(body_of(answer), "/metrics"));
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
        skip(); /* this machine has no ::1 */
    open_metrics(f, AF_INET6);
    assert_status(get(&f->addr, "/healthz"), 200);
}

static void test_port_in_use(void **state)
{
    struct fixture *f = *state;
    open_metrics(f, AF_INET);
    struct err err = {""};
    assert_null(metrics_open(&f->addr, &f->source, &err));
    char port[20];
    snprintf(port, sizeof(port), "127.0.0.1:%u", f->addr.port);
    assert_non_null(strstr(err.text, port));
    assert_non_null(strstr(err.text, "in use"));
    assert_non_null(strstr(err.text, "choose another port"));
    struct addr addr = f->addr;
    assert_status(get(&addr, "/healthz"), 200); /* leaves a connection in TIME_WAIT */
    metrics_close(f->metrics);
    f->metrics = metrics_open(&addr, &f->source, &err); /* at once */
    assert_non_null(f->metrics);
}

static void test_address_of_another_machine(void **state)
{
    struct fixture *f = *state;
    struct addr addr = {.family = AF_INET, .port = 9684, .ip = {192, 0, 2, 1}};
    struct err err = {""};
    assert_null(metrics_open(&addr, &f->source, &err));
    assert_non_null(strstr(err.text, "192.0.2.1:9684"));
    assert_non_null(strstr(err.text, "does not have that address"));
}

/* Clients that connect and say nothing hold no more than their share of descriptors, and not for
 * long: takes as long as the server's time limit, 10 s. */
static void test_silent_clients(void **state)
{
    struct fixture *f = *state;
    enum { SILENT = 17, SERVED_AT_ONCE = 16 };
    int fds[SILENT];
    struct process_usage before, after;
    open_metrics(f, AF_INET);
    process_read_usage(&before);
    for (int i = 0; i < SILENT; i++)
        fds[i] = connect_to(&f->addr);
    time_t begin = time(NULL);
    assert_status(get(&f->addr, "/healthz"), 200);
    process_read_usage(&after);
    assert_true(time(NULL) - begin >= 8); /* else no limit was reached */
    assert_true(after.open_fds < before.open_fds + SILENT + SERVED_AT_ONCE);
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
}

static void test_no_descriptor_left(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    struct err err = {""};
    struct addr addr = free_addr(AF_INET);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next_fd = dup(STDIN_FILENO); /* for the listening socket; none for the library's */
    assert_true(next_fd >= 0);
    close(next_fd);
    struct rlimit tight = {.rlim_cur = (rlim_t)next_fd + 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct metrics *metrics = metrics_open(&addr, &f->source, &err);
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
    metrics_close(f->metrics);
    f->metrics = NULL;
    process_read_usage(&after);
    assert_int_equal(before.open_fds, after.open_fds);
    metrics_close(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_sums_and_labels),
        TEST(test_every_name_is_exported),
        TEST(test_handshake_series),
        TEST(test_histogram),
        TEST(test_format),
        TEST(test_process),
        TEST(test_sums_hold_in_every_scrape),
        TEST(test_a_hanging_worker_is_named),
        TEST(test_http_paths),
        TEST(test_http_methods),
        TEST(test_http_over_ipv6),
        TEST(test_port_in_use),
        TEST(test_address_of_another_machine),
        TEST(test_silent_clients),
        TEST(test_no_descriptor_left),
        TEST(test_signals_stay_with_main),
        TEST(test_descriptors_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
