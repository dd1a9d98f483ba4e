#include "handshake/dtls.h"

#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/bytes.h"
#include "wire/record_header.h"

enum {
    /* Largest datagram that wolfSSL can send; bounds application records after the handshake. */
    DATAGRAM_OUT_MAX = 16384,
};

uint16_t dtls_record_max(const struct listener *listener)
{
    uint32_t mtu = listener->config->mtu_bytes;
    return mtu < DTLS_HANDSHAKE_RECORD_MAX ? (uint16_t)mtu : DTLS_HANDSHAKE_RECORD_MAX;
}

static bool prepare(struct dtls *dtls, const struct listener *listener)
{
    dtls->listener = listener;
    dtls->peer = calloc(1, sizeof(*dtls->peer));
    dtls->ssl = wolfSSL_new(listener->creds->ctx);
    if (dtls->peer == NULL || dtls->ssl == NULL)
        return false;
    wolfSSL_SetIOReadCtx(dtls->ssl, dtls);
    wolfSSL_SetIOWriteCtx(dtls->ssl, dtls);
    wolfSSL_dtls_set_using_nonblock(dtls->ssl, 1);
    /* The handshake keeps the time, in milliseconds. With 0 the library's own count of seconds
     * stays at 0 and never reaches the maximum at which it would give up. */
    wolfSSL_dtls_set_timeout_init(dtls->ssl, 0);
    wolfSSL_dtls_set_mtu(dtls->ssl, dtls_record_max(listener));
    /* A second ClientHello in fragments, as post-quantum key shares make them. */
    if ((listener->config->versions & CONFIG_VERSION_1_3) != 0)
        wolfSSL_dtls13_allow_ch_frag(dtls->ssl, 1);
    return true;
}

struct dtls *dtls_new(const struct listener *listener)
{
    struct dtls *dtls = calloc(1, sizeof(*dtls));
    if (dtls != NULL && !prepare(dtls, listener)) {
        dtls_free(dtls);
        return NULL;
    }
    return dtls;
}

static void free_peer(struct dtls_peer *peer)
{
    if (peer == NULL)
        return;
    free(peer->refused);
    bytes_wipe(peer, sizeof(*peer));
    free(peer);
}

void dtls_free(struct dtls *dtls)
{
    if (dtls == NULL)
        return;
    free_peer(dtls->peer);
    if (dtls->ssl != NULL)
        wolfSSL_free(dtls->ssl); /* wipes its keys */
    free(dtls);
}

bool dtls_offer_cid(struct dtls *dtls)
{
    return dtls->listener->config->cid_bytes == 0 ||
           wolfSSL_dtls_cid_use(dtls->ssl) == WOLFSSL_SUCCESS;
}

bool dtls_has_cid(const struct dtls *dtls)
{
    return wolfSSL_dtls_cid_is_enabled(dtls->ssl) != 0;
}

bool dtls_set_cid(struct dtls *dtls, const uint8_t *cid, size_t len)
{
    uint8_t copy[CONFIG_CID_MAX]; /* the library's parameter is not const */
    memcpy(copy, cid, len);
    dtls->has_own_cid = true;
    return wolfSSL_dtls_cid_set(dtls->ssl, copy, (unsigned)len) == WOLFSSL_SUCCESS;
}

void dtls_set_sender(struct dtls *dtls, dtls_send_fn send, void *owner)
{
    dtls->send = send;
    dtls->owner = owner;
}

/* wolfSSL counts a record that does not decrypt twice: as such, and among all that it drops. */
static uint32_t drops(const struct dtls *dtls)
{
    word32 all = 0;
    wolfSSL_dtls_get_drop_stats(dtls->ssl, NULL, &all);
    return all;
}

void dtls_feed(struct dtls *dtls, const uint8_t *data, size_t len, uint64_t now_ms)
{
    dtls->now_ms = now_ms;
    dtls->in = len != 0 ? data : NULL;
    dtls->in_len = (uint32_t)len;
    dtls->drops_before = drops(dtls);
    dtls->has_cut = false;
    /* The library reads at most its MTU (plus some); see on_receive for the other half. */
    size_t mtu = dtls->listener->config->mtu_bytes;
    if (len > mtu)
        mtu = len;
    wolfSSL_dtls_set_mtu(dtls->ssl, (word16)(mtu < DATAGRAM_OUT_MAX ? mtu : DATAGRAM_OUT_MAX));
    wolfSSL_SSLEnableRead(dtls->ssl);
}

