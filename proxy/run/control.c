#include "run/control.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "run/control_socket.h"
#include "run/control_task.h"
#include "run/json_text.h"

enum {
    CLIENTS_MAX = 32,
    ACCEPTS_AT_ONCE = 64,
    /* Lines of one client before the others have their turn. */
    STEPS_AT_ONCE = 64,
    LINES_PER_S = 20, /* of the log */
};

/* Until a client that says nothing, or does not read, has to go. */
static const double IDLE_S = 60.0;
/* A worker answers in milliseconds, or it hangs. */
static const double WORKER_S = 10.0;
/* Until clients are accepted again when there was no descriptor for one. */
static const double PAUSE_S = 0.25;

struct client {
    ev_io readable, writable;
    ev_timer timer;
    struct control *control; /* that it is of */
    int fd;                  /* -1 = free */
    uint64_t number;         /* of all there ever were; 0 is none */
    uint64_t active;         /* when it did something last, in events of the control socket */
    char line[COMMAND_LINE_MAX + 1];
    size_t line_len;
    bool has_ended; /* it will say no more */
    struct control_output output;
    struct control_task task;
};

struct control {
    struct ev_loop *loop; /* borrowed */
    struct control_source source;
    struct control_socket socket;
    ev_io acceptable;
    ev_timer pause;
    ev_async answered; /* a worker's thread has answered somebody */
    uint64_t next_number, events;
    struct log_limiter limiter;
    struct client clients[CLIENTS_MAX];
};

/* ---- one client ----------------------------------------------------------------------------- */

static void drop(struct client *client)
{
    struct ev_loop *loop = client->control->loop;
    ev_io_stop(loop, &client->readable);
    ev_io_stop(loop, &client->writable);
    ev_timer_stop(loop, &client->timer);
    control_task_drop(&client->task);
    control_output_deinit(&client->output);
    close(client->fd);
    client->fd = -1;
    client->number = 0;
}

static void start_timer(struct client *client)
{
    uint32_t worker;
    struct ev_loop *loop = client->control->loop;
    bool waits = control_task_waits(&client->task, &worker);
    client->active = ++client->control->events;
    client->timer.repeat = waits ? WORKER_S : IDLE_S;
    ev_now_update(loop);
    /* What an action takes is its own affair. */
    if (client->task.state == TASK_ACTION && control_output_left(&client->output) == 0)
        ev_timer_stop(loop, &client->timer);
    else
        ev_timer_again(loop, &client->timer);
}

/* As much as the socket takes. False: the client has gone. */
static bool write_some(struct client *client)
{
    while (control_output_left(&client->output) != 0) {
        ssize_t written = send(client->fd, control_output_first(&client->output),
                               control_output_left(&client->output), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            return true;
        if (written <= 0)
            return false;
        control_output_took(&client->output, (size_t)written);
    }
    return true;
}

static bool is_over(const struct client *client)
{
    return client->output.has_failed || (client->has_ended && client->task.state == TASK_NONE &&
                                         memchr(client->line, '\n', client->line_len) == NULL &&
                                         control_output_left(&client->output) == 0);
}

static void wake(void *context)
{
    struct control *control = context;
    ev_async_send(control->loop, &control->answered);
}

/* Who has told the gate to change something. */
static void log_change(struct client *client, const char *line)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t size = sizeof(who);
    struct control *control = client->control;
    if (!log_is_enabled(LOG_INFO) ||
        !log_limiter_allows(&control->limiter, (uint64_t)(ev_now(control->loop) * 1000)))
        return;
    struct log_line text;
    getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
    log_begin(&text, LOG_INFO, "control");
    log_add_u64(&text, "uid", who.uid);
    log_add_u64(&text, "pid", (uint64_t)who.pid);
    log_add(&text, "command", line);
    log_end(&text);
}

static void obey(struct client *client, char *line)
{
    struct command_request request;
    const char *words[COMMAND_WORDS_MAX];
    char copy[COMMAND_LINE_MAX + 1];
    size_t count;
    struct err err = {0};
    memcpy(copy, line, strlen(line) + 1);
    if (!command_split(line, words, &count, &err) || !command_parse(&request, words, count, &err)) {
        control_output_end(&client->output, NULL, false, err.text);
        return;
    }
    if (command_is_change(request.command))
        log_change(client, copy);
    const struct control_answer answer = {.control = client->control, .client = client->number};
    control_task_begin(&client->task, &request, wake, client->control, answer);
}

