/* A PEM file (RFC 7468), block by block. Part of creds.c. */
#ifndef PEM_FILE_H
#define PEM_FILE_H

#include "base/der.h"
#include "base/problems.h"
#include "base/secret.h"

#define PEM_CERTIFICATE_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_CRL_BEGIN "-----BEGIN X509 CRL-----"

/* An open file and who asked for it. */
struct pem_file {
    struct secret text;
    uint32_t mode;            /* its permission bits if they are too wide for a key, else 0 */
    const char *path, *where; /* borrowed; the latter names the setting */
    struct problems *problems;
};

/* Adds the error if it cannot be read, with what was expected of it, as in "must be a readable file
 * with PEM CA certificates". Owns the text until pem_file_close(). */
bool pem_file_open(struct pem_file *pem, const char *path, const char *where,
                   struct problems *problems, const char *expected) MUST_USE;
void pem_file_close(struct pem_file *pem);
bool pem_file_contains(const struct pem_file *pem, const char *part);

enum pem_kind { PEM_CERTIFICATE, PEM_CRL };

/* One block of that kind. Zeroed but for the kind = before the first. */
struct pem_block {
    enum pem_kind kind;
    const uint8_t *pem;
    size_t pem_size;
    size_t number; /* from 1, of its kind */
    struct der der;
    void *owned; /* the memory of der */
};

/* Moves on to the next block of the file; false if there is none. */
bool pem_file_next(const struct pem_file *pem, struct pem_block *block);
/* Sets block.der, good until the next block. The library's code, or 0. */
int pem_block_decode(struct pem_block *block) MUST_USE;
void pem_block_deinit(struct pem_block *block);

#endif
