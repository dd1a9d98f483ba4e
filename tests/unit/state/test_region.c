/* state/region.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/core_dump.h"
#include "fakes/fake_log.h"
#include "state/layout.h"
#include "state/region.h"

enum { PLACE = 12345, PAGE = 4096, HEADER_BYTES = 65536 };

static void create(struct region *region)
{
    struct err err = {0};
    assert_true(region_create(region, &err));
    assert_true(region_need(region, 0, HEADER_BYTES));
}

/* What the next process inherits: the descriptor only. */
static int leave_behind(struct region *region)
{
    int fd = dup(region->fd);
    assert_true(fd >= 0);
    region_close(region);
    return fd;
}

static void a_new_one_is_zeroed_and_sparse(void **state)
{
    (void)state;
    struct region region;
    create(&region);
    assert_int_equal(region.bytes, LAYOUT_BYTES);
    for (size_t i = 0; i < HEADER_BYTES; i++)
        assert_int_equal(region.base[i], 0);
    assert_true(region_need(&region, LAYOUT_CHUNKS_AT, LAYOUT_CHUNK_BYTES));
    memset(region.base + LAYOUT_CHUNKS_AT, 1, LAYOUT_CHUNK_BYTES);
    assert_int_equal(region_next_used(&region, LAYOUT_SLOTS_AT) / LAYOUT_CHUNK_BYTES,
                     LAYOUT_CHUNKS_AT / LAYOUT_CHUNK_BYTES);
    assert_int_equal(region_next_used(&region, LAYOUT_CHUNKS_AT + LAYOUT_CHUNK_BYTES),
                     LAYOUT_BYTES);
    assert_int_equal(region_next_unused(&region, LAYOUT_CHUNKS_AT),
                     LAYOUT_CHUNKS_AT + LAYOUT_CHUNK_BYTES);
    assert_int_equal(region_next_unused(&region, LAYOUT_SLOTS_AT), LAYOUT_SLOTS_AT);
    region_close(&region);
    region_close(&region); /* harmless */
}

static void what_is_in_it_outlives_it(void **state)
{
    (void)state;
    struct region region;
    struct err err = {0};
    create(&region);
    region.base[PLACE] = 77;
    int fd = leave_behind(&region);
    assert_true(region_adopt(&region, fd, &err));
    assert_int_equal(region.base[PLACE], 77);
    region.base[PLACE]++;
    fd = leave_behind(&region);
    assert_true(region_map_read_only(&region, fd, &err));
    assert_int_equal(region.base[PLACE], 78);
    region_close(&region);
}

/* Two processes with one state would use the same record numbers. One that only looks may. */
static void only_one_has_it(void **state)
{
    (void)state;
    struct region first, second;
    struct err err = {0};
    create(&first);
    int fd = dup(first.fd);
    assert_false(region_adopt(&second, fd, &err));
    assert_non_null(strstr(err.text, "another process has the state"));
    assert_true(err.may_pass);
    assert_true(region_map_read_only(&second, fd, &err));
    region_close(&second);
    fd = leave_behind(&first);
    assert_true(region_adopt(&first, fd, &err));
    region_close(&first);
}

