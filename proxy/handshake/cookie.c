#include "handshake/cookie.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "base/bytes.h"
#include "wire/message.h"

enum {
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_MISSING_EXTENSION = 109, /* or nothing in common */
};

/* The library's answer is only looked at, never sent from here. An answer to a stranger is one
 * datagram; a second one is not kept. */
static void keep_reply(void *owner, const uint8_t *datagram, size_t len)
{
    struct cookie_front *front = owner;
    if (front->reply_len != 0 || len > sizeof(front->reply))
        return;
    memcpy(front->reply, datagram, len);
    front->reply_len = len;
}

void cookie_init(struct cookie_front *front, const struct listener *listener,
                 const uint8_t master[PERIOD_SECRET_MASTER_BYTES])
{
    *front = (struct cookie_front){.listener = listener, .master = master};
}

void cookie_deinit(struct cookie_front *front)
{
    dtls_free(front->spare);
    front->spare = NULL;
}

void cookie_drop(struct cookie_result *result)
{
    dtls_free(result->dtls);
    result->dtls = NULL;
}

static struct dtls *make_spare(struct cookie_front *front, uint64_t period)
{
    uint8_t secret[PERIOD_SECRET_BYTES];
    struct dtls *dtls = dtls_new(front->listener);
    if (dtls == NULL)
        return NULL;
    bool ok = period_secret(front->master, "cookie", period, secret) &&
              wolfSSL_DTLS_SetCookieSecret(dtls->ssl, secret, sizeof(secret)) == 0;
    if (ok && (front->listener->config->versions & CONFIG_VERSION_1_3) != 0)
        ok = wolfSSL_send_hrr_cookie(dtls->ssl, secret, sizeof(secret)) == WOLFSSL_SUCCESS;
    bytes_wipe(secret, sizeof(secret));
    if (!ok) {
        dtls_free(dtls);
        return NULL;
    }
    return dtls;
}

static bool is_fatal_alert(const struct cookie_front *front)
{
    return front->reply_len >= RECORD_HEADER_BYTES + 2 && front->reply[0] == RECORD_ALERT &&
           front->reply[RECORD_HEADER_BYTES] == ALERT_FATAL;
}

/* The hello names a PSK or brings a ticket that we know: its cookie was no reason to refuse it. */
static bool has_known_psk(const struct dtls_peer *peer)
{
    return (peer->identity_len != 0 && !peer->is_psk_unknown) || peer->holder.good_until_ms != 0;
}

/* An alert that the library wanted to send tells why it refused, more or less. */
static void explain_refusal(const struct cookie_front *front, const struct dtls_peer *peer,
                            struct cookie_result *result)
{
    const struct hello_offer *offer = &peer->offer;
    result->verdict = COOKIE_IGNORED;
    result->reason = HANDSHAKE_protocol_error;
    result->detail = "";
    if (front->reply_len < RECORD_HEADER_BYTES + 2 || front->reply[0] != RECORD_ALERT)
        return;
    result->detail = alert_name(front->reply[RECORD_HEADER_BYTES + 1]);
    switch (front->reply[RECORD_HEADER_BYTES + 1]) {
    case ALERT_ILLEGAL_PARAMETER:
        if (has_known_psk(peer))
            /* wants it without (EC)DHE */
            dtls_offer_find_fault(front->listener, offer, true, &result->reason, &result->detail);
        else if (offer->has_cookie)
            result->verdict = COOKIE_BAD;
        break;
    case ALERT_PROTOCOL_VERSION:
        result->reason = HANDSHAKE_version;
        result->detail = "";
        break;
    case ALERT_HANDSHAKE_FAILURE:
    case ALERT_MISSING_EXTENSION:
        if (dtls_offer_find_fault(front->listener, offer, true, &result->reason, &result->detail))
            break;
        result->reason = HANDSHAKE_no_common_suite;
        result->detail = dtls_offer_doubt(offer);
        if (peer->is_psk_unknown) /* and nothing for a certificate */
            result->reason = dtls_failure_of_identity(peer, &result->detail);
        break;
    case ALERT_INTERNAL_ERROR: result->reason = HANDSHAKE_internal_error; break;
    default: break; /* malformed */
    }
}

