#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"

static void test_start_time(void **state)
{
    (void)state;
    struct process_usage usage;
    process_read_usage(&usage);
    uint64_t now_ms = (uint64_t)time(NULL) * 1000;
    assert_in_range(usage.start_time_ms, now_ms - 600000, now_ms + 2000);
}

static void test_descriptors(void **state)
{
    (void)state;
    struct process_usage before, after;
    int fds[2];
    process_read_usage(&before);
    assert_int_equal(pipe(fds), 0);
    process_read_usage(&after);
    assert_int_equal(after.open_fds, before.open_fds + 2);
    close(fds[0]);
    close(fds[1]);
    process_read_usage(&after);
    assert_int_equal(after.open_fds, before.open_fds);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(after.max_fds, limit.rlim_cur);
}

static void test_resident_memory(void **state)
{
    (void)state;
    enum { MORE = 32 << 20 };
    struct process_usage before, after;
    process_read_usage(&before);
    void *more = mmap(NULL, MORE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(more != MAP_FAILED);
    memset(more, 1, MORE);
    process_read_usage(&after);
    munmap(more, MORE);
    /* The thread sanitizer keeps several bytes of its own for each of ours. */
    assert_in_range(after.resident_bytes - before.resident_bytes, MORE / 2, 10ull * MORE);
}

static void test_cpu_time(void **state)
{
    (void)state;
    struct process_usage before, after;
    process_read_usage(&before);
    do
        process_read_usage(&after);
    while (after.cpu_us < before.cpu_us + 20000);
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    uint64_t now_us = (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000;
    assert_in_range(now_us, after.cpu_us > 20000 ? after.cpu_us - 20000 : 0, after.cpu_us + 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_time),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_resident_memory),
        cmocka_unit_test(test_cpu_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
