/* state.c: what is there for the next process, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fakes/core_dump.h"
#include "fakes/fake_memory.h"
#include "state/state.h"

static int set_up(void **at)
{
    struct state *state = malloc(sizeof(*state));
    struct err err;
    *at = state;
    if (state != NULL && state_create(state, &err))
        return 0;
    print_error("%s\n", state != NULL ? err.text : "no memory");
    return -1;
}

static int tear_down(void **at)
{
    state_close(*at);
    free(*at);
    return 0;
}

/* As if the process ended: only the descriptor is left. */
static int leave(struct state *state)
{
    int fd = fcntl(state->region.fd, F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    state_close(state);
    return fd;
}

static void adopt(struct state *state, int fd)
{
    struct err err = {0};
    if (!state_adopt(state, fd, &err))
        fail_msg("%s", err.text);
}

static void change_process(struct state *state)
{
    adopt(state, leave(state));
}

static void what_is_there_is_there_for_the_next(void **at)
{
    struct state *state = *at;
    uint8_t cookie[LAYOUT_MASTER_BYTES];
    static const uint8_t zero[LAYOUT_MASTER_BYTES];
    assert_true(state->is_new);
    memcpy(cookie, state_cookie_master(state), sizeof(cookie));
    assert_memory_not_equal(cookie, zero, sizeof(zero));
    uint32_t first = state->header->slot_first;
    change_process(state);
    assert_false(state->is_new);
    assert_memory_equal(state_cookie_master(state), cookie, sizeof(cookie));
    assert_int_equal(state->header->slot_first, first);
}

static void secrets_differ_and_are_not_dumped(void **at)
{
    struct state *state = *at, other;
    struct err err;
    assert_true(state_create(&other, &err));
    assert_memory_not_equal(state_cookie_master(state), state_cookie_master(&other),
                            LAYOUT_MASTER_BYTES);
    state_close(&other);
    assert_true(core_dump_leaves_out(state_cookie_master(state)));
}

static void nobody_else_has_it(void **at)
{
    struct state *state = *at, second;
    struct err err = {0};
    int fd = fcntl(state->region.fd, F_DUPFD_CLOEXEC, 0);
    assert_false(state_adopt(&second, fd, &err));
    assert_non_null(strstr(err.text, "another process has the state"));
    assert_true(err.may_pass);
    assert_true(fcntl(fd, F_GETFD) >= 0); /* still the caller's */
    /* But it may be looked at. */
    assert_true(state_look(&second, fd, &err));
    assert_memory_equal(second.header->cookie_master, state->header->cookie_master,
                        LAYOUT_MASTER_BYTES);
    state_close(&second);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
}

static void the_clock_goes_on(void **at)
{
    struct state *state = *at;
    uint64_t before_ms = state_now_ms(state);
    assert_true(before_ms > 0);
    state_set_clock(state, before_ms + 1000000000);
    uint64_t set_ms = state_now_ms(state);
    assert_in_range(set_ms, before_ms + 1000000000, before_ms + 1000010000);
    change_process(state);
    assert_in_range(state_now_ms(state), set_ms, set_ms + 10000);
    /* Also backwards: the state is of a machine that has been up for longer than this one. */
    state_set_clock(state, 1000);
    assert_in_range(state_now_ms(state), 1000, 11000);
}

static void session_numbers_go_up_over_all_processes(void **at)
{
    struct state *state = *at;
    state_begin_workers(state, 3);
    assert_int_equal(state_first_number(state, 0), 1);
    assert_int_equal(state_first_number(state, 2), 3);
    atomic_store(&state_worker(state, 0)->last_number, 40);
    atomic_store(&state_worker(state, 2)->last_number, 99);
    change_process(state);
    state_begin_workers(state, 2);
    assert_int_equal(state_first_number(state, 0), 100);
    assert_int_equal(state_first_number(state, 1), 101);
    change_process(state); /* before either has begun a handshake */
    assert_int_equal(state_first_number(state, 0), 100);
}

/* Whether a mark had come back is known until every worker has looked; killed before that, none
 * counts as seen, which is the careful answer. */
static void marks_are_those_of_the_process_before(void **at)
{
    struct state *state = *at;
    assert_false(state_mark_was_seen(state, 7, 0));
    state_begin_workers(state, 2);
    atomic_store(&state_worker(state, 0)->mark_sent, 10);
    atomic_store(&state_worker(state, 0)->mark_seen, 9);
    atomic_store(&state_worker(state, 1)->mark_sent, 20);
    atomic_store(&state_worker(state, 1)->mark_seen, 20);
    change_process(state);
    assert_int_equal(state->mark_base, 20);
    state_begin_workers(state, 5);
    assert_true(state_mark_was_seen(state, 2, 9));
    assert_false(state_mark_was_seen(state, 2, 10));
    assert_true(state_mark_was_seen(state, 3, 20));
    assert_false(state_mark_was_seen(state, 3, 21));
    change_process(state);
    assert_int_equal(state->mark_base, 20);
    assert_false(state_mark_was_seen(state, 2, 9));
    assert_false(state_mark_was_seen(state, 3, 20));
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void refuse(struct state *state, const char *because)
{
    struct err err = {0};
    int fd = leave(state);
    struct state next;
    assert_false(state_look(&next, fd, &err));
    assert_non_null(strstr(err.text, because));
    err = (struct err){0};
    assert_false(state_adopt(&next, fd, &err));
    if (strstr(err.text, because) == NULL)
        fail_msg("not \"%s\": %s", because, err.text);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
}

static void another_layout_is_named(void **at)
{
    struct state *state = *at;
    state->header->layout = 7;
    refuse(state, "the state has layout 7, and this version reads layout 1");
}

static void another_byte_order(void **at)
{
    struct state *state = *at;
    state->header->byte_order = 0x04030201;
    refuse(state, "byte order");
}

static void another_size(void **at)
{
    struct state *state = *at;
    state->header->sizes[LAYOUT_SIZE_SLOT] = 24;
    refuse(state, "struct 1 has 24 bytes, in this version 16");
}

static void another_boot(void **at)
{
    struct state *state = *at;
    state->header->boot_id[3] ^= 1;
    refuse(state, "before this machine was booted");
}

static void one_of_a_file_may_be_of_another_boot(void **at)
{
    struct state *state = *at;
    struct err err;
    state->header->boot_id[3] ^= 1;
    state->header->clock_offset_ms = INT64_MAX; /* of a clock that is none any more */
    assert_true(state_adopt_from_file(state, leave(state), 5000000, true, &err));
    assert_in_range(state_now_ms(state), 5000000, 5010000);
    change_process(state); /* it is of this boot now */
    assert_in_range(state_now_ms(state), 5000000, 5010000);
    state->header->layout = LAYOUT_NUMBER + 1;
    int fd = leave(state);
    assert_false(state_adopt_from_file(state, fd, 5000000, true, &err));
    close(fd);
    assert_true(state_create(state, &err));
    fd = leave(state);
    assert_false(state_adopt_from_file(state, fd, UINT64_MAX, true, &err));
    assert_non_null(strstr(err.text, "clock"));
    close(fd);
    assert_true(state_create(state, &err));
}

/* Whoever dies before the sessions are renewed, the next one knows that they have to be. A copy of
 * another machine does not become one of this machine by being written here. */
static void a_copy_is_one_until_it_is_renewed(void **at)
{
    struct state *state = *at;
    struct err err;
    assert_false(state_is_copy(state));
    assert_true(state_adopt_from_file(state, leave(state), 5000, true, &err));
    for (int i = 0; i < 3; i++, change_process(state))
        assert_true(state_is_copy(state) && state_is_of_this_machine(state));
    state_note_renewed(state);
    change_process(state);
    assert_false(state_is_copy(state));
    for (int is_same = 0; is_same < 2; is_same++) {
        assert_true(state_adopt_from_file(state, leave(state), 5000, is_same != 0, &err));
        change_process(state);
        assert_true(state_is_copy(state) && !state_is_of_this_machine(state));
    }
    state->header->origin = UINT32_MAX; /* nothing that anybody wrote */
    change_process(state);
    assert_true(state_is_copy(state) && !state_is_of_this_machine(state));
}

/* Pages of the header that are zero in a file have no memory: none is touched before it is there.
 */
static void a_header_with_holes_gets_memory(void **at)
{
    struct state *state = *at;
    struct state next;
    struct err err = {0};
    int fd = leave(state);
    fake_memory_drop_zeros(fd);
    assert_true((size_t)lseek(fd, 0, SEEK_HOLE) < sizeof(struct layout_header));
    fake_memory_refuse(0, LAYOUT_DIRECTORY_AT);
    assert_false(state_adopt(&next, fd, &err));
    assert_non_null(strstr(err.text, "out of memory"));
    assert_true(err.may_pass); /* the next start has another try */
    fake_memory_refuse(0, 0);
    adopt(state, fd);
    assert_true((size_t)lseek(state->region.fd, 0, SEEK_HOLE) >= sizeof(struct layout_header));
}

static void another_magic(void **at)
{
    struct state *state = *at;
    state->header->magic[0] ^= 1;
    refuse(state, "damaged");
}

static void a_clock_far_off(void **at)
{
    struct state *state = *at;
    state->header->clock_offset_ms = INT64_MAX;
    refuse(state, "clock");
}

static void one_that_was_never_complete(void **at)
{
    struct state *state = *at;
    memset(state->header->magic, 0, sizeof(state->header->magic));
    refuse(state, "killed before it was complete");
}

static void what_is_no_state(void **at)
{
    struct err err = {0};
    struct state next;
    int fd = memfd_create("other", MFD_CLOEXEC);
    (void)at;
    assert_false(state_adopt(&next, fd, &err));
    assert_non_null(strstr(err.text, "is no state"));
    assert_false(state_adopt(&next, -1, &err));
    assert_false(state_look(&next, -1, &err));
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
}

/* Whatever bytes the header has: it is refused, or what is followed later is in range. */
static void garbage(void **at)
{
    struct state *state = *at;
    struct err err;
    srandom(11);
    for (int round = 0; round < 300; round++) {
        uint8_t *bytes = (uint8_t *)state->header;
        size_t kept = offsetof(struct layout_header, boot_id) + sizeof(state->header->boot_id);
        for (int i = 0; i < 1 << (round % 17); i++)
            bytes[kept + (size_t)random() % (sizeof(*state->header) - kept)] = (uint8_t)random();
        int fd = leave(state);
        if (!state_adopt(state, fd, &err)) {
            assert_non_null(strstr(err.text, "damaged"));
            close(fd);
            assert_true(state_create(state, &err));
            continue;
        }
        assert_true(atomic_load(&state->header->counters_area) <= 1);
        assert_true(atomic_load(&state->header->route_count) <= LAYOUT_ROUTES_MAX);
        assert_true(state->header->worker_count <= LAYOUT_WORKERS_MAX);
        assert_true(state->number_base < UINT64_MAX / 8 && state->mark_base < UINT64_MAX / 8);
        for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
            const struct layout_listener *listener = &state->header->listeners[i];
            assert_true(strnlen(listener->name, sizeof(listener->name)) < sizeof(listener->name));
            assert_true(listener->addr_count <= LAYOUT_LISTEN_MAX);
        }
        state_begin_workers(state, 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_there_is_there_for_the_next),
        TEST(secrets_differ_and_are_not_dumped),
        TEST(nobody_else_has_it),
        TEST(the_clock_goes_on),
        TEST(session_numbers_go_up_over_all_processes),
        TEST(marks_are_those_of_the_process_before),
        TEST(another_layout_is_named),
        TEST(another_byte_order),
        TEST(another_size),
        TEST(another_boot),
        TEST(one_of_a_file_may_be_of_another_boot),
        TEST(a_copy_is_one_until_it_is_renewed),
        TEST(a_header_with_holes_gets_memory),
        TEST(another_magic),
        TEST(a_clock_far_off),
        TEST(one_that_was_never_complete),
        TEST(what_is_no_state),
        TEST(garbage),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
