#include "creds_pem.h"

#include <wolfssl/options.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/secret.h"

static const char certificate_begin[] = "-----BEGIN CERTIFICATE-----";
static const char certificate_end[] = "-----END CERTIFICATE-----";

/* One PEM file and who asked for it. */
struct pem {
    struct secret text;
    uint32_t mode;
    const char *path, *where;
    struct problems *problems;
};

/* One certificate of a file. */
struct certificate {
    const uint8_t *pem;
    size_t pem_size;
    size_t number; /* from 1 */
    uint8_t *der;  /* owned */
    int der_size;
};

static const uint8_t *find(const uint8_t *text, size_t size, const char *part)
{
    return memmem(text, size, part, strlen(part));
}

static bool contains(const struct pem *pem, const char *part)
{
    return find(pem->text.bytes, pem->text.size, part) != NULL;
}

static bool open_pem(struct pem *pem, const char *path, const char *where,
                     struct problems *problems, const char *expected)
{
    struct err err;
    *pem = (struct pem){.path = path, .where = where, .problems = problems};
    if (secret_read(&pem->text, path, &pem->mode, &err))
        return true;
    problems_error(problems, "%s: the file %s; it must be a readable file with %s", where, err.text,
                   expected);
    return false;
}

static bool refuse(const struct pem *pem, const char *what, int code, const char *right)
{
    problems_error(pem->problems, "%s: %s (%s); %s", pem->where, what, wc_GetErrorString(code),
                   right);
    return false;
}

/* The time of one of the two dates; false if it cannot be read. */
static bool read_date(const uint8_t *asn1, int size, time_t *date)
{
    const byte *text;
    byte format;
    int length;
    struct tm tm = {0};
    if (wc_GetDateInfo(asn1, size, &text, &format, &length) != 0 ||
        wc_GetDateAsCalendarTime(text, length, format, &tm) != 0)
        return false;
    *date = timegm(&tm);
    return true;
}

/* True if the clock is within the certificate's time; else a warning ends in `effect`. */
static bool check_dates(const struct pem *pem, const struct certificate *certificate,
                        const DecodedCert *decoded, const char *effect)
{
    time_t from, to, now = time(NULL);
    if (!read_date(decoded->beforeDate, decoded->beforeDateLen, &from) ||
        !read_date(decoded->afterDate, decoded->afterDateLen, &to)) {
        problems_warning(pem->problems, "%s: the dates of certificate %zu cannot be read; %s",
                         pem->where, certificate->number, effect);
        return false;
    }
    if (from <= now && now <= to)
        return true;
    char text[32];
    struct tm tm;
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(now > to ? &to : &from, &tm));
    problems_warning(pem->problems, "%s: certificate %zu %s %s; %s", pem->where,
                     certificate->number, now > to ? "expired on" : "is not valid before", text,
                     effect);
    return false;
}

/* Moves on to the next certificate of the file; false if there is none. */
static bool next(const struct pem *pem, struct certificate *certificate)
{
    const uint8_t *end = pem->text.bytes + pem->text.size;
    const uint8_t *from =
        certificate->pem ? certificate->pem + certificate->pem_size : pem->text.bytes;
    const uint8_t *begin = find(from, (size_t)(end - from), certificate_begin);
    const uint8_t *last = begin ? find(begin, (size_t)(end - begin), certificate_end) : NULL;
    free(certificate->der);
    certificate->der = NULL;
    if (!last)
        return false;
    certificate->pem = begin;
    certificate->pem_size = (size_t)(last - begin) + strlen(certificate_end);
    certificate->number++;
    return true;
}

static bool decode(struct certificate *certificate, DecodedCert *decoded, int *code)
{
    certificate->der = malloc(certificate->pem_size); /* DER is shorter than its PEM */
    *code = MEMORY_E;
    if (!certificate->der)
        return false;
    *code = wc_CertPemToDer(certificate->pem, (int)certificate->pem_size, certificate->der,
                            (int)certificate->pem_size, CERT_TYPE);
    if (*code < 0)
        return false;
    certificate->der_size = *code;
    wc_InitDecodedCert(decoded, certificate->der, (word32)certificate->der_size, NULL);
    *code = wc_ParseCert(decoded, CERT_TYPE, NO_VERIFY, NULL);
    if (*code == 0)
        return true;
    wc_FreeDecodedCert(decoded);
    return false;
}

