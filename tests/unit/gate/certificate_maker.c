#include "gate/certificate_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/coding.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/random.h>

static ecc_key keys[MAKER_KEYS];
static WC_RNG random_numbers;

/* The usual dates. */
enum { Y2020 = 1577836800, Y2040 = 2208988800 };

int certificate_maker_begin(void **state)
{
    (void)state;
    if (wc_InitRng(&random_numbers) != 0)
        return -1;
    for (int i = 0; i < MAKER_KEYS; i++)
        if (wc_ecc_init(&keys[i]) != 0 ||
            wc_ecc_make_key_ex(&random_numbers, 32, &keys[i], ECC_SECP256R1) != 0)
            return -1;
    return 0;
}

int certificate_maker_end(void **state)
{
    (void)state;
    for (int i = 0; i < MAKER_KEYS; i++)
        wc_ecc_free(&keys[i]);
    return wc_FreeRng(&random_numbers);
}

static void put(struct made *to, const void *bytes, size_t size)
{
    assert_true(to->size + size <= sizeof(to->bytes));
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

/* One element around the content; content and target may not be the same. */
static void put_element(struct made *to, uint8_t tag, const void *content, size_t size)
{
    uint8_t head[4] = {tag, (uint8_t)size};
    size_t head_size = 2;
    if (size >= 0x100) {
        memcpy(head + 1, (uint8_t[]){0x82, (uint8_t)(size >> 8), (uint8_t)size}, 3);
        head_size = 4;
    } else if (size >= 0x80) {
        memcpy(head + 1, (uint8_t[]){0x81, (uint8_t)size}, 2);
        head_size = 3;
    }
    put(to, head, head_size);
    put(to, content, size);
}

static void put_made(struct made *to, uint8_t tag, const struct made *content)
{
    put_element(to, tag, content->bytes, content->size);
}

static void put_name(struct made *to, const char *name)
{
    struct made attribute = {0}, sequence = {0}, set = {0};
    bool is_organisation = strncmp(name, "O=", 2) == 0;
    if (*name != '\0') {
        put(&attribute, is_organisation ? "\x06\x03\x55\x04\x0a" : "\x06\x03\x55\x04\x03", 5);
        if (is_organisation)
            name += 2;
        put_element(&attribute, DER_UTF8, name, strlen(name));
        put_made(&sequence, DER_SEQUENCE, &attribute);
        put_made(&set, DER_SET, &sequence);
    }
    put_made(to, DER_SEQUENCE, &set);
}

static void put_time(struct made *to, int64_t date)
{
    char text[32];
    struct tm tm;
    time_t seconds = (time_t)date;
    strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", gmtime_r(&seconds, &tm));
    put_element(to, DER_GENERALIZED_TIME, text, strlen(text));
}

static void put_key(struct made *to, const struct recipe *recipe)
{
    static const char algorithm[] = "\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
                                    "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    static const char foreign[] = "\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
                                  "\x06\x05\x2b\x81\x04\x00\x0a";
    uint8_t point[66] = {0};
    word32 size = 65;
    assert_int_equal(wc_ecc_export_x963(&keys[recipe->key], point + 1, &size), 0);
    struct made content = {0};
    if (recipe->has_foreign_curve)
        put(&content, foreign, sizeof(foreign) - 1);
    else
        put(&content, algorithm, sizeof(algorithm) - 1);
    put_element(&content, DER_BIT_STRING, point, size + 1);
    put_made(to, DER_SEQUENCE, &content);
}

/* An extension 2.5.29.number. */
static void put_extension(struct made *to, uint8_t number, bool is_critical,
                          const struct made *value)
{
    struct made content = {0};
    put(&content, (uint8_t[]){DER_OID, 3, 0x55, 0x1d, number}, 5);
    if (is_critical)
        put(&content, "\x01\x01\xff", 3);
    put_made(&content, DER_OCTET_STRING, value);
    put_made(to, DER_SEQUENCE, &content);
}

static void put_basic_constraints(struct made *to, const struct recipe *recipe)
{
    struct made content = {0}, value = {0};
    if (recipe->is_ca)
        put(&content, "\x01\x01\xff", 3);
    if (recipe->path_length > 0)
        put(&content, (uint8_t[]){DER_INTEGER, 1, (uint8_t)(recipe->path_length - 1)}, 3);
    put_made(&value, DER_SEQUENCE, &content);
    put_extension(to, 19, true, &value);
}

/* A directory name is written as its common name. */
static void put_general_name(struct made *to, const char *name)
{
    uint8_t tag = (uint8_t)name[0];
    struct made directory = {0};
    if (tag == 0xa4) {
        put_name(&directory, name + 1);
        put_made(to, tag, &directory);
    } else {
        put_element(to, tag, name + 1, strlen(name + 1));
    }
}

static void put_subtrees(struct made *to, uint8_t tag, const char *name)
{
    struct made base = {0}, subtree = {0};
    if (name == NULL)
        return;
    put_general_name(&base, name);
    put_made(&subtree, DER_SEQUENCE, &base);
    put_made(to, tag, &subtree);
}

static void put_names(struct made *to, const struct recipe *recipe)
{
    struct made content = {0}, value = {0};
    if (recipe->alt_name != NULL) {
        put_general_name(&content, recipe->alt_name);
        put_made(&value, DER_SEQUENCE, &content);
        put_extension(to, 17, false, &value);
    }
    content.size = value.size = 0;
    if (recipe->permitted != NULL || recipe->excluded != NULL) {
        put_subtrees(&content, 0xa0, recipe->permitted);
        put_subtrees(&content, 0xa1, recipe->excluded);
        put_made(&value, DER_SEQUENCE, &content);
        put_extension(to, 30, true, &value);
    }
}

static void put_usages(struct made *to, const struct recipe *recipe)
{
    struct made content = {0}, value = {0};
    if (recipe->key_usage != 0) {
        uint8_t bits = recipe->key_usage > 0 ? (uint8_t)recipe->key_usage : 0;
        put_element(&value, DER_BIT_STRING, (uint8_t[]){0, bits}, 2);
        put_extension(to, 15, true, &value);
    }
    value.size = 0;
    if (recipe->purpose != NULL) {
        put(&content, "\x06\x08\x2b\x06\x01\x05\x05\x07\x03", 9);
        put(&content, recipe->purpose, 1);
        put_made(&value, DER_SEQUENCE, &content);
        put_extension(to, 37, false, &value);
    }
}

static void put_key_ids(struct made *to, const struct recipe *recipe)
{
    struct made value = {0};
    if (recipe->own_id != 0) {
        put_element(&value, DER_OCTET_STRING, (uint8_t[]){(uint8_t)recipe->own_id}, 1);
        put_extension(to, 14, false, &value);
    }
    value.size = 0;
    if (recipe->signer_id != 0) {
        struct made id = {0};
        put_element(&id, DER_CONTEXT, (uint8_t[]){(uint8_t)recipe->signer_id}, 1);
        put_made(&value, DER_SEQUENCE, &id);
        put_extension(to, 35, false, &value);
    }
}

static void put_extensions(struct made *to, const struct recipe *recipe)
{
    struct made all = {0}, sequence = {0}, nothing = {0};
    if (!recipe->has_no_constraints)
        put_basic_constraints(&all, recipe);
    put_usages(&all, recipe);
    put_names(&all, recipe);
    put_key_ids(&all, recipe);
    if (recipe->has_unknown_critical || recipe->has_unknown)
        put_extension(&all, 60, recipe->has_unknown_critical, &nothing);
    put_made(&sequence, DER_SEQUENCE, &all);
    put_made(to, 0xa3, &sequence);
}

static void put_signed_part(struct made *to, const struct recipe *recipe,
                            const struct made *algorithm)
{
    struct made content = {0}, dates = {0};
    int version = recipe->version != 0 ? recipe->version : 3;
    if (version > 1)
        put(&content, (uint8_t[]){0xa0, 3, DER_INTEGER, 1, (uint8_t)(version - 1)}, 5);
    if (recipe->serial != NULL)
        put_element(&content, DER_INTEGER, recipe->serial, (size_t)recipe->serial_size);
    else
        put_element(&content, DER_INTEGER, "\1", 1);
    put(&content, algorithm->bytes, algorithm->size);
    put_name(&content, recipe->issuer);
    put_time(&dates, recipe->not_before != 0 ? recipe->not_before : Y2020);
    put_time(&dates, recipe->not_after != 0 ? recipe->not_after : Y2040);
    put_made(&content, DER_SEQUENCE, &dates);
    put_name(&content, recipe->subject);
    put_key(&content, recipe);
    if (version == 3)
        put_extensions(&content, recipe);
    put_made(to, DER_SEQUENCE, &content);
}

static struct made make_algorithm(bool is_sha1)
{
    struct made algorithm = {0};
    if (is_sha1)
        put(&algorithm, "\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01", 11);
    else
        put(&algorithm, "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", 12);
    return algorithm;
}

/* The content, which is the signed part, with algorithm and signature. */
static struct made sign(struct made *content, const struct made *algorithm, int signer,
                        bool is_forged)
{
    struct made signature = {0}, whole = {0};
    uint8_t hash[32], bits[128];
    word32 size = sizeof(bits);
    assert_int_equal(wc_Sha256Hash(content->bytes, (word32)content->size, hash), 0);
    ecc_key *key = &keys[is_forged ? (signer + 1) % MAKER_KEYS : signer];
    assert_int_equal(wc_ecc_sign_hash(hash, sizeof(hash), bits, &size, &random_numbers, key), 0);
    put(&signature, "\0", 1);
    put(&signature, bits, size);
    put(content, algorithm->bytes, algorithm->size);
    put_made(content, DER_BIT_STRING, &signature);
    put_made(&whole, DER_SEQUENCE, content);
    return whole;
}

struct made certificate_make(const struct recipe *recipe)
{
    struct made algorithm = make_algorithm(recipe->is_sha1), content = {0};
    put_signed_part(&content, recipe, &algorithm);
    return sign(&content, &algorithm, recipe->signer, recipe->is_forged);
}

/* --- CRLs --- */

static void put_entry(struct made *to, const struct crl_recipe *recipe, const char *serial)
{
    struct made content = {0}, extensions = {0}, value = {0};
    put_element(&content, DER_INTEGER, serial, 1);
    put_time(&content, 1600000000);
    if (recipe->reason != 0) {
        put_element(&value, 0x0a, (uint8_t[]){(uint8_t)recipe->reason}, 1);
        put_extension(&extensions, 21, false, &value);
    }
    if (recipe->entry_extension != 0)
        put_extension(&extensions, (uint8_t)recipe->entry_extension, recipe->is_entry_critical,
                      &value);
    if (extensions.size != 0)
        put_made(&content, DER_SEQUENCE, &extensions);
    put_made(to, DER_SEQUENCE, &content);
}

static void put_crl_extensions(struct made *to, const struct crl_recipe *recipe)
{
    struct made all = {0}, sequence = {0}, value = {0}, id = {0};
    put_element(&value, DER_INTEGER, "\7", 1);
    put_extension(&all, 20, false, &value); /* its number */
    for (int i = 0; i < 2; i++)
        if (recipe->extensions[i] != 0)
            put_extension(&all, (uint8_t)recipe->extensions[i], recipe->is_critical, &value);
    value.size = 0;
    if (recipe->signer_id != 0) {
        put_element(&id, DER_CONTEXT, (uint8_t[]){(uint8_t)recipe->signer_id}, 1);
        put_made(&value, DER_SEQUENCE, &id);
        put_extension(&all, 35, false, &value);
    }
    put_made(&sequence, DER_SEQUENCE, &all);
    put_made(to, 0xa0, &sequence);
}

struct made crl_make(const struct crl_recipe *recipe)
{
    struct made algorithm = make_algorithm(recipe->is_sha1), part = {0}, entries = {0};
    struct made content = {0};
    int version = recipe->version != 0 ? recipe->version : 2;
    if (version > 1)
        put_element(&part, DER_INTEGER, (uint8_t[]){(uint8_t)(version - 1)}, 1);
    put(&part, algorithm.bytes, algorithm.size);
    put_name(&part, recipe->issuer);
    put_time(&part, recipe->this_update != 0 ? recipe->this_update : Y2020);
    if (recipe->next_update >= 0)
        put_time(&part, recipe->next_update != 0 ? recipe->next_update : Y2040);
    for (int i = 0; i < 4 && recipe->serials[i] != NULL; i++)
        put_entry(&entries, recipe, recipe->serials[i]);
    if (entries.size != 0)
        put_made(&part, DER_SEQUENCE, &entries);
    if (version > 1)
        put_crl_extensions(&part, recipe);
    put_made(&content, DER_SEQUENCE, &part);
    return sign(&content, &algorithm, recipe->signer, recipe->is_forged);
}

char *made_as_pem(const struct made *made, bool is_crl)
{
    char *text = NULL;
    size_t text_size;
    uint8_t lines[2 * MADE_MAX];
    word32 size = sizeof(lines);
    const char *what = is_crl ? "X509 CRL" : "CERTIFICATE";
    assert_int_equal(Base64_Encode(made->bytes, (word32)made->size, lines, &size), 0);
    FILE *out = open_memstream(&text, &text_size);
    assert_non_null(out);
    fprintf(out, "-----BEGIN %s-----\n%.*s-----END %s-----\n", what, (int)size, (char *)lines,
            what);
    assert_int_equal(fclose(out), 0);
    return text;
}
