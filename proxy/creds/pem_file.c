#include "creds/pem_file.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

static const struct {
    const char *begin, *end;
    int type; /* the library's */
} kinds[] = {
    [PEM_CERTIFICATE] = {PEM_CERTIFICATE_BEGIN, "-----END CERTIFICATE-----", CERT_TYPE},
    [PEM_CRL] = {PEM_CRL_BEGIN, "-----END X509 CRL-----", CRL_TYPE},
};

static const uint8_t *find(const uint8_t *text, size_t size, const char *part)
{
    return memmem(text, size, part, strlen(part));
}

bool pem_file_open(struct pem_file *pem, const char *path, const char *where,
                   struct problems *problems, const char *expected)
{
    struct err err;
    *pem = (struct pem_file){.path = path, .where = where, .problems = problems};
    if (secret_read(&pem->text, path, &pem->mode, &err))
        return true;
    problems_error(problems, "%s: the file %s; it must be a readable file with %s", where, err.text,
                   expected);
    return false;
}

void pem_file_close(struct pem_file *pem)
{
    secret_free(&pem->text);
}

bool pem_file_contains(const struct pem_file *pem, const char *part)
{
    return find(pem->text.bytes, pem->text.size, part) != NULL;
}

static void forget(struct pem_block *block)
{
    DerBuffer *owned = block->owned;
    wc_FreeDer(&owned);
    block->owned = NULL;
    block->der = (struct der){NULL, 0};
}

bool pem_file_next(const struct pem_file *pem, struct pem_block *block)
{
    const uint8_t *end = pem->text.bytes + pem->text.size;
    const uint8_t *from = block->pem != NULL ? block->pem + block->pem_size : pem->text.bytes;
    const char *end_mark = kinds[block->kind].end;
    const uint8_t *begin = find(from, (size_t)(end - from), kinds[block->kind].begin);
    const uint8_t *last = begin != NULL ? find(begin, (size_t)(end - begin), end_mark) : NULL;
    forget(block);
    if (last == NULL)
        return false;
    block->pem = begin;
    block->pem_size = (size_t)(last - begin) + strlen(end_mark);
    block->number++;
    return true;
}

int pem_block_decode(struct pem_block *block)
{
    DerBuffer *owned = NULL;
    int code = wc_PemToDer(block->pem, (long)block->pem_size, kinds[block->kind].type, &owned, NULL,
                           NULL, NULL);
    block->owned = owned;
    if (code == 0)
        block->der = (struct der){owned->buffer, owned->length};
    return code;
}

void pem_block_deinit(struct pem_block *block)
{
    forget(block);
}
