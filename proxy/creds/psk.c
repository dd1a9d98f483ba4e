#include "creds/psk.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "creds/creds_lines.h"

#define KEY_BYTES_ADVISED 16

/* An entry is one byte identity size, one byte key size, identity, key. It is never longer than its
 * line, so the entries are written over the text of the file from its beginning. */
#define ENTRY_HEAD 2

/* Places of entries are counted through all files, as if these were one. */
struct psk_file {
    struct secret entries;
    uint32_t begin; /* the place of its first byte */
    size_t count;
};

struct psk_store {
    struct psk_file files[PSK_FILES_MAX];
    uint32_t file_count;
    uint32_t *slots; /* open addressing: place of an entry + 1, or 0 = free */
    size_t slot_mask;
    size_t count;
};

/* A load in progress. */
struct load {
    struct psk_store *store;
    struct problems *problems;
    const char *const *paths;
    uint32_t *slot_lines; /* the line of each slot's entry, to name both lines of a repetition */
};

/* The file that is being read. */
struct reading {
    const struct load *load;
    struct psk_file *file;
    struct creds_lines lines;
    size_t entries_size;
    uint32_t short_keys, first_short_line;
    uint32_t binary_lines, first_binary_line;
    uint32_t spaced_lines, first_spaced_line;
    uint64_t key_sizes; /* bit n - 1: a line had a key of n bytes */
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

/* The file that has the entry at a place. */
static uint32_t file_of(const struct psk_store *store, uint32_t place)
{
    uint32_t file = store->file_count - 1;
    while (store->files[file].begin > place)
        file--;
    return file;
}

static const uint8_t *entry_at(const struct psk_store *store, uint32_t place)
{
    const struct psk_file *file = &store->files[file_of(store, place)];
    return file->entries.bytes + (place - file->begin);
}

/* The slot that holds the identity, or the free one where it belongs. */
static size_t slot_of(const struct psk_store *store, const uint8_t *identity, size_t size)
{
    size_t slot = hash(identity, size) & store->slot_mask;
    while (store->slots[slot]) {
        const uint8_t *entry = entry_at(store, store->slots[slot] - 1);
        if (entry[0] == size && memcmp(entry + ENTRY_HEAD, identity, size) == 0)
            break;
        slot = (slot + 1) & store->slot_mask;
    }
    return slot;
}

static bool is_identity_good(struct reading *reading, const uint8_t *identity, size_t size)
{
    if (size == 0 || size > PSK_IDENTITY_MAX)
        return creds_lines_error(
            &reading->lines,
            "the identity before the last colon has %zu bytes; it must have 1 to %d", size,
            PSK_IDENTITY_MAX);
    if (memchr(identity, '\0', size) || memchr(identity, '\r', size))
        return creds_lines_error(&reading->lines,
                                 "the identity holds a NUL or CR byte; any other byte is allowed");
    return true;
}

/* More than a slip of the finger: signs that only base64 has, or three that hex has not. */
static bool is_like_base64(const uint8_t *key, size_t size)
{
    size_t others = 0;
    for (size_t i = 0; i < size; i++) {
        if (!isalnum(key[i]) && !strchr("+/-_=", key[i]))
            return false;
        others += bytes_hex_digit(key[i]) < 0 ? 1 : 0;
        others += strchr("+/=", key[i]) ? 2 : 0;
    }
    return others >= 3;
}

/* What people write in place of hex digits; `first` is the place of the first that is none. */
static bool refuse_key(struct reading *reading, const uint8_t *key, size_t size, size_t first)
{
    struct creds_lines *lines = &reading->lines;
    if (size >= 2 && key[0] == '0' && (key[1] | 0x20) == 'x')
        return creds_lines_error(lines, "the key after the last colon begins with 0x; leave it "
                                        "out, and write only its hex digits");
    if (memchr(key, ' ', size) || memchr(key, '\t', size))
        return creds_lines_error(lines, "a space stands in the key after the last colon, or "
                                        "beside it; write identity:hexkey without any");
    if (key[0] == '"' || key[0] == '\'')
        return creds_lines_error(lines, "the key after the last colon is in quotes; leave them "
                                        "out");
    if (is_like_base64(key, size))
        return creds_lines_error(lines, "the key after the last colon is not in hex; if it is "
                                        "base64, this gives its hex digits: base64 -d | od -An "
                                        "-v -tx1 | tr -d ' \\n'");
    return creds_lines_error(
        lines, "character %zu of the key after the last colon is not a hex digit", first + 1);
}

static bool is_key_good(struct reading *reading, const uint8_t *hex, size_t digits)
{
    for (size_t i = 0; i < digits; i++) {
        if (bytes_hex_digit(hex[i]) < 0)
            return refuse_key(reading, hex, digits, i);
    }
    if (digits == 0 || digits % 2 != 0 || digits / 2 > PSK_KEY_MAX)
        return creds_lines_error(
            &reading->lines,
            "the key after the last colon has %zu hex digits; it must have an even number, 2 to %d",
            digits, 2 * PSK_KEY_MAX);
    return true;
}

/* A file that is being written in place, or was cut, ends anywhere. Within a key that shows only in
 * its size: other lines have longer keys, none has one of this size; or nobody has so short ones.
 */
static bool is_key_whole(struct reading *reading, size_t key_size)
{
    uint64_t same = UINT64_C(1) << (key_size - 1);
    bool is_odd = reading->key_sizes > same && !(reading->key_sizes & same);
    if (!reading->lines.is_unended || (key_size >= KEY_BYTES_ADVISED && !is_odd))
        return true;
    return creds_lines_error(
        &reading->lines,
        "no newline follows this last line, and its key of %zu bytes is shorter than %s: the "
        "file looks cut, or is being written; write a new file and rename it into place. If "
        "the line is complete, end it with a newline",
        key_size, is_odd ? "the others" : "16 bytes");
}

static void refuse_repetition(struct reading *reading, size_t slot)
{
    const struct load *load = reading->load;
    uint32_t line = load->slot_lines[slot];
    uint32_t file = file_of(load->store, load->store->slots[slot] - 1);
    if (&load->store->files[file] == reading->file)
        creds_lines_error(&reading->lines,
                          "repeats the identity of line %" PRIu32 "; keep one of the two", line);
    else
        creds_lines_error(&reading->lines,
                          "repeats the identity of %.300s:%" PRIu32 "; keep one of the two",
                          load->paths[file], line);
}

/* Writes the entry behind those before it, which may overlap the line that it is made of. */
static void put_entry(struct reading *reading, const uint8_t *identity, size_t identity_size,
                      const uint8_t *hex, size_t key_size)
{
    uint8_t key[PSK_KEY_MAX];
    for (size_t i = 0; i < key_size; i++)
        key[i] = (uint8_t)(bytes_hex_digit(hex[2 * i]) << 4 | bytes_hex_digit(hex[2 * i + 1]));
    uint8_t *entry = reading->file->entries.bytes + reading->entries_size;
    memmove(entry + ENTRY_HEAD, identity, identity_size);
    entry[0] = (uint8_t)identity_size;
    entry[1] = (uint8_t)key_size;
    memcpy(entry + ENTRY_HEAD + identity_size, key, key_size);
    bytes_wipe(key, key_size);
    reading->entries_size += ENTRY_HEAD + identity_size + key_size;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static void add(struct reading *reading, const uint8_t *identity, size_t identity_size,
                const uint8_t *hex, size_t key_size)
{
    struct psk_store *store = reading->load->store;
    size_t slot = slot_of(store, identity, identity_size);
    if (store->slots[slot]) {
        refuse_repetition(reading, slot);
        return;
    }
    if (key_size < KEY_BYTES_ADVISED && reading->short_keys++ == 0)
        reading->first_short_line = reading->lines.number;
    reading->key_sizes |= UINT64_C(1) << (key_size - 1);
    if ((is_space(identity[0]) || is_space(identity[identity_size - 1])) &&
        reading->spaced_lines++ == 0)
        reading->first_spaced_line = reading->lines.number;

    store->slots[slot] = reading->file->begin + (uint32_t)reading->entries_size + 1;
    reading->load->slot_lines[slot] = reading->lines.number;
    store->count++;
    reading->file->count++;
    put_entry(reading, identity, identity_size, hex, key_size);
}

/* psktool writes an identity with a colon (urn:imei:...) as '#' and its bytes in hex. */
static bool is_psktool_binary(const uint8_t *text, size_t size)
{
    const uint8_t *colon = memrchr(text, ':', size);
    if (!colon || colon - text < 3 || (colon - text) % 2 != 1)
        return false;
    for (const uint8_t *p = text + 1; p < text + size; p++) {
        if (p != colon && bytes_hex_digit(*p) < 0)
            return false;
    }
    return true;
}

static void read_line(struct reading *reading, const uint8_t *text, size_t size)
{
    if (size == 0)
        return;
    if (text[0] == '#') {
        if (is_psktool_binary(text, size) && reading->binary_lines++ == 0)
            reading->first_binary_line = reading->lines.number;
        return;
    }
    const uint8_t *colon = memrchr(text, ':', size);
    if (!colon) {
        creds_lines_error(&reading->lines, "has no colon; a line is identity:hexkey");
        return;
    }
    size_t identity_size = (size_t)(colon - text), digits = size - identity_size - 1;
    if (is_identity_good(reading, text, identity_size) && is_key_good(reading, colon + 1, digits) &&
        is_key_whole(reading, digits / 2))
        add(reading, text, identity_size, colon + 1, digits / 2);
}

static void report(const struct reading *reading, uint32_t mode)
{
    struct problems *problems = reading->load->problems;
    const char *path = reading->lines.path;
    if (reading->lines.errors == 0 && reading->file->count == 0)
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
    if (reading->spaced_lines)
        problems_warning(problems,
                         "%s:%" PRIu32 ": the identity begins or ends with a space, which is a "
                         "part of it (%" PRIu32 " such lines in the file); write identity:hexkey "
                         "without any, unless the device has it",
                         path, reading->first_spaced_line, reading->spaced_lines);
    if (mode & 077)
        problems_warning(problems,
                         "%s: its mode %04" PRIo32 " lets other users read the keys; "
                         "run: chmod 600 %s",
                         path, mode, path);
}

/* Room for a load of at most two thirds. */
static bool make_slots(struct load *load)
{
    struct psk_store *store = load->store;
    size_t lines = 0, slots = 16;
    for (uint32_t i = 0; i < store->file_count; i++)
        lines += creds_lines_count(&store->files[i].entries);
    while (slots < lines * 3 / 2 + 1)
        slots *= 2;
    store->slot_mask = slots - 1;
    store->slots = calloc(slots, sizeof(*store->slots));
    load->slot_lines = calloc(slots, sizeof(*load->slot_lines));
    return store->slots && load->slot_lines;
}

/* Reads what the files hold, all of them. False: one cannot be read. */
static bool read_files(struct load *load, uint32_t count, uint32_t *modes, const char *where)
{
    size_t size = 0;
    bool ok = true;
    for (uint32_t i = 0; i < count; i++) {
        struct psk_file *file = &load->store->files[i];
        struct err err;
        if (!secret_read(&file->entries, load->paths[i], &modes[i], &err)) {
            problems_error(load->problems,
                           "%s: the file %s%s%s; it must be a readable file of one "
                           "identity:hexkey per line%s",
                           where, count > 1 ? load->paths[i] : "", count > 1 ? " " : "", err.text,
                           strchr(load->paths[i], ' ') ? "; several files are separated by commas"
                                                       : "");
            ok = false;
        }
        file->begin = (uint32_t)size;
        size += file->entries.size;
    }
    load->store->file_count = count;
    if (size < UINT32_MAX)
        return ok;
    problems_error(load->problems,
                   "%s: the files together have %zu bytes; at most 4 GiB can be read", where, size);
    return false;
}

static void load_files(struct load *load, uint32_t count, const char *where)
{
    uint32_t modes[PSK_FILES_MAX] = {0};
    if (!read_files(load, count, modes, where))
        return;
    if (!make_slots(load)) {
        problems_error(load->problems, "%s: out of memory", where);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct reading reading = {.load = load, .file = &load->store->files[i]};
        uint8_t *text;
        size_t size;
        creds_lines_begin(&reading.lines, &reading.file->entries, load->paths[i], load->problems);
        while (creds_lines_next(&reading.lines, &text, &size))
            read_line(&reading, text, size);
        report(&reading, modes[i]);
        secret_shrink(&reading.file->entries, reading.entries_size);
    }
}

struct psk_store *psk_load(const char *const *paths, uint32_t count, const char *where,
                           struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    struct load load = {
        .store = calloc(1, sizeof(*load.store)), .problems = problems, .paths = paths};
    assert(count >= 1 && count <= PSK_FILES_MAX);
    if (load.store != NULL)
        load_files(&load, count, where);
    else
        problems_error(problems, "%s: out of memory", where);
    free(load.slot_lines);
    if (problems->error_count == errors_before)
        return load.store;
    psk_free(load.store);
    return NULL;
}

void psk_free(struct psk_store *store)
{
    if (!store)
        return;
    for (uint32_t i = 0; i < PSK_FILES_MAX; i++)
        secret_free(&store->files[i].entries);
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
    const uint8_t *entry = entry_at(store, store->slots[slot] - 1);
    *key_size = entry[1];
    return entry + ENTRY_HEAD + identity_size;
}

size_t psk_count(const struct psk_store *store)
{
    return store->count;
}

size_t psk_count_of_file(const struct psk_store *store, uint32_t file)
{
    return store->files[file].count;
}