/* Gives the hello to an object with the secret of that period. What the object becomes is in the
 * result; otherwise it is freed, or kept as the spare if the hello left no trace in it. */
static struct cookie_result try_period(struct cookie_front *front, const struct addr *client,
                                       const uint8_t *data, size_t len, uint64_t period,
                                       uint64_t now_ms)
{
    struct cookie_result result = {.verdict = COOKIE_NO_MEMORY};
    struct dtls *dtls = NULL;

    if (front->spare != NULL && front->spare_period == period) {
        dtls = front->spare;
        front->spare = NULL;
    } else {
        dtls = make_spare(front, period);
    }
    struct addr peer = *client;
    /* The library takes the offer back when it resets an object that has answered. */
    if (dtls == NULL || !dtls_offer_cid(dtls) ||
        wolfSSL_dtls_set_peer(dtls->ssl, &peer, sizeof(peer)) != WOLFSSL_SUCCESS) {
        dtls_free(dtls);
        return result;
    }
    dtls_set_sender(dtls, keep_reply, front);
    *dtls->peer = (struct dtls_peer){0}; /* a spare has seen another device's hello */
    front->reply_len = 0;
    dtls_feed(dtls, data, len, now_ms);
    int accepted = wolfDTLS_accept_stateless(dtls->ssl);
    result.reply = front->reply;
    result.reply_len = front->reply_len;
    if (accepted == WOLFSSL_SUCCESS) {
        /* For a device that takes raw public keys only the library sends an alert and goes on. */
        result.verdict = is_fatal_alert(front) ? COOKIE_FAILED : COOKIE_GOOD;
        result.dtls = dtls;
        return result;
    }
    if (accepted != WOLFSSL_FAILURE && wolfSSL_is_stateful(dtls->ssl)) {
        result.verdict = COOKIE_FAILED;
        result.dtls = dtls;
        return result;
    }
    bool is_answer = accepted == WOLFSSL_FAILURE && front->reply_len > RECORD_HEADER_BYTES &&
                     front->reply[0] != RECORD_ALERT;
    if (is_answer)
        result.verdict = COOKIE_ANSWER;
    else
        explain_refusal(front, dtls->peer, &result);
    /* The library resets an object that has answered; after anything else it may hold half a hello
     * and would refuse good ones. Objects with an old secret are rare and not worth keeping. */
    if (is_answer && front->spare == NULL) {
        front->spare = dtls;
        front->spare_period = period;
    } else {
        dtls_free(dtls);
    }
    return result;
}

struct cookie_result cookie_check(struct cookie_front *front, const struct addr *client,
                                  const uint8_t *data, size_t len, bool has_cookie, uint64_t now_ms)
{
    uint64_t period = now_ms / COOKIE_ROTATION_MS;
    if (front->spare != NULL && front->spare_period != period) {
        dtls_free(front->spare);
        front->spare = NULL;
    }
    struct cookie_result current = try_period(front, client, data, len, period, now_ms);
    /* The library says nothing of a first fragment whose cookie is not good. */
    bool is_silent = current.verdict == COOKIE_IGNORED && front->reply_len == 0;
    bool may_be_of_previous = current.verdict == COOKIE_BAD || is_silent ||
                              (current.verdict == COOKIE_ANSWER && has_cookie);
    if (!may_be_of_previous || period == 0)
        return current;

    size_t reply_len = front->reply_len;
    uint8_t reply[sizeof(front->reply)];
    memcpy(reply, front->reply, reply_len);
    struct dtls *spare = front->spare; /* keep the one with the current secret */
    front->spare = NULL;
    struct cookie_result previous = try_period(front, client, data, len, period - 1, now_ms);
    dtls_free(front->spare);
    front->spare = spare;
    front->spare_period = period;
    if (previous.verdict == COOKIE_GOOD || previous.verdict == COOKIE_FAILED)
        return previous;
    memcpy(front->reply, reply, reply_len);
    return current;
}
