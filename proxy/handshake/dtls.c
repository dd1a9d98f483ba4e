#include "handshake/dtls.h"

#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/bytes.h"
#include "handshake/dtls_certificate.h"
#include "handshake/dtls_ticket.h"
#include "wire/classify.h"
#include "wire/record_header.h"

enum {
    /* Largest datagram that wolfSSL can send; bounds application records after the handshake. */
    DATAGRAM_OUT_MAX = 16384,
    /* Of a record in a handshake; its flights are much shorter. */
    RECORD_BODY_MAX = 16384,
};

/* In 1.3 the library leaves it to the PSK callback to name the suite, and tells it nothing of what
 * the device offers; so this looks. */
static const char *choose_psk13_suite(const struct creds *creds, const uint8_t *hello, size_t len)
{
    size_t size;
    const uint8_t *suites = classify_hello_suites(hello, len, &size);
    for (int i = 0; suites != NULL && i < CREDS_PSK13_SUITES; i++) {
        for (size_t at = 0; at + 1 < size; at += 2) {
            if (creds->has_psk13_suite[i] && suites[at] == 0x13 &&
                suites[at + 1] == creds_psk13_suites[i].code)
                return creds_psk13_suites[i].name;
        }
    }
    return NULL;
}

static word16 record_max(const struct listener *listener)
{
    uint32_t mtu = listener->config->mtu_bytes;
    return mtu < DTLS_HANDSHAKE_RECORD_MAX ? (word16)mtu : DTLS_HANDSHAKE_RECORD_MAX;
}

/* Once a connection ID has been agreed on, records without it are to be dropped (RFC 9146 section
 * 3). In DTLS 1.2 the library finds one authentic that has lost it, and takes the content type at
 * the end of its plaintext for plaintext. */
static size_t before_missing_cid(const struct dtls *dtls)
{
    if (!dtls->has_own_cid || !dtls_has_cid(dtls))
        return dtls->in_len;
    return classify_before_missing_cid(dtls->in, dtls->in_len, dtls->listener->config->cid_bytes);
}

/* DTLS 1.2 has no ACKs; over one the library would end the handshake. */
static size_t before_plain_ack(const struct dtls *dtls, size_t len)
{
    if (dtls_version(dtls) != VERSION_1_2)
        return len;
    return classify_before_plain_ack(dtls->in, len, dtls->listener->config->cid_bytes);
}

/* DTLS 1.3, a record of epoch 3: the session's. (The library would end the handshake over one whose
 * keys it does not have, or answer under keys that are to be ours.) */
static bool is_of_session(const struct dtls *dtls)
{
    return record_is_of_epoch13(dtls->in[0], 3);
}

/* What the library is handed at once: one record. Of what it has at once, it drops all that stands
 * behind a record that is not authentic or was there before; and records are to be looked at one by
 * one (RFC 6347 section 4.1). */
static size_t portion(const struct dtls *dtls, size_t bytes_max)
{
    size_t usable = before_plain_ack(dtls, before_missing_cid(dtls));
    if (is_of_session(dtls))
        return 0;
    size_t len =
        classify_record_len(dtls->in, usable, dtls->listener->config->cid_bytes, RECORD_BODY_MAX);
    return len <= bytes_max ? len : 0;
}

/* Hands over the next portion; the library comes back for the rest. Never an error: the library
 * would end the session, and nothing here is authentic yet. */
static int on_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct dtls *dtls = context;
    size_t len = dtls->in != NULL ? portion(dtls, (size_t)size) : 0;
    if (len == 0) {
        dtls->has_cut = dtls->in != NULL;
        /* The library would otherwise allocate a buffer for a datagram that is not there. */
        wolfSSL_SSLDisableRead(ssl);
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    const char *suite = choose_psk13_suite(dtls->listener->creds, dtls->in, len);
    if (suite != NULL)
        dtls->peer->psk13_suite = suite;
    if (!dtls->peer->offer.is_read)
        hello_offer_read(&dtls->peer->offer, dtls->in, len);
    memcpy(buffer, dtls->in, len);
    /* Over another version than the one that it has chosen the library ends the handshake. */
    classify_level_versions((uint8_t *)buffer, len, dtls->listener->config->cid_bytes);
    dtls->in_len -= (uint32_t)len;
    dtls->in = dtls->in_len != 0 ? dtls->in + len : NULL;
    if (dtls->in == NULL)
        wolfSSL_SSLDisableRead(ssl);
    /* dtls_feed made the library ask for as much as there is; put back what bounds the records that
     * it sends itself. */
    wolfSSL_dtls_set_mtu(ssl, record_max(dtls->listener));
    return (int)len;
}