/* The kernel gives the lock back with the process, however that ends. */
static void a_process_that_was_killed_has_it_no_more(void **state)
{
    (void)state;
    struct region region;
    struct err err = {0};
    int ready[2], status;
    create(&region);
    region.base[PLACE] = 1;
    int fd = leave_behind(&region);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (region_adopt(&region, dup(fd), &err) && write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_false(region_adopt(&region, fd, &err));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(region_adopt(&region, fd, &err));
    assert_int_equal(region.base[PLACE], 1);
    region_close(&region);
    close(ready[0]);
    close(ready[1]);
}

static void what_is_no_state_is_refused(void **state)
{
    (void)state;
    struct region region;
    struct err err = {0};
    int fd = memfd_create("other", MFD_CLOEXEC);
    assert_false(region_adopt(&region, fd, &err));
    assert_non_null(strstr(err.text, "no state of dtlsgate"));
    close(fd);
    fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_false(region_adopt(&region, fd, &err));
    assert_non_null(strstr(err.text, "4096 bytes"));
    assert_non_null(strstr(err.text, "another version"));
    close(fd);
}

static void nobody_makes_it_smaller(void **state)
{
    (void)state;
    struct region region;
    create(&region);
    assert_int_not_equal(ftruncate(region.fd, PAGE), 0);
    region_close(&region);
}

static void what_is_given_back_is_gone_and_zero(void **state)
{
    (void)state;
    struct region region;
    create(&region);
    assert_true(region_need(&region, LAYOUT_CHUNKS_AT, 2 * LAYOUT_CHUNK_BYTES));
    memset(region.base + LAYOUT_CHUNKS_AT, 0x5a, 2 * LAYOUT_CHUNK_BYTES);
    region_give(&region, LAYOUT_CHUNKS_AT, LAYOUT_CHUNK_BYTES);
    assert_int_equal(region_next_used(&region, LAYOUT_CHUNKS_AT),
                     LAYOUT_CHUNKS_AT + LAYOUT_CHUNK_BYTES);
    assert_int_equal(region.base[LAYOUT_CHUNKS_AT], 0);
    assert_int_equal(region.base[LAYOUT_CHUNKS_AT + LAYOUT_CHUNK_BYTES], 0x5a);
    region_close(&region);
}

/* The kernel is asked, not a signal: this is behind the end of what may be. */
static void memory_that_is_not_there_is_said(void **state)
{
    (void)state;
    struct region region;
    create(&region);
    assert_false(region_need(&region, LAYOUT_BYTES, LAYOUT_CHUNK_BYTES));
    region_close(&region);
}

static int lock_nothing_and_look(void)
{
    struct rlimit none = {0};
    struct region region;
    char byte;
    if (getrlimit(RLIMIT_MEMLOCK, &none) != 0)
        return 1;
    none.rlim_cur = 0;
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0))
        return 2;
    /* The address sanitizer pretends that all is locked. */
    bool may_lock = mlock(&byte, 1) == 0;
    create(&region);
    region.base[PLACE] = 1;
    (void)!region_need(&region, LAYOUT_CHUNKS_AT, LAYOUT_CHUNK_BYTES); /* said once */
    if (fake_log_count("event=state_not_locked", "LimitMEMLOCK", NULL) != !may_lock)
        return 4;
    return region.is_unlocked == !may_lock ? 0 : 3;
}

/* Of this process, as the kernel counts it. */
static size_t locked_bytes(void)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "VmLck: %zu kB", &kib);
    fclose(file);
    return kib * 1024;
}

/* Where the limit allows it: what was asked for, also by the next process. */
static void memory_is_locked(void **state)
{
    (void)state;
    static char other[2 * PAGE];
    struct region region;
    struct err err = {0};
    create(&region);
    bool may_lock = !region.is_unlocked && mlock(other, sizeof(other)) == 0;
    if (!may_lock || locked_bytes() == 0) { /* the address sanitizer only pretends */
        region_close(&region);
        return;
    }
    munlock(other, sizeof(other));
    size_t header = locked_bytes();
    assert_true(header >= HEADER_BYTES);
    assert_true(region_need(&region, LAYOUT_CHUNKS_AT, LAYOUT_CHUNK_BYTES));
    assert_int_equal(locked_bytes() - header, LAYOUT_CHUNK_BYTES);
    int fd = leave_behind(&region);
    assert_true(locked_bytes() < HEADER_BYTES);
    assert_true(region_adopt(&region, fd, &err));
    assert_true(region_need(&region, LAYOUT_CHUNKS_AT, LAYOUT_CHUNK_BYTES)); /* is there already */
    assert_true(locked_bytes() >= LAYOUT_CHUNK_BYTES);
    region_close(&region);
}

/* Without the right to lock memory it works all the same, and is known. Root may always: so a
 * process of its own becomes somebody else. */
static void memory_that_cannot_be_locked_is_noted(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(lock_nothing_and_look());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void too_few_addresses_are_told(void **state)
{
    (void)state;
    struct region region;
    struct err err = {0};
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)8 << 30;
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    bool is_open = region_create(&region, &err);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_false(is_open);
    assert_non_null(strstr(err.text, "ulimit -v"));
    region_close(&region); /* harmless */
}

static void core_dumps_do_not_have_it(void **state)
{
    (void)state;
    struct region region;
    create(&region);
    assert_true(region_need(&region, LAYOUT_CHUNKS_AT, LAYOUT_CHUNK_BYTES));
    assert_true(core_dump_leaves_out(region.base));
    assert_true(core_dump_leaves_out(region.base + LAYOUT_CHUNKS_AT));
    region_close(&region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_one_is_zeroed_and_sparse),
        cmocka_unit_test(what_is_in_it_outlives_it),
        cmocka_unit_test(only_one_has_it),
        cmocka_unit_test(a_process_that_was_killed_has_it_no_more),
        cmocka_unit_test(what_is_no_state_is_refused),
        cmocka_unit_test(nobody_makes_it_smaller),
        cmocka_unit_test(what_is_given_back_is_gone_and_zero),
        cmocka_unit_test(memory_that_is_not_there_is_said),
        cmocka_unit_test(memory_is_locked),
        cmocka_unit_test(memory_that_cannot_be_locked_is_noted),
        cmocka_unit_test(too_few_addresses_are_told),
        cmocka_unit_test(core_dumps_do_not_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
