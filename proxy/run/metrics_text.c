/* The text of /metrics: Prometheus exposition format 0.0.4. */
#include "run/metrics_text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "run/metrics_line.h"
#include "run/metrics_settings.h"
#include "run/report_json.h"
#include "run/watchdog.h"
#include "version.h"

/* How long a scrape waits in all for workers to end their turns. */
enum { WAIT_MS = 2000 };

/* What is written: the sum over workers, one entry per listener and one for datagrams of a backend
 * that belong to no listener. */
struct sums {
    struct generation *generation; /* has a reference */
    const struct config *config;   /* of it */
    struct counters *by_listener;
    uint32_t listener_count;
    uint32_t unresponsive_workers;
};

/* The entry behind the last listener is of none. */
static void add_worker(struct sums *sums, const struct worker_counters *worker,
                       uint64_t deadline_ms)
{
    const struct listener *listeners = sums->generation->listeners;
    for (uint32_t i = 0; i <= sums->listener_count; i++) {
        uint32_t number = i < sums->listener_count ? listeners[i].number : worker->listener_count;
        (void)counters_add_copy(&sums->by_listener[i], worker, number, deadline_ms);
    }
}

static bool sums_init(struct sums *sums, const struct metrics_source *source)
{
    struct generation *generation = swap_generation(source->swap);
    *sums = (struct sums){
        .generation = generation,
        .config = generation->config,
        .listener_count = generation->config->listener_count,
    };
    sums->by_listener = calloc(sums->listener_count + 1, sizeof(*sums->by_listener));
    if (sums->by_listener == NULL)
        return false;
    uint64_t deadline_ms = clock_now_ms() + WAIT_MS;
    for (uint32_t w = 0; w < source->worker_count; w++) {
        const struct worker_counters *worker = source->workers[w];
        if (watchdog_look(&source->workers[w], 1, clock_now_ms()).late != 0)
            deadline_ms = 0; /* it may hang in a turn, whose end nobody needs to wait for */
        add_worker(sums, worker, deadline_ms);
    }
    if (source->inherited != NULL)
        add_worker(sums, source->inherited, deadline_ms);
    sums->unresponsive_workers =
        watchdog_look(source->workers, source->worker_count, clock_now_ms()).late;
    return true;
}

/* --- lines --- */

/* The entry after the last is named "-". */
static void put_listener(FILE *out, const struct sums *sums, const char *name, uint32_t listener)
{
    const struct config *config = sums->config;
    metrics_line_listener(out, name,
                          listener < sums->listener_count ? config->listeners[listener].name : "-");
}

static void put_listener_sample(FILE *out, const struct sums *sums, const char *name,
                                uint32_t listener, const char *label, const char *label_value,
                                uint64_t value)
{
    put_listener(out, sums, name, listener);
    if (label != NULL)
        fprintf(out, ",%s=\"%s\"", label, label_value);
    fputc('}', out);
    metrics_line_u64(out, value);
}

/* A process-wide number that may be unknown (0): then there is no such line. */
static void put_process_u64(FILE *out, const char *name, const char *help, uint64_t value)
{
    if (value == 0)
        return;
    metrics_line_family(out, name, "gauge", help);
    fputs(name, out);
    metrics_line_u64(out, value);
}

/* --- datagrams --- */

static void put_client_datagrams(FILE *out, const struct sums *sums)
{
    const char *name = "dtlsgate_client_datagrams_received_total";
    metrics_line_family(out, name, "counter", "Datagrams received from devices.");
    for (uint32_t i = 0; i < sums->listener_count; i++)
        put_listener_sample(out, sums, name, i, NULL, NULL,
                            counter_get(&sums->by_listener[i].client_received));
    name = "dtlsgate_client_datagrams_total";
    metrics_line_family(out, name, "counter",
                        "Datagrams received from devices, by how they ended.");
    for (uint32_t i = 0; i < sums->listener_count; i++)
        for (unsigned o = 0; o < CLIENT_OUTCOME_COUNT; o++)
            put_listener_sample(out, sums, name, i, "outcome",
                                client_outcome_name((enum client_outcome)o),
                                counter_get(&sums->by_listener[i].client[o]));
}