static bool check_chain(const struct pem *pem)
{
    struct certificate certificate = {0};
    bool ok = true;
    while (ok && next(pem, &certificate)) {
        DecodedCert decoded;
        int code;
        if (decode(&certificate, &decoded, &code)) {
            check_dates(pem, &certificate, &decoded, "devices that check it will refuse it");
            wc_FreeDecodedCert(&decoded);
        } else {
            ok = refuse(pem, "holds a certificate that cannot be read", code,
                        "it must be an X.509 certificate and its chain in PEM");
        }
    }
    free(certificate.der);
    return ok;
}

static bool use_certificate(struct WOLFSSL_CTX *ctx, const struct pem *pem)
{
    if (!contains(pem, certificate_begin)) {
        problems_error(
            pem->problems,
            "%s: holds no PEM certificate; expected \"%s\", the server's own first, then "
            "its chain",
            pem->where, certificate_begin);
        return false;
    }
    if (!check_chain(pem))
        return false;
    int code = wolfSSL_CTX_use_certificate_chain_buffer(ctx, pem->text.bytes, (long)pem->text.size);
    return code == WOLFSSL_SUCCESS ||
           refuse(
               pem, "the certificate cannot be used", code,
               "expected one with an EC (P-256, P-384, P-521), Ed25519 or RSA key, and its chain");
}

bool creds_pem_use_certificate(struct WOLFSSL_CTX *ctx, const char *path, const char *where,
                               struct problems *problems)
{
    struct pem pem;
    bool ok =
        open_pem(&pem, path, where, problems, "a PEM certificate") && use_certificate(ctx, &pem);
    secret_free(&pem.text);
    return ok;
}

static void use_key(struct WOLFSSL_CTX *ctx, const struct pem *pem)
{
    if (contains(pem, "-----BEGIN ENCRYPTED PRIVATE KEY") ||
        contains(pem, "Proc-Type: 4,ENCRYPTED")) {
        problems_error(pem->problems,
                       "%s: the key is encrypted, and nobody could type its password; write it "
                       "without one: openssl pkey -in %s -out FILE; chmod 600 FILE",
                       pem->where, pem->path);
        return;
    }
    if (!contains(pem, "PRIVATE KEY-----")) {
        problems_error(pem->problems,
                       "%s: holds no PEM private key; expected \"-----BEGIN PRIVATE KEY-----\"",
                       pem->where);
        return;
    }
    int code = wolfSSL_CTX_use_PrivateKey_buffer(ctx, pem->text.bytes, (long)pem->text.size,
                                                 WOLFSSL_FILETYPE_PEM);
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
    struct pem pem;
    if (!open_pem(&pem, path, where, problems, "a PEM private key"))
        return;
    if (ctx)
        use_key(ctx, &pem);
    if (pem.mode & 077)
        problems_warning(problems,
                         "%s: its mode %04o lets other users read the key; run: chmod 600 %s",
                         where, pem.mode, path);
    secret_free(&pem.text);
}

/* What wolfSSL says to one CA certificate: WOLFSSL_SUCCESS, or why not. */
static int use_ca(struct WOLFSSL_CTX *ctx, const struct pem *pem, struct certificate *certificate)
{
    DecodedCert decoded;
    int code;
    if (!decode(certificate, &decoded, &code))
        return code;
    if (!decoded.isCA)
        code = NOT_CA_ERROR;
    else if (check_dates(pem, certificate, &decoded, "it is left out, and devices with it refused"))
        code = wolfSSL_CTX_load_verify_buffer(ctx, certificate->der, certificate->der_size,
                                              WOLFSSL_FILETYPE_ASN1);
    else
        code = WOLFSSL_SUCCESS;
    wc_FreeDecodedCert(&decoded);
    return code;
}

static void use_cas(struct WOLFSSL_CTX *ctx, const struct pem *pem)
{
    struct certificate certificate = {0};
    while (next(pem, &certificate)) {
        char what[64];
        int code = use_ca(ctx, pem, &certificate);
        snprintf(what, sizeof(what), "certificate %zu cannot be used", certificate.number);
        if (code != WOLFSSL_SUCCESS)
            refuse(pem, what, code, "expected PEM certificates of the CAs that sign the devices'");
    }
    if (certificate.number == 0)
        problems_error(pem->problems,
                       "%s: holds no PEM certificate; expected CA certificates, "
                       "\"%s\"",
                       pem->where, certificate_begin);
}

void creds_pem_use_cas(struct WOLFSSL_CTX *ctx, const char *path, const char *where,
                       struct problems *problems)
{
    struct pem pem;
    if (!open_pem(&pem, path, where, problems, "PEM CA certificates"))
        return;
    use_cas(ctx, &pem);
    secret_free(&pem.text);
}
