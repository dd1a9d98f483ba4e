#include "handshake/dtls_io.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "handshake/dtls_psk.h"
#include "wire/classify.h"
#include "wire/record_header.h"

enum {
    /* Of a record in a handshake; its flights are much shorter. */
    RECORD_BODY_MAX = 16384,
};

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
int dtls_io_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct dtls *dtls = context;
    size_t len = dtls->in != NULL ? portion(dtls, (size_t)size) : 0;
    if (len == 0) {
        dtls->has_cut = dtls->in != NULL;
        /* The library would otherwise allocate a buffer for a datagram that is not there. */
        wolfSSL_SSLDisableRead(ssl);
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    const char *suite = dtls_psk_choose_suite(dtls->listener->creds, dtls->in, len);
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
    wolfSSL_dtls_set_mtu(ssl, dtls_record_max(dtls->listener));
    return (int)len;
}

int dtls_io_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct dtls *dtls = context;
    (void)ssl;
    if (dtls->send != NULL)
        dtls->send(dtls->owner, (const uint8_t *)buffer, (size_t)size);
    return size;
}
