#include "run/metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/metrics_clients.h"
#include "run/metrics_host.h"
#include "run/metrics_lookup.h"
#include "run/metrics_search.h"
#include "run/status_page.h"
#include "run/watchdog.h"

enum {
    LINES_PER_S = 5,
    /* Until clients are accepted again when there was no descriptor for one. */
    PAUSE_MS = 250,
};

#define TYPE_PLAIN "text/plain; charset=utf-8"
#define TYPE_JSON "application/json"
#define TYPE_HTML "text/html; charset=utf-8"
#define SESSIONS_PATH "/sessions/"
#define SEARCH_PATH "/sessions"
#define TYPE_PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

struct metrics {
    struct MHD_Daemon *daemon;
    struct metrics_source source;
    int listen_fd, stop_fd;
    pthread_t thread;
    bool is_started;
    struct metrics_lookup lookup;
    struct metrics_search search;
    /* From here on of the thread; of the one that opens and closes while there is none. */
    struct metrics_clients clients;
    uint64_t accept_after_ms;
    struct log_limiter log_limiter;
};

/* --- requests --- */

struct answer {
    unsigned status;
    const char *content_type;
    char *text; /* owned if is_allocated */
    bool is_allocated;
    char cache[40]; /* Cache-Control; "" = nothing is said of that */
    char etag[64];  /* "" = none */
    bool is_page;   /* what a browser may do with it is said */
};

/* The cast is safe: without is_allocated the text is only read. */
static struct answer fixed_answer(unsigned status, const char *text)
{
    return (struct answer){
        .status = status,
        .content_type = TYPE_PLAIN,
        .text = (char *)(uintptr_t)text,
    };
}

