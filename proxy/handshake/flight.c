#include "handshake/flight.h"

#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/timers.h"
#include "wire/record_header.h"
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

/* ---- the records of a last flight ----------------------------------------------------------- */

void flight_kept_free(struct flight_kept *kept, struct slabs *slabs)
{
    slabs_give(slabs, kept->bytes, kept->len);
    *kept = (struct flight_kept){0};
}

const uint8_t *flight_kept_next(const struct flight_kept *kept, const uint8_t *record, size_t *len)
{
    const uint8_t *next = record != NULL ? record + *len : kept->bytes;
    if (kept->len == 0 || next == kept->bytes + kept->len)
        return NULL;
    *len = bytes_get16(next);
    return next + LENGTH_BYTES;
}

void flight_kept_renumber(struct flight_kept *kept)
{
    enum { NUMBER_AT = RECORD_NUMBER_AT + 2 }; /* the last 4 of 6 bytes; the first ones are 0 */
    size_t len = 0;
    uint32_t next = 0;
    const uint8_t *record = NULL;
    while ((record = flight_kept_next(kept, record, &len)) != NULL)
        if (record_epoch(record) == 0)
            next = bytes_get32(record + NUMBER_AT) + 1;
    while ((record = flight_kept_next(kept, record, &len)) != NULL)
        if (record_epoch(record) == 0)
            bytes_put32(kept->bytes + (record - kept->bytes) + NUMBER_AT, next++);
}

static void drop_kept(struct flight *f)
{
    slabs_give(f->way.slabs, f->kept, f->kept_len);
    f->kept = NULL;
    f->kept_len = 0;
}

/* Of a flight that is too long, or without memory for it, only the end is kept, which is of no use:
 * none that is the last of a handshake is that long, and the device begins anew. */
static void keep(struct flight *f, const uint8_t *record, size_t len)
{
    uint32_t grown_len = f->kept_len + LENGTH_BYTES + (uint32_t)len;
    uint8_t *grown = slabs_take(f->way.slabs, grown_len);
    if (grown != NULL) {
        if (f->kept_len != 0)
            memcpy(grown, f->kept, f->kept_len);
        bytes_put16(grown + f->kept_len, (uint16_t)len);
        memcpy(grown + f->kept_len + LENGTH_BYTES, record, len);
    }
    drop_kept(f);
    f->kept = grown;
    f->kept_len = grown != NULL ? grown_len : 0;
}

struct flight_kept flight_take_kept(struct flight *f)
{
    struct flight_kept kept = {.bytes = f->kept, .len = f->kept_len};
    f->kept = NULL;
    f->kept_len = 0;
    return kept;
}

/* ---- into datagrams ------------------------------------------------------------------------- */

size_t flight_datagram_max(const struct listener *listener, const struct addr *client)
{
    size_t max = listener->config->mtu_bytes;
    return client->family == AF_INET6 && max > UDP_V6_WHOLE_MAX ? UDP_V6_WHOLE_MAX : max;
}

/* The library itself makes no records that are longer than the small size: it keeps them as they
 * are, and could not cut them later. */
static size_t datagram_max(const struct flight *f)
{
    size_t max = flight_datagram_max(f->way.listener, &f->way.client);
    if (f->repeats >= REPEATS_OF_FULL_SIZE && max > DTLS_HANDSHAKE_RECORD_MAX)
        max = DTLS_HANDSHAKE_RECORD_MAX;
    return max;
}

/* DTLS 1.3: a device that has the ServerHello takes no more plaintext, and may drop what stands
 * behind it in the same datagram, as wolfSSL does. So a flight that is repeated keeps them apart.
 */
static bool may_follow(struct flight *f, const uint8_t *record)
{
    bool is_plaintext = record_is_plaintext(record);
    bool was_plaintext = f->was_plaintext;
    f->was_plaintext = is_plaintext;
    return !f->is_repeating || is_plaintext == was_plaintext ||
           dtls_version(f->way.dtls) != VERSION_1_3;
}

/* DTLS 1.3: an ACK or a ticket, sent when the handshake is done. They are no flight, and a stack
 * may look for no second record behind one of them; so each is in a datagram of its own. */
static bool is_after_handshake(const uint8_t *record)
{
    return record_is_of_epoch13(record[0], 3);
}

/* A record of a flight joins the one before it. Lost or not, they arrive together: on a lossy path
 * one datagram is far better than five. */
static bool has_joined(struct flight *f, const uint8_t *record, size_t len)
{
    return may_follow(f, record) && !is_after_handshake(record) &&
           udp_out_append(f->way.to_client, f->last_datagram, record, len, datagram_max(f));
}

/* The policy held; that it had to is a bug, of ours or of the library. */
static void log_kept_back(struct flight *f)
{
    if (log_is_enabled(LOG_ERROR) && log_limiter_allows(f->way.limiter, f->now_ms))
        log_text(LOG_ERROR, "datagram_kept_back",
                 "the role policy forbids a record of a handshake; please report this");
}

static void queue(struct flight *f, const uint8_t *record, size_t len)
{
    const struct flight_way *way = &f->way;
    if (!role_may_send(way->listener->config->role, ROLE_HANDSHAKE, record, len, 0)) {
        log_kept_back(f);
        return;
    }
    bool is_joined = has_joined(f, record, len);
    progress_on_record(&f->progress, len, is_joined);
    if (is_joined)
        return;
    memcpy(udp_out_room(way->to_client, len), record, len);
    uint64_t number = udp_out_queue(way->to_client, way->socket, &way->local, &way->client, len,
                                    NULL, way->sent_bytes);
    f->last_datagram = is_after_handshake(record) ? 0 : number;
}

