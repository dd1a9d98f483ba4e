/* Machines are folders of the test, with a /proc and a /sys of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cgroup.h"

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/test_cgroup-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* With the folders on the way. */
static void put(const char *path, const char *text)
{
    char name[512];
    snprintf(name, sizeof(name), "%s%s", root, path);
    for (char *slash = name + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(name, 0755);
        *slash = '/';
    }
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void put_v2(const char *path, const char *mount_root)
{
    char text[512];
    snprintf(text, sizeof(text), "0::%s\n", path);
    put("/proc/self/cgroup", text);
    snprintf(text, sizeof(text),
             "22 1 0:20 / /proc rw,nosuid - proc proc rw\n"
             "30 22 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
             mount_root);
    put("/proc/self/mountinfo", text);
}

static void put_v1(const char *path, const char *mount_root)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "12:pids:%s\n8:memory:%s\n5:cpu,cpuacct:%s\n3:cpuset:/\n1:name=systemd:/\n", path,
             path, path);
    put("/proc/self/cgroup", text);
    snprintf(text, sizeof(text),
             "33 31 0:29 %s /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
             "34 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
             "35 31 0:31 %s /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n",
             mount_root, mount_root);
    put("/proc/self/mountinfo", text);
}

static void assert_limits(uint64_t cpu_milli, uint64_t memory_bytes)
{
    struct cgroup_limits limits = {7, 7};
    cgroup_read(root, &limits);
    assert_int_equal(limits.cpu_milli, cpu_milli);
    assert_int_equal(limits.memory_bytes, memory_bytes);
}

static void test_v2_without_limits(void **state)
{
    (void)state;
    put_v2("/", "/");
    assert_limits(0, 0); /* the root group has no such files */
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/memory.max", "max\n");
    assert_limits(0, 0);
}

static void test_v2_in_a_container(void **state)
{
    (void)state;
    put_v2("/", "/");
    put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/memory.max", "268435456\n");
    assert_limits(1500, 268435456);
}

/* As a service of the host: a slice above may be tighter than the service itself. */
static void test_v2_nested(void **state)
{
    (void)state;
    put_v2("/system.slice/dtlsgate.service", "/");
    put("/sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n");
    put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    put("/sys/fs/cgroup/system.slice/dtlsgate.service/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/system.slice/dtlsgate.service/memory.max", "1048576\n");
    assert_limits(500, 1048576);
}

/* The host's path of the group, but only the group's own part is mounted. */
static void test_v2_mounted_in_part(void **state)
{
    (void)state;
    put_v2("/docker/abc/inner", "/docker/abc");
    put("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    put("/sys/fs/cgroup/inner/memory.max", "1000000\n");
    assert_limits(3000, 1000000);
}

static void test_group_outside_of_the_mount(void **state)
{
    (void)state;
    static const char *const paths[] = {"/../../other", "/docker/abcdef", "/elsewhere"};
    put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    put("/sys/fs/cgroup/ef/cpu.max", "10000 100000\n");
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        put_v2(paths[i], "/docker/abc");
        assert_limits(1000, 0);
    }
}

static void test_v1(void **state)
{
    (void)state;
    put_v1("/docker/abc", "/docker/abc");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_limits(0, 0);
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "25000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
    assert_limits(250, 134217728);
}

static void test_v1_nested(void **state)
{
    (void)state;
    put_v1("/a/b", "/");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n");
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "1000000\n");
    assert_limits(1, 1000);
}

/* Whatever is there, it is read to its end and nothing more is made of it. */
static void test_nonsense(void **state)
{
    (void)state;
    assert_limits(0, 0); /* no /proc */
    put("/proc/self/cgroup", "nonsense\n::\n0:\n\n0::/\n5:cpu:/");
    assert_limits(0, 0); /* no mounts */
    put("/proc/self/mountinfo",
        "- - -\n1 2 3 - \n\n30 22 0:26 / /sys/fs/cgroup rw - cgroup2 x rw\n");
    put("/sys/fs/cgroup/cpu.max", "");
    put("/sys/fs/cgroup/memory.max", "a lot\n");
    assert_limits(0, 0);
    put("/sys/fs/cgroup/cpu.max", "99999999999999999999999 0\n");
    assert_limits(0, 0);
}

/* Of the machine that this runs on nothing is known but that it can be asked. */
static void test_this_machine(void **state)
{
    (void)state;
    struct cgroup_limits first, second;
    cgroup_read("", &first);
    cgroup_read("", &second);
    assert_memory_equal(&first, &second, sizeof(first));
}

#define ON_A_MACHINE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_MACHINE(test_v2_without_limits),
        ON_A_MACHINE(test_v2_in_a_container),
        ON_A_MACHINE(test_v2_nested),
        ON_A_MACHINE(test_v2_mounted_in_part),
        ON_A_MACHINE(test_group_outside_of_the_mount),
        ON_A_MACHINE(test_v1),
        ON_A_MACHINE(test_v1_nested),
        ON_A_MACHINE(test_nonsense),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
