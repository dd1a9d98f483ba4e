#include "creds/deny.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/digest_set.h"
#include "base/keyed_hash.h"
#include "base/printable.h"
#include "base/secret.h"
#include "creds/creds_lines.h"
#include "creds/psk.h"

enum {
    KEY_HASH_BYTES = 32,
    FILTER_BITS_LOG2 = 16,
};

static const char key_prefix[] = "sha256:";

struct deny_list {
    /* A bit for each identity, by quick_hash(): almost all that are not denied are seen here to be
     * none, in a few nanoseconds. A reload asks for each session. */
    uint64_t filter[(1 << FILTER_BITS_LOG2) / 64];
    /* Identities by their keyed hashes, which need no memory of their own. */
    struct keyed_hash_key hash_key;
    struct digest_set identities;
    struct digest_set public_keys;
};

_Static_assert((int)DIGEST_SET_BYTES == KEYED_HASH_WIDE_BYTES, "identities are in the set by hash");
_Static_assert((int)DIGEST_SET_BYTES == (int)CREDENTIAL_DIGEST_BYTES,
               "keys are in the set by digest");

/* A load in progress. */
struct reading {
    struct deny_list *list;
    struct creds_lines lines;
};

/* Of what differs between the names of many devices: the first bytes, the last ones and the size.
 */
static uint32_t quick_hash(const uint8_t *identity, size_t size)
{
    uint64_t first = 0, last = 0;
    size_t part = size < sizeof(first) ? size : sizeof(first);
    memcpy(&first, identity, part);
    memcpy(&last, identity + size - part, part);
    uint64_t mixed = (first * 3 + last + size) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(mixed >> (64 - FILTER_BITS_LOG2));
}

/* --- one line --- */

static bool read_hex(const uint8_t *hex, size_t digits, uint8_t *bytes)
{
    for (size_t i = 0; i < digits; i += 2) {
        int high = bytes_hex_digit(hex[i]), low = bytes_hex_digit(hex[i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* The text between quotes, without its escapes, in place of itself. */
static bool unquote(struct reading *reading, uint8_t *text, size_t *size)
{
    size_t to = 0, from = 1;
    if (*size < 2 || text[*size - 1] != '"')
        return creds_lines_error(&reading->lines, "begins with a quote and does not end with one");
    size_t end = *size - 1;
    while (from < end) {
        uint8_t bytes[PRINTABLE_ESCAPE_BYTES] = {text[from++]};
        size_t count = 1;
        if (bytes[0] == '"')
            return creds_lines_error(&reading->lines, "a quote inside quotes is written \\\"");
        if (bytes[0] == '\\') {
            size_t taken = printable_parse_escape(text + from, end - from, bytes, &count);
            if (taken == 0)
                return creds_lines_error(&reading->lines,
                                         "in quotes a backslash is followed by \\, \", n, r, t, x "
                                         "and two hexadecimal digits, or u and four");
            from += taken;
        }
        memcpy(text + to, bytes, count); /* an escape is longer than what it stands for */
        to += count;
    }
    *size = to;
    return true;
}

static void add_identity(struct reading *reading, const uint8_t *identity, size_t size)
{
    uint8_t hash[KEYED_HASH_WIDE_BYTES];
    if (size == 0 || size > PSK_IDENTITY_MAX) {
        creds_lines_error(&reading->lines, "an identity has 1 to %d bytes, and this one %zu",
                          PSK_IDENTITY_MAX, size);
        return;
    }
    uint32_t bit = quick_hash(identity, size);
    reading->list->filter[bit / 64] |= UINT64_C(1) << bit % 64;
    keyed_hash_wide(&reading->list->hash_key, identity, size, hash);
    digest_set_add(&reading->list->identities, hash);
}

static void add_key(struct reading *reading, const uint8_t *hex, size_t digits)
{
    uint8_t hash[KEY_HASH_BYTES];
    if (digits == 2 * sizeof(hash) && read_hex(hex, digits, hash))
        digest_set_add(&reading->list->public_keys, hash);
    else
        creds_lines_error(
            &reading->lines,
            "sha256: must be followed by the %d hexadecimal digits of the SHA-256 of a public "
            "key; put an identity that begins so into quotes",
            2 * KEY_HASH_BYTES);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static void read_line(struct reading *reading, uint8_t *text, size_t size)
{
    if (size == 0 || text[0] == '#')
        return;
    if (is_space(text[0]) || is_space(text[size - 1])) {
        creds_lines_error(&reading->lines,
                          "begins or ends with a space; if that is meant, put the identity into "
                          "quotes");
    } else if (text[0] == '"') {
        if (unquote(reading, text, &size))
            add_identity(reading, text, size);
    } else if (memchr(text, '\0', size) != NULL) {
        creds_lines_error(&reading->lines, "holds a NUL byte; this must be a text file");
    } else if (size >= strlen(key_prefix) && memcmp(text, key_prefix, strlen(key_prefix)) == 0) {
        add_key(reading, text + strlen(key_prefix), size - strlen(key_prefix));
    } else {
        add_identity(reading, text, size);
    }
}

/* --- the file --- */

static void read_lines(struct deny_list *list, const struct secret *file, const char *path,
                       struct problems *problems)
{
    struct reading reading = {.list = list};
    uint8_t *text;
    size_t size;
    creds_lines_begin(&reading.lines, file, path, problems);
    while (creds_lines_next(&reading.lines, &text, &size)) {
        if (reading.lines.is_unended)
            creds_lines_error(&reading.lines,
                              "no newline follows this last line: the file looks cut, or is being "
                              "written; write a new file and rename it into place");
        else
            read_line(&reading, text, size);
    }
}

static bool make_room(struct deny_list *list, const struct secret *file, struct err *err)
{
    size_t lines = creds_lines_count(file);
    if (!keyed_hash_key_init(&list->hash_key, err))
        return false;
    return (digest_set_init(&list->identities, lines) &&
            digest_set_init(&list->public_keys, lines)) ||
           err_set_passing(err, "does not fit into memory");
}

struct deny_list *deny_load(const char *path, const char *where, struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    struct deny_list *list = calloc(1, sizeof(*list));
    struct secret file = {0};
    struct err err = {.text = "does not fit into memory"};
    uint32_t mode;
    if (list == NULL || !secret_read(&file, path, &mode, &err) || !make_room(list, &file, &err))
        problems_error(problems,
                       "%s: the file %s; it must be a readable file of one identity or sha256:KEY "
                       "per line, and if nobody is denied, of a comment",
                       where, err.text);
    else
        read_lines(list, &file, path, problems);
    secret_free(&file);
    if (problems->error_count == errors_before)
        return list;
    deny_free(list);
    return NULL;
}

void deny_free(struct deny_list *list)
{
    if (list == NULL)
        return;
    digest_set_deinit(&list->identities);
    digest_set_deinit(&list->public_keys);
    free(list);
}

bool deny_has_identity(const struct deny_list *list, const void *identity, size_t size)
{
    uint8_t hash[KEYED_HASH_WIDE_BYTES];
    if (size == 0)
        return false;
    uint32_t bit = quick_hash(identity, size);
    if ((list->filter[bit / 64] >> bit % 64 & 1) == 0)
        return false;
    keyed_hash_wide(&list->hash_key, identity, size, hash);
    return digest_set_has(&list->identities, hash);
}

bool deny_has_key(const struct deny_list *list, const uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    return digest_set_has(&list->public_keys, digest);
}

size_t deny_identity_count(const struct deny_list *list)
{
    return list->identities.count;
}

size_t deny_key_count(const struct deny_list *list)
{
    return list->public_keys.count;
}
