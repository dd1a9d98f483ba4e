/* Root is given up for good: each case in a process of its own, since there is no way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/skip_because.h"
#include "run/privileges.h"

/* In a child a failed check names itself and ends the child. */
#define check(condition)                                                                \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "  %s:%d: %s is not so\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                                   \
        }                                                                               \
    } while (0)

static void assert_in_child(void (*run)(void))
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip_because("only root can become another user");
}

static void check_is_nobody_for_good(void)
{
    const struct passwd *nobody = getpwnam("nobody");
    check(nobody != NULL);
    uid_t uids[3];
    gid_t gids[3], groups[64];
    check(getresuid(&uids[0], &uids[1], &uids[2]) == 0);
    check(getresgid(&gids[0], &gids[1], &gids[2]) == 0);
    for (int i = 0; i < 3; i++) {
        check(uids[i] == nobody->pw_uid);
        check(gids[i] == nobody->pw_gid);
    }
    /* Only the groups that the user database gives. */
    gid_t expected[64];
    int expected_count = 64, count = getgroups(64, groups);
    check(getgrouplist("nobody", nobody->pw_gid, expected, &expected_count) >= 0);
    check(count == expected_count);
    for (int i = 0; i < count; i++)
        check(groups[i] != 0 && groups[i] == expected[i]);

    check(setuid(0) != 0 && errno == EPERM);
    check(seteuid(0) != 0 && setreuid(0, 0) != 0 && setresuid(0, 0, 0) != 0);
    check(setgid(0) != 0 && setegid(0) != 0 && setresgid(0, 0, 0) != 0);
    check(setgroups(0, NULL) != 0);
    check(open("/etc/shadow", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
}

static void drop_and_look(void)
{
    struct err err = {0};
    gid_t groups[] = {0, 4, 27};
    check(setgroups(3, groups) == 0);
    check(privileges_drop("nobody", &err));
    check_is_nobody_for_good();
}

static void test_drops_for_good(void **state)
{
    (void)state;
    need_root();
    assert_in_child(drop_and_look);
}

/* ---- threads -------------------------------------------------------------------------------- */

static sem_t is_dropped;

static void *report_ids(void *ids)
{
    while (sem_wait(&is_dropped) != 0)
        continue;
    ((long *)ids)[0] = syscall(SYS_geteuid); /* of this thread, not what glibc thinks */
    ((long *)ids)[1] = syscall(SYS_getegid);
    return NULL;
}

static void drop_with_a_thread(void)
{
    struct err err = {0};
    pthread_t thread;
    long ids[2] = {0, 0};
    check(sem_init(&is_dropped, 0, 0) == 0);
    check(pthread_create(&thread, NULL, report_ids, ids) == 0);
    check(privileges_drop("nobody", &err));
    check(sem_post(&is_dropped) == 0);
    check(pthread_join(thread, NULL) == 0);
    check(ids[0] == (long)geteuid() && ids[0] != 0);
    check(ids[1] == (long)getegid() && ids[1] != 0);
}

static void test_every_thread(void **state)
{
    (void)state;
    need_root();
    assert_in_child(drop_with_a_thread);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void drop_to_unknown(void)
{
    struct err err = {0};
    uid_t before = geteuid();
    check(!privileges_drop("no-such-user-of-dtlsgate", &err));
    check(strstr(err.text, "no such user") != NULL);
    check(strstr(err.text, "getent passwd") != NULL);
    check(!privileges_drop("", &err));
    check(geteuid() == before);
}

static void test_unknown_user(void **state)
{
    (void)state;
    assert_in_child(drop_to_unknown);
}

static void drop_to_root(void)
{
    struct err err = {0};
    check(!privileges_drop("root", &err));
    check(strstr(err.text, "root itself") != NULL);
}

static void test_root_itself(void **state)
{
    (void)state;
    assert_in_child(drop_to_root);
}

static void drop_twice(void)
{
    struct err err = {0};
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() == 0)
        check(setresuid(nobody->pw_uid, nobody->pw_uid, nobody->pw_uid) == 0);
    check(!privileges_drop("nobody", &err));
    check(strstr(err.text, "becoming the user nobody failed") != NULL);
    check(strstr(err.text, "SETUID and SETGID") != NULL);
}

static void drop_and_compare(void)
{
    struct err err = {0};
    check(!privileges_are_of("nobody") && privileges_are_of("root"));
    check(!privileges_are_of("no-such-user-of-dtlsgate"));
    check(privileges_drop("nobody", &err));
    check(privileges_are_of("nobody") && !privileges_are_of("root"));
}

/* Known before it is so; who is no root any more stays who he is. */
static void drop_and_foresee(void)
{
    struct err err = {0};
    uid_t nobody = getpwnam("nobody")->pw_uid;
    check(privileges_uid("nobody") == nobody);
    check(privileges_uid("") == 0 && privileges_uid("root") == 0);
    check(privileges_uid("no-such-user-of-dtlsgate") == 0);
    check(privileges_drop("nobody", &err));
    check(privileges_uid("nobody") == nobody && privileges_uid("") == nobody);
    check(privileges_uid("daemon") == nobody);
}

static void test_whose_they_will_be(void **state)
{
    (void)state;
    need_root();
    assert_in_child(drop_and_foresee);
}

static void test_whose_they_are(void **state)
{
    (void)state;
    need_root();
    assert_in_child(drop_and_compare);
}

static void test_without_the_privilege(void **state)
{
    (void)state;
    assert_in_child(drop_twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drops_for_good),        cmocka_unit_test(test_every_thread),
        cmocka_unit_test(test_unknown_user),          cmocka_unit_test(test_root_itself),
        cmocka_unit_test(test_without_the_privilege), cmocka_unit_test(test_whose_they_are),
        cmocka_unit_test(test_whose_they_will_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
