#include "session/session_begin.h"

#include <string.h>

#include "net/steering.h"
#include "session/closing.h"
#include "session/last_flight.h"
#include "session/path.h"
#include "session/session_end.h"
#include "session/session_log.h"
#include "session/session_timer.h"
#include "session/turn.h"

/* Of an identity that had more sessions than it may have now; each costs a record to its device. */
enum { SURPLUS_AT_ONCE = 16 };

static uint32_t bucket_of(const struct sessions *all, const struct addr *client)
{
    return steering_bucket_of_worker(steering_bucket_of_addr(client), all->worker,
                                     all->worker_count);
}

static bool is_other_device(const struct session *old, const struct handshake_who *who)
{
    if (session_is_anonymous(old) || who->credential == CREDENTIAL_NONE)
        return false;
    const struct session_who *its = session_who(old);
    return its->credential != who->credential || its->identity_len != who->identity_len ||
           memcmp(its->identity, who->identity, who->identity_len) != 0;
}

/* A device that reboots begins anew from its old address (RFC 6347 section 4.2.8). But a NAT also
 * gives that address to another device: then a session that is found by its connection ID goes on,
 * and only its place in the table of addresses is lost. */
static bool outlives(const struct session *old, const struct handshake_who *who)
{
    return old->association.cid_len != 0 && is_other_device(old, who);
}

/* The one that has to end for it, or NULL. To be asked once: the next least used one is another. */
static struct session *leaving_for(struct sessions *all, const struct handshake *h)
{
    struct session *old = session_store_find(all, h->listener->number, &h->entry.key.client);
    if (old != NULL && !outlives(old, &h->who))
        return old;
    return all->count >= all->max ? session_store_least_used(all) : NULL;
}

/* An address is left for it, or will be when `leaving` has made way: but only in its bucket, and
 * not if the server still sends there. */
static bool is_address_left(struct sessions *all, uint32_t bucket, const struct session *leaving)
{
    return !backend_is_exhausted(all->backend, bucket, all->now_ms) ||
           (leaving != NULL && slots_bucket_of(leaving->slot) == bucket &&
            !backend_is_noisy(all->backend, leaving->slot));
}

bool sessions_may_begin(struct sessions *all, const struct listener *listener,
                        const struct addr *client, uint64_t now_ms)
{
    return !backend_is_exhausted(all->backend, bucket_of(all, client), now_ms) ||
           all->count >= all->max || session_store_find(all, listener->number, client) != NULL;
}

static bool keep_who(struct sessions *all, struct session *s, const struct handshake *h)
{
    const struct handshake_who *from = &h->who;
    bool is_anonymous = from->credential == CREDENTIAL_NONE;
    uint8_t identity_len = is_anonymous ? 0 : from->identity_len;
    uint8_t digest_count = is_anonymous ? 0 : from->digests.count;
    struct session_who *who =
        cells_take(&all->cells, CELLS_PIECES, session_who_bytes(identity_len, digest_count));
    if (who == NULL)
        return false;
    who->hello_tag = (uint32_t)h->hello_tag;
    who->credential = from->credential;
    who->identity_len = identity_len;
    who->digest_count = digest_count;
    memcpy(who->identity, from->identity, identity_len);
    memcpy(who->identity + identity_len, from->digests.at,
           (size_t)digest_count * CREDENTIAL_DIGEST_BYTES);
    ref_set(&s->who, who);
    return true;
}

/* With all that belongs to it, in no table yet. NULL: out of memory. */
static struct session *make(struct sessions *all, const struct handshake *h,
                            const struct taken *taken)
{
    struct session *s = session_store_make(all, taken);
    if (s == NULL)
        return NULL;
    s->number = h->number;
    s->client = h->entry.key.client;
    s->route =
        routes_find(&all->routes, 0, h->flight.way.socket, &h->flight.way.local) & ROUTES_MASK;
    s->listener = (uint8_t)h->listener->number;
    s->suite = taken->suite;
    s->established_ms = s->last_used_ms = SESSION_MS(all->now_ms);
    s->state = SESSION_NEW;
    if (keep_who(all, s, h))
        return s;
    session_store_free(all, s);
    return NULL;
}

bool session_is_admitted(const struct session *s, const struct listener *listener)
{
    const struct session_who *who = session_who(s);
    const struct credential_record record = {
        .kind = (enum credential)who->credential,
        .identity = who->identity,
        .identity_size = who->identity_len,
        .digests = session_who_digests(who),
        .digest_count = who->digest_count,
    };
    switch (creds_admits(listener->creds, &record)) {
    case CREDS_REVOKED: return false;
    case CREDS_KEY_CHANGED: return listener->config->on_key_change == KEY_CHANGE_KEEP;
    case CREDS_ADMITTED: break;
    }
    return true;
}

