#include "creds/creds_pem.h"

#include <wolfssl/options.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/give_way.h"
#include "creds/pem_file.h"

static bool refuse(const struct pem_file *pem, const char *what, int code, const char *right)
{
    problems_error(pem->problems, "%s: %s (%s); %s", pem->where, what, wc_GetErrorString(code),
                   right);
    return false;
}

/* An expiry is told that many days before. */
enum { WARNING_DAYS = 30 };

/* Warns of what the clock says about a certificate; `effect` is what follows from it. */
static void check_dates(const struct pem_file *pem, size_t number,
                        const struct certificate *certificate, const char *effect)
{
    const int64_t day_s = 24 * 3600;
    int64_t now = (int64_t)time(NULL), left_s = certificate->not_after - now;
    char text[CERTIFICATE_DATE_TEXT_MAX];
    if (now < certificate->not_before)
        problems_warning(pem->problems, "%s: certificate %zu is not valid before %s; %s until then",
                         pem->where, number, certificate_date_text(certificate->not_before, text),
                         effect);
    else if (left_s < 0)
        problems_warning(pem->problems, "%s: certificate %zu expired on %s; %s", pem->where, number,
                         certificate_date_text(certificate->not_after, text), effect);
    else if (left_s < WARNING_DAYS * day_s)
        problems_warning(
            pem->problems,
            "%s: certificate %zu expires on %s, in %lld days; from then on %s; replace "
            "it in time",
            pem->where, number, certificate_date_text(certificate->not_after, text),
            (long long)(left_s / day_s), effect);
}

static size_t signature_bytes(const struct certificate *certificate)
{
    /* An ECDSA signature on P-521 takes 139 bytes, one of RSA as many as its modulus. */
    bool is_rsa = certificate->key_kind == KEY_RSA || certificate->key_kind == KEY_RSA_PSS;
    return is_rsa ? certificate->public_key.size : 139;
}

static void note_certificate(struct creds_pem_chain *chain, const struct pem_block *block,
                             const struct certificate *certificate)
{
    enum { LENGTH_BYTES = 3 };
    if (block->number == 1) {
        *chain = (struct creds_pem_chain){
            .key_kind = (enum certificate_key)certificate->key_kind,
            .signature_bytes = signature_bytes(certificate),
            .message_bytes = LENGTH_BYTES,
            .not_after = certificate->not_after,
        };
    }
    chain->message_bytes += LENGTH_BYTES + block->der.size;
    if (certificate->not_after < chain->not_after)
        chain->not_after = certificate->not_after;
}

static bool check_chain(const struct pem_file *pem, struct creds_pem_chain *chain)
{
    struct pem_block block = {.kind = PEM_CERTIFICATE};
    bool ok = true;
    while (ok && pem_file_next(pem, &block)) {
        struct certificate certificate;
        int code = pem_block_decode(&block);
        if (code == 0 && !certificate_parse(block.der, &certificate))
            code = ASN_PARSE_E;
        if (code != 0) {
            ok = refuse(pem, "holds a certificate that cannot be read", code,
                        "it must be an X.509 certificate and its chain in PEM");
            continue;
        }
        give_way();
        check_dates(pem, block.number, &certificate, "devices that check it refuse it");
        note_certificate(chain, &block, &certificate);
    }
    pem_block_deinit(&block);
    return ok;
}

static bool use_certificate(struct WOLFSSL_CTX *ctx, const struct pem_file *pem,
                            struct creds_pem_chain *chain)
{
    if (!pem_file_contains(pem, PEM_CERTIFICATE_BEGIN)) {
        problems_error(
            pem->problems,
            "%s: holds no PEM certificate; expected \"%s\", the server's own first, then "
            "its chain",
            pem->where, PEM_CERTIFICATE_BEGIN);
        return false;
    }
    if (!check_chain(pem, chain))
        return false;
    int code = wolfSSL_CTX_use_certificate_chain_buffer(ctx, pem->text.bytes, (long)pem->text.size);
    return code == WOLFSSL_SUCCESS ||
           refuse(
               pem, "the certificate cannot be used", code,
               "expected one with an EC (P-256, P-384, P-521), Ed25519 or RSA key, and its chain");
}

bool creds_pem_use_certificate(struct WOLFSSL_CTX *ctx, const char *path, const char *where,
                               struct problems *problems, struct creds_pem_chain *chain)
{
    struct pem_file pem;
    bool ok = pem_file_open(&pem, path, where, problems, "a PEM certificate") &&
              use_certificate(ctx, &pem, chain);
    pem_file_close(&pem);
    return ok;
}

