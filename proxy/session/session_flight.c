#include "session/session_flight.h"

#include <string.h>

#include "base/bytes.h"
#include "session/session.h"
#include "session/session_log.h"
#include "wire/role.h"

enum {
    RETRANSMIT_MAX_MS = 60000, /* RFC 6347 section 4.2.4.1 */
    REPEAT_INTERVAL_MS = 250,
    /* In DTLS 1.3 the library repeats nothing sooner than that after it has. */
    LIBRARY_INTERVAL_MS = 1000,
    /* After so many, datagrams of the size that every path takes (RFC 6347 section 4.1.1.1). */
    REPEATS_OF_FULL_SIZE = 2,
    LENGTH_BYTES = 2,
};

/* ---- into datagrams ------------------------------------------------------------------------- */

static enum role_phase phase_of(const struct session *s)
{
    switch ((enum session_state)s->state) {
    case SESSION_HANDSHAKE: return ROLE_HANDSHAKE;
    case SESSION_ESTABLISHED: return ROLE_SESSION;
    case SESSION_ENDED: break;
    }
    return ROLE_ENDED;
}

/* Largest datagram of the flight. The library itself makes no records that are longer than the
 * small size: it keeps them as they are, and could not cut them later. */
static size_t datagram_max(const struct session *s)
{
    size_t max = s->listener->config->mtu_bytes;
    if (s->entry.key.client.family == AF_INET6 && max > UDP_V6_WHOLE_MAX)
        max = UDP_V6_WHOLE_MAX;
    if (s->handshake->repeats >= REPEATS_OF_FULL_SIZE && max > DTLS_HANDSHAKE_RECORD_MAX)
        max = DTLS_HANDSHAKE_RECORD_MAX;
    return max;
}

/* DTLS 1.3: a device that has the ServerHello takes no more plaintext, and may drop what stands
 * behind it in the same datagram, as wolfSSL does. So a flight that is repeated keeps them apart.
 */
static bool may_follow(struct session *s, const uint8_t *record)
{
    enum { EPOCH_AT = 3 };
    struct session_handshake *h = s->handshake;
    bool is_plaintext = (record[0] & 0xe0) != 0x20 && bytes_get16(record + EPOCH_AT) == 0;
    bool was_plaintext = h->was_plaintext;
    h->was_plaintext = is_plaintext;
    /* An established session may be parked, so its object is not asked. */
    return !h->is_repeating || is_plaintext == was_plaintext || s->state == SESSION_ESTABLISHED ||
           dtls_version(s->dtls) != VERSION_1_3;
}

/* DTLS 1.3: an ACK or a ticket, sent when the handshake is done. They are no flight, and a stack
 * may look for no second record behind one of them; so each is in a datagram of its own. */
static bool is_after_handshake(const uint8_t *record)
{
    enum { CIPHERTEXT_AND_EPOCH = 0xe3, CIPHERTEXT_OF_EPOCH_3 = 0x23 }; /* 001CSLEE */
    return (record[0] & CIPHERTEXT_AND_EPOCH) == CIPHERTEXT_OF_EPOCH_3;
}

/* A record of a flight joins the one before it. Lost or not, they arrive together: on a lossy path
 * one datagram is far better than five. */
static bool has_joined(struct session *s, const uint8_t *record, size_t len)
{
    bool is_of_flight =
        s->handshake != NULL && (s->state == SESSION_HANDSHAKE || s->handshake->is_repeating);
    return is_of_flight && may_follow(s, record) && !is_after_handshake(record) &&
           udp_out_append(s->all->to_client, s->handshake->last_datagram, record, len,
                          datagram_max(s));
}

static void queue(struct session *s, const uint8_t *record, size_t len)
{
    if (!role_may_send(s->listener->config->role, phase_of(s), record, len, 0)) {
        /* The policy held; that it had to is a bug, of ours or of the library. */
        session_log_kept_back(s);
        return;
    }
    if (!session_path_may_send(s, len)) {
        s->all->is_kept_back = true;
        return;
    }
    bool is_joined = has_joined(s, record, len);
    if (s->handshake != NULL)
        session_progress_on_record(&s->handshake->progress, len, is_joined);
    if (is_joined)
        return;
    memcpy(udp_out_room(s->all->to_client, len), record, len);
    uint64_t number = udp_out_queue(s->all->to_client, s->path.socket, &s->path.local,
                                    &s->entry.key.client, len, s->all->client_send_failed);
    if (s->handshake != NULL)
        s->handshake->last_datagram = is_after_handshake(record) ? 0 : number;
}

static void keep_last_record(struct session_handshake *h, const uint8_t *record, size_t len)
{
    h->last_record_len = 0;
    if (len > sizeof(h->last_record))
        return;
    memcpy(h->last_record, record, len);
    h->last_record_len = (uint16_t)len;
}

