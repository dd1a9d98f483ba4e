#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "run/metrics_fixture.h"

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

static void test_sums_and_labels(void **state)
{
    struct fixture *f = *state;
    for (int w = 0; w < WORKERS; w++) {
        struct counters *counters = f->counters[w];
        counter_add(&counters[0].client_received, 7);
        counter_add(&counters[0].client_bytes_received, 700);
        counter_add(&counters[0].client_bytes_sent, 600);
        counter_add(&counters[0].backend_bytes_received, 500);
        counter_add(&counters[0].backend_bytes_sent, 400);
        counter_add(&counters[LISTENERS].backend_bytes_received, 90);
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
    char *text = metrics_text_render(&f->source);
    assert_non_null(text);
    static const char *const lines[] = {
        "dtlsgate_client_datagrams_received_total{listener=\"coaps\"} 14",
        "dtlsgate_client_datagrams_received_total{listener=\"a\\\"b\\\\c\"} 0",
        "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"forwarded\"} 12",
        "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"not_dtls\"} 2",
        "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"cookie_sent\"} 0",
        "dtlsgate_backend_datagrams_received_total 28",
        "dtlsgate_client_bytes_total{listener=\"coaps\",direction=\"received\"} 1400",
        "dtlsgate_client_bytes_total{listener=\"coaps\",direction=\"sent\"} 1200",
        "dtlsgate_client_bytes_total{listener=\"a\\\"b\\\\c\",direction=\"sent\"} 0",
        "dtlsgate_backend_bytes_total{listener=\"coaps\",direction=\"received\"} 1000",
        "dtlsgate_backend_bytes_total{listener=\"coaps\",direction=\"sent\"} 800",
        "dtlsgate_backend_bytes_total{listener=\"-\",direction=\"received\"} 180",
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
        "dtlsgate_started_after_crash 0",
        "# TYPE dtlsgate_sessions gauge",
        "# TYPE dtlsgate_records_discarded_total counter",
        "# HELP dtlsgate_sessions Established sessions.",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(text, lines[i]);
    assert_non_null(strstr(text, "\ndtlsgate_build_info{version=\""));
    assert_non_null(strstr(text, "\",wolfssl=\"5.9.2\"} 1\n"));
    assert_null(strstr(text, "dtlsgate_sessions{listener=\"-\"}"));
    free(text);
}

/* What processes before have counted; its gauges are nobody's. */
static void test_inherited_counters_are_added(void **state)
{
    struct fixture *f = *state;
    static struct counters before[9];
    static struct whole_counters whole;
    const struct worker_counters inherited = {
        .listener_count = 8, .by_listener = before, .whole = &whole};
    f->source.inherited = &inherited;
    counter_add(&before[0].client_received, 5);
    counter_add(&before[0].client[CLIENT_forwarded], 5);
    counter_add(&f->counters[1][0].client_received, 2);
    counter_add(&f->counters[1][0].client[CLIENT_forwarded], 2);
    counter_add(&before[8].backend_kernel_drops, 3);
    counter_add(&f->counters[0][LISTENERS].backend_kernel_drops, 4);
    counter_lower(&whole.backend_address_silence, 1500);
    durations_add(&whole.loop_turn, 50000);
    durations_add(&f->whole[0].loop_turn, 50000);
    char *text = metrics_text_render(&f->source);
    assert_non_null(text);
    assert_line(text, "dtlsgate_client_datagrams_received_total{listener=\"coaps\"} 7");
    assert_line(text,
                "dtlsgate_client_datagrams_total{listener=\"coaps\",outcome=\"forwarded\"} 7");
    assert_line(text, "dtlsgate_backend_kernel_drops_total{listener=\"-\"} 7");
    assert_line(text, "dtlsgate_backend_address_silence_min_seconds 1.500");
    assert_line(text, "dtlsgate_loop_turn_seconds_count 2");
    assert_line(text, "dtlsgate_workers 2");
    free(text);
}

static void test_every_name_is_exported(void **state)
{
    struct fixture *f = *state;
    char *text = metrics_text_render(&f->source);
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
#include "count/counters_each.h"
    free(text);
}

/* How many series of handshakes of that listener begin so: from the labels behind it on. */
static unsigned count_handshakes(const char *text, const char *listener, const char *labels)
{
    char begin[200];
    unsigned count = 0;
    int len = snprintf(begin, sizeof(begin), "\ndtlsgate_handshakes_total{listener=\"%s\",%s",
                       listener, labels);
    assert_true(len > 0 && (size_t)len < sizeof(begin));
    for (const char *at = text; (at = strstr(at, begin)) != NULL; at++)
        count++;
    return count;
}

/* Each way to fail is there before the first failure, which increase() would not see otherwise. */
static void assert_failures(const char *text, const char *listener, const char *version,
                            const char *credential)
{
    char line[300];
    for (unsigned r = 0; r < HANDSHAKE_RESULT_COUNT; r++) {
        if (r == HANDSHAKE_established)
            continue;
        snprintf(line, sizeof(line),
                 "dtlsgate_handshakes_total{listener=\"%s\",version=\"%s\",credential=\"%s\","
                 "resumed=\"no\",result=\"%s\"} 0",
                 listener, version, credential, handshake_result_name(r));
        assert_line(text, line);
    }
}

static void test_handshake_series(void **state)
{
    enum { FAILURES = HANDSHAKE_RESULT_COUNT - 1 };
    struct fixture *f = *state;
    char *text = metrics_text_render(&f->source);
    /* From the start: what the settings let happen, and nothing else. */
#define ESTABLISHED(listener, version, credential, resumed)                  \
    "dtlsgate_handshakes_total{listener=\"" listener "\",version=\"" version \
    "\",credential=\"" credential "\",resumed=\"" resumed "\",result=\"established\"} "
    static const char *const from_the_start[] = {
        ESTABLISHED("coaps", "1.2", "psk", "no") "0",
        ESTABLISHED("coaps", "1.2", "psk", "yes") "0",
        ESTABLISHED("coaps", "1.2", "certificate", "no") "0",
        ESTABLISHED("coaps", "1.2", "certificate", "yes") "0",
        ESTABLISHED("coaps", "1.3", "psk", "no") "0",
        ESTABLISHED("coaps", "1.3", "psk", "yes") "0",
        ESTABLISHED("coaps", "1.3", "certificate", "no") "0",
        ESTABLISHED("coaps", "1.3", "certificate", "yes") "0",
        ESTABLISHED("a\\\"b\\\\c", "1.2", "none", "no") "0", /* its tickets are off */
    };
    for (unsigned i = 0; i < sizeof(from_the_start) / sizeof(from_the_start[0]); i++)
        assert_line(text, from_the_start[i]);
    static const char *const versions[] = {"unknown", "1.2", "1.3"};
    static const char *const credentials[] = {"unknown", "psk", "certificate", "none"};
    for (unsigned v = 0; v < 3; v++) {
        for (unsigned c = 0; c < 4; c++)
            assert_failures(text, "coaps", versions[v], credentials[c]);
    }
    assert_int_equal(count_handshakes(text, "coaps", ""), 8 + 12 * FAILURES);
    /* It asks for no certificate, has no keys, and speaks 1.2 only. */
    assert_failures(text, "a\\\"b\\\\c", "unknown", "unknown");
    assert_failures(text, "a\\\"b\\\\c", "1.2", "unknown");
    assert_int_equal(count_handshakes(text, "a\\\"b\\\\c", ""), 1 + 2 * FAILURES);
    free(text);

    counter_add(
        &f->counters[1][0].handshakes[VERSION_UNKNOWN][CREDENTIAL_UNKNOWN][HANDSHAKE_timeout], 3);
    counter_add(&f->counters[0][0].handshakes[VERSION_1_3][CREDENTIAL_PSK][HANDSHAKE_established],
                5);
    counter_add(&f->counters[0][0].resumptions[VERSION_1_3][CREDENTIAL_PSK], 2);
    counter_add(&f->counters[1][0].resumptions[VERSION_1_3][CREDENTIAL_PSK], 2);
    text = metrics_text_render(&f->source);
    assert_line(text, "dtlsgate_handshakes_total{listener=\"coaps\",version=\"unknown\","
                      "credential=\"unknown\",resumed=\"no\",result=\"timeout\"} 3");
    assert_line(text, ESTABLISHED("coaps", "1.3", "psk", "no") "5");
    assert_line(text, ESTABLISHED("coaps", "1.3", "psk", "yes") "4");
    free(text);
}

static void test_histogram(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].handshake_ms_bucket[0], 1);
    counter_add(&f->counters[1][0].handshake_ms_bucket[5], 2);
    counter_add(&f->counters[0][0].handshake_ms_bucket[HANDSHAKE_BUCKET_COUNT], 4);
    counter_add(&f->counters[0][0].handshake_ms_sum, 160007);
    char *text = metrics_text_render(&f->source);
    static const char *const lines[] = {
        "# TYPE dtlsgate_handshake_seconds histogram",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.001\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.01\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.03\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.1\"} 1",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"0.3\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"1\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"30\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"120\"} 3",
        "dtlsgate_handshake_seconds_bucket{listener=\"coaps\",le=\"+Inf\"} 7",
        "dtlsgate_handshake_seconds_sum{listener=\"coaps\"} 160.007",
        "dtlsgate_handshake_seconds_count{listener=\"coaps\"} 7",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(text, lines[i]);
    free(text);
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    f->config.gate.max_sessions = 100000;
    f->listener_configs[0].max_handshakes = 1000;
    f->listener_configs[0].hellos_per_prefix_per_s = 20;
    f->listener_configs[1].max_handshakes = 7;
    f->listener_configs[1].handshakes_per_s = 30;
    f->listener_configs[1].sessions_per_identity = 2;
    char *text = metrics_text_render(&f->source);
    static const char *const lines[] = {
        "dtlsgate_limit{listener=\"-\",name=\"max_sessions\"} 100000",
        "dtlsgate_limit{listener=\"-\",name=\"backend_addresses\"} 400000",
        "dtlsgate_limit{listener=\"coaps\",name=\"max_handshakes\"} 1000",
        "dtlsgate_limit{listener=\"coaps\",name=\"hellos_per_prefix_per_s\"} 20",
        "dtlsgate_limit{listener=\"a\\\"b\\\\c\",name=\"max_handshakes\"} 7",
        "dtlsgate_limit{listener=\"a\\\"b\\\\c\",name=\"handshakes_per_s\"} 30",
        "dtlsgate_limit{listener=\"a\\\"b\\\\c\",name=\"sessions_per_identity\"} 2",
        "dtlsgate_psk_identities{listener=\"coaps\"} 0",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(text, lines[i]);
    /* One that is off is none. */
    assert_null(strstr(text, "dtlsgate_limit{listener=\"coaps\",name=\"handshakes_per_s\"}"));
    assert_null(strstr(text, "dtlsgate_limit{listener=\"coaps\",name=\"sessions_per_identity\"}"));
    free(text);
}

static void assert_sentence(const char *name, const char *text)
{
    size_t len = strlen(text);
    if (len < 2 || !isupper((unsigned char)text[0]) || text[len - 1] != '.')
        fail_msg("the help of %s is no whole sentence: '%s'", name, text);
}

/* Of counters.def, and of each family that is served. */
static void test_help_is_whole_sentences(void **state)
{
    struct fixture *f = *state;
#define CLIENT_OUTCOME(name, help) assert_sentence(#name, help);
#define BACKEND_OUTCOME(name, help) assert_sentence(#name, help);
#define CLOSE_REASON(code, name, help) assert_sentence(#name, help);
#define HANDSHAKE_RESULT(name, help) assert_sentence(#name, help);
#define COUNTER(name, help) assert_sentence(#name, help);
#define GAUGE(name, help) assert_sentence(#name, help);
#define MINIMUM(name, help) assert_sentence(#name, help);
#define DURATION(name, help) assert_sentence(#name, help);
#include "count/counters_each.h"
    char *text = metrics_text_render(&f->source);
    unsigned count = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "# HELP ", 7) != 0)
            continue;
        const char *help = strchr(line + 7, ' ');
        assert_non_null(help);
        assert_sentence(line + 7, help + 1);
        count++;
    }
    assert_true(count > 30);
    free(text);
}

