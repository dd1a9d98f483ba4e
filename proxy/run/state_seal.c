#include "run/state_seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hmac.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/secret.h"
#include "run/state_key.h"
#include "wire/aead.h"

#define MAGIC "dtlsgst\xff"             /* no text begins so */
#define PURPOSE "dtlsgate state file 1" /* the number is that of the form */

enum {
    FORM = 1,
    MAGIC_BYTES = 8,
    SALT_BYTES = 32,
    CHECK_BYTES = 16,
    MARK_AT = 16, /* in the header */
    SALT_AT = 24,
    CHECK_AT = SALT_AT + SALT_BYTES,
    HEADER_BYTES = CHECK_AT + CHECK_BYTES,
    HEAD_BYTES = 16, /* of a chunk */
    TAG_BYTES = 16,
    PIECE_BYTES = 64 * 1024, /* most in a chunk */
    BLOCK_BYTES = 512,       /* what is zero is left out by blocks */
    FACTS_BYTES = 68,
    BYTES_AHEAD = 8 << 20, /* that the disk may wait for us: it begins to write that much */
};

enum kind { KIND_FACTS = 1, KIND_PIECE = 2, KIND_END = 3 };

/* Of a file, for one who writes or reads. The memory that it lies in is left out of core dumps. */
struct state_seal {
    struct secret memory; /* that all of it is in */
    struct aead_work *work;
    uint64_t number; /* of the next chunk */
    uint64_t memory_bytes;
    int file;
    uint8_t file_key[32]; /* and behind it, derived in one go: */
    uint8_t check[CHECK_BYTES];
    uint8_t aad[HEADER_BYTES + HEAD_BYTES]; /* header without mark; head of the chunk */
    uint8_t plain[PIECE_BYTES];
    uint8_t sealed[HEAD_BYTES + PIECE_BYTES + TAG_BYTES];
};

static void put64(uint8_t *at, uint64_t value)
{
    bytes_put32(at, (uint32_t)(value >> 32));
    bytes_put32(at + 4, (uint32_t)value);
}

static uint64_t get64(const uint8_t *at)
{
    return (uint64_t)bytes_get32(at) << 32 | bytes_get32(at + 4);
}

static struct state_seal *seal_new(int file, struct err *err)
{
    struct secret memory;
    struct state_seal *seal = NULL;
    if (secret_new(&memory, sizeof(struct state_seal))) {
        seal = (struct state_seal *)(void *)memory.bytes;
        seal->memory = memory;
        seal->file = file;
        seal->work = aead_work_new();
        if (seal->work != NULL)
            return seal;
    }
    state_seal_free(seal);
    err_set_passing(err, "out of memory");
    return NULL;
}

void state_seal_free(struct state_seal *seal)
{
    if (seal == NULL)
        return;
    aead_work_free(seal->work);
    struct secret memory = seal->memory;
    secret_free(&memory);
}

/* Of the salt, which stands in the header. */
static bool derive(struct state_seal *seal, const uint8_t *key)
{
    _Static_assert(offsetof(struct state_seal, check) ==
                       offsetof(struct state_seal, file_key) + sizeof(seal->file_key),
                   "derived in one go");
    return wc_HKDF(WC_SHA256, key, STATE_KEY_BYTES, seal->aad + SALT_AT, SALT_BYTES,
                   (const uint8_t *)PURPOSE, sizeof(PURPOSE) - 1, seal->file_key,
                   sizeof(seal->file_key) + CHECK_BYTES) == 0;
}

/* For the head in seal->aad; uses up the number. */
static struct aead_text text_of(struct state_seal *seal, uint8_t nonce[AEAD_NONCE_BYTES])
{
    memset(nonce, 0, AEAD_NONCE_BYTES);
    put64(nonce + AEAD_NONCE_BYTES - 8, seal->number++);
    return (struct aead_text){
        .key = seal->file_key, .nonce = nonce, .aad = seal->aad, .aad_len = sizeof(seal->aad)};
}

