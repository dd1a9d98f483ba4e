/* What the machine gives, against what the settings need. The machine's limits are of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "config/config_load.h"
#include "fakes/fake_root.h"
#include "run/host.h"

static const char memory_file[] = "/sys/memory.max";

static int set_up(void **state)
{
    int failed = fake_root_set_up(state);
    fake_root_put("/proc/self/cgroup", "0::/\n");
    fake_root_put("/proc/self/mountinfo", "30 22 0:26 / /sys rw - cgroup2 cgroup2 rw\n");
    return failed;
}

static struct config *load(const char *gate, const char *listener)
{
    char text[1024];
    struct problems problems;
    snprintf(text, sizeof(text),
             "[gate]\nworkers = 2\n%s\n[listener a]\nlisten = 127.0.0.1:5684, 127.0.0.1:5685\n"
             "backend = 127.0.0.1:5683\npsk_file = x\n%s\n",
             gate, listener);
    FILE *in = fmemopen(text, strlen(text), "r");
    problems_init(&problems);
    struct config *config = config_load_stream(in, "/gate.ini", &problems);
    fclose(in);
    assert_non_null(config);
    problems_deinit(&problems);
    return config;
}

/* parts == NULL: no warning. */
static void assert_memory(uint64_t limit_mib, const char *gate, const char *listener,
                          const char *const *parts)
{
    char text[32];
    struct problems problems;
    struct config *config = load(gate, listener);
    snprintf(text, sizeof(text), "%llu\n", (unsigned long long)limit_mib << 20);
    fake_root_put(memory_file, text);
    problems_init(&problems);
    host_fit(config, fake_root(), &problems);
    assert_int_equal(problems.error_count, 0);
    assert_int_equal(problems.count, parts != NULL);
    for (; parts != NULL && *parts != NULL; parts++)
        if (strstr(problems.texts[0], *parts) == NULL)
            fail_msg("not there: %s in: %s", *parts, problems.texts[0]);
    problems_deinit(&problems);
    config_free(config);
}

static void test_memory_that_does_not_do(void **state)
{
    (void)state;
    /* 8.2 MiB, 22 MB of handshakes, 100,000 x 512 bytes. */
    assert_memory(64, "", "versions = 1.2",
                  (const char *const[]){"/gate.ini: [gate] max_sessions = 100000", "79 MiB,",
                                        "is 64 MiB", "9 MiB +", "21 MiB for handshakes",
                                        "49 MiB for sessions", NULL});
    assert_memory(64, "max_sessions = 7000", "versions = 1.2", NULL);
    assert_memory(96, "", "versions = 1.2", NULL);
    /* The same with DTLS 1.3, whose keys are longer: 704 bytes. */
    assert_memory(96, "", "", (const char *const[]){"98 MiB", "68 MiB for sessions", NULL});
    assert_memory(128, "", "", NULL);
    assert_memory(64, "max_sessions = 1000", "max_handshakes = 100", NULL);
}

static void test_no_limit(void **state)
{
    struct problems problems;
    struct config *config = load("max_sessions = 8000000", "");
    (void)state;
    fake_root_put(memory_file, "max\n");
    problems_init(&problems);
    host_fit(config, fake_root(), &problems);
    assert_int_equal(problems.count, 0);
    problems_deinit(&problems);
    config_free(config);
}

static void test_descriptors(void **state)
{
    struct config *config = load("", ""), *quiet = load("metrics =", "");
    (void)state;
    uint64_t one = host_descriptors(config, 1), two = host_descriptors(config, 2);
    assert_int_equal(two - one, 3 + 1 + 2 * 2); /* a loop, a backend, two addresses */
    assert_true(host_descriptors(quiet, 1) < one);
    config_free(config);
    config_free(quiet);
}

#define ON_A_MACHINE(test) cmocka_unit_test_setup_teardown(test, set_up, fake_root_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MACHINE(test_memory_that_does_not_do),
        ON_A_MACHINE(test_no_limit),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