static void drop_flight(struct session *s)
{
    struct session_handshake *h = s->handshake;
    slabs_give(&s->all->slabs, h->flight, h->flight_len);
    h->flight = NULL;
    h->flight_len = 0;
}

/* Of a flight that is too long, or without memory for it, only the end is kept, which is of no use:
 * none that is the last of a handshake is that long, and the device begins anew. */
static void keep_in_flight(struct session *s, const uint8_t *record, size_t len)
{
    struct session_handshake *h = s->handshake;
    uint32_t grown_len = h->flight_len + LENGTH_BYTES + (uint32_t)len;
    uint8_t *grown = slabs_take(&s->all->slabs, grown_len);
    if (grown != NULL) {
        if (h->flight_len != 0)
            memcpy(grown, h->flight, h->flight_len);
        bytes_put16(grown + h->flight_len, (uint16_t)len);
        memcpy(grown + h->flight_len + LENGTH_BYTES, record, len);
    }
    drop_flight(s);
    h->flight = grown;
    h->flight_len = grown != NULL ? grown_len : 0;
}

void session_flight_free(struct session *s)
{
    if (s->handshake == NULL)
        return;
    drop_flight(s);
    slabs_give(&s->all->slabs, s->handshake, sizeof(*s->handshake));
    s->handshake = NULL;
}

void session_flight_on_record(void *owner, const uint8_t *record, size_t len)
{
    struct session *s = owner;
    s->has_sent = true;
    if (s->handshake != NULL) {
        s->handshake->sent_at_ms = s->all->now_ms;
        keep_last_record(s->handshake, record, len);
        if (s->state == SESSION_HANDSHAKE && dtls_version(s->dtls) == VERSION_1_2)
            keep_in_flight(s, record, len);
    }
    queue(s, record, len);
}

const uint8_t *session_flight_last_record(const struct session *s, size_t *len)
{
    const struct session_handshake *h = s->handshake;
    if (h == NULL || h->last_record_len == 0)
        return NULL;
    *len = h->last_record_len;
    return h->last_record;
}

/* ---- once more ------------------------------------------------------------------------------ */

/* False on a fatal error. Whether there was anything to repeat is in has_sent. */
static bool repeat(struct session *s)
{
    struct session_handshake *h = s->handshake;
    s->has_sent = false;
    if (h == NULL)
        return dtls_on_timeout(s->dtls);
    h->is_repeating = true;
    bool is_good = dtls_on_timeout(s->dtls);
    h->is_repeating = false;
    if (s->has_sent && h->repeats < UINT8_MAX)
        h->repeats++;
    if (s->has_sent)
        session_progress_on_flight(&h->progress);
    return is_good;
}

/* DTLS 1.3: part of a flight is missing, what has come is acknowledged (RFC 9147 section 7.1). The
 * library does one at a time, and that before it repeats anything. */
static void on_ack(struct session *s)
{
    s->ack_due_ms = TIMERS_NONE;
    if (dtls_wants_quick_timeout(s->dtls) && !dtls_on_timeout(s->dtls) &&
        s->state == SESSION_HANDSHAKE)
        session_on_failed(s);
}

/* The record kept after that one, or the first one; NULL = no more. */
static uint8_t *next_kept(const struct session_handshake *h, const uint8_t *record, size_t *len)
{
    const uint8_t *next = record != NULL ? record + *len : h->flight;
    if (h->flight_len == 0 || next == h->flight + h->flight_len)
        return NULL;
    *len = bytes_get16(next);
    return h->flight + (next - h->flight) + LENGTH_BYTES;
}

/* Records in plaintext get new numbers: a device that had to drop one, because something before it
 * was missing, would take it for a replay. What is protected it could not even read then. */
static void renumber(struct session_handshake *h)
{
    enum { EPOCH_AT = 3, NUMBER_AT = 7 }; /* the last 4 of 6 bytes; the first ones are 0 */
    size_t len = 0;
    uint32_t next = 0;
    for (uint8_t *record = NULL; (record = next_kept(h, record, &len)) != NULL;)
        if (bytes_get16(record + EPOCH_AT) == 0)
            next = bytes_get32(record + NUMBER_AT) + 1;
    for (uint8_t *record = NULL; (record = next_kept(h, record, &len)) != NULL;)
        if (bytes_get16(record + EPOCH_AT) == 0)
            bytes_put32(record + NUMBER_AT, next++);
}

static void repeat_last_flight(struct session *s)
{
    struct session_handshake *h = s->handshake;
    size_t len = 0;
    renumber(h);
    h->is_repeating = true;
    for (uint8_t *record = NULL; (record = next_kept(h, record, &len)) != NULL;)
        queue(s, record, len);
    h->is_repeating = false;
    h->sent_at_ms = s->all->now_ms;
}