static void put_facts(uint8_t out[FACTS_BYTES], const struct state_facts *facts)
{
    bytes_put32(out, facts->layout);
    put64(out + 4, facts->memory_bytes);
    put64(out + 12, facts->gate_ms);
    put64(out + 20, facts->host.wall_ms);
    put64(out + 28, facts->host.since_boot_ms);
    memcpy(out + 36, facts->host.boot_id, STATE_HOST_ID_BYTES);
    memcpy(out + 52, facts->host.machine_id, STATE_HOST_ID_BYTES);
}

static void get_facts(const uint8_t in[FACTS_BYTES], struct state_facts *facts)
{
    *facts =
        (struct state_facts){.layout = bytes_get32(in),
                             .memory_bytes = get64(in + 4),
                             .gate_ms = get64(in + 12),
                             .host = {.wall_ms = get64(in + 20), .since_boot_ms = get64(in + 28)}};
    memcpy(facts->host.boot_id, in + 36, STATE_HOST_ID_BYTES);
    memcpy(facts->host.machine_id, in + 52, STATE_HOST_ID_BYTES);
}

/* ---- writing -------------------------------------------------------------------------------- */

struct writing {
    struct state_seal *seal;
    int memory;
    uint64_t deadline_ms;
    uint64_t bytes, bytes_begun; /* written; told the kernel to write to the disk */
    struct err *err;
};

/* The disk works while we encrypt, not after it. */
static void begin_sync(struct writing *writing)
{
    if (writing->bytes - writing->bytes_begun < BYTES_AHEAD)
        return;
    (void)!sync_file_range(writing->seal->file, (off_t)writing->bytes_begun,
                           (off_t)(writing->bytes - writing->bytes_begun), SYNC_FILE_RANGE_WRITE);
    writing->bytes_begun = writing->bytes;
}