/* What is of no listener stands in the entry after the last. */
static void put_bytes(FILE *out, const struct sums *sums)
{
    const char *name = "dtlsgate_client_bytes_total";
    metrics_line_family(
        out, name, "counter",
        "Bytes of the datagrams received from devices and sent to them: UDP payload, "
        "records and their headers.");
    for (uint32_t i = 0; i < sums->listener_count; i++) {
        const struct counters *counters = &sums->by_listener[i];
        put_listener_sample(out, sums, name, i, "direction", "received",
                            counter_get(&counters->client_bytes_received));
        put_listener_sample(out, sums, name, i, "direction", "sent",
                            counter_get(&counters->client_bytes_sent));
    }
    name = "dtlsgate_backend_bytes_total";
    metrics_line_family(
        out, name, "counter",
        "Bytes of the datagrams received from backends and sent to them: UDP payload, "
        "plaintext.");
    for (uint32_t i = 0; i <= sums->listener_count; i++) {
        const struct counters *counters = &sums->by_listener[i];
        put_listener_sample(out, sums, name, i, "direction", "received",
                            counter_get(&counters->backend_bytes_received));
        if (i < sums->listener_count)
            put_listener_sample(out, sums, name, i, "direction", "sent",
                                counter_get(&counters->backend_bytes_sent));
    }
}

static void put_backend_datagrams(FILE *out, const struct sums *sums)
{
    uint64_t received = 0;
    for (uint32_t i = 0; i <= sums->listener_count; i++)
        received += counter_get(&sums->by_listener[i].backend_received);
    const char *name = "dtlsgate_backend_datagrams_received_total";
    metrics_line_family(out, name, "counter", "Datagrams received from backends.");
    fputs(name, out);
    metrics_line_u64(out, received);
    name = "dtlsgate_backend_datagrams_total";
    metrics_line_family(out, name, "counter",
                        "Datagrams received from backends, by how they ended; listener - is none.");
    for (uint32_t i = 0; i <= sums->listener_count; i++)
        for (unsigned o = 0; o < BACKEND_OUTCOME_COUNT; o++)
            put_listener_sample(out, sums, name, i, "outcome",
                                backend_outcome_name((enum backend_outcome)o),
                                counter_get(&sums->by_listener[i].backend[o]));
    name = "dtlsgate_late_backend_datagrams_discarded_total";
    metrics_line_family(
        out, name, "counter",
        "Datagrams received from backends for a session that had ended, by why it ended.");
    for (uint32_t i = 0; i <= sums->listener_count; i++)
        for (unsigned r = 0; r < LATE_REASON_COUNT; r++)
            put_listener_sample(out, sums, name, i, "reason", late_reason_name(r),
                                counter_get(&sums->by_listener[i].late[r]));
}

/* --- handshakes and sessions --- */

/* A series that is missing until its first event hides that event from rate(), so those that the
 * settings let happen are written from the start. Some failures come before the version or the
 * credential is known. */
static bool is_expected(const struct listener_config *listener, enum dtls_version version,
                        enum credential credential, bool is_resumed, enum handshake_result result)
{
    bool is_established = result == HANDSHAKE_established;
    bool has_certificate = listener->certificate[0] != '\0';
    uint32_t bit = version == VERSION_1_2   ? CONFIG_VERSION_1_2
                   : version == VERSION_1_3 ? CONFIG_VERSION_1_3
                                            : 0;
    if (version == VERSION_UNKNOWN ? is_established : (listener->versions & bit) == 0)
        return false;
    if (is_resumed && (listener->ticket_versions & bit) == 0)
        return false;
    switch (credential) {
    case CREDENTIAL_PSK: return listener->psk_file.count != 0;
    case CREDENTIAL_CERTIFICATE:
        return has_certificate && listener->client_auth != CLIENT_AUTH_NONE;
    case CREDENTIAL_NONE:
        return has_certificate && (is_established ? listener->client_auth != CLIENT_AUTH_REQUIRED
                                                  : listener->client_auth != CLIENT_AUTH_NONE);
    default: return !is_established;
    }
}