static void use_key(struct WOLFSSL_CTX *ctx, const struct pem_file *pem)
{
    if (pem_file_contains(pem, "-----BEGIN ENCRYPTED PRIVATE KEY") ||
        pem_file_contains(pem, "Proc-Type: 4,ENCRYPTED")) {
        problems_error(pem->problems,
                       "%s: the key is encrypted, and nobody could type its password; write it "
                       "without one: openssl pkey -in %s -out FILE; chmod 600 FILE",
                       pem->where, pem->path);
        return;
    }
    if (!pem_file_contains(pem, "PRIVATE KEY-----")) {
        problems_error(pem->problems,
                       "%s: holds no PEM private key; expected \"-----BEGIN PRIVATE KEY-----\"",
                       pem->where);
        return;
    }
    int code = wolfSSL_CTX_use_PrivateKey_buffer(ctx, pem->text.bytes, (long)pem->text.size,
                                                 WOLFSSL_FILETYPE_PEM);
    give_way();
    if (code == WC_KEY_MISMATCH_E ||
        (code == WOLFSSL_SUCCESS && wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS))
        problems_error(pem->problems,
                       "%s: the key is not that of the first certificate in the file that "
                       "certificate names; name the key that this certificate was made for",
                       pem->where);
    else if (code != WOLFSSL_SUCCESS)
        refuse(pem, "the private key cannot be used", code,
               "expected an EC (P-256, P-384, P-521), Ed25519 or RSA key in PEM");
}

void creds_pem_use_key(struct WOLFSSL_CTX *ctx, const char *path, const char *where,
                       struct problems *problems)
{
    struct pem_file pem;
    if (!pem_file_open(&pem, path, where, problems, "a PEM private key"))
        return;
    if (ctx)
        use_key(ctx, &pem);
    if (pem.mode & 077)
        problems_warning(problems,
                         "%s: its mode %04o lets other users read the key; run: chmod 600 %s",
                         where, pem.mode, path);
    pem_file_close(&pem);
}

/* Why a certificate that can be read is of no use in client_ca, or NULL. */
static const char *flaw_of_ca(const struct certificate *certificate)
{
    if (certificate->key_flaw != FLAW_NONE)
        return certificate_flaw_text((enum certificate_flaw)certificate->key_flaw);
    if (certificate->has_key_usage && (certificate->key_usage & KEY_USAGE_CERT_SIGN) == 0)
        return "its key usage does not include keyCertSign";
    if (certificate->has_unknown_critical)
        return certificate_flaw_text(FLAW_CRITICAL_EXTENSION);
    if (certificate->has_extended_key_usage && !certificate->is_for_clients)
        return certificate_flaw_text(FLAW_PURPOSE);
    return NULL;
}

/* Adds one CA certificate, or tells why not. */
static void load_ca(struct certificate_anchors *anchors, const struct pem_file *pem,
                    struct pem_block *block)
{
    struct certificate certificate;
    int code = pem_block_decode(block);
    struct der der = block->der;
    const char *why = code == MEMORY_E ? "no memory is left" : NULL;
    if (!why && (code != 0 || !certificate_parse(der, &certificate)))
        why = certificate_flaw_text(FLAW_UNREADABLE);
    if (!why)
        why = flaw_of_ca(&certificate);
    if (!why) {
        enum anchor_added added = certificate_anchors_add(anchors, der);
        why = added == ANCHOR_NOT_A_CA    ? "it is not a CA: its basicConstraints lack CA:TRUE"
              : added == ANCHOR_NO_MEMORY ? "no memory is left"
                                          : NULL;
    }
    if (why)
        problems_error(pem->problems,
                       "%s: certificate %zu cannot be used: %s; expected PEM certificates of the "
                       "CAs that sign the devices'",
                       pem->where, block->number, why);
    else
        check_dates(pem, block->number, &certificate, "devices that need it are refused");
}

static void load_cas(struct certificate_anchors *anchors, const struct pem_file *pem)
{
    struct pem_block block = {.kind = PEM_CERTIFICATE};
    while (pem_file_next(pem, &block))
        load_ca(anchors, pem, &block);
    pem_block_deinit(&block);
    if (block.number == 0)
        problems_error(pem->problems,
                       "%s: holds no PEM certificate; expected CA certificates, "
                       "\"%s\"",
                       pem->where, PEM_CERTIFICATE_BEGIN);
}

void creds_pem_load_cas(struct certificate_anchors *anchors, const char *path, const char *where,
                        struct problems *problems)
{
    struct pem_file pem;
    if (!pem_file_open(&pem, path, where, problems, "PEM CA certificates"))
        return;
    load_cas(anchors, &pem);
    pem_file_close(&pem);
}