void session_flight_repeat(struct session *s)
{
    struct session_handshake *h = s->handshake;
    if (h == NULL || h->sent_at_ms == 0 || s->all->now_ms - h->sent_at_ms < REPEAT_INTERVAL_MS)
        return;
    if (s->state == SESSION_ESTABLISHED && s->version != VERSION_1_2)
        return; /* 1.3 has a timer for what is left of it */
    if (!s->path.is_proved)
        return; /* the device asks again, and that proves it */
    if (s->state == SESSION_ESTABLISHED) {
        repeat_last_flight(s);
        return;
    }
    on_ack(s);
    if (s->state == SESSION_ENDED)
        return;
    /* With record numbers of its own: what the device has received of it already, but could not
     * use without the rest, would be dropped as a replay. */
    if (!repeat(s) && s->state == SESSION_HANDSHAKE)
        session_on_failed(s);
    else if (s->has_sent && s->state == SESSION_HANDSHAKE)
        s->retransmit_due_ms = s->all->now_ms + s->retransmit_after_ms;
}

void session_flight_on_feed(struct session *s)
{
    s->has_sent = false;
    if (s->handshake == NULL)
        return;
    s->handshake->last_record_len = 0;
    if (s->state == SESSION_HANDSHAKE)
        drop_flight(s);
}

/* DTLS 1.3: the device has answered, but not with its flight: with an ACK, so that part of ours is
 * missing (RFC 9147 section 7.2), or with part of its own. It is there, and patience only delays.
 */
static void hurry(struct session *s)
{
    uint32_t first_ms = (uint32_t)s->listener->config->retransmit_ms;
    uint64_t due_ms = s->all->now_ms + first_ms / 4;
    s->retransmit_after_ms = first_ms;
    if (due_ms < s->retransmit_due_ms)
        s->retransmit_due_ms = due_ms;
}

void session_flight_on_fed(struct session *s, bool was_discarded)
{
    bool needs_timer = s->state == SESSION_HANDSHAKE || s->version == VERSION_1_3;
    if (s->has_sent && needs_timer) {
        s->retransmit_after_ms = (uint32_t)s->listener->config->retransmit_ms;
        s->retransmit_due_ms = s->all->now_ms + s->retransmit_after_ms;
        if (s->handshake != NULL)
            s->handshake->repeats = 0;
        if (s->handshake != NULL && s->handshake->progress.sent == 0)
            session_progress_on_flight(&s->handshake->progress);
    } else if (s->state == SESSION_HANDSHAKE && !was_discarded && s->handshake->sent_at_ms != 0 &&
               dtls_version(s->dtls) == VERSION_1_3) {
        hurry(s);
    }
    if (!needs_timer || !dtls_wants_quick_timeout(s->dtls))
        s->ack_due_ms = TIMERS_NONE;
    else if (s->ack_due_ms == TIMERS_NONE)
        s->ack_due_ms = s->all->now_ms + s->retransmit_after_ms / 4;
}

/* ---- on time -------------------------------------------------------------------------------- */

uint64_t session_flight_due_ms(const struct session *s)
{
    return s->ack_due_ms < s->retransmit_due_ms ? s->ack_due_ms : s->retransmit_due_ms;
}

static void on_retransmit(struct session *s)
{
    /* A session does well without what is repeated after the handshake, a ticket: a device that
     * never acknowledges it is not to be bothered as long as it lives. */
    if (s->state == SESSION_ESTABLISHED && s->retransmit_after_ms >= RETRANSMIT_MAX_MS) {
        s->retransmit_due_ms = TIMERS_NONE;
        return;
    }
    if (!repeat(s)) {
        if (s->state == SESSION_HANDSHAKE)
            session_on_failed(s);
        else
            s->retransmit_due_ms = TIMERS_NONE;
        return;
    }
    if (!s->has_sent) {
        /* All has been acknowledged, or the library finds it too early. */
        s->retransmit_due_ms =
            s->state == SESSION_ESTABLISHED ? TIMERS_NONE : s->all->now_ms + LIBRARY_INTERVAL_MS;
        return;
    }
    s->retransmit_after_ms *= 2;
    if (s->retransmit_after_ms > RETRANSMIT_MAX_MS)
        s->retransmit_after_ms = RETRANSMIT_MAX_MS;
    s->retransmit_due_ms = s->all->now_ms + s->retransmit_after_ms;
}

void session_flight_on_timer(struct session *s)
{
    uint64_t now_ms = s->all->now_ms;
    if (now_ms >= s->ack_due_ms || now_ms >= s->retransmit_due_ms)
        on_ack(s);
    if (s->state != SESSION_ENDED && now_ms >= s->retransmit_due_ms)
        on_retransmit(s);
}