static void put_handshakes_sample(FILE *out, const struct sums *sums, uint32_t listener,
                                  enum dtls_version version, enum credential credential,
                                  bool is_resumed, enum handshake_result result, uint64_t value)
{
    if (value == 0 &&
        !is_expected(&sums->config->listeners[listener], version, credential, is_resumed, result))
        return;
    put_listener(out, sums, "dtlsgate_handshakes_total", listener);
    fprintf(out, ",version=\"%s\",credential=\"%s\",resumed=\"%s\",result=\"%s\"}",
            dtls_version_name(version), credential_name(credential), is_resumed ? "yes" : "no",
            handshake_result_name(result));
    metrics_line_u64(out, value);
}

static void put_handshakes_of(FILE *out, const struct sums *sums, uint32_t i)
{
    const struct counters *counters = &sums->by_listener[i];
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++) {
            for (unsigned r = 0; r < HANDSHAKE_RESULT_COUNT; r++)
                put_handshakes_sample(out, sums, i, (enum dtls_version)v, (enum credential)c, false,
                                      (enum handshake_result)r,
                                      counter_get(&counters->handshakes[v][c][r]));
            put_handshakes_sample(out, sums, i, (enum dtls_version)v, (enum credential)c, true,
                                  HANDSHAKE_established, counter_get(&counters->resumptions[v][c]));
        }
}

static void put_handshake_seconds_of(FILE *out, const struct sums *sums, uint32_t i)
{
    static const unsigned bounds_ms[HANDSHAKE_BUCKET_COUNT] = {HANDSHAKE_BUCKETS_MS};
    const struct counters *counters = &sums->by_listener[i];
    uint64_t count = 0;
    for (unsigned b = 0; b <= HANDSHAKE_BUCKET_COUNT; b++) {
        char le[32] = "+Inf";
        if (b < HANDSHAKE_BUCKET_COUNT)
            snprintf(le, sizeof(le), "%g", bounds_ms[b] / 1000.0);
        count += counter_get(&counters->handshake_ms_bucket[b]);
        put_listener_sample(out, sums, "dtlsgate_handshake_seconds_bucket", i, "le", le, count);
    }
    put_listener(out, sums, "dtlsgate_handshake_seconds_sum", i);
    fputc('}', out);
    metrics_line_thousandths(out, counter_get(&counters->handshake_ms_sum));
    put_listener_sample(out, sums, "dtlsgate_handshake_seconds_count", i, NULL, NULL, count);
}

static void put_handshakes_and_closes(FILE *out, const struct sums *sums)
{
    const char *name = "dtlsgate_handshakes_total";
    metrics_line_family(out, name, "counter", "Handshakes that ended, by how.");
    for (uint32_t i = 0; i < sums->listener_count; i++)
        put_handshakes_of(out, sums, i);
    metrics_line_family(out, "dtlsgate_handshake_seconds", "histogram",
                        "Time from the hello with a valid cookie to the established session.");
    for (uint32_t i = 0; i < sums->listener_count; i++)
        put_handshake_seconds_of(out, sums, i);
    name = "dtlsgate_sessions_closed_total";
    metrics_line_family(out, name, "counter", "Sessions that ended, by why.");
    for (uint32_t i = 0; i < sums->listener_count; i++)
        for (unsigned r = 0; r < CLOSE_REASON_COUNT; r++)
            put_listener_sample(out, sums, name, i, "reason",
                                close_reason_name((enum close_reason)r),
                                counter_get(&sums->by_listener[i].closed[r]));
}

/* --- durations, over all workers --- */

/* Of a worker, or, behind the last one, of the processes before; NULL = there were none. */
static const struct whole_counters *whole_of(const struct metrics_source *source, uint32_t worker)
{
    const struct worker_counters *counters =
        worker < source->worker_count ? source->workers[worker] : source->inherited;
    return counters != NULL ? counters->whole : NULL;
}

