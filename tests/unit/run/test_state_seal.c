/* A state that is written is read as it was, holes and all; and whatever is cut, changed, swapped,
 * repeated or put together anew is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gate/nonce_watch.h"
#include "run/state_forge.h"
#include "run/state_key.h"
#include "run/state_seal.h"

enum { PAGE = 4096, BLOCK = 512, PIECE = 64 * 1024, FILE_MAX = 64 * 1024 };

static const uint8_t key[STATE_KEY_BYTES] = "0123456789abcdef0123456789abcde",
                     other_key[STATE_KEY_BYTES];
static const struct state_facts facts = {
    .layout = 7,
    .memory_bytes = 10 * PAGE + 100,
    .gate_ms = 123456789,
    .host = {.boot_id = "boot",
             .machine_id = "machine",
             .wall_ms = 1800000000000,
             .since_boot_ms = 5},
};

static int new_file(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int file_of(const uint8_t *bytes, size_t size)
{
    int fd = new_file();
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static size_t content_of(int fd, uint8_t *bytes)
{
    ssize_t size = pread(fd, bytes, FILE_MAX, 0);
    assert_in_range(size, 1, FILE_MAX - 1);
    return (size_t)size;
}

static int new_memory(uint64_t bytes)
{
    int fd = new_file();
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    return fd;
}

static void put(int memory, const char *text, uint64_t offset)
{
    assert_int_equal(pwrite(memory, text, strlen(text), (off_t)offset), strlen(text));
}

/* Three pieces: a block, the one before a hole, and the last bytes. */
static int some_memory(void)
{
    int memory = new_memory(facts.memory_bytes);
    put(memory, "first", 0);
    put(memory, "middle", 3 * PAGE - 6);
    put(memory, "last", facts.memory_bytes - 4);
    return memory;
}

static int write_file(int memory, const struct state_facts *what, uint64_t *bytes)
{
    struct err err;
    int file = new_file();
    assert_true(state_seal_write(file, memory, key, what, UINT64_MAX, bytes, &err));
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    return file;
}

/* Whether the file can be read to its end, into a memory that the test gets if it wants it. */
static bool is_read(int file, const uint8_t *with_key, int *memory)
{
    struct state_facts found;
    struct state_seal *seal;
    struct err err = {0};
    bool ok = state_seal_open(&seal, file, with_key, &found, &err) == STATE_SEAL_GOOD;
    int into = new_memory(ok ? found.memory_bytes : PAGE);
    ok = ok && state_seal_read(seal, into, &err);
    assert_true(ok || err.text[0] != '\0');
    state_seal_free(seal);
    if (memory != NULL)
        *memory = into;
    else
        close(into);
    return ok;
}

static bool is_content_read(const uint8_t *bytes, size_t size)
{
    int file = file_of(bytes, size);
    bool ok = is_read(file, key, NULL);
    close(file);
    return ok;
}

static void assert_same_content(int a, int b, uint64_t bytes)
{
    uint8_t *x = malloc(bytes), *y = malloc(bytes);
    assert_int_equal(pread(a, x, bytes, 0), bytes);
    assert_int_equal(pread(b, y, bytes, 0), bytes);
    assert_memory_equal(x, y, bytes);
    free(x);
    free(y);
}

static void what_is_written_is_read(void **state)
{
    struct state_facts found;
    struct state_seal *seal;
    struct err err;
    uint64_t bytes;
    int memory = some_memory(), file = write_file(memory, &facts, &bytes), read_back;
    struct stat info;
    (void)state;
    assert_int_equal(state_seal_open(&seal, file, key, &found, &err), STATE_SEAL_GOOD);
    assert_memory_equal(&found, &facts, sizeof(facts));
    state_seal_free(seal);
    assert_int_equal(fstat(file, &info), 0);
    assert_int_equal(info.st_size, bytes);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_true(is_read(file, key, &read_back));
    assert_same_content(memory, read_back, facts.memory_bytes);
    close(read_back);
    close(file);
    close(memory);
}

/* As holes they take no memory in the next process. */
static void holes_and_zeros_take_no_room(void **state)
{
    static const char zeros[4 * PAGE];
    struct state_facts large = facts;
    struct stat info;
    uint64_t bytes;
    large.memory_bytes = (uint64_t)16 << 30;
    int memory = new_memory(large.memory_bytes), read_back;
    (void)state;
    put(memory, "x", (uint64_t)5 << 30);
    assert_int_equal(pwrite(memory, zeros, sizeof(zeros), 8 * PAGE), sizeof(zeros));
    int file = write_file(memory, &large, &bytes);
    assert_in_range(bytes, BLOCK, BLOCK + 300);
    assert_true(is_read(file, key, &read_back));
    assert_int_equal(fstat(read_back, &info), 0);
    assert_in_range(info.st_blocks, 1, PAGE / 512);
    close(read_back);
    close(file);
    close(memory);
}