/* Settings may have changed since its handshake began. */
static bool is_revoked(const struct sessions *all, const struct session *s,
                       const struct handshake *h)
{
    const struct listener *listener = session_listener(all, s);
    return listener != h->listener && !session_is_admitted(s, listener);
}

static enum handshake_result find_fault(struct sessions *all, const struct handshake *h,
                                        const struct session *s, uint32_t bucket,
                                        const struct session *leaving)
{
    if (is_revoked(all, s, h))
        return HANDSHAKE_revoked;
    if (h->who.credential == CREDENTIAL_NONE &&
        h->listener->config->client_auth == CLIENT_AUTH_REQUIRED)
        return HANDSHAKE_no_certificate;
    if (!is_address_left(all, bucket, leaving))
        return HANDSHAKE_no_backend_address;
    return HANDSHAKE_established;
}

static void make_room(struct sessions *all, const struct handshake *h, struct session *leaving)
{
    struct session *old = session_store_find(all, h->listener->number, &h->entry.key.client);
    if (leaving != NULL && leaving == old && !outlives(old, &h->who)) {
        session_end(all, leaving, CLOSE_replaced, false, all->now_ms);
        return;
    }
    if (old != NULL)
        session_store_leave_address(all, old);
    if (leaving != NULL) {
        session_log_full(all, h->listener);
        session_end(all, leaving, CLOSE_evicted, true, all->now_ms);
    }
}

static bool enter_tables(struct sessions *all, struct session *s)
{
    if (!session_store_enter_address(all, s))
        return false;
    if (session_store_enter_cid(all, s))
        return true;
    session_store_leave_address(all, s);
    return false;
}

static bool take_slot(struct sessions *all, struct session *s, uint32_t bucket)
{
    bool is_early = false;
    s->slot = backend_take(all->backend, bucket, cells_number_of(&all->cells, s), s->listener,
                           all->now_ms, &is_early);
    if (s->slot == BACKEND_NO_SLOT)
        return false;
    if (is_early)
        counter_add(&session_counters(all, s)->backend_addresses_taken_early, 1);
    closing_yield(all, s->slot);
    return true;
}

static void end_anywhere(struct sessions *all, const struct identities_session *session)
{
    if (session->worker == all->worker)
        sessions_end_replaced(all, session, all->now_ms);
    else
        all->end_elsewhere(all->context, session);
}

/* sessions_per_identity, over all workers. Where it was higher before, some at a time go. */
static void end_oldest_of_identity(struct sessions *all, struct session *s)
{
    struct identities_key key;
    struct identities_session self = session_name_of(all, s), oldest;
    uint32_t limit = session_listener(all, s)->config->sessions_per_identity;
    if (session_is_anonymous(s) || limit == 0)
        return;
    s->counts_for_identity = true;
    session_identity_key(all, s, &key);
    bool is_more = identities_begin(all->identities, &key, limit, self, &oldest);
    for (int i = 0; is_more; i++) {
        end_anywhere(all, &oldest);
        is_more = i + 1 < SURPLUS_AT_ONCE &&
                  identities_take_surplus(all->identities, &key, limit, self, &oldest);
    }
}

/* The device believes that it has a session. */
static void refuse(struct sessions *all, struct session *s)
{
    struct turn t = {.all = all, .session = s};
    const struct association_call call = turn_call(&t, false);
    association_send_alert(&s->association, &call, ALERT_CLOSE_NOTIFY);
    session_store_free(all, s);
}

static void establish(struct sessions *all, struct session *s, struct handshake *h)
{
    session_store_enter_order(all, s);
    last_flight_keep(all, s, &h->flight);
    order_stores(); /* it is complete */
    s->state = SESSION_ESTABLISHED;
    all->count++;
    session_store_enter_gauges(all, s);
    session_timer_set(all, s);
    session_log_established(all, s, h);
    end_oldest_of_identity(all, s);
}

struct session *session_begin(struct sessions *all, struct handshake *h, const struct taken *taken,
                              const struct arrival *last, enum handshake_result *why)
{
    all->now_ms = last->now_ms;
    uint32_t bucket = bucket_of(all, &h->entry.key.client);
    struct session *s = make(all, h, taken);
    *why = HANDSHAKE_internal_error;
    if (s == NULL)
        return NULL;
    struct session *leaving = leaving_for(all, h);
    enum handshake_result fault = find_fault(all, h, s, bucket, leaving);
    if (fault != HANDSHAKE_established) {
        *why = fault;
        refuse(all, s);
        return NULL;
    }
    make_room(all, h, leaving);
    if (!take_slot(all, s, bucket)) { /* no memory for one more */
        *why = HANDSHAKE_no_backend_address;
        refuse(all, s);
        return NULL;
    }
    if (!enter_tables(all, s)) {
        backend_release(all->backend, s->slot, CLOSE_replaced, all->now_ms);
        refuse(all, s);
        return NULL;
    }
    establish(all, s, h);
    (void)path_on_authentic(all, s, last, true); /* the device's Finished */
    return s;
}