static struct answer answer_metrics(const struct metrics *metrics)
{
    char *text = metrics_text_render(&metrics->source);
    if (text == NULL)
        return fixed_answer(MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    return (struct answer){
        .status = MHD_HTTP_OK,
        .content_type = TYPE_PROMETHEUS,
        .text = text,
        .is_allocated = true,
    };
}

static struct answer answer_health(const struct metrics *metrics)
{
    struct watchdog_verdict verdict =
        watchdog_look_twice(metrics->source.workers, metrics->source.worker_count);
    if (verdict.silent_ms < WATCHDOG_FAILED_MS)
        return fixed_answer(MHD_HTTP_OK, "ok\n");
    struct answer answer = fixed_answer(MHD_HTTP_SERVICE_UNAVAILABLE, "a worker hangs\n");
    char *text = NULL;
    if (asprintf(&text,
                 "worker %u does not come back to its event loop: silent for %llu s; its devices "
                 "are not served, only a restart helps\n",
                 verdict.worker, (unsigned long long)(verdict.silent_ms / 1000)) >= 0) {
        answer.text = text;
        answer.is_allocated = true;
    }
    return answer;
}

static struct answer answer_ready(const struct metrics *metrics)
{
    const struct metrics_source *source = &metrics->source;
    if (!atomic_load(source->is_ready))
        return fixed_answer(MHD_HTTP_SERVICE_UNAVAILABLE, "not ready\n");
    if (atomic_load(&source->drains->are_all))
        return fixed_answer(MHD_HTTP_SERVICE_UNAVAILABLE,
                            "drained: sessions go on, new devices are not served\n");
    return fixed_answer(MHD_HTTP_OK, "ready\n");
}

static struct answer answer_page(void)
{
    struct answer answer = fixed_answer(MHD_HTTP_OK, status_page_text());
    answer.content_type = TYPE_HTML;
    answer.is_page = true;
    snprintf(answer.cache, sizeof(answer.cache), "no-cache");
    snprintf(answer.etag, sizeof(answer.etag), "%s", status_page_etag());
    return answer;
}

static struct answer answer_lookup(struct metrics_lookup_answer lookup)
{
    struct answer answer = fixed_answer(lookup.status, lookup.fixed);
    if (lookup.text != NULL) {
        answer.text = lookup.text;
        answer.is_allocated = true;
    }
    if (lookup.is_json)
        answer.content_type = TYPE_JSON;
    snprintf(answer.cache, sizeof(answer.cache),
             lookup.max_age_s != 0 ? "max-age=%llu" : "no-store",
             (unsigned long long)lookup.max_age_s);
    memcpy(answer.etag, lookup.etag, sizeof(answer.etag));
    return answer;
}

/* Status 0: that is for search(). */
static struct answer answer_to(const struct metrics *metrics, const char *method, const char *path)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return fixed_answer(MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
    if (strcmp(path, "/") == 0)
        return answer_page();
    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(metrics);
    if (strcmp(path, "/healthz") == 0)
        return answer_health(metrics);
    if (strcmp(path, "/readyz") == 0)
        return answer_ready(metrics);
    if (strcmp(path, "/status") == 0)
        return answer_lookup(metrics_lookup_status(&metrics->lookup));
    if (strcmp(path, "/history") == 0)
        return answer_lookup(metrics_lookup_history(&metrics->lookup));
    if (strcmp(path, SEARCH_PATH) == 0)
        return (struct answer){.status = 0};
    if (strncmp(path, SESSIONS_PATH, strlen(SESSIONS_PATH)) == 0)
        return answer_lookup(
            metrics_lookup_session(&metrics->lookup, path + strlen(SESSIONS_PATH)));
    return fixed_answer(MHD_HTTP_NOT_FOUND,
                        "not here; try /, /metrics, /healthz, /readyz, /status or /history\n");
}

static struct answer search(struct metrics *metrics, const char *identity)
{
    json_t *found;
    if (!metrics_lookup_tells_sessions(&metrics->lookup))
        return answer_lookup(metrics_lookup_untold());
    switch (metrics_search_ask(&metrics->search, identity, &found)) {
    case SEARCH_TOLD: return answer_lookup(metrics_lookup_found(found));
    case SEARCH_BUSY:
        return fixed_answer(MHD_HTTP_SERVICE_UNAVAILABLE,
                            "another search is on its way; ask again in a moment\n");
    case SEARCH_NO_IDENTITY: break;
    }
    return fixed_answer(
        MHD_HTTP_BAD_REQUEST,
        "no identity; write /sessions?identity=NAME, 1 to 128 bytes, with \\\\ for a "
        "backslash and \\xHH for what cannot be printed\n");
}

static const char *identity_of(struct MHD_Connection *connection)
{
    const char *identity =
        MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "identity");
    return identity != NULL ? identity : "";
}

static const char *host_of(struct MHD_Connection *connection)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
}

static bool add_page_headers(struct MHD_Response *response)
{
    return MHD_add_response_header(response, "Content-Security-Policy", status_page_policy()) &&
           MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
}

static bool add_headers(struct MHD_Response *response, const struct answer *answer)
{
    return MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type) &&
           MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") &&
           (!answer->is_page || add_page_headers(response)) &&
           (answer->cache[0] == '\0' ||
            MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, answer->cache)) &&
           (answer->etag[0] == '\0' ||
            MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, answer->etag)) &&
           (answer->status != MHD_HTTP_METHOD_NOT_ALLOWED ||
            MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD"));
}

/* The client has it already: the same session, or the same end of one. */
static void shorten(struct MHD_Connection *connection, struct answer *answer)
{
    const char *known =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
    if (answer->status != MHD_HTTP_OK || answer->etag[0] == '\0' || known == NULL ||
        strstr(known, answer->etag) == NULL)
        return;
    if (answer->is_allocated)
        free(answer->text);
    answer->status = MHD_HTTP_NOT_MODIFIED;
    answer->text = (char *)(uintptr_t) "";
    answer->is_allocated = false;
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, const struct answer *answer)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(answer->text), answer->text,
        answer->is_allocated ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        if (answer->is_allocated)
            free(answer->text);
        return MHD_NO;
    }
    enum MHD_Result result = MHD_NO;
    if (add_headers(response, answer))
        result = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response); /* our reference; a queued response has its own */
    return result;
}

