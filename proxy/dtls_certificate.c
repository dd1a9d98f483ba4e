#include "dtls_certificate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn.h>

#include "dtls_ticket.h"

/* The common name of the certificate, or its whole subject if it has none. */
static void keep_subject(struct dtls_peer *peer, DecodedCert *certificate)
{
    const char *name = certificate->subjectCN;
    size_t len = name != NULL ? (size_t)certificate->subjectCNLen : 0;
    if (len == 0) {
        name = certificate->subject;
        len = strlen(name);
    }
    peer->identity_len = (uint8_t)(len < PSK_IDENTITY_MAX ? len : PSK_IDENTITY_MAX);
    memcpy(peer->identity, name, peer->identity_len);
}

/* Remembers the subject of the device's own certificate, and until when any of its chain is good.
 * False if out of memory. */
static bool keep_certificate(struct dtls *dtls, const WOLFSSL_X509_STORE_CTX *store)
{
    const WOLFSSL_BUFFER_INFO *der = &store->certs[store->error_depth];
    const byte *date;
    byte format;
    int len;
    struct tm expiry;
    DecodedCert *certificate = malloc(sizeof(*certificate));
    if (certificate == NULL)
        return false;
    wc_InitDecodedCert(certificate, der->buffer, der->length, NULL);
    if (wc_ParseCert(certificate, CERT_TYPE, NO_VERIFY, NULL) == 0) {
        if (store->error_depth == 0)
            keep_subject(dtls->peer, certificate);
        if (wc_GetDateInfo(certificate->afterDate, certificate->afterDateLen, &date, &format,
                           &len) == 0 &&
            wc_GetDateAsCalendarTime(date, len, format, &expiry) == 0)
            dtls_ticket_note_expiry(dtls, timegm(&expiry));
    }
    wc_FreeDecodedCert(certificate);
    free(certificate);
    return true;
}

int dtls_certificate_check(int is_good, WOLFSSL_X509_STORE_CTX *store)
{
    struct dtls *dtls = store->userCtx;
    if (dtls == NULL || dtls->peer == NULL)
        return is_good;
    struct dtls_peer *peer = dtls->peer;
    peer->identity_len = 0; /* a PSK identity that the client named has not been proved */
    if (!is_good) {
        peer->certificate_error = store->error;
        peer->is_certificate_good = false;
        return 0;
    }
    /* Also called for an empty list of certificates, with client_auth = optional. */
    if (store->certs == NULL || store->error_depth < 0 || store->error_depth >= store->totalCerts)
        return is_good;
    if (store->error_depth == 0)
        peer->is_certificate_good = peer->certificate_error == 0;
    return keep_certificate(dtls, store) ? is_good : 0;
}