/* The next line, if there is a whole one. False: there is none. */
static bool take_line(struct client *client)
{
    char line[COMMAND_LINE_MAX + 1];
    const char *end = memchr(client->line, '\n', client->line_len);
    if (end == NULL) {
        if (client->line_len < sizeof(client->line))
            return false;
        control_output_end(&client->output, NULL, false, "the line is too long");
        client->has_ended = true; /* where the next one begins nobody knows */
        client->line_len = 0;
        return true;
    }
    size_t len = (size_t)(end - client->line);
    memcpy(line, client->line, len);
    line[len] = '\0';
    bool has_nul = memchr(line, '\0', len) != NULL;
    if (len > 0 && line[len - 1] == '\r')
        line[len - 1] = '\0';
    client->line_len -= len + 1;
    memmove(client->line, end + 1, client->line_len);
    if (has_nul)
        control_output_end(&client->output, NULL, false, "a line has no NUL");
    else
        obey(client, line);
    return true;
}

/* Goes on with a client as far as that is possible now. What waits is written before each step:
 * whether there is one depends on how much is left, and nobody would come back here for that. */
static void go_on(struct client *client)
{
    struct ev_loop *loop = client->control->loop;
    bool did_something = true, has_moved = false;
    uint32_t worker;
    for (int i = 0; i < STEPS_AT_ONCE && did_something; i++) {
        if (!write_some(client) || is_over(client)) {
            drop(client);
            return;
        }
        did_something = control_task_go_on(&client->task);
        if (client->task.state == TASK_NONE &&
            control_output_left(&client->output) < CONTROL_OUTPUT_ENOUGH)
            did_something |= take_line(client);
        has_moved |= did_something;
    }
    if (did_something)
        ev_feed_event(loop, &client->timer, EV_CUSTOM); /* and the others have their turn */
    /* What a client says meanwhile gives no worker more time. */
    if (has_moved || !control_task_waits(&client->task, &worker))
        start_timer(client);
    if (client->line_len < sizeof(client->line) && !client->has_ended)
        ev_io_start(loop, &client->readable);
    else
        ev_io_stop(loop, &client->readable);
    if (control_output_left(&client->output) != 0)
        ev_io_start(loop, &client->writable);
    else
        ev_io_stop(loop, &client->writable);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct client *client = watcher->data;
    (void)loop;
    (void)events;
    ssize_t len = recv(client->fd, client->line + client->line_len,
                       sizeof(client->line) - client->line_len, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len < 0) {
        drop(client);
        return;
    }
    client->has_ended = len == 0;
    client->line_len += (size_t)len;
    go_on(client);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    go_on(watcher->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct client *client = timer->data;
    char text[64];
    uint32_t worker;
    (void)loop;
    if ((events & EV_CUSTOM) != 0) {
        go_on(client);
        return;
    }
    if (control_task_waits(&client->task, &worker)) {
        snprintf(text, sizeof(text), "worker %u does not answer", worker);
        control_task_drop(&client->task);
        control_output_end(&client->output, NULL, false, text);
        (void)!write_some(client);
    }
    drop(client);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static void on_answered(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct control *control = watcher->data;
    (void)loop;
    (void)events;
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (control->clients[i].fd >= 0 && control_task_is_answered(&control->clients[i].task))
            go_on(&control->clients[i]);
}

/* One that is free; else the one that has done nothing for longest makes way, and of those the ones
 * that are being answered come last. */
static struct client *choose_place(struct control *control)
{
    struct client *best = &control->clients[0];
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];
        if (client->fd < 0)
            return client;
        bool is_busy = client->task.state != TASK_NONE,
             best_is_busy = best->task.state != TASK_NONE;
        if (is_busy != best_is_busy ? best_is_busy : client->active < best->active)
            best = client;
    }
    drop(best);
    return best;
}

