/* What the machine gives, against what the settings need. The machine's limits are of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "config/config_load.h"
#include "run/host.h"

static char root[64];
static const char *const files[] = {"/proc/self/cgroup", "/proc/self/mountinfo", "/sys/memory.max"};
static const char *const folders[] = {"/proc", "/proc/self", "/sys"};
enum { FOLDERS = sizeof(folders) / sizeof(folders[0]), FILES = sizeof(files) / sizeof(files[0]) };

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s%s", root, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *out = fopen(path_of(name), "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/test_host-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (int i = 0; i < FOLDERS; i++)
        assert_int_equal(mkdir(path_of(folders[i]), 0755), 0);
    put(files[0], "0::/\n");
    put(files[1], "30 22 0:26 / /sys rw - cgroup2 cgroup2 rw\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++)
        unlink(path_of(files[i]));
    for (int i = FOLDERS - 1; i >= 0; i--)
        rmdir(path_of(folders[i]));
    return rmdir(root);
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
    put(files[2], text);
    problems_init(&problems);
    host_fit(config, root, &problems);
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
    put(files[2], "max\n");
    problems_init(&problems);
    host_fit(config, root, &problems);
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

#define ON_A_MACHINE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MACHINE(test_memory_that_does_not_do),
        ON_A_MACHINE(test_no_limit),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
