#include "metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "watchdog.h"

enum {
    CONNECTIONS_MAX = 16,
    CONNECTION_TIMEOUT_S = 10,
    LISTEN_BACKLOG = 16,
    LIBRARY_LINES_PER_S = 5,
};

#define TYPE_PLAIN "text/plain; charset=utf-8"
#define TYPE_PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

struct metrics {
    struct MHD_Daemon *daemon;
    struct metrics_source source;
    pthread_mutex_t log_lock; /* the library logs from its thread, and from the one that stops it */
    struct log_limiter log_limiter;
};

/* --- requests, in the library's thread --- */

struct answer {
    unsigned status;
    const char *content_type;
    char *text; /* owned if is_allocated */
    bool is_allocated;
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
    char *text = metrics_render(&metrics->source);
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

static struct answer answer_to(const struct metrics *metrics, const char *method, const char *path)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return fixed_answer(MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(metrics);
    if (strcmp(path, "/healthz") == 0)
        return answer_health(metrics);
    if (strcmp(path, "/readyz") == 0)
        return atomic_load(metrics->source.is_ready)
                   ? fixed_answer(MHD_HTTP_OK, "ready\n")
                   : fixed_answer(MHD_HTTP_SERVICE_UNAVAILABLE, "not ready\n");
    return fixed_answer(MHD_HTTP_NOT_FOUND, "not here; try /metrics, /healthz or /readyz\n");
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
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type) &&
        (answer->status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD")))
        result = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response); /* our reference; a queued response has its own */
    return result;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
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
    pthread_mutex_lock(&metrics->log_lock);
    log_limiter_flush(&metrics->log_limiter, now_ms());
    pthread_mutex_unlock(&metrics->log_lock);
    struct answer answer = answer_to(metrics, method, path);
    return send_answer(connection, &answer);
}

static void PRINTF_LIKE(2, 0) on_library_message(void *cls, const char *fmt, va_list args)
{
    struct metrics *metrics = cls;
    char text[256];
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    pthread_mutex_lock(&metrics->log_lock);
    if (log_limiter_allows(&metrics->log_limiter, now_ms()))
        log_text(LOG_WARNING, "metrics_http", "%s", text);
    pthread_mutex_unlock(&metrics->log_lock);
}

/* --- start and stop --- */

static bool set_bind_error(const struct addr *addr, int error, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    addr_format(addr, text);
    if (error == EADDRINUSE)
        return err_set(err,
                       "[gate] metrics = %s: this port is in use (maybe by another dtlsgate; "
                       "`ss -ltnp 'sport = :%u'` shows by whom); end that program, choose another "
                       "port, or leave the setting empty to serve no metrics",
                       text, addr->port);
    if (error == EADDRNOTAVAIL)
        return err_set(err,
                       "[gate] metrics = %s: this machine does not have that address; use one of "
                       "its own (`ip address` lists them) or 0.0.0.0 for all",
                       text);
    if (error == EACCES)
        return err_set(err,
                       "[gate] metrics = %s: not allowed to bind; ports below 1024 need root or "
                       "CAP_NET_BIND_SERVICE, so choose a higher one",
                       text);
    return err_set(err, "[gate] metrics = %s: cannot listen: %s", text, strerror(error));
}

static int open_socket(const struct addr *addr, struct err *err)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(addr, &storage);
    int fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        set_bind_error(addr, errno, err);
        return -1;
    }
    int on = 1, off = 0;
    bool is_open = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    /* One address is all that there is, so [::] takes IPv4 too, whatever the system's default. */
    if (is_open && addr->family == AF_INET6)
        is_open = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0;
    is_open = is_open && bind(fd, (const struct sockaddr *)&storage, size) == 0 &&
              listen(fd, LISTEN_BACKLOG) == 0;
    if (!is_open) {
        set_bind_error(addr, errno, err);
        close(fd);
        return -1;
    }
    return fd;
}

/* The library's thread inherits a mask that blocks everything: signals are main's. Takes fd, but if
 * this fails, the library closed it in some cases and not in others: it is left to the end of the
 * process, which follows. */
static struct MHD_Daemon *start_daemon(struct metrics *metrics, int fd)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, metrics,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_message, metrics, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)CONNECTION_TIMEOUT_S, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

struct metrics *metrics_open(const struct addr *addr, const struct metrics_source *source,
                             struct err *err)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        (void)err_set(err, "metrics: out of memory");
        return NULL;
    }
    metrics->source = *source;
    metrics->log_limiter.per_s = LIBRARY_LINES_PER_S;
    pthread_mutex_init(&metrics->log_lock, NULL);
    int fd = open_socket(addr, err);
    if (fd < 0) {
        metrics_close(metrics);
        return NULL;
    }
    metrics->daemon = start_daemon(metrics, fd);
    if (metrics->daemon == NULL) {
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
    if (metrics->daemon != NULL)
        MHD_stop_daemon(metrics->daemon); /* closes the socket, joins the thread */
    pthread_mutex_destroy(&metrics->log_lock);
    free(metrics);
}
