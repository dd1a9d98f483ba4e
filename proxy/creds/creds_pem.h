/* PEM files into a wolfSSL context, with what is wrong with them said in words. Part of creds.c. */
#ifndef CREDS_PEM_H
#define CREDS_PEM_H

#include "base/problems.h"
#include "creds/certificate_path.h"

struct WOLFSSL_CTX;

/* All errors and warnings are added; `where` names the setting that named the path. */

/* What a server's certificates are like. */
struct creds_pem_chain {
    enum certificate_key key_kind;
    size_t signature_bytes; /* of a signature by its key, at most */
    size_t message_bytes;   /* of the Certificate message of DTLS 1.2 */
    int64_t not_after;      /* the earliest, seconds since 1970 */
};

/* The server's own certificate, then its chain. False if there was an error. */
bool creds_pem_use_certificate(struct WOLFSSL_CTX *ctx, const char *path, const char *where,
                               struct problems *problems, struct creds_pem_chain *chain) MUST_USE;

/* The key of the certificate that the context has already. ctx NULL: there is no good certificate;
 * then only the file is looked at, so that its problems are reported in the same run. */
void creds_pem_use_key(struct WOLFSSL_CTX *ctx, const char *path, const char *where,
                       struct problems *problems);

/* Adds the CA certificates of a file. Their dates do not matter yet; see certificate_path.h. */
void creds_pem_load_cas(struct certificate_anchors *anchors, const char *path, const char *where,
                        struct problems *problems);

#endif