/* What a scraper refuses: a sample before its TYPE, a family in two pieces, a series twice. */
static void test_format(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].handshakes[VERSION_1_2][CREDENTIAL_PSK][HANDSHAKE_wrong_key], 1);
    char *text = metrics_text_render(&f->source);
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
            assert_true(isdigit((unsigned char)strrchr(line, ' ')[1]) ||
                        strcmp(strrchr(line, ' '), " +Inf") == 0);
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
    char *text = metrics_text_render(&f->source);
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
    text = metrics_text_render(&f->source);
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
        char *text = metrics_text_render(&f->source);
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
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    f->workers[0].seen_ms = ((uint64_t)now.tv_sec - 3) * 1000;
    f->workers[1].seen_ms = (uint64_t)now.tv_sec * 1000;
    counters_begin_turn(&f->workers[0]);
    counter_add(&f->counters[0][0].client_received, 2);
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 1);
    char *text = metrics_text_render(&f->source);
    assert_line(text, "dtlsgate_workers_unresponsive 1");
    assert_line(text, "dtlsgate_client_datagrams_received_total{listener=\"coaps\"} 1");
    free(text);
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - now.tv_sec < 2); /* the scrape has not waited for it */
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, metrics_fixture_set_up, metrics_fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_sums_and_labels),
        TEST(test_inherited_counters_are_added),
        TEST(test_every_name_is_exported),
        TEST(test_handshake_series),
        TEST(test_histogram),
        TEST(test_limits),
        TEST(test_help_is_whole_sentences),
        TEST(test_format),
        TEST(test_process),
        TEST(test_sums_hold_in_every_scrape),
        TEST(test_a_hanging_worker_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
