#include "creds/psk.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"

#define LINE_ERRORS_MAX 20 /* of one file; the rest is only counted */
#define KEY_BYTES_ADVISED 16

/* An entry is one byte identity size, one byte key size, identity, key. It is never longer than its
 * line, so the entries are written over the text of the file from its beginning. */
#define ENTRY_HEAD 2

struct psk_store {
    struct secret entries;
    uint32_t *slots; /* open addressing: offset of an entry + 1, or 0 = free */
    size_t slot_mask;
    size_t count;
};

/* A load in progress. */
struct reading {
    struct psk_store *store;
    struct problems *problems;
    const char *path;
    uint32_t *slot_lines; /* the line of each slot's entry, to name both lines of a repetition */
    size_t entries_size;
    uint32_t line, line_errors, short_keys, first_short_line;
    uint32_t binary_lines, first_binary_line;
    uint64_t key_sizes; /* bit n - 1: a line had a key of n bytes */
    bool is_unended;    /* the line is the last one, and no newline follows */
};

static uint64_t hash(const uint8_t *identity, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then a finalizer: its low bits alone are weak */
    for (size_t i = 0; i < size; i++)
        h = (h ^ identity[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

/* The slot that holds the identity, or the free one where it belongs. */
static size_t slot_of(const struct psk_store *store, const uint8_t *identity, size_t size)
{
    size_t slot = hash(identity, size) & store->slot_mask;
    while (store->slots[slot]) {
        const uint8_t *entry = store->entries.bytes + store->slots[slot] - 1;
        if (entry[0] == size && memcmp(entry + ENTRY_HEAD, identity, size) == 0)
            break;
        slot = (slot + 1) & store->slot_mask;
    }
    return slot;
}

/* Never shows any of the line: it may hold a key. */
static void PRINTF_LIKE(2, 3) line_error(struct reading *reading, const char *fmt, ...)
{
    if (++reading->line_errors > LINE_ERRORS_MAX)
        return;
    struct err err;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.text, sizeof(err.text), fmt, args);
    va_end(args);
    problems_error(reading->problems, "%s:%" PRIu32 ": %s", reading->path, reading->line, err.text);
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_identity_good(struct reading *reading, const uint8_t *identity, size_t size)
{
    if (size == 0 || size > PSK_IDENTITY_MAX) {
        line_error(reading,
                   "the identity before the last colon has %zu bytes; it must have 1 to %d", size,
                   PSK_IDENTITY_MAX);
        return false;
    }
    if (memchr(identity, '\0', size) || memchr(identity, '\r', size)) {
        line_error(reading, "the identity holds a NUL or CR byte; any other byte is allowed");
        return false;
    }
    return true;
}

static bool is_key_good(struct reading *reading, const uint8_t *hex, size_t digits)
{
    for (size_t i = 0; i < digits; i++) {
        if (hex_digit(hex[i]) < 0) {
            line_error(reading, "character %zu of the key after the last colon is not a hex digit",
                       i + 1);
            return false;
        }
    }
    if (digits == 0 || digits % 2 != 0 || digits / 2 > PSK_KEY_MAX) {
        line_error(reading,
                   "the key after the last colon has %zu hex digits; it must have an even number, "
                   "2 to %d",
                   digits, 2 * PSK_KEY_MAX);
        return false;
    }
    return true;
}

/* A file that is being written in place, or was cut, ends anywhere. Within a key that shows only in
 * its size: other lines have longer keys, none has one of this size; or nobody has so short ones.
 */
static bool is_key_whole(struct reading *reading, size_t key_size)
{
    uint64_t same = UINT64_C(1) << (key_size - 1);
    bool is_odd = reading->key_sizes > same && !(reading->key_sizes & same);
    if (!reading->is_unended || (key_size >= KEY_BYTES_ADVISED && !is_odd))
        return true;
    line_error(
        reading,
        "no newline follows this last line, and its key of %zu bytes is shorter than %s: the "
        "file looks cut, or is being written; write a new file and rename it into place. If "
        "the line is complete, end it with a newline",
        key_size, is_odd ? "the others" : "16 bytes");
    return false;
}

static void add(struct reading *reading, const uint8_t *identity, size_t identity_size,
                const uint8_t *hex, size_t key_size)
{
    struct psk_store *store = reading->store;
    size_t slot = slot_of(store, identity, identity_size);
    if (store->slots[slot]) {
        line_error(reading, "repeats the identity of line %" PRIu32 "; keep one of the two",
                   reading->slot_lines[slot]);
        return;
    }
    if (key_size < KEY_BYTES_ADVISED && reading->short_keys++ == 0)
        reading->first_short_line = reading->line;
    reading->key_sizes |= UINT64_C(1) << (key_size - 1);

    store->slots[slot] = (uint32_t)(reading->entries_size + 1);
    reading->slot_lines[slot] = reading->line;
    store->count++;
    uint8_t key[PSK_KEY_MAX]; /* the entry may overlap the line that it is made of */
    for (size_t i = 0; i < key_size; i++)
        key[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    uint8_t *entry = store->entries.bytes + reading->entries_size;
    memmove(entry + ENTRY_HEAD, identity, identity_size);
    entry[0] = (uint8_t)identity_size;
    entry[1] = (uint8_t)key_size;
    memcpy(entry + ENTRY_HEAD + identity_size, key, key_size);
    bytes_wipe(key, key_size);
    reading->entries_size += ENTRY_HEAD + identity_size + key_size;
}

/* psktool writes an identity with a colon (urn:imei:...) as '#' and its bytes in hex. */
static bool is_psktool_binary(const uint8_t *text, size_t size)
{
    const uint8_t *colon = memrchr(text, ':', size);
    if (!colon || colon - text < 3 || (colon - text) % 2 != 1)
        return false;
    for (const uint8_t *p = text + 1; p < text + size; p++) {
        if (p != colon && hex_digit(*p) < 0)
            return false;
    }
    return true;
}

static void read_line(struct reading *reading, const uint8_t *text, size_t size)
{
    if (size && text[size - 1] == '\r')
        size--;
    if (size == 0)
        return;
    if (text[0] == '#') {
        if (is_psktool_binary(text, size) && reading->binary_lines++ == 0)
            reading->first_binary_line = reading->line;
        return;
    }
    const uint8_t *colon = memrchr(text, ':', size);
    if (!colon) {
        line_error(reading, "has no colon; a line is identity:hexkey");
        return;
    }
    size_t identity_size = (size_t)(colon - text), digits = size - identity_size - 1;
    if (is_identity_good(reading, text, identity_size) && is_key_good(reading, colon + 1, digits) &&
        is_key_whole(reading, digits / 2))
        add(reading, text, identity_size, colon + 1, digits / 2);
}

static void read_lines(struct reading *reading)
{
    const uint8_t *text = reading->store->entries.bytes;
    const uint8_t *end = text + reading->store->entries.size;
    if (end - text >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        reading->line = 1;
        line_error(reading, "begins with a UTF-8 byte order mark; save the file without it");
        text += 3;
    }
    while (text < end) {
        const uint8_t *newline = memchr(text, '\n', (size_t)(end - text));
        const uint8_t *line_end = newline ? newline : end;
        reading->line++;
        reading->is_unended = newline == NULL;
        read_line(reading, text, (size_t)(line_end - text));
        text = line_end + 1;
    }
}

static void report(const struct reading *reading, uint32_t mode)
{
    struct problems *problems = reading->problems;
    const char *path = reading->path;
    if (reading->line_errors > LINE_ERRORS_MAX)
        problems_error(problems, "%s: and %" PRIu32 " more lines with errors", path,
                       reading->line_errors - LINE_ERRORS_MAX);
    if (reading->line_errors == 0 && reading->store->count == 0)
        problems_error(problems, "%s: holds no key; expected one identity:hexkey per line", path);
    if (reading->short_keys)
        problems_warning(problems,
                         "%s:%" PRIu32 ": a key of fewer than %d bytes can be guessed (%" PRIu32
                         " such lines in the file); use %d random bytes",
                         path, reading->first_short_line, KEY_BYTES_ADVISED, reading->short_keys,
                         KEY_BYTES_ADVISED);
    if (reading->binary_lines)
        problems_warning(problems,
                         "%s:%" PRIu32 ": begins with '#', so it is a comment (%" PRIu32
                         " such lines in the file); if psktool wrote it for an identity with a "
                         "colon, write that identity as it is: urn:imei:...:hexkey",
                         path, reading->first_binary_line, reading->binary_lines);
    if (mode & 077)
        problems_warning(problems,
                         "%s: its mode %04" PRIo32 " lets other users read the keys; "
                         "run: chmod 600 %s",
                         path, mode, path);
}

static size_t count_lines(const struct secret *file)
{
    size_t lines = 1;
    const uint8_t *text = file->bytes, *end = text + file->size;
    while ((text = memchr(text, '\n', (size_t)(end - text))) != NULL) {
        lines++;
        text++;
    }
    return lines;
}

/* Room for a load of at most two thirds. */
static bool make_slots(struct reading *reading)
{
    struct psk_store *store = reading->store;
    size_t needed = count_lines(&store->entries) * 3 / 2 + 1, slots = 16;
    while (slots < needed)
        slots *= 2;
    store->slot_mask = slots - 1;
    store->slots = calloc(slots, sizeof(*store->slots));
    reading->slot_lines = calloc(slots, sizeof(*reading->slot_lines));
    return store->slots && reading->slot_lines;
}

static struct psk_store *load(const char *path, const char *where, struct problems *problems)
{
    struct psk_store *store = calloc(1, sizeof(*store));
    struct reading reading = {.store = store, .problems = problems, .path = path};
    struct err err;
    uint32_t mode = 0;
    if (!store) {
        problems_error(problems, "%s: out of memory", where);
    } else if (!secret_read(&store->entries, path, &mode, &err)) {
        problems_error(
            problems, "%s: the file %s; it must be a readable file of one identity:hexkey per line",
            where, err.text);
    } else if (!make_slots(&reading)) {
        problems_error(problems, "%s: out of memory", where);
    } else {
        read_lines(&reading);
        report(&reading, mode);
        secret_shrink(&store->entries, reading.entries_size);
    }
    free(reading.slot_lines);
    return store;
}

struct psk_store *psk_load(const char *path, const char *where, struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    struct psk_store *store = load(path, where, problems);
    if (problems->error_count == errors_before)
        return store;
    psk_free(store);
    return NULL;
}

void psk_free(struct psk_store *store)
{
    if (!store)
        return;
    secret_free(&store->entries);
    free(store->slots);
    free(store);
}

const uint8_t *psk_find(const struct psk_store *store, const void *identity, size_t identity_size,
                        size_t *key_size)
{
    if (identity_size == 0 || identity_size > PSK_IDENTITY_MAX)
        return NULL;
    size_t slot = slot_of(store, identity, identity_size);
    if (!store->slots[slot])
        return NULL;
    const uint8_t *entry = store->entries.bytes + store->slots[slot] - 1;
    *key_size = entry[1];
    return entry + ENTRY_HEAD + identity_size;
}

size_t psk_count(const struct psk_store *store)
{
    return store->count;
}
