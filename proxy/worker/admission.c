#include "worker/admission.h"

#include <stdlib.h>

#include "base/log.h"
#include "handshake/ticket.h"

uint32_t admission_share(uint32_t limit, uint32_t worker_count)
{
    return (limit + worker_count - 1) / worker_count;
}

static bool set_limits(struct admission_limits *limits, const struct listener_config *config,
                       uint32_t worker_count, struct err *err)
{
    enum { PREFIX_SHARE_MIN = 4 }; /* devices of one network come to few workers */
    uint32_t hellos_per_s = admission_share(config->hellos_per_prefix_per_s, worker_count);
    if (hellos_per_s != 0 && hellos_per_s < PREFIX_SHARE_MIN)
        hellos_per_s = PREFIX_SHARE_MIN;
    limits->handshake_max = admission_share(config->max_handshakes, worker_count);
    limits->handshakes.per_s = admission_share(config->handshakes_per_s, worker_count);
    if (limits->hellos.sets == NULL)
        return limit_prefixes_init(&limits->hellos, hellos_per_s, err);
    limits->hellos.per_s = hellos_per_s; /* 0: the table stays, for the next time */
    return true;
}

bool admission_init(struct admission *admission, const struct generation *generation,
                    uint32_t worker_count, struct err *err)
{
    admission->limits = calloc(LAYOUT_LISTENERS_MAX, sizeof(*admission->limits));
    if (admission->limits == NULL)
        return err_set(err, "out of memory for limits");
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        if (!set_limits(&admission->limits[listener->number], listener->config, worker_count, err))
            return false;
    }
    return true;
}

void admission_set(struct admission *admission, const struct generation *generation,
                   uint32_t worker_count)
{
    struct err err = {0};
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        if (!set_limits(&admission->limits[listener->number], listener->config, worker_count, &err))
            log_text(LOG_ERROR, "limit_failed",
                     "listener %s: hellos_per_prefix_per_s is not in force: %s",
                     listener->config->name, err.text);
    }
}

void admission_deinit(struct admission *admission)
{
    for (uint32_t i = 0; admission->limits != NULL && i < LAYOUT_LISTENERS_MAX; i++)
        limit_prefixes_deinit(&admission->limits[i].hellos);
    free(admission->limits);
    admission->limits = NULL;
}

/* A device that has a session here, or had one: its ticket is ours. */
static bool goes_first(const struct sessions *sessions, const struct arrival *a)
{
    size_t len = 0;
    if (sessions_find(sessions, a->listener, &a->datagram->from) != NULL)
        return true;
    const uint8_t *ticket = classify_hello_ticket(a->datagram->data, a->datagram->len, &len);
    return ticket != NULL &&
           ticket_is_known(a->listener->creds->ticket_master, a->now_ms, ticket, len);
}

enum client_outcome admission_of_hello(struct admission *admission, const struct sessions *sessions,
                                       const struct arrival *a)
{
    struct limit_prefixes *hellos = &admission->limits[a->listener->number].hellos;
    if (hellos->per_s != 0 &&
        !limit_take_prefix(hellos, &a->datagram->from, a->now_ms, goes_first(sessions, a)))
        return CLIENT_limit_hellos_per_prefix;
    return CLIENT_cookie_sent;
}

enum client_outcome admission_of_handshake(struct admission *admission,
                                           const struct handshakes *handshakes,
                                           struct sessions *sessions, const struct arrival *a,
                                           struct handshake **slow)
{
    struct admission_limits *limits = &admission->limits[a->listener->number];
    bool is_first = goes_first(sessions, a);
    /* A quarter is kept for those who go first. */
    uint32_t max =
        is_first ? limits->handshake_max : limits->handshake_max - limits->handshake_max / 4;
    bool is_full = handshakes_count_of(handshakes, a->listener) >= max;
    *slow = is_full ? handshakes_find_slow(handshakes, a->listener, a->now_ms) : NULL;
    if (is_full && *slow == NULL)
        return CLIENT_limit_handshakes;
    if (!sessions_may_begin(sessions, a->listener, &a->datagram->from, a->now_ms))
        return CLIENT_no_backend_address;
    if (!limit_take(&limits->handshakes, a->now_ms, is_first))
        return CLIENT_limit_handshakes_per_s;
    return CLIENT_handshake_begun;
}