enum dtls_event dtls_accept(struct dtls *dtls)
{
    int result = wolfSSL_accept(dtls->ssl);
    if (result == WOLFSSL_SUCCESS)
        return DTLS_ESTABLISHED;
    switch (wolfSSL_get_error(dtls->ssl, result)) {
    case WOLFSSL_ERROR_WANT_READ:
    case WOLFSSL_ERROR_WANT_WRITE:
        creds_settle_verify(dtls->listener->creds, dtls->ssl);
        return DTLS_GOES_ON;
    default: return DTLS_FAILED;
    }
}

const uint8_t *dtls_rest(const struct dtls *dtls, size_t *len)
{
    *len = dtls->in != NULL ? dtls->in_len : 0;
    return dtls->in;
}

bool dtls_on_timeout(struct dtls *dtls)
{
    return wolfSSL_dtls_got_timeout(dtls->ssl) == WOLFSSL_SUCCESS;
}

bool dtls_wants_quick_timeout(const struct dtls *dtls)
{
    return wolfSSL_dtls13_use_quick_timeout(dtls->ssl) != 0;
}

bool dtls_was_ack(const struct dtls *dtls)
{
    return dtls_version(dtls) == VERSION_1_3 &&
           wolfSSL_dtls_get_record_type(dtls->ssl) == RECORD_ACK;
}

bool dtls_has_unreadable(const struct dtls *dtls)
{
    word32 bad_macs = 0;
    wolfSSL_dtls_get_drop_stats(dtls->ssl, &bad_macs, NULL);
    return bad_macs > 0;
}

uint32_t dtls_discarded(const struct dtls *dtls)
{
    return drops(dtls) - dtls->drops_before + dtls->has_cut;
}

enum dtls_version dtls_version(const struct dtls *dtls)
{
    switch (wolfSSL_version(dtls->ssl)) {
    case DTLS1_2_VERSION: return VERSION_1_2;
    case DTLS1_3_VERSION:
        /* What a fresh object says before a hello has chosen. */
        return wolfSSL_is_stateful(dtls->ssl) ? VERSION_1_3 : VERSION_UNKNOWN;
    default: return VERSION_UNKNOWN;
    }
}

const char *dtls_suite(const struct dtls *dtls)
{
    const char *name = wolfSSL_get_cipher(dtls->ssl);
    return name != NULL ? name : "none";
}

/* The IANA names of the static PSK suites, which are the only ones offered. */
static bool is_psk_suite(const char *suite)
{
    return strncmp(suite, "TLS_PSK_", 8) == 0;
}

bool dtls_is_resumed(const struct dtls *dtls)
{
    return wolfSSL_session_reused(dtls->ssl) != 0;
}

enum credential dtls_credential(const struct dtls *dtls)
{
    /* A ticket is a PSK to DTLS 1.3. */
    if (dtls_is_resumed(dtls) && dtls->peer->holder.good_until_ms != 0)
        return (enum credential)dtls->peer->holder.credential;
    if (dtls_is_resumed(dtls))
        return CREDENTIAL_NONE;
    bool is_psk = dtls_version(dtls) == VERSION_1_3 ? wolfSSL_is_psk_negotiated(dtls->ssl) != 0
                                                    : is_psk_suite(dtls_suite(dtls));
    if (is_psk)
        return CREDENTIAL_PSK;
    if (dtls->peer->is_certificate_good)
        return CREDENTIAL_CERTIFICATE;
    return CREDENTIAL_NONE;
}

bool dtls_has_sent_alert(const struct dtls *dtls)
{
    WOLFSSL_ALERT_HISTORY alerts;
    return wolfSSL_get_alert_history(dtls->ssl, &alerts) == WOLFSSL_SUCCESS &&
           alerts.last_tx.level == alert_fatal;
}