static int on_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct dtls *dtls = context;
    (void)ssl;
    if (dtls->send != NULL)
        dtls->send(dtls->owner, (const uint8_t *)buffer, (size_t)size);
    return size;
}

/* The key for an identity, remembered in the peer; 0 = unknown. The identity has the length that
 * the library tells, for it may hold a NUL byte; none of ours does. */
static unsigned find_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned key_max)
{
    struct dtls *dtls = wolfSSL_GetIOReadCtx(ssl);
    size_t identity_len = (size_t)wolfSSL_get_psk_identity_len(ssl);
    size_t key_len = 0;
    const uint8_t *found = NULL;

    if (identity_len <= PSK_IDENTITY_MAX)
        found = creds_find_psk(dtls->listener->creds, identity, identity_len, &key_len);
    size_t kept = identity_len < PSK_IDENTITY_MAX ? identity_len : PSK_IDENTITY_MAX;
    memcpy(dtls->peer->identity, identity, kept);
    dtls->peer->identity_len = (uint8_t)kept;
    dtls->peer->is_psk_unknown = found == NULL;
    dtls->peer->has_identity_nul = memchr(identity, '\0', identity_len) != NULL;
    dtls->peer->digests.count = 0;
    if (found == NULL || key_len > key_max ||
        !credential_digest_psk((struct der){dtls->peer->identity, kept},
                               (struct der){found, key_len}, dtls->peer->digests.at[0]))
        return 0;
    dtls->peer->digests.count = 1;
    memcpy(key, found, key_len);
    return (unsigned)key_len;
}

static unsigned find_psk13(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned key_max,
                           const char **suite)
{
    struct dtls *dtls = wolfSSL_GetIOReadCtx(ssl);
    if (dtls->peer->psk13_suite == NULL)
        return 0;
    *suite = dtls->peer->psk13_suite;
    return find_psk(ssl, identity, key, key_max);
}

bool dtls_library_init(void)
{
    return wolfSSL_Init() == WOLFSSL_SUCCESS;
}

void dtls_library_deinit(void)
{
    wolfSSL_Cleanup();
}

const char *dtls_library_version(void)
{
    return wolfSSL_lib_version();
}

const char *dtls_library_features(void)
{
    return "DTLS-1.2 X.509"
#ifdef WOLFSSL_DTLS13
           " DTLS-1.3"
#endif
#ifndef NO_PSK
           " PSK"
#endif
#ifdef HAVE_AESCCM
           " AES-CCM"
#endif
#if defined(HAVE_CHACHA) && defined(HAVE_POLY1305)
           " ChaCha20-Poly1305"
#endif
#ifdef WOLFSSL_HAVE_MLKEM
           " ML-KEM"
#endif
#ifdef WOLFSSL_DTLS_CID
           " connection-IDs"
#endif
#ifdef WOLFSSL_AESNI
           " AES-NI"
#endif
        ;
}

static void set_io(WOLFSSL_CTX *ctx)
{
    wolfSSL_CTX_SetIORecv(ctx, on_receive);
    wolfSSL_CTX_SetIOSend(ctx, on_send);
}

void dtls_prepare(struct creds *creds, const struct listener_config *config)
{
    WOLFSSL_CTX *ctx = creds->ctx;
    set_io(ctx);
    if (creds->psks != NULL) {
        if ((config->versions & CONFIG_VERSION_1_2) != 0)
            wolfSSL_CTX_set_psk_server_callback(ctx, find_psk);
        wolfSSL_CTX_set_psk_server_tls13_callback(ctx, find_psk13);
    }
    wolfSSL_CTX_set_peer_certs_cb(ctx, dtls_certificate_judge);
    if (config->ticket_versions != 0)
        dtls_ticket_prepare(creds);
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
    wolfSSL_dtls_set_mtu(dtls->ssl, record_max(listener));
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
    if (result == WOLFSSL_SUCCESS) {
        dtls_ticket_adopt_holder(dtls);
        return DTLS_ESTABLISHED;
    }
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