static void put_minimum(FILE *out, const struct metrics_source *source, const char *name,
                        const char *help, size_t offset)
{
    uint64_t least_ms = UINT64_MAX;
    metrics_line_family(out, name, "gauge", help);
    for (uint32_t w = 0; w <= source->worker_count; w++) {
        const char *whole = (const char *)whole_of(source, w);
        uint64_t ms = whole != NULL ? counter_get((const counter *)(whole + offset)) : 0;
        if (ms != 0 && ms < least_ms)
            least_ms = ms;
    }
    fputs(name, out);
    if (least_ms == UINT64_MAX)
        fputs(" +Inf\n", out);
    else
        metrics_line_thousandths(out, least_ms);
}

static struct durations sum_of_durations(const struct metrics_source *source, size_t offset)
{
    struct durations sum = {0};
    for (uint32_t w = 0; w <= source->worker_count; w++) {
        const char *whole = (const char *)whole_of(source, w);
        if (whole == NULL)
            continue;
        const struct durations *durations = (const void *)(whole + offset);
        for (unsigned b = 0; b <= DURATION_BUCKET_COUNT; b++)
            counter_add(&sum.bucket[b], counter_get(&durations->bucket[b]));
        counter_add(&sum.ns_sum, counter_get(&durations->ns_sum));
    }
    return sum;
}

static void put_durations(FILE *out, const struct metrics_source *source, const char *name,
                          const char *help, size_t offset)
{
    static const unsigned bounds_us[DURATION_BUCKET_COUNT] = {DURATION_BUCKETS_US};
    struct durations sum = sum_of_durations(source, offset);
    uint64_t count = 0;
    metrics_line_family(out, name, "histogram", help);
    for (unsigned b = 0; b <= DURATION_BUCKET_COUNT; b++) {
        char le[32] = "+Inf";
        if (b < DURATION_BUCKET_COUNT)
            snprintf(le, sizeof(le), "%g", bounds_us[b] / 1000000.0);
        count += counter_get(&sum.bucket[b]);
        fprintf(out, "%s_bucket{le=\"%s\"}", name, le);
        metrics_line_u64(out, count);
    }
    fprintf(out, "%s_sum %.6f\n%s_count", name, (double)counter_get(&sum.ns_sum) / 1e9, name);
    metrics_line_u64(out, count);
}

static void put_all_durations(FILE *out, const struct metrics_source *source)
{
#define MINIMUM(name, help)                                          \
    put_minimum(out, source, "dtlsgate_" #name "_min_seconds", help, \
                offsetof(struct whole_counters, name));
#define DURATION(name, help)                                       \
    put_durations(out, source, "dtlsgate_" #name "_seconds", help, \
                  offsetof(struct whole_counters, name));
#include "count/counters_each.h"
}

/* --- plain counters and gauges, and what belongs to no listener --- */

static void put_plain(FILE *out, const struct sums *sums, const char *name, const char *type,
                      const char *help, size_t offset, uint32_t entries)
{
    metrics_line_family(out, name, type, help);
    for (uint32_t i = 0; i < entries; i++) {
        const char *counters = (const char *)&sums->by_listener[i];
        put_listener_sample(out, sums, name, i, NULL, NULL,
                            counter_get((const counter *)(counters + offset)));
    }
}