static bool write_all(struct writing *writing, const uint8_t *bytes, size_t size)
{
    if (clock_now_ms() >= writing->deadline_ms)
        return err_set_passing(
            writing->err,
            "no time left after %llu MiB; put it on a faster disk or a tmpfs, or "
            "let the service manager wait longer",
            (unsigned long long)(writing->bytes >> 20));
    while (size > 0) {
        ssize_t done = write(writing->seal->file, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_set_passing(writing->err, "write: %s (after %llu MiB)", strerror(errno),
                                   (unsigned long long)(writing->bytes >> 20));
        bytes += done;
        size -= (size_t)done;
        writing->bytes += (uint64_t)done;
    }
    begin_sync(writing);
    return true;
}

static bool write_header(struct writing *writing, const uint8_t *key)
{
    struct state_seal *seal = writing->seal;
    uint8_t *header = seal->aad;
    memcpy(header, MAGIC, MAGIC_BYTES);
    bytes_put32(header + 8, FORM);
    if (getrandom(header + SALT_AT, SALT_BYTES, 0) != SALT_BYTES)
        return err_set_passing(writing->err, "the kernel gave no random bytes");
    if (!derive(seal, key))
        return err_set(writing->err, "no key can be derived");
    memcpy(header + CHECK_AT, seal->check, CHECK_BYTES);
    return write_all(writing, header, HEADER_BYTES);
}

static bool write_chunk(struct writing *writing, enum kind kind, uint64_t offset,
                        const uint8_t *plain, size_t bytes)
{
    struct state_seal *seal = writing->seal;
    uint8_t nonce[AEAD_NONCE_BYTES], *head = seal->aad + HEADER_BYTES;
    bytes_put32(head, kind);
    bytes_put32(head + 4, (uint32_t)bytes);
    put64(head + 8, offset);
    struct aead_text text = text_of(seal, nonce);
    text.in = plain;
    text.in_len = bytes;
    text.out = seal->sealed + HEAD_BYTES;
    if (!aead_seal(seal->work, AEAD_AES_256_GCM, &text))
        return err_set(writing->err, "encryption failed");
    memcpy(seal->sealed, head, HEAD_BYTES);
    return write_all(writing, seal->sealed, HEAD_BYTES + bytes + TAG_BYTES);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* The end of the block at `at`, or of the piece. */
static size_t block_end(size_t at, size_t size)
{
    return size - at < BLOCK_BYTES ? size : at + BLOCK_BYTES;
}

/* `size` bytes of the memory are in seal->plain. */
static bool write_piece(struct writing *writing, uint64_t offset, size_t size)
{
    const uint8_t *plain = writing->seal->plain;
    size_t at = 0;
    while (at < size) {
        size_t end = at;
        while (end < size && !is_zero(plain + end, block_end(end, size) - end))
            end = block_end(end, size);
        if (end > at && !write_chunk(writing, KIND_PIECE, offset + at, plain + at, end - at))
            return false;
        at = end < size ? block_end(end, size) : end;
    }
    return true;
}

static bool write_extent(struct writing *writing, uint64_t from, uint64_t to)
{
    while (from < to) {
        size_t wanted = to - from < PIECE_BYTES ? (size_t)(to - from) : PIECE_BYTES;
        ssize_t got = pread(writing->memory, writing->seal->plain, wanted, (off_t)from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(writing->err, "the memory of the state cannot be read: %s",
                           got < 0 ? strerror(errno) : "it has become smaller");
        if (!write_piece(writing, from, (size_t)got))
            return false;
        from += (uint64_t)got;
    }
    return true;
}

static bool write_memory(struct writing *writing, uint64_t size)
{
    off_t from = 0;
    while ((uint64_t)from < size) {
        from = lseek(writing->memory, from, SEEK_DATA);
        if (from < 0 && errno == ENXIO)
            return true; /* a hole up to the end */
        off_t to = from < 0 ? -1 : lseek(writing->memory, from, SEEK_HOLE);
        if (to < 0)
            return err_set(writing->err, "the memory of the state cannot be read: %s",
                           strerror(errno));
        if (!write_extent(writing, (uint64_t)from, (uint64_t)to))
            return false;
        from = to;
    }
    return true;
}

bool state_seal_write(int file, int memory, const uint8_t *key, const struct state_facts *facts,
                      uint64_t deadline_ms, uint64_t *bytes, struct err *err)
{
    uint8_t plain[FACTS_BYTES];
    struct writing writing = {
        .seal = seal_new(file, err), .memory = memory, .deadline_ms = deadline_ms, .err = err};
    if (writing.seal == NULL)
        return false;
    put_facts(plain, facts);
    bool is_written = write_header(&writing, key) &&
                      write_chunk(&writing, KIND_FACTS, 0, plain, sizeof(plain)) &&
                      write_memory(&writing, facts->memory_bytes) &&
                      write_chunk(&writing, KIND_END, facts->memory_bytes, plain, 0);
    state_seal_free(writing.seal);
    *bytes = writing.bytes;
    return is_written;
}

bool state_seal_is_one(int file)
{
    char begin[MAGIC_BYTES];
    return pread(file, begin, sizeof(begin), 0) == (ssize_t)sizeof(begin) &&
           memcmp(begin, MAGIC, sizeof(begin)) == 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool read_exactly(const struct state_seal *seal, uint8_t *bytes, size_t size,
                         struct err *err)
{
    while (size > 0) {
        ssize_t got = read(seal->file, bytes, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, "it cannot be read: %s", strerror(errno));
        if (got == 0)
            return err_set(err, "it is torn: its end is missing");
        bytes += got;
        size -= (size_t)got;
    }
    return true;
}

/* The header is left without its mark. */
static enum state_seal_verdict read_header(struct state_seal *seal, const uint8_t *key,
                                           struct err *err)
{
    static const uint8_t no_mark[SALT_AT - MARK_AT];
    uint8_t *header = seal->aad;
    if (!read_exactly(seal, header, HEADER_BYTES, err))
        return STATE_SEAL_BAD;
    bool is_used = memcmp(header + MARK_AT, no_mark, sizeof(no_mark)) != 0;
    memset(header + MARK_AT, 0, sizeof(no_mark));
    if (memcmp(header, MAGIC, MAGIC_BYTES) != 0)
        err_set(err, "it is no state file of dtlsgate");
    else if (bytes_get32(header + 8) != FORM)
        err_set(err, "its form is %u, this version reads form %d", bytes_get32(header + 8), FORM);
    else if (is_used)
        err_set(err, "it has been read before, and a state that is used twice uses record numbers "
                     "twice");
    else if (!derive(seal, key))
        err_set(err, "no key can be derived");
    else if (memcmp(header + CHECK_AT, seal->check, CHECK_BYTES) != 0)
        err_set(err, "it was written with another key");
    else
        return STATE_SEAL_GOOD;
    return is_used ? STATE_SEAL_USED : STATE_SEAL_BAD;
}

struct chunk {
    uint32_t kind, bytes;
    uint64_t offset;
};

/* What is in it is in seal->plain then. */
static bool read_chunk(struct state_seal *seal, struct chunk *chunk, struct err *err)
{
    uint8_t nonce[AEAD_NONCE_BYTES], *head = seal->aad + HEADER_BYTES;
    if (!read_exactly(seal, head, HEAD_BYTES, err))
        return false;
    *chunk = (struct chunk){
        .kind = bytes_get32(head), .bytes = bytes_get32(head + 4), .offset = get64(head + 8)};
    struct aead_text text = text_of(seal, nonce);
    text.in = seal->sealed;
    text.in_len = (size_t)chunk->bytes + TAG_BYTES;
    text.out = seal->plain;
    if (chunk->bytes > PIECE_BYTES)
        return err_set(err, "it is damaged at chunk %llu", (unsigned long long)seal->number - 1);
    if (!read_exactly(seal, seal->sealed, text.in_len, err))
        return false;
    return aead_open(seal->work, AEAD_AES_256_GCM, &text) ||
           err_set(err, "it is damaged at chunk %llu", (unsigned long long)seal->number - 1);
}

static enum state_seal_verdict read_begin(struct state_seal *seal, const uint8_t *key,
                                          struct state_facts *facts, struct err *err)
{
    struct chunk chunk;
    enum state_seal_verdict verdict = read_header(seal, key, err);
    if (verdict != STATE_SEAL_GOOD)
        return verdict;
    if (!read_chunk(seal, &chunk, err))
        return STATE_SEAL_BAD;
    if (chunk.kind != KIND_FACTS || chunk.bytes != FACTS_BYTES) {
        err_set(err, "it does not begin with its facts");
        return STATE_SEAL_BAD;
    }
    get_facts(seal->plain, facts);
    seal->memory_bytes = facts->memory_bytes;
    return STATE_SEAL_GOOD;
}

enum state_seal_verdict state_seal_open(struct state_seal **seal, int file, const uint8_t *key,
                                        struct state_facts *facts, struct err *err)
{
    *seal = seal_new(file, err);
    if (*seal == NULL)
        return STATE_SEAL_BAD;
    enum state_seal_verdict verdict = read_begin(*seal, key, facts, err);
    if (verdict == STATE_SEAL_GOOD)
        return STATE_SEAL_GOOD;
    state_seal_free(*seal);
    *seal = NULL;
    return verdict;
}

static bool put_into_memory(const struct state_seal *seal, int memory, const struct chunk *chunk,
                            struct err *err)
{
    for (size_t done = 0; done < chunk->bytes;) {
        ssize_t got =
            pwrite(memory, seal->plain + done, chunk->bytes - done, (off_t)(chunk->offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set_passing(err, "no memory for it: %s", strerror(errno));
        done += (size_t)got;
    }
    return true;
}

bool state_seal_read(struct state_seal *seal, int memory, struct err *err)
{
    struct chunk chunk;
    uint64_t end = 0; /* of what has been read */
    uint8_t more;
    for (;;) {
        if (!read_chunk(seal, &chunk, err))
            return false;
        if (chunk.kind == KIND_END && chunk.bytes == 0)
            break;
        if (chunk.kind != KIND_PIECE || chunk.offset < end || chunk.offset > seal->memory_bytes ||
            chunk.bytes > seal->memory_bytes - chunk.offset)
            return err_set(err, "its chunk %llu is not in its place",
                           (unsigned long long)seal->number - 1);
        if (!put_into_memory(seal, memory, &chunk, err))
            return false;
        end = chunk.offset + chunk.bytes;
    }
    return read(seal->file, &more, 1) == 0 || err_set(err, "something follows its end");
}

bool state_seal_mark(int file, struct err *err)
{
    uint8_t mark[SALT_AT - MARK_AT];
    memset(mark, 0xff, sizeof(mark));
    if (pwrite(file, mark, sizeof(mark), MARK_AT) != (ssize_t)sizeof(mark) || fsync(file) != 0)
        return err_set(err, "it cannot be marked as read: %s", strerror(errno));
    return true;
}