static void large_extents_are_cut_into_pieces(void **state)
{
    struct state_facts large = facts;
    uint64_t bytes;
    large.memory_bytes = 3 * PIECE + 5;
    int memory = new_memory(large.memory_bytes), read_back;
    (void)state;
    for (uint64_t at = 0; at + 8 <= large.memory_bytes; at += 512)
        put(memory, "content", at);
    put(memory, "end", large.memory_bytes - 3);
    int file = write_file(memory, &large, &bytes);
    assert_true(is_read(file, key, &read_back));
    assert_same_content(memory, read_back, large.memory_bytes);
    close(read_back);
    close(file);
    close(memory);
}

static void an_empty_state_is_read(void **state)
{
    struct state_facts empty = facts;
    uint64_t bytes;
    int memory = new_memory(PAGE);
    (void)state;
    empty.memory_bytes = PAGE;
    int file = write_file(memory, &empty, &bytes);
    assert_true(is_read(file, key, NULL));
    close(file);
    close(memory);
}

/* ---- damage --------------------------------------------------------------------------------- */

static size_t some_content(uint8_t *bytes)
{
    uint64_t size;
    int memory = some_memory(), file = write_file(memory, &facts, &size);
    assert_int_equal(content_of(file, bytes), size);
    close(file);
    close(memory);
    return (size_t)size;
}

static void a_file_that_is_cut_is_refused(void **state)
{
    static uint8_t bytes[FILE_MAX];
    size_t size = some_content(bytes);
    (void)state;
    for (size_t cut = 0; cut < size; cut++)
        assert_false(is_content_read(bytes, cut));
    bytes[size] = 0;
    assert_false(is_content_read(bytes, size + 1));
    assert_true(is_content_read(bytes, size));
}

static void a_bit_that_is_changed_is_seen(void **state)
{
    static uint8_t bytes[FILE_MAX];
    size_t size = some_content(bytes);
    (void)state;
    for (size_t at = 0; at < size; at++) {
        uint8_t bit = (uint8_t)(1 << (at % 8));
        bytes[at] ^= bit;
        if (is_content_read(bytes, size))
            fail_msg("a bit of byte %zu is not noticed", at);
        bytes[at] ^= bit;
    }
    assert_true(is_content_read(bytes, size));
}

/* What the memory above makes: facts, three blocks (the last is of 100 bytes), the end. */
enum {
    FIRST = FORGE_HEADER_BYTES + FORGE_CHUNK_BYTES + FORGE_FACTS_BYTES,
    STEP = FORGE_CHUNK_BYTES + BLOCK
};

static void chunks_that_change_places_are_seen(void **state)
{
    static uint8_t bytes[FILE_MAX], made[FILE_MAX];
    size_t size = some_content(bytes);
    (void)state;
    assert_int_equal(size, FIRST + 2 * STEP + FORGE_CHUNK_BYTES + 100 + FORGE_CHUNK_BYTES);
    memcpy(made, bytes, size); /* two are swapped */
    memcpy(made + FIRST, bytes + FIRST + STEP, STEP);
    memcpy(made + FIRST + STEP, bytes + FIRST, STEP);
    assert_false(is_content_read(made, size));
    memcpy(made, bytes, size); /* one is there twice */
    memcpy(made + FIRST + STEP, bytes + FIRST, STEP);
    assert_false(is_content_read(made, size));
    memcpy(made, bytes, size); /* one is missing */
    memcpy(made + FIRST, bytes + FIRST + STEP, size - FIRST - STEP);
    assert_false(is_content_read(made, size - STEP));
    memcpy(made, bytes, size); /* the end comes early */
    memcpy(made + FIRST + STEP, bytes + size - FORGE_CHUNK_BYTES, FORGE_CHUNK_BYTES);
    assert_false(is_content_read(made, FIRST + STEP + FORGE_CHUNK_BYTES));
}

static void chunks_of_two_files_do_not_mix(void **state)
{
    static uint8_t bytes[FILE_MAX], other[FILE_MAX];
    size_t size = some_content(bytes);
    (void)state;
    assert_int_equal(some_content(other), size);
    memcpy(bytes + FIRST, other + FIRST, STEP);
    assert_false(is_content_read(bytes, size));
}

/* ---- what a gate would never write ---------------------------------------------------------- */

static void the_form_is_the_documented_one(void **state)
{
    static uint8_t bytes[FILE_MAX];
    struct state_forge forge;
    int expected = some_memory(), read_back;
    (void)state;
    state_forge_begin(&forge, bytes, key, 1);
    state_forge_facts(&forge, &facts);
    state_forge_chunk(&forge, FORGE_PIECE, 0, "first", 5);
    state_forge_chunk(&forge, FORGE_PIECE, 3 * PAGE - 6, "middle", 6);
    state_forge_chunk(&forge, FORGE_PIECE, facts.memory_bytes - 4, "last", 4);
    state_forge_chunk(&forge, FORGE_END, facts.memory_bytes, "", 0);
    int file = file_of(bytes, forge.size);
    assert_true(is_read(file, key, &read_back));
    assert_same_content(expected, read_back, facts.memory_bytes);
    close(read_back);
    close(file);
    close(expected);
}