/* Called first when the header is there, then for each piece of a body, then once more. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_size, void **request_state)
{
    struct metrics *metrics = cls;
    (void)version;
    (void)body;
    if (*request_state == NULL) {
        *request_state = metrics; /* any non-NULL value: the header has been seen */
        return MHD_YES;
    }
    if (*body_size > 0) {
        *body_size = 0; /* all of it taken, none of it kept */
        return MHD_YES;
    }
    log_limiter_flush(&metrics->log_limiter, clock_now_ms());
    const char *refusal = metrics_host_refusal(path, host_of(connection));
    struct answer answer = refusal != NULL ? fixed_answer(MHD_HTTP_MISDIRECTED_REQUEST, refusal)
                                           : answer_to(metrics, method, path);
    if (answer.status == 0)
        answer = search(metrics, identity_of(connection));
    shorten(connection, &answer);
    return send_answer(connection, &answer);
}

static void PRINTF_LIKE(2, 0) on_library_message(void *cls, const char *fmt, va_list args)
{
    struct metrics *metrics = cls;
    char text[256];
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    if (log_limiter_allows(&metrics->log_limiter, clock_now_ms()))
        log_text(LOG_WARNING, "metrics_http", "%s", text);
}

/* --- connections --- */

static void on_connection(void *cls, struct MHD_Connection *connection, void **client,
                          enum MHD_ConnectionNotificationCode code)
{
    struct metrics *metrics = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *client = metrics_clients_add(&metrics->clients, info->connect_fd, clock_now_ms());
    } else if (*client != NULL) {
        metrics_clients_remove(*client);
    }
}

/* A new request may follow on the same connection, and has its own time. */
static void on_completed(void *cls, struct MHD_Connection *connection, void **request_state,
                         enum MHD_RequestTerminationCode code)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct metrics_client *client = info != NULL ? info->socket_context : NULL;
    (void)cls;
    (void)request_state;
    (void)code;
    if (client != NULL)
        client->since_ms = clock_now_ms();
}

/* The library closes it when it is run next. */
static void send_away(const struct metrics_client *client)
{
    shutdown(client->fd, SHUT_RDWR);
}

static uint64_t send_away_the_late(struct metrics *metrics, uint64_t now)
{
    uint64_t next_ms = UINT64_MAX;
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++) {
        const struct metrics_client *client = &metrics->clients.clients[i];
        uint64_t limit_ms = client->since_ms + METRICS_CLIENT_LIMIT_MS;
        if (client->fd < 0)
            continue;
        if (limit_ms <= now)
            send_away(client);
        else if (limit_ms < next_ms)
            next_ms = limit_ms;
    }
    return next_ms;
}

static bool is_full(const struct metrics *metrics)
{
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++)
        if (metrics->clients.clients[i].fd < 0)
            return false;
    return true;
}

static void add(struct metrics *metrics, int fd, const struct sockaddr_storage *from,
                socklen_t size)
{
    if (is_full(metrics)) {
        send_away(metrics_clients_oldest(&metrics->clients));
        MHD_run(metrics->daemon);
    }
    if (is_full(metrics))
        close(fd);
    else /* closes it if that fails */
        MHD_add_connection(metrics->daemon, fd, (const struct sockaddr *)from, size);
}

/* No more than there is room for: those that came first have their turn first. */
static void accept_some(struct metrics *metrics)
{
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        int fd = accept4(metrics->listen_fd, (struct sockaddr *)&from, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add(metrics, fd, &from, size);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
            continue; /* of this one client: it has gone again */
        metrics->accept_after_ms = clock_now_ms() + PAUSE_MS;
        if (log_limiter_allows(&metrics->log_limiter, clock_now_ms()))
            log_text(LOG_WARNING, "metrics_http", "no client can be accepted now: %s (ulimit -n)",
                     strerror(errno));
        return;
    }
}

/* Until the time of a client or a search is up, clients are accepted again, or the library wants to
 * run. */
