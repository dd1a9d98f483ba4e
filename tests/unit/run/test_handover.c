/* Descriptors go from process to process: the next process is this program once more, which says
 * what has come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "run/handover.h"
#include "run/handover_child.h"

/* ---- what the next process says ------------------------------------------------------------- */

static void show_descriptor(const char *name, int fd)
{
    char text[64] = "";
    ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
    printf("%s=%s%s ", name, got < 0 ? "unreadable" : text,
           fcntl(fd, F_GETFD) == FD_CLOEXEC ? "" : " (passed on to children)");
}

/* `before` is a descriptor of the process before that was not handed over. */
static int show_inherited(int before)
{
    struct handover handover;
    struct err err = {0};
    if (!handover_inherit(&handover, false, &err))
        printf("error: %s ", err.text);
    for (uint32_t i = 0; i < handover.count; i++)
        show_descriptor(handover.at[i].name, handover.at[i].fd);
    int taken = handover_take(&handover, "b");
    if (taken >= 0)
        show_descriptor("taken", taken);
    if (handover_take(&handover, "b") >= 0)
        printf("taken twice ");
    if (fcntl(before, F_GETFD) != -1)
        printf("not closed ");
    printf("environment:%s%s%s", getenv("LISTEN_FDS") ? " LISTEN_FDS" : "",
           getenv("LISTEN_FDNAMES") ? " LISTEN_FDNAMES" : "",
           getenv("LISTEN_PID") ? " LISTEN_PID" : "");
    fflush(stdout);
    return 0;
}

/* ---- execution ------------------------------------------------------------------------------ */

static char before_text[16];

static char *const *next_arguments(void)
{
    static char *arguments[] = {(char *)"test_handover", (char *)"--show", before_text, NULL};
    snprintf(before_text, sizeof(before_text), "%d", 200);
    dup2(STDERR_FILENO, 200); /* of a library that forgets FD_CLOEXEC */
    return arguments;
}

static void become_by_path(void *context)
{
    struct err err = {0};
    handover_exec("/proc/self/exe", -1, next_arguments(), context, &err);
    printf("failed: %s", err.text);
    fflush(stdout);
}

static void become_by_descriptor(void *context)
{
    struct err err = {0};
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    handover_exec(NULL, self, next_arguments(), context, &err);
}

/* As an upgrade does that finds a file which is no program. */
static void become_what_is_none(void *context)
{
    struct err err = {0};
    struct fd_list *list = context;
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (!fd_list_add(list, "program", self, &err))
        return;
    handover_exec("/dev/null", -1, next_arguments(), list, &err);
    if (strstr(err.text, "/dev/null") == NULL)
        return;
    handover_exec(NULL, fd_list_find(list, "program")->fd, next_arguments(), list, &err);
}

static void make_list(struct fd_list *list)
{
    struct err err = {0};
    *list = (struct fd_list){0};
    assert_true(fd_list_add(list, "a", handover_child_memory("of a"), &err));
    assert_true(fd_list_add(list, "b", handover_child_memory("of b"), &err));
    assert_true(fd_list_add(list, "c", handover_child_memory("of c"), &err));
}

static void test_the_next_process_has_them_by_name(void **state)
{
    struct fd_list list;
    (void)state;
    make_list(&list);
    assert_string_equal(handover_child_output(become_by_path, &list),
                        "a=of a b=of b c=of c taken=of b environment:");
    assert_string_equal(handover_child_output(become_by_descriptor, &list),
                        "a=of a b=of b c=of c taken=of b environment:");
    fd_list_close(&list);
}

/* Each stands where another one has to be put. */
static void test_they_are_in_each_other_s_way(void **state)
{
    struct fd_list list;
    (void)state;
    make_list(&list);
    int at_3 = dup2(list.items[2].fd, 103), at_4 = dup2(list.items[0].fd, 104),
        at_5 = dup2(list.items[1].fd, 105);
    fd_list_close(&list);
    struct err err = {0};
    dup2(at_3, 3);
    dup2(at_4, 4);
    dup2(at_5, 5);
    assert_true(fd_list_add(&list, "a", 4, &err));
    assert_true(fd_list_add(&list, "b", 5, &err));
    assert_true(fd_list_add(&list, "c", 3, &err));
    assert_string_equal(handover_child_output(become_by_path, &list),
                        "a=of a b=of b c=of c taken=of b environment:");
    fd_list_close(&list);
    close(at_3);
    close(at_4);
    close(at_5);
}

static void test_another_program_after_one_that_is_none(void **state)
{
    struct fd_list list;
    (void)state;
    make_list(&list);
    const char *said = handover_child_output(become_what_is_none, &list);
    assert_non_null(strstr(said, "a=of a b=of b c=of c program="));
    assert_non_null(strstr(said, "taken=of b environment:"));
    fd_list_close(&list);
}

static void test_nothing_is_handed_over(void **state)
{
    struct fd_list list = {0};
    (void)state;
    assert_string_equal(handover_child_output(become_by_path, &list), "environment:");
}