struct forged {
    uint32_t kind;
    uint64_t offset;
    size_t bytes;
};

static bool is_forged_read(uint8_t salt, bool has_facts, const struct forged *chunks, int count)
{
    static uint8_t out[PIECE + 1000], plain[PIECE + 1];
    struct state_forge forge;
    state_forge_begin(&forge, out, key, salt);
    if (has_facts)
        state_forge_facts(&forge, &facts);
    for (int i = 0; i < count; i++)
        state_forge_chunk(&forge, chunks[i].kind, chunks[i].offset, plain, chunks[i].bytes);
    return is_content_read(out, forge.size);
}

static void authentic_nonsense_is_refused(void **state)
{
    const struct forged good[] = {{FORGE_PIECE, 8, 8}, {FORGE_END, 0, 0}};
    const struct forged backwards[] = {{FORGE_PIECE, 8, 8}, {FORGE_PIECE, 8, 8}, {FORGE_END, 0, 0}};
    const struct forged behind[] = {{FORGE_PIECE, facts.memory_bytes - 7, 8}, {FORGE_END, 0, 0}};
    const struct forged wrapping[] = {{FORGE_PIECE, UINT64_MAX - 3, 8}, {FORGE_END, 0, 0}};
    const struct forged large[] = {{FORGE_PIECE, 0, PIECE + 1}, {FORGE_END, 0, 0}};
    const struct forged unknown[] = {{4, 0, 8}, {FORGE_END, 0, 0}};
    const struct forged full_end[] = {{FORGE_PIECE, 8, 8}, {FORGE_END, 0, 8}};
    const struct forged two_ends[] = {{FORGE_END, 0, 0}, {FORGE_END, 0, 0}};
    const struct forged short_facts[] = {{FORGE_FACTS, 0, 8}, {FORGE_END, 0, 0}};
    (void)state;
    assert_true(is_forged_read(10, true, good, 2));
    assert_false(is_forged_read(11, true, backwards, 3));
    assert_false(is_forged_read(12, true, behind, 2));
    assert_false(is_forged_read(13, true, wrapping, 2));
    assert_false(is_forged_read(14, true, large, 2));
    assert_false(is_forged_read(15, true, unknown, 2));
    assert_false(is_forged_read(16, true, full_end, 2));
    assert_false(is_forged_read(17, true, two_ends, 2));
    assert_false(is_forged_read(18, false, short_facts, 2));
    assert_false(is_forged_read(19, false, good, 2));
}

/* ---- key, mark, time ------------------------------------------------------------------------ */

static void another_key_is_told_from_damage(void **state)
{
    struct state_facts found;
    struct state_seal *seal;
    struct err err;
    uint64_t bytes;
    int memory = some_memory(), file = write_file(memory, &facts, &bytes);
    (void)state;
    assert_int_equal(state_seal_open(&seal, file, other_key, &found, &err), STATE_SEAL_BAD);
    assert_non_null(strstr(err.text, "another key"));
    assert_null(seal);
    close(file);
    close(memory);
}

static void a_marked_file_is_known_with_any_key(void **state)
{
    struct state_facts found;
    struct state_seal *seal;
    struct err err;
    uint64_t bytes;
    int memory = some_memory(), file = write_file(memory, &facts, &bytes);
    (void)state;
    assert_true(state_seal_is_one(file));
    assert_true(state_seal_mark(file, &err));
    assert_true(state_seal_is_one(file));
    assert_int_equal(state_seal_open(&seal, file, key, &found, &err), STATE_SEAL_USED);
    assert_non_null(strstr(err.text, "read before"));
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_int_equal(state_seal_open(&seal, file, other_key, &found, &err), STATE_SEAL_USED);
    close(file);
    close(memory);
}

static void writing_gives_up_at_the_deadline(void **state)
{
    struct err err;
    uint64_t bytes;
    int memory = some_memory(), file = new_file();
    (void)state;
    assert_false(state_seal_write(file, memory, key, &facts, 0, &bytes, &err));
    assert_non_null(strstr(err.text, "no time left"));
    close(file);
    close(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(holes_and_zeros_take_no_room),
        cmocka_unit_test(large_extents_are_cut_into_pieces),
        cmocka_unit_test(an_empty_state_is_read),
        cmocka_unit_test(a_file_that_is_cut_is_refused),
        cmocka_unit_test(a_bit_that_is_changed_is_seen),
        cmocka_unit_test(chunks_that_change_places_are_seen),
        cmocka_unit_test(chunks_of_two_files_do_not_mix),
        cmocka_unit_test(the_form_is_the_documented_one),
        cmocka_unit_test(authentic_nonsense_is_refused),
        cmocka_unit_test(another_key_is_told_from_damage),
        cmocka_unit_test(a_marked_file_is_known_with_any_key),
        cmocka_unit_test(writing_gives_up_at_the_deadline),
    };
    nonce_watch_reset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