/* A socket toward backends serves all listeners, so its counters are under listener "-". */
static void put_plain_counters(FILE *out, const struct sums *sums)
{
    uint32_t count = sums->listener_count;
#define COUNTER(name, help)                                           \
    put_plain(out, sums, "dtlsgate_" #name "_total", "counter", help, \
              offsetof(struct counters, name), count + 1);
#define GAUGE(name, help) \
    put_plain(out, sums, "dtlsgate_" #name, "gauge", help, offsetof(struct counters, name), count);
#include "count/counters_each.h"
}

static void put_gate(FILE *out, const struct metrics_source *source, const struct sums *sums)
{
    metrics_line_family(out, "dtlsgate_build_info", "gauge", "Always 1; versions as labels.");
    fputs("dtlsgate_build_info{version=\"" DTLSGATE_VERSION "\",wolfssl=", out);
    metrics_line_label_value(out, source->tls_library_version);
    fputs("} 1\n", out);
    metrics_line_family(out, "dtlsgate_workers", "gauge", "Worker threads.");
    fprintf(out, "dtlsgate_workers %u\n", source->worker_count);
    metrics_line_family(out, "dtlsgate_workers_unresponsive", "gauge",
                        "Workers that have not come back to their event loop for 3 s.");
    fprintf(out, "dtlsgate_workers_unresponsive %u\n", sums->unresponsive_workers);
    metrics_line_family(out, "dtlsgate_started_after_crash", "gauge",
                        "Whether the process before this one crashed, was killed, or left a state "
                        "that could not be used: 1 if so, else 0.");
    fprintf(out, "dtlsgate_started_after_crash %d\n", source->start->is_after_crash);
    metrics_line_family(out, "dtlsgate_log_lines_dropped_total", "counter",
                        "Log lines lost because stderr did not take them.");
    fputs("dtlsgate_log_lines_dropped_total", out);
    metrics_line_u64(out, log_dropped_lines());
}

static void put_reloads(FILE *out, const struct swap_record *record)
{
    const char *name = "dtlsgate_config_reloads_total";
    metrics_line_family(out, name, "counter", "Reloads of the settings, by how they ended.");
    fprintf(out, "%s{result=\"success\"}", name);
    metrics_line_u64(out, atomic_load(&record->succeeded));
    fprintf(out, "%s{result=\"failure\"}", name);
    metrics_line_u64(out, atomic_load(&record->failed));
    name = "dtlsgate_config_last_reload_successful";
    metrics_line_family(out, name, "gauge",
                        "Whether the latest reload went well: 0 if it has failed, else 1.");
    fprintf(out, "%s %d\n", name, atomic_load(&record->is_good));
    name = "dtlsgate_config_last_reload_timestamp_seconds";
    metrics_line_family(out, name, "gauge",
                        "When the settings in force were read, in seconds since 1970.");
    fprintf(out, "%s %lld\n", name, (long long)atomic_load(&record->good_since));
}

static void put_process(FILE *out)
{
    struct process_usage usage;
    process_read_usage(&usage);
    metrics_line_family(out, "process_cpu_seconds_total", "counter", "User and system CPU time.");
    fputs("process_cpu_seconds_total", out);
    metrics_line_thousandths(out, usage.cpu_us / 1000);
    if (usage.start_time_ms != 0) {
        metrics_line_family(out, "process_start_time_seconds", "gauge",
                            "Start, in seconds since 1970.");
        fputs("process_start_time_seconds", out);
        metrics_line_thousandths(out, usage.start_time_ms);
    }
    put_process_u64(out, "process_resident_memory_bytes", "Resident memory.", usage.resident_bytes);
    put_process_u64(out, "process_open_fds", "Open file descriptors.", usage.open_fds);
    put_process_u64(out, "process_max_fds", "Most file descriptors allowed.", usage.max_fds);
}

char *metrics_text_render(const struct metrics_source *source)
{
    struct sums sums;
    if (!sums_init(&sums, source)) {
        generation_give(sums.generation);
        return NULL;
    }
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out != NULL) {
        put_gate(out, source, &sums);
        put_reloads(out, &source->swap->record);
        put_client_datagrams(out, &sums);
        put_backend_datagrams(out, &sums);
        put_bytes(out, &sums);
        put_handshakes_and_closes(out, &sums);
        put_plain_counters(out, &sums);
        put_all_durations(out, source);
        metrics_settings_put(out, sums.generation);
        put_process(out);
        bool is_complete = !ferror(out);
        if (fclose(out) != 0 || !is_complete) {
            free(text);
            text = NULL;
        }
    }
    free(sums.by_listener);
    generation_give(sums.generation);
    return text;
}