static int wait_ms(const struct metrics *metrics, uint64_t next_ms, uint64_t now)
{
    MHD_UNSIGNED_LONG_LONG library_ms;
    uint64_t wait = next_ms > now ? next_ms - now : 0;
    if (metrics->accept_after_ms > now && metrics->accept_after_ms - now < wait)
        wait = metrics->accept_after_ms - now;
    if (MHD_get_timeout(metrics->daemon, &library_ms) == MHD_YES && library_ms < wait)
        wait = library_ms;
    return wait < METRICS_CLIENT_LIMIT_MS ? (int)wait : METRICS_CLIENT_LIMIT_MS;
}

static void *serve(void *argument)
{
    struct metrics *metrics = argument;
    prctl(PR_SET_NAME, "metrics");
    int library_fd = MHD_get_daemon_info(metrics->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    for (;;) {
        uint64_t now = clock_now_ms();
        uint64_t next_ms = send_away_the_late(metrics, now);
        uint64_t forget_ms = metrics_search_forget_old(&metrics->search, now);
        next_ms = forget_ms < next_ms ? forget_ms : next_ms;
        bool may_accept = metrics->accept_after_ms <= now;
        struct pollfd fds[] = {
            {.fd = metrics->stop_fd, .events = POLLIN},
            {.fd = library_fd, .events = POLLIN},
            {.fd = may_accept ? metrics->listen_fd : -1, .events = POLLIN},
        };
        poll(fds, 3, wait_ms(metrics, next_ms, now));
        if (fds[0].revents != 0)
            return NULL;
        if (fds[2].revents != 0)
            accept_some(metrics);
        MHD_run(metrics->daemon);
    }
}

/* --- start and stop --- */

/* Without threads and sockets of the library's own: clients are accepted in serve(), where it can
 * be said who has to go when there is no room. */
static struct MHD_Daemon *start_daemon(struct metrics *metrics)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL,
                            NULL, on_request, metrics, MHD_OPTION_EXTERNAL_LOGGER,
                            on_library_message, metrics, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)METRICS_CLIENTS_MAX + 1, MHD_OPTION_NOTIFY_CONNECTION,
                            on_connection, metrics, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                            metrics, MHD_OPTION_END);
}

static bool start_thread(struct metrics *metrics)
{
    sigset_t all, before; /* signals are main's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    metrics->is_started = pthread_create(&metrics->thread, NULL, serve, metrics) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return metrics->is_started;
}

static bool start(struct metrics *metrics)
{
    metrics->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (metrics->stop_fd < 0)
        return false;
    if (!metrics_lookup_open(&metrics->lookup, &metrics->source) ||
        !metrics_search_open(&metrics->search, &metrics->source))
        return false;
    metrics->daemon = start_daemon(metrics);
    return metrics->daemon != NULL && start_thread(metrics);
}

struct metrics *metrics_open(const struct addr *addr, int listen_fd,
                             const struct metrics_source *source, struct err *err)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        (void)err_set(err, "metrics: out of memory");
        return NULL;
    }
    metrics->source = *source;
    metrics->log_limiter.per_s = LINES_PER_S;
    metrics->stop_fd = metrics->lookup.answered_fd = metrics->search.answered_fd = -1;
    metrics_clients_init(&metrics->clients);
    metrics->listen_fd = listen_fd;
    if (!start(metrics)) {
        char text[ADDR_TEXT_MAX];
        (void)err_set(
            err,
            "[gate] metrics = %s: the HTTP server did not start; the usual cause is a limit on "
            "threads or descriptors (`ulimit -a`), and a log line before this may say which",
            addr_format(addr, text));
        metrics_close(metrics);
        return NULL;
    }
    return metrics;
}

void metrics_close(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    if (metrics->is_started) {
        eventfd_write(metrics->stop_fd, 1);
        pthread_join(metrics->thread, NULL);
    }
    if (metrics->daemon != NULL)
        MHD_stop_daemon(metrics->daemon); /* and the connections */
    metrics_lookup_close(&metrics->lookup);
    metrics_search_close(&metrics->search);
    if (metrics->stop_fd >= 0)
        close(metrics->stop_fd);
    free(metrics);
}
