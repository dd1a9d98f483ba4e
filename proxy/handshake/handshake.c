#include "handshake/handshake.h"

#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "handshake/dtls_take_over.h"
#include "handshake/dtls_ticket.h"
#include "net/steering.h"
#include "wire/message.h"

/* The life of a handshake:
 *
 *   state     on                                                  what happens             next
 *   RUNNING   a record that the library takes                     its answer goes out      RUNNING
 *             the device's hello again, a sign of loss, time      the flight once more     RUNNING
 *             an alert in plaintext                               silence                  GIVEN_UP
 *             the library has finished                            keys are taken over      COMPLETE
 *             the library finds a fault                           its alert                ENDED
 *             handshake_timeout, too many bytes, a newer hello    -                        ENDED
 *   GIVEN_UP  anything else of the device                         -                        RUNNING
 *             10 s                                                -                        ENDED
 *   COMPLETE  a session is made of it, or refused                 -                        ENDED
 */

enum {
    /* A device that gave up sends nothing more; one that did not goes on, or repeats itself. */
    GIVE_UP_MS = 10000,
    /* Of a handshake, with all repetitions: a dozen of the largest. */
    FED_BYTES_MAX = 128 * 1024,
    EARLY_BYTES_MAX = 1500, /* T2 */
};

/* ---- deadlines ------------------------------------------------------------------------------ */

static uint64_t end_due_ms(const struct handshake *h)
{
    uint64_t timeout_ms = h->begun_ms + h->listener->config->handshake_timeout_ms;
    return h->state == HANDSHAKE_GIVEN_UP && h->given_up_ms < timeout_ms ? h->given_up_ms
                                                                         : timeout_ms;
}

static void set_timer(struct handshakes *all, struct handshake *h)
{
    uint64_t due_ms = end_due_ms(h), flight_ms = flight_due_ms(&h->flight);
    timers_set(&all->timers, &h->timer, flight_ms < due_ms ? flight_ms : due_ms);
}

static void on_timer(struct handshakes *all, struct handshake *h)
{
    if (all->now_ms >= end_due_ms(h)) {
        if (h->state == HANDSHAKE_GIVEN_UP && all->now_ms >= h->given_up_ms)
            handshake_fail(all, h, HANDSHAKE_client_alert, alert_name(h->alert_code), all->now_ms);
        else
            handshake_fail_as_library_says(all, h);
    } else if (!flight_on_time(&h->flight, all->now_ms)) {
        handshake_fail_as_library_says(all, h);
    } else {
        set_timer(all, h);
    }
}

void handshakes_on_time(struct handshakes *all, uint64_t now_ms)
{
    enum { TIMERS_AT_ONCE = 64 };
    struct timer *timer;
    all->now_ms = now_ms;
    for (int i = 0; i < TIMERS_AT_ONCE; i++) {
        if ((timer = timers_take_due(&all->timers, now_ms)) == NULL)
            break;
        on_timer(all, TIMER_OWNER(timer, struct handshake, timer));
    }
    log_limiter_flush(&all->limiter, now_ms);
    log_limiter_flush(&all->stranger_limiter, now_ms);
}

uint64_t handshakes_due_ms(const struct handshakes *all)
{
    uint64_t due_ms = timers_next_due_ms(&all->timers);
    /* Lines held back are reported when the second has ended. */
    if (all->limiter.held_back + all->stranger_limiter.held_back != 0 &&
        all->now_ms + 1000 < due_ms)
        due_ms = all->now_ms + 1000;
    return due_ms;
}

/* ---- what the device says ------------------------------------------------------------------- */

/* An alert in plaintext: of the device, or of anybody who forges its address. It says that the
 * device has given up, and is not fed to the library, which would believe it. The handshake falls
 * silent, and fails unless the device goes on. */
static void on_plain_alert(struct handshakes *all, struct handshake *h, uint8_t level, uint8_t code)
{
    if ((level != ALERT_FATAL && code != ALERT_CLOSE_NOTIFY) || h->state != HANDSHAKE_RUNNING)
        return;
    h->state = HANDSHAKE_GIVEN_UP;
    h->alert_code = code;
    h->given_up_ms = all->now_ms + GIVE_UP_MS;
    flight_pause(&h->flight);
    handshake_tell_stalled(all, h, HANDSHAKE_client_alert, alert_name(code));
    set_timer(all, h);
}

/* The device goes on, so the alert was not its own. */
static void forget_plain_alert(struct handshakes *all, struct handshake *h)
{
    if (h->state != HANDSHAKE_GIVEN_UP)
        return;
    h->state = HANDSHAKE_RUNNING;
    flight_resume(&h->flight, all->now_ms);
}

