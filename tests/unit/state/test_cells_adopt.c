/* state/cells_adopt.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/fake_memory.h"
#include "state/cells_adopt.h"
#include "state/layout.h"

enum { COUNT = 3000, SESSION_BYTES = 320, PIECE_BYTES = 48 };

static struct region region;
static uint32_t numbers[COUNT]; /* of cells: sessions and pieces in turn */

static enum cells_kind kind_of(unsigned i)
{
    return i % 2 == 0 ? CELLS_SESSIONS : CELLS_PIECES;
}

static size_t bytes_of(unsigned i)
{
    return i % 2 == 0 ? SESSION_BYTES : PIECE_BYTES;
}

/* A process with many cells has been killed, and the next one has the region. */
static int set_up(void **state)
{
    struct cells cells;
    struct err err;
    (void)state;
    if (!region_create(&region, &err))
        return -1;
    cells_init(&cells, &region);
    for (unsigned i = 0; i < COUNT; i++) {
        void *cell = cells_take(&cells, kind_of(i), bytes_of(i));
        if (cell == NULL)
            return -1;
        memset(cell, (int)(i % 250 + 1), bytes_of(i));
        numbers[i] = cells_number_of(&cells, cell);
    }
    int fd = dup(region.fd);
    region_close(&region);
    return region_adopt(&region, fd, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    region_close(&region);
    return 0;
}

static void begin(struct cells_adopt *adopt, struct cells *cells)
{
    struct err err;
    assert_true(cells_adopt_begin(adopt, &region, &err));
    cells_init(cells, &region);
}

static bool is_filled(const uint8_t *bytes, size_t len, uint8_t with)
{
    while (len > 0 && bytes[len - 1] == with)
        len--;
    return len == 0;
}

/* Cells that were in use and those that were not; each once. */
static void all_cells_are_visited(void **state)
{
    (void)state;
    struct cells_adopt adopt;
    struct cells cells;
    begin(&adopt, &cells);
    for (int kind = CELLS_SESSIONS; kind <= CELLS_PIECES; kind++) {
        uint32_t visited = 0, used = 0;
        const uint8_t *cell = NULL, *before = NULL;
        while ((cell = cells_adopt_next(&adopt, (enum cells_kind)kind, cell)) != NULL) {
            assert_true(before == NULL || cell > before);
            assert_int_equal(cells_adopt_bytes(&adopt, (enum cells_kind)kind, cell),
                             bytes_of((unsigned)kind - 1));
            used += cell[0] != 0;
            visited++;
            before = cell;
        }
        assert_int_equal(used, COUNT / 2);
        assert_in_range(visited, COUNT / 2, COUNT / 2 + LAYOUT_CHUNK_BYTES / PIECE_BYTES);
    }
    cells_adopt_end(&adopt);
    cells_adopt_end(&adopt); /* harmless */
}

/* Whatever a reference may say. */
static void what_is_no_cell_is_none(void **state)
{
    (void)state;
    struct cells_adopt adopt;
    struct cells cells;
    begin(&adopt, &cells);
    const uint8_t *session = cells_at(&cells, numbers[0]), *piece = cells_at(&cells, numbers[1]);
    assert_int_equal(cells_adopt_bytes(&adopt, CELLS_SESSIONS, session), SESSION_BYTES);
    assert_int_equal(cells_adopt_bytes(&adopt, CELLS_PIECES, piece), PIECE_BYTES);
    const void *const none[] = {NULL,
                                session + 16,
                                session + 1,
                                piece - 1,
                                region.base,
                                region.base + LAYOUT_SLOTS_AT,
                                region.base + LAYOUT_BYTES - 1,
                                region.base + LAYOUT_BYTES,
                                region.base + LAYOUT_CHUNKS_AT - 16,
                                session + (size_t)LAYOUT_CHUNK_BYTES * 1000,
                                (const void *)UINTPTR_MAX};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(cells_adopt_bytes(&adopt, CELLS_SESSIONS, none[i]), 0);
    assert_int_equal(cells_adopt_bytes(&adopt, CELLS_PIECES, session), 0); /* of another kind */
    cells_adopt_end(&adopt);
}

static void who_claims_first_has_it(void **state)
{
    (void)state;
    struct cells_adopt adopt;
    struct cells first, second;
    begin(&adopt, &first);
    cells_init(&second, &region);
    const void *cell = cells_at(&first, numbers[0]);
    assert_true(cells_adopt_claim(&adopt, &first, CELLS_SESSIONS, cell));
    assert_false(cells_adopt_claim(&adopt, &second, CELLS_SESSIONS, cell));
    assert_int_equal(cells_bytes_taken(&first), SESSION_BYTES);
    cells_adopt_unclaim(&adopt, &first, CELLS_SESSIONS, cell);
    assert_int_equal(cells_bytes_taken(&first), 0);
    assert_true(cells_adopt_claim(&adopt, &second, CELLS_SESSIONS, cell));
    assert_int_equal(cells_bytes_taken(&second), SESSION_BYTES);
    cells_adopt_end(&adopt);
}

/* What was claimed is as it was; all else is wiped, and taken again before there is a new chunk. Of
 * two workers each has half of the chunks. */
static void what_nobody_claims_is_wiped_and_free(void **state)
{
    (void)state;
    enum { EACH = 10 };
    struct cells_adopt adopt;
    struct cells cells[2];
    begin(&adopt, &cells[0]);
    cells_init(&cells[1], &region);
    for (unsigned i = 0; i < COUNT; i += EACH)
        assert_true(cells_adopt_claim(&adopt, &cells[i / EACH % 2], kind_of(i),
                                      cells_at(&cells[0], numbers[i])));
    uint32_t chunk_end = region.chunk_end;
    for (uint32_t w = 0; w < 2; w++)
        cells_adopt_sweep(&adopt, &cells[w], w, 2);
    cells_adopt_end(&adopt);
    for (unsigned i = 0; i < COUNT; i += EACH)
        assert_true(
            is_filled(cells_at(&cells[0], numbers[i]), bytes_of(i), (uint8_t)(i % 250 + 1)));
    uint32_t sessions = 0;
    for (uint32_t w = 0; w < 2; w++) {
        while (cells[w].lists[CELLS_SESSIONS - 1][SESSION_BYTES / 16 - 1].free != CELLS_NONE) {
            const uint8_t *cell = cells_take(&cells[w], CELLS_SESSIONS, SESSION_BYTES);
            assert_true(is_filled(cell, SESSION_BYTES, 0));
            sessions++;
        }
    }
    assert_in_range(sessions, COUNT / 2 - COUNT / EACH, COUNT / 2 + LAYOUT_CHUNK_BYTES / 320);
    assert_int_equal(region.chunk_end, chunk_end);
}

/* Memory of chunks of which nothing is left goes back, and their place is one of any size. */
static void a_chunk_of_nobody_is_gone(void **state)
{
    (void)state;
    struct cells_adopt adopt;
    struct cells cells;
    begin(&adopt, &cells);
    assert_int_not_equal(region_next_used(&region, LAYOUT_CHUNKS_AT), LAYOUT_BYTES);
    cells_adopt_sweep(&adopt, &cells, 0, 1);
    cells_adopt_end(&adopt);
    assert_int_equal(region_next_used(&region, LAYOUT_CHUNKS_AT), LAYOUT_BYTES);
    uint8_t *cell = cells_take(&cells, CELLS_PIECES, 2000);
    assert_ptr_equal(cell, region.base + LAYOUT_CHUNKS_AT);
    assert_true(is_filled(cell, 2000, 0));
}

/* Entries of chunks that are nonsense, that have no memory, or that are not there at all though
 * there is memory: keys may lie in it. */
static void a_directory_of_garbage_is_mended(void **state)
{
    (void)state;
    static const uint32_t nonsense[] = {1,          0x00010000, 0x00030004,
                                        0x00010005, 0x00020081, UINT32_MAX};
    _Atomic uint32_t *directory = (_Atomic uint32_t *)(void *)(region.base + LAYOUT_DIRECTORY_AT);
    struct cells_adopt adopt;
    struct cells cells;
    for (uint32_t i = 0; i < 6; i++)
        directory[1000 + i] = nonsense[i];
    directory[2000] = 0x00010014;                  /* no memory */
    directory[LAYOUT_CHUNKS_MAX - 1] = 0x00010014; /* the same */
    assert_true(region_need(&region, LAYOUT_CHUNKS_AT + 3000 * (size_t)LAYOUT_CHUNK_BYTES, 4096));
    region.base[LAYOUT_CHUNKS_AT + 3000 * (size_t)LAYOUT_CHUNK_BYTES] = 1; /* no entry */
    begin(&adopt, &cells);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(directory[1000 + i], 0);
    assert_int_equal(directory[2000], 0);
    assert_int_equal(directory[LAYOUT_CHUNKS_MAX - 1], 0);
    assert_int_equal(
        region_next_used(&region, LAYOUT_CHUNKS_AT + 2000 * (size_t)LAYOUT_CHUNK_BYTES),
        LAYOUT_BYTES);
    assert_int_equal(cells_adopt_bytes(&adopt, CELLS_SESSIONS, cells_at(&cells, numbers[0])),
                     SESSION_BYTES);
    cells_adopt_end(&adopt);
}

/* Memory that was given and never touched counts here, and is a hole for SEEK_DATA. */
static blkcnt_t blocks(void)
{
    struct stat status;
    assert_int_equal(fstat(region.fd, &status), 0);
    return status.st_blocks;
}

/* As after a state file: the beginning of a chunk may be zero, and so without memory. */
static void a_chunk_with_holes_is_one(void **state)
{
    (void)state;
    struct cells_adopt adopt;
    struct cells cells;
    struct err err = {0};
    size_t at = (size_t)numbers[0] * CELLS_UNIT_BYTES / LAYOUT_CHUNK_BYTES * LAYOUT_CHUNK_BYTES;
    memset(region.base + at, 0, LAYOUT_CHUNK_BYTES / 2);
    fake_memory_drop_zeros(region.fd);
    assert_int_not_equal(region_next_used(&region, at), at);
    fake_memory_refuse(at, at + LAYOUT_CHUNK_BYTES);
    assert_false(cells_adopt_begin(&adopt, &region, &err));
    assert_non_null(strstr(err.text, "out of memory"));
    cells_adopt_end(&adopt); /* harmless */
    fake_memory_refuse(0, 0);
    blkcnt_t before = blocks();
    begin(&adopt, &cells);
    assert_true(blocks() - before >= LAYOUT_CHUNK_BYTES / 2 / 512);
    assert_int_equal(cells_adopt_bytes(&adopt, CELLS_SESSIONS, region.base + at), SESSION_BYTES);
    assert_int_not_equal(region.base[at + LAYOUT_CHUNK_BYTES / 2 + SESSION_BYTES], 0);
    cells_adopt_end(&adopt);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_cells_are_visited),     TEST(what_is_no_cell_is_none),
        TEST(who_claims_first_has_it),   TEST(what_nobody_claims_is_wiped_and_free),
        TEST(a_chunk_of_nobody_is_gone), TEST(a_directory_of_garbage_is_mended),
        TEST(a_chunk_with_holes_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
