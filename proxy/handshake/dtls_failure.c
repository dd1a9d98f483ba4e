/* Why a handshake failed, in words that an operator can act on. */
#include "handshake/dtls.h"

#include "wire/message.h"

#include <wolfssl/options.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

/* A PSK handshake of DTLS 1.2 whose last message does not decrypt: the first use of the key.
 * (In 1.3 the binder in the hello tells.) */
static bool looks_like_wrong_key(const struct dtls *dtls)
{
    return dtls_has_unreadable(dtls) && dtls_version(dtls) == VERSION_1_2 &&
           !dtls_is_resumed(dtls) && dtls_credential(dtls) == CREDENTIAL_PSK &&
           dtls->peer != NULL && dtls->peer->identity_len > 0 && !dtls->peer->is_psk_unknown;
}

/* RFC 7250 section 4.2: no type of certificate in common. */
static bool wants_raw_keys(const struct dtls *dtls)
{
    enum { ALERT_UNSUPPORTED_CERTIFICATE = 43 };
    WOLFSSL_ALERT_HISTORY alerts;
    return wolfSSL_get_alert_history(dtls->ssl, &alerts) == WOLFSSL_SUCCESS &&
           alerts.last_tx.code == ALERT_UNSUPPORTED_CERTIFICATE;
}

/* The library refuses a hello with these; some of them stand for other things as well. */
static bool is_of_hello(int error)
{
    switch (error) {
    case MATCH_SUITE_ERROR:
    case UNSUPPORTED_SUITE:
    case NO_CERT_ERROR:
    case BAD_KEY_SHARE_DATA:
    case INCOMPLETE_DATA:
    case ECC_CURVE_ERROR:
    case PSK_KEY_ERROR: return true;
    default: return false;
    }
}

static enum handshake_result failure_of_hello(const struct dtls *dtls, int error,
                                              const char **detail)
{
    enum handshake_result result;
    if (dtls->peer != NULL &&
        dtls_offer_find_fault(dtls->listener, &dtls->peer->offer, dtls_version(dtls) == VERSION_1_3,
                              &result, detail))
        return result;
    switch (error) {
    case NO_CERT_ERROR:
        *detail = "it has no PSK that serves, and the listener has no certificate";
        return HANDSHAKE_no_common_suite;
    case MATCH_SUITE_ERROR:
    case UNSUPPORTED_SUITE:
        *detail = dtls_offer_doubt(dtls->peer != NULL ? &dtls->peer->offer : NULL);
        return HANDSHAKE_no_common_suite;
    default:
        *detail = wolfSSL_ERR_reason_error_string((unsigned long)error);
        return HANDSHAKE_protocol_error;
    }
}

static enum handshake_result result_of_flaw(enum certificate_flaw flaw)
{
    switch (flaw) {
    case FLAW_REVOKED:
    case FLAW_DENIED: return HANDSHAKE_revoked;
    case FLAW_CRL_EXPIRED: return HANDSHAKE_crl_expired;
    default: return HANDSHAKE_certificate_rejected;
    }
}

enum handshake_result dtls_failure_of_identity(const struct dtls_peer *peer, const char **detail)
{
    *detail = peer->is_psk_denied ? "it is in deny_file" : "";
    return peer->is_psk_denied ? HANDSHAKE_revoked : HANDSHAKE_unknown_identity;
}

enum handshake_result dtls_failure(const struct dtls *dtls, const char **detail)
{
    int error = wolfSSL_get_error(dtls->ssl, WOLFSSL_FATAL_ERROR);
    const struct dtls_peer *peer = dtls->peer;
    WOLFSSL_ALERT_HISTORY alerts;

    *detail = "";
    if (peer != NULL && peer->certificate_flaw != FLAW_NONE) {
        *detail = certificate_flaw_text((enum certificate_flaw)peer->certificate_flaw);
        return result_of_flaw((enum certificate_flaw)peer->certificate_flaw);
    }
    if (wants_raw_keys(dtls)) {
        *detail = "the device takes raw public keys only";
        return HANDSHAKE_no_common_suite;
    }
    switch (error) {
    case WOLFSSL_ERROR_WANT_READ:
    case WOLFSSL_ERROR_WANT_WRITE:
    case 0: return looks_like_wrong_key(dtls) ? HANDSHAKE_wrong_key : HANDSHAKE_timeout;
    case WOLFSSL_ERROR_ZERO_RETURN: *detail = "close_notify"; return HANDSHAKE_client_alert;
    case FATAL_ERROR:
        if (wolfSSL_get_alert_history(dtls->ssl, &alerts) == WOLFSSL_SUCCESS)
            *detail = alert_name((uint8_t)alerts.last_rx.code);
        return HANDSHAKE_client_alert;
    case VERSION_ERROR: return HANDSHAKE_version;
    case MEMORY_E: return HANDSHAKE_internal_error;
    default: break;
    }
    /* In 1.3 an unknown identity shows as what the library tried next. */
    if (peer != NULL && peer->is_psk_unknown && !peer->is_certificate_good) {
        enum handshake_result result = dtls_failure_of_identity(peer, detail);
        if (peer->has_identity_nul)
            *detail = dtls_version(dtls) == VERSION_1_3
                          ? "the identity has a NUL byte in it: not supported, or a foreign ticket"
                          : "the identity has a NUL byte in it: not supported";
        return result;
    }
    if (error == BAD_BINDER && peer != NULL && peer->identity_len == 0) {
        *detail = "the binder of its ticket is wrong";
        return HANDSHAKE_protocol_error;
    }
    if (error == BAD_BINDER)
        return HANDSHAKE_wrong_key;
    if (error == NO_PEER_CERT)
        return HANDSHAKE_no_certificate;
    if (is_of_hello(error))
        return failure_of_hello(dtls, error, detail);
    if (error == MAX_CHAIN_ERROR) {
        *detail = "the device shows more than 16 certificates";
        return HANDSHAKE_certificate_rejected;
    }
    *detail = wolfSSL_ERR_reason_error_string((unsigned long)error);
    switch (error) {
    case VERIFY_CERT_ERROR: return HANDSHAKE_certificate_rejected;
    default: return HANDSHAKE_protocol_error;
    }
}