static void welcome(struct control *control, int fd)
{
    struct client *client = choose_place(control);
    *client = (struct client){.control = control, .fd = fd, .number = ++control->next_number};
    client->task.source = &control->source;
    client->task.output = &client->output;
    ev_io_init(&client->readable, on_readable, fd, EV_READ);
    ev_io_init(&client->writable, on_writable, fd, EV_WRITE);
    ev_init(&client->timer, on_timer);
    client->readable.data = client->writable.data = client->timer.data = client;
    ev_io_start(control->loop, &client->readable);
    start_timer(client);
}

static void on_pause_end(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct control *control = timer->data;
    (void)events;
    ev_io_start(loop, &control->acceptable);
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct control *control = watcher->data;
    (void)events;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(control->socket.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(control, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            ev_io_stop(loop, watcher);
            ev_timer_set(&control->pause, PAUSE_S, 0.0);
            ev_timer_start(loop, &control->pause);
        }
        return;
    }
}

/* ---- actions -------------------------------------------------------------------------------- */

/* NULL: it has gone, or the action is not its own any more. */
static struct client *find(struct control_answer answer)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &answer.control->clients[i];
        if (client->fd >= 0 && client->number == answer.client && client->task.state == TASK_ACTION)
            return client;
    }
    return NULL;
}

void control_answer_problem(struct control_answer answer, bool is_warning, const char *text)
{
    struct client *client = find(answer);
    if (client == NULL)
        return;
    json_t *object = json_object();
    if (json_object_set_new(object, "problem", json_text(text)) != 0 ||
        json_object_set_new(object, "is_warning", json_boolean(is_warning)) != 0) {
        json_decref(object);
        object = NULL;
    }
    control_output_add(&client->output, object);
}

void control_answer_end(struct control_answer answer, bool is_ok, const char *text)
{
    struct client *client = find(answer);
    if (client == NULL)
        return;
    control_output_end(&client->output, NULL, is_ok, text);
    client->task.state = TASK_NONE;
    /* The client is not dropped here: who calls may be called by it. */
    (void)!write_some(client);
    ev_feed_event(client->control->loop, &client->timer, EV_CUSTOM);
}

int control_answer_detach(struct control_answer answer)
{
    struct client *client = find(answer);
    if (client == NULL || !write_some(client) || control_output_left(&client->output) != 0)
        return -1;
    return fcntl(client->fd, F_DUPFD_CLOEXEC, 3);
}

void control_answer_end_at(int fd, bool is_ok, const char *text)
{
    struct control_output output = {0};
    control_output_end(&output, NULL, is_ok, text);
    if (!output.has_failed)
        (void)!send(fd, control_output_first(&output), control_output_left(&output),
                    MSG_NOSIGNAL | MSG_DONTWAIT);
    control_output_deinit(&output);
    close(fd);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

struct control *control_open(struct ev_loop *loop, const struct gate_config *config,
                             const struct control_source *source, struct err *err)
{
    struct control *control = calloc(1, sizeof(*control));
    if (control == NULL) {
        err_set(err, "out of memory for the control socket");
        return NULL;
    }
    control->loop = loop;
    control->source = *source;
    control->limiter.per_s = LINES_PER_S;
    for (int i = 0; i < CLIENTS_MAX; i++)
        control->clients[i].fd = -1;
    if (!control_socket_open(&control->socket, config, err)) {
        free(control);
        return NULL;
    }
    ev_io_init(&control->acceptable, on_acceptable, control->socket.fd, EV_READ);
    ev_init(&control->pause, on_pause_end);
    ev_async_init(&control->answered, on_answered);
    control->acceptable.data = control->pause.data = control->answered.data = control;
    ev_io_start(loop, &control->acceptable);
    ev_async_start(loop, &control->answered);
    return control;
}

void control_close(struct control *control)
{
    if (control == NULL)
        return;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (control->clients[i].fd < 0)
            continue;
        (void)!write_some(&control->clients[i]);
        drop(&control->clients[i]);
    }
    ev_io_stop(control->loop, &control->acceptable);
    ev_timer_stop(control->loop, &control->pause);
    ev_async_stop(control->loop, &control->answered);
    control_socket_close(&control->socket);
    free(control);
}