/* In a child. */
static void allow_descriptors_below(rlim_t end)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = end;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void become_with_few_allowed(void *context)
{
    struct fd_list *list = context;
    struct err err = {0};
    char *const *arguments = next_arguments();
    allow_descriptors_below(3 + list->count + 1);
    handover_exec("/proc/self/exe", -1, arguments, list, &err);
    printf("failed: %s", err.text);
    fflush(stdout);
}

/* Meanwhile there are two of each. */
static void test_a_soft_limit_that_is_just_enough_for_one_of_each(void **state)
{
    struct fd_list list;
    (void)state;
    make_list(&list);
    assert_string_equal(handover_child_output(become_with_few_allowed, &list),
                        "a=of a b=of b c=of c taken=of b environment:");
    fd_list_close(&list);
}

/* ---- the environment ------------------------------------------------------------------------ */

static void test_what_is_meant_for_another_process(void **state)
{
    struct handover handover;
    struct err err = {0};
    (void)state;
    handover_child_listen("1", "a", 1);
    assert_true(handover_inherit(&handover, false, &err));
    assert_int_equal(handover.count, 0);
    assert_null(getenv("LISTEN_FDS"));
    assert_int_equal(handover_take(&handover, "a"), -1);
    handover_close(&handover);
}

static void test_an_environment_that_contradicts_itself(void **state)
{
    static const struct {
        const char *fds, *names, *text;
    } wrong[] = {
        {"many", "a", "LISTEN_FDS=many"},
        {"-1", "a", "LISTEN_FDS=-1"},
        {"99999999", "a", "LISTEN_FDS=99999999"},
        {"2", "a", "LISTEN_FDNAMES"},
        {"1", "", "name of a descriptor"},
        {"1", "with space", "name of a descriptor"},
        {"600", "a", "has 1 names"},
    };
    (void)state;
    int made = handover_child_memory("x"), fd = dup2(made, 150);
    close(made);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct handover handover;
        struct err err = {0};
        for (int to = 3; to < 6; to++) /* what an attempt closes */
            if (fcntl(to, F_GETFD) == -1)
                dup2(fd, to);
        handover_child_listen(wrong[i].fds, wrong[i].names, getpid());
        assert_false(handover_inherit(&handover, false, &err));
        assert_non_null(strstr(err.text, wrong[i].text));
        assert_int_equal(handover.count, 0);
        assert_int_equal(handover.inherited.count, 0);
        assert_null(getenv("LISTEN_PID"));
        handover_close(&handover);
    }
    close(fd);
}

static void test_who_has_a_store(void **state)
{
    static const struct {
        const char *socket, *fdstore;
        bool wants, has;
    } cases[] = {
        {"@somebody", "128", false, true}, {"@somebody", NULL, true, true},
        {"@somebody", NULL, false, false}, {"@somebody", "0", true, false},
        {NULL, "128", true, false},        {"", NULL, true, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct handover handover;
        struct err err = {0};
        unsetenv("NOTIFY_SOCKET");
        unsetenv("FDSTORE");
        if (cases[i].socket != NULL)
            setenv("NOTIFY_SOCKET", cases[i].socket, 1);
        if (cases[i].fdstore != NULL)
            setenv("FDSTORE", cases[i].fdstore, 1);
        assert_true(handover_inherit(&handover, cases[i].wants, &err));
        assert_int_equal(handover.has_store, cases[i].has);
        handover_close(&handover);
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("FDSTORE");
}

/* In a child, which has 3 and 4 for itself. */
static void inherit_with_few_allowed(void *context)
{
    struct handover handover;
    struct err err = {0};
    int fd = dup2(handover_child_memory("x"), 103);
    (void)context;
    dup2(fd, 3);
    dup2(fd, 4);
    handover_child_listen("2", "a:b", getpid());
    allow_descriptors_below(5);
    bool is_good = handover_inherit(&handover, false, &err);
    printf("%s%u descriptors", is_good ? "" : err.text, handover.count);
    fflush(stdout);
}

static void test_a_soft_limit_that_leaves_no_room_for_copies(void **state)
{
    (void)state;
    assert_string_equal(handover_child_output(inherit_with_few_allowed, NULL), "2 descriptors");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_process_has_them_by_name),
        cmocka_unit_test(test_they_are_in_each_other_s_way),
        cmocka_unit_test(test_another_program_after_one_that_is_none),
        cmocka_unit_test(test_nothing_is_handed_over),
        cmocka_unit_test(test_a_soft_limit_that_is_just_enough_for_one_of_each),
        cmocka_unit_test(test_what_is_meant_for_another_process),
        cmocka_unit_test(test_an_environment_that_contradicts_itself),
        cmocka_unit_test(test_who_has_a_store),
        cmocka_unit_test(test_a_soft_limit_that_leaves_no_room_for_copies),
    };
    if (argc == 3 && strcmp(argv[1], "--show") == 0)
        return show_inherited(atoi(argv[2]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