/* A wrong PSK shows in DTLS 1.2 only by a Finished that does not decrypt. */
static void notice_wrong_key(struct handshakes *all, struct handshake *h)
{
    const char *detail;
    if (!h->has_stalled && dtls_failure(h->dtls, &detail) == HANDSHAKE_wrong_key)
        handshake_tell_stalled(all, h, HANDSHAKE_wrong_key, "");
}

/* The hello may have come in fragments, so that the device turns out not to have asked for a
 * connection ID only now. */
static void settle_cid(struct handshakes *all, struct handshake *h)
{
    if (h->cid_entry.cid_len == 0 || dtls_has_cid(h->dtls))
        return;
    handshake_table_remove_cid(&all->table, &h->cid_entry);
    h->cid_entry.cid_len = 0;
}

/* T2: it uses its session already, so its last flight is late or lost; ours again makes it repeat
 * that. What it has said is kept, the latest of it. */
static void keep_early(struct handshakes *all, struct handshake *h)
{
    size_t len;
    const uint8_t *rest = dtls_rest(h->dtls, &len);
    if (rest == NULL || len > EARLY_BYTES_MAX || dtls_version(h->dtls) != VERSION_1_3)
        return;
    handshake_store_drop_early(all, h);
    h->early = slabs_take(all->slabs, len);
    if (h->early == NULL)
        return;
    memcpy(h->early, rest, len);
    h->early_len = (uint16_t)len;
}

/* T3. Whoever has the keys protects the records, so the object goes at once. */
static bool take_over(struct handshake *h, struct handshake_step *step, size_t fed_bytes)
{
    size_t rest;
    struct handshake_who *who = &h->who;
    if (!dtls_take_over(h->dtls, &step->taken)) {
        taken_wipe(&step->taken);
        return false;
    }
    (void)dtls_rest(h->dtls, &rest);
    step->used_bytes = (uint32_t)(fed_bytes - rest);
    step->is_complete = true;
    step->outcome = CLIENT_established;
    dtls_ticket_adopt_holder(h->dtls);
    who->version = (uint8_t)dtls_version(h->dtls);
    who->credential = (uint8_t)dtls_credential(h->dtls);
    who->is_resumed = dtls_is_resumed(h->dtls);
    who->identity_len = h->dtls->peer->identity_len;
    memcpy(who->identity, h->dtls->peer->identity, who->identity_len);
    who->digests = h->dtls->peer->digests;
    dtls_free(h->dtls);
    h->dtls = NULL;
    h->state = HANDSHAKE_COMPLETE;
    return true;
}

/* Goes on with what has been fed. */
static void advance(struct handshakes *all, struct handshake *h, size_t fed_bytes,
                    struct handshake_step *step)
{
    enum dtls_event event = dtls_accept(h->dtls);
    if (event == DTLS_ESTABLISHED && take_over(h, step, fed_bytes))
        return;
    if (event == DTLS_GOES_ON && h->fed_bytes <= FED_BYTES_MAX) {
        uint32_t discarded = dtls_discarded(h->dtls);
        counter_add(&handshake_counters(all, h->listener)->records_discarded, discarded);
        settle_cid(all, h);
        notice_wrong_key(all, h);
        keep_early(all, h);
        flight_on_fed(&h->flight, discarded != 0);
        set_timer(all, h);
        return;
    }
    step->outcome = CLIENT_handshake_failed;
    if (event == DTLS_ESTABLISHED)
        handshake_fail(all, h, HANDSHAKE_internal_error, "", all->now_ms);
    else if (event == DTLS_GOES_ON) /* the library keeps fragments that it cannot use yet */
        handshake_fail(all, h, HANDSHAKE_protocol_error, "too many bytes", all->now_ms);
    else
        handshake_fail_as_library_says(all, h);
}

static void repeat(struct handshakes *all, struct handshake *h)
{
    if (!flight_repeat(&h->flight, all->now_ms))
        handshake_fail_as_library_says(all, h);
    else
        set_timer(all, h);
}

void handshake_repeat(struct handshakes *all, struct handshake *h, uint64_t now_ms)
{
    all->now_ms = now_ms;
    forget_plain_alert(all, h);
    repeat(all, h);
}

/* In a resumed handshake of DTLS 1.2 the device has the last word. If it is lost the device does
 * not know, and sends data; our flight again makes it repeat its own. The same goes for DTLS 1.3.
 */
static bool shows_a_loss(const struct handshake *h, const struct arrival *a)
{
    if (a->kind.kind != DATAGRAM_PROTECTED)
        return false;
    return dtls_version(h->dtls) == VERSION_1_2 ? dtls_is_resumed(h->dtls) : h->early != NULL;
}