static void keep_last_record(struct flight *f, const uint8_t *record, size_t len)
{
    f->last_record_len = 0;
    if (len > sizeof(f->last_record))
        return;
    memcpy(f->last_record, record, len);
    f->last_record_len = (uint16_t)len;
}

/* A dtls_send_fn. */
static void on_record(void *owner, const uint8_t *record, size_t len)
{
    struct flight *f = owner;
    f->has_sent = true;
    f->sent_at_ms = f->now_ms;
    keep_last_record(f, record, len);
    if (dtls_version(f->way.dtls) == VERSION_1_2)
        keep(f, record, len);
    queue(f, record, len);
}

const uint8_t *flight_last_record(const struct flight *f, size_t *len)
{
    *len = f->last_record_len;
    return f->last_record_len != 0 ? f->last_record : NULL;
}

/* ---- once more ------------------------------------------------------------------------------ */

static bool repeat(struct flight *f)
{
    f->has_sent = false;
    f->is_repeating = true;
    bool is_good = dtls_on_timeout(f->way.dtls);
    f->is_repeating = false;
    if (f->has_sent && f->repeats < UINT8_MAX)
        f->repeats++;
    if (f->has_sent)
        progress_on_flight(&f->progress);
    return is_good;
}

/* DTLS 1.3: part of a flight is missing, what has come is acknowledged (RFC 9147 section 7.1). The
 * library does one at a time, and that before it repeats anything. */
static bool acknowledge(struct flight *f)
{
    f->ack_due_ms = TIMERS_NONE;
    return !dtls_wants_quick_timeout(f->way.dtls) || dtls_on_timeout(f->way.dtls);
}

bool flight_repeat(struct flight *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    if (f->sent_at_ms == 0 || now_ms - f->sent_at_ms < REPEAT_INTERVAL_MS)
        return true;
    /* With record numbers of its own: what the device has received of it already, but could not
     * use without the rest, would be dropped as a replay. */
    if (!acknowledge(f) || !repeat(f))
        return false;
    if (f->has_sent)
        f->retransmit_due_ms = now_ms + f->retransmit_after_ms;
    return true;
}

void flight_on_feed(struct flight *f, const uint8_t *data, size_t len, uint64_t now_ms)
{
    f->now_ms = now_ms;
    f->has_sent = false;
    f->last_record_len = 0;
    drop_kept(f);
    progress_on_feed(&f->progress, data, len);
}

/* DTLS 1.3: the device has answered, but not with its flight: with an ACK, so that part of ours is
 * missing (RFC 9147 section 7.2), or with part of its own. It is there, and patience only delays.
 */
static void hurry(struct flight *f)
{
    uint32_t first_ms = (uint32_t)f->way.listener->config->retransmit_ms;
    uint64_t due_ms = f->now_ms + first_ms / 4;
    f->retransmit_after_ms = first_ms;
    if (due_ms < f->retransmit_due_ms)
        f->retransmit_due_ms = due_ms;
}

void flight_on_fed(struct flight *f, bool was_discarded)
{
    struct dtls *dtls = f->way.dtls;
    progress_on_fed(&f->progress, was_discarded, dtls_was_ack(dtls));
    if (f->has_sent) {
        f->retransmit_after_ms = (uint32_t)f->way.listener->config->retransmit_ms;
        f->retransmit_due_ms = f->now_ms + f->retransmit_after_ms;
        f->repeats = 0;
        if (f->progress.sent == 0)
            progress_on_flight(&f->progress);
    } else if (!was_discarded && f->sent_at_ms != 0 && dtls_version(dtls) == VERSION_1_3) {
        hurry(f);
    }
    if (!dtls_wants_quick_timeout(dtls))
        f->ack_due_ms = TIMERS_NONE;
    else if (f->ack_due_ms == TIMERS_NONE)
        f->ack_due_ms = f->now_ms + f->retransmit_after_ms / 4;
}

/* ---- on time -------------------------------------------------------------------------------- */

uint64_t flight_due_ms(const struct flight *f)
{
    return f->ack_due_ms < f->retransmit_due_ms ? f->ack_due_ms : f->retransmit_due_ms;
}

static bool retransmit(struct flight *f)
{
    if (!repeat(f))
        return false;
    if (!f->has_sent) { /* all has been acknowledged, or the library finds it too early */
        f->retransmit_due_ms = f->now_ms + LIBRARY_INTERVAL_MS;
        return true;
    }
    f->retransmit_after_ms *= 2;
    if (f->retransmit_after_ms > RETRANSMIT_MAX_MS)
        f->retransmit_after_ms = RETRANSMIT_MAX_MS;
    f->retransmit_due_ms = f->now_ms + f->retransmit_after_ms;
    return true;
}

bool flight_on_time(struct flight *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    if (now_ms < flight_due_ms(f))
        return true;
    return acknowledge(f) && (now_ms < f->retransmit_due_ms || retransmit(f));
}

void flight_pause(struct flight *f)
{
    f->retransmit_due_ms = f->ack_due_ms = TIMERS_NONE;
}

void flight_resume(struct flight *f, uint64_t now_ms)
{
    f->retransmit_due_ms = now_ms + f->retransmit_after_ms;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

void flight_init(struct flight *f, const struct flight_way *way)
{
    *f = (struct flight){
        .way = *way,
        .retransmit_due_ms = TIMERS_NONE,
        .ack_due_ms = TIMERS_NONE,
        .retransmit_after_ms = (uint32_t)way->listener->config->retransmit_ms,
    };
    dtls_set_sender(way->dtls, on_record, f);
}

void flight_deinit(struct flight *f)
{
    drop_kept(f);
}