void handshake_receive(struct handshakes *all, struct handshake *h, const struct arrival *a,
                       size_t len, struct handshake_step *step)
{
    step->is_complete = false;
    step->outcome = CLIENT_handshake;
    all->now_ms = a->now_ms;
    size_t fed = len < a->kind.before_alert_len ? len : a->kind.before_alert_len;
    if (fed != 0) {
        forget_plain_alert(all, h);
        h->fed_bytes += (uint32_t)fed;
        flight_on_feed(&h->flight, a->datagram->data, fed, all->now_ms);
        dtls_feed(h->dtls, a->datagram->data, fed, all->now_ms);
        advance(all, h, fed, step);
    }
    if (h->state > HANDSHAKE_GIVEN_UP)
        return;
    if (fed < len)
        on_plain_alert(all, h, a->kind.alert_level, a->kind.alert_code);
    if (h->state == HANDSHAKE_RUNNING && shows_a_loss(h, a))
        repeat(all, h);
}

/* ---- beginning ------------------------------------------------------------------------------ */

/* Of the bucket that the device's address is in, so that the kernel steers it to this worker. Tries
 * several times to find one that is not taken, as long as a few are left. */
static bool draw_cid(const struct handshakes *all, struct handshake *h, size_t len)
{
    enum { DRAWS_MAX = 64 };
    uint8_t *cid = h->cid_entry.cid;
    uint32_t bucket = steering_bucket_of_worker(steering_bucket_of_addr(&h->entry.key.client),
                                                all->worker, all->worker_count);
    for (int i = 0; i < DRAWS_MAX; i++) {
        if (getrandom(cid, len, 0) != (ssize_t)len)
            return false;
        steering_put_bucket(cid, bucket);
        if (handshakes_find_cid(all, h->listener, cid) == NULL &&
            !all->is_cid_taken(all->context, h->listener, cid))
            return true;
    }
    return false;
}

/* Gives the library a connection ID. True without one if the device did not ask for it, or if all
 * of the listener's length are taken. False: out of memory. */
static bool take_cid(struct handshakes *all, struct handshake *h)
{
    size_t len = h->listener->config->cid_bytes;
    h->cid_entry.listener = h->listener->number;
    if (!dtls_has_cid(h->dtls) || !draw_cid(all, h, len))
        return true;
    h->cid_entry.cid_len = (uint8_t)len;
    return dtls_set_cid(h->dtls, h->cid_entry.cid, len) &&
           handshake_table_add_cid(&all->table, &h->cid_entry);
}

static struct handshake *make(struct handshakes *all, struct dtls *dtls, const struct arrival *a)
{
    struct handshake *h = slabs_take(all->slabs, sizeof(*h));
    if (h == NULL || !timers_reserve(&all->timers, all->count + 1)) {
        slabs_give(all->slabs, h, sizeof(*h));
        return NULL;
    }
    h->entry.key =
        (struct handshake_table_key){.client = a->datagram->from, .listener = a->listener->number};
    h->dtls = dtls;
    h->listener = a->listener;
    h->number = all->next_number;
    h->hello_tag = a->kind.hello_tag;
    h->begun_ms = all->now_ms;
    h->state = HANDSHAKE_RUNNING;
    if (!take_cid(all, h) || !handshake_table_add(&all->table, &h->entry)) {
        handshake_table_remove_cid(&all->table, &h->cid_entry);
        slabs_give(all->slabs, h, sizeof(*h));
        return NULL;
    }
    const struct flight_way way = {
        .dtls = dtls,
        .listener = a->listener,
        .to_client = all->to_client,
        .sent_bytes = &handshake_counters(all, a->listener)->client_bytes_sent,
        .socket = a->socket,
        .client = a->datagram->from,
        .local = a->datagram->to,
        .slabs = all->slabs,
        .limiter = &all->limiter,
    };
    flight_init(&h->flight, &way);
    return h;
}

struct handshake *handshake_begin(struct handshakes *all, struct cookie_result *cookie,
                                  const struct arrival *a, struct handshake_step *step)
{
    all->now_ms = a->now_ms;
    step->is_complete = false;
    struct handshake *old = handshakes_find(all, a->listener, &a->datagram->from);
    if (old != NULL)
        handshake_fail(all, old, HANDSHAKE_superseded, "", all->now_ms);
    struct handshake *h = make(all, cookie->dtls, a);
    if (h == NULL) {
        step->outcome = CLIENT_out_of_memory;
        cookie_drop(cookie);
        return NULL;
    }
    cookie->dtls = NULL;
    refusal_forget(&all->refusals, a->listener->number, &a->datagram->from, all->now_ms);
    handshake_store_enter(all, h);
    step->outcome = CLIENT_handshake_begun;
    h->flight.now_ms = all->now_ms;
    advance(all, h, a->datagram->len, step);
    return h->state == HANDSHAKE_ENDED ? NULL : h;
}
