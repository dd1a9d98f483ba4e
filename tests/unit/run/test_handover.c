/* Descriptors go from process to process: the next process is this program once more, which says
 * what has come. The store is a socket of the test. */
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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/caught_log.h"
#include "run/handover.h"

static int memory_with(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

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

/* Runs in a child, whose output comes back. */
static char *output_of(void (*run)(void *), void *context)
{
    static char text[1024];
    int ends[2], status;
    size_t used = 0;
    ssize_t got;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        run(context);
        _exit(1);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return text;
}

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
    assert_true(fd_list_add(list, "a", memory_with("of a"), &err));
    assert_true(fd_list_add(list, "b", memory_with("of b"), &err));
    assert_true(fd_list_add(list, "c", memory_with("of c"), &err));
}

static void test_the_next_process_has_them_by_name(void **state)
{
    struct fd_list list;
    (void)state;
    make_list(&list);
    assert_string_equal(output_of(become_by_path, &list),
                        "a=of a b=of b c=of c taken=of b environment:");
    assert_string_equal(output_of(become_by_descriptor, &list),
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
    assert_string_equal(output_of(become_by_path, &list),
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
    const char *said = output_of(become_what_is_none, &list);
    assert_non_null(strstr(said, "a=of a b=of b c=of c program="));
    assert_non_null(strstr(said, "taken=of b environment:"));
    fd_list_close(&list);
}

static void test_nothing_is_handed_over(void **state)
{
    struct fd_list list = {0};
    (void)state;
    assert_string_equal(output_of(become_by_path, &list), "environment:");
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
    assert_string_equal(output_of(become_with_few_allowed, &list),
                        "a=of a b=of b c=of c taken=of b environment:");
    fd_list_close(&list);
}

/* ---- the environment ------------------------------------------------------------------------ */

static void set_listen(const char *fds, const char *names, pid_t pid)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", (int)pid);
    setenv("LISTEN_FDS", fds, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    setenv("LISTEN_PID", text, 1);
}

static void test_what_is_meant_for_another_process(void **state)
{
    struct handover handover;
    struct err err = {0};
    (void)state;
    set_listen("1", "a", 1);
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
    int made = memory_with("x"), fd = dup2(made, 150);
    close(made);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct handover handover;
        struct err err = {0};
        for (int to = 3; to < 6; to++) /* what an attempt closes */
            if (fcntl(to, F_GETFD) == -1)
                dup2(fd, to);
        set_listen(wrong[i].fds, wrong[i].names, getpid());
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

/* ---- the store ------------------------------------------------------------------------------ */

struct scene {
    int store;
    struct handover handover;
    struct fd_list in_use;
};

static void open_store(struct scene *scene)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};
    char path[64];
    snprintf(path, sizeof(path), "@test_handover-%d", (int)getpid());
    memcpy(name.sun_path, path, strlen(path));
    name.sun_path[0] = '\0';
    scene->store = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    assert_int_equal(bind(scene->store, (struct sockaddr *)&name, size), 0);
    assert_int_equal(setsockopt(scene->store, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    setenv("NOTIFY_SOCKET", path, 1);
}

static void set_up(struct scene *scene)
{
    struct err err = {0};
    *scene = (struct scene){0};
    open_store(scene);
    assert_true(handover_inherit(&scene->handover, true, &err));
}

static void tear_down(struct scene *scene)
{
    handover_close(&scene->handover);
    fd_list_close(&scene->in_use);
    close(scene->store);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("FDSTORE");
}

static void assert_told(struct scene *scene, const char *text, bool has_descriptor)
{
    char got[256] = "";
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec into = {.iov_base = got, .iov_len = sizeof(got) - 1};
    struct msghdr message = {.msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    assert_true(recvmsg(scene->store, &message, MSG_CMSG_CLOEXEC) > 0);
    assert_string_equal(got, text);
    assert_int_equal(message.msg_controllen > 0, has_descriptor);
    if (has_descriptor) {
        int fd;
        memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
        close(fd);
    }
}

static void assert_nothing_told(struct scene *scene)
{
    char byte;
    assert_int_equal(recv(scene->store, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void use(struct scene *scene, const char *name, const char *text)
{
    struct err err = {0};
    assert_true(fd_list_add(&scene->in_use, name, memory_with(text), &err));
}

static void stop_using(struct scene *scene, const char *name)
{
    struct named_fd *item = fd_list_find(&scene->in_use, name);
    close(item->fd);
    fd_list_remove(&scene->in_use, item);
}

static void test_the_store_is_told_the_difference(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    use(&scene, "a", "x");
    use(&scene, "b", "y");
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_told(&scene, "FDSTORE=1\nFDNAME=a\nFDPOLL=0", true);
    assert_told(&scene, "FDSTORE=1\nFDNAME=b\nFDPOLL=0", true);
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_nothing_told(&scene);
    stop_using(&scene, "a");
    use(&scene, "c", "z");
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_told(&scene, "FDSTOREREMOVE=1\nFDNAME=a", false);
    assert_told(&scene, "FDSTORE=1\nFDNAME=c\nFDPOLL=0", true);
    assert_nothing_told(&scene);
    tear_down(&scene);
}

/* Before the process is ready; what it knows of then it does not get again. */
static void test_one_is_stored_early(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    use(&scene, "state", "x");
    use(&scene, "b", "y");
    handover_store(&scene.handover, "state", fd_list_find(&scene.in_use, "state")->fd);
    assert_told(&scene, "FDSTORE=1\nFDNAME=state\nFDPOLL=0", true);
    assert_nothing_told(&scene);
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_told(&scene, "FDSTORE=1\nFDNAME=b\nFDPOLL=0", true);
    assert_nothing_told(&scene);
    scene.handover.has_store = false;
    handover_store(&scene.handover, "c", scene.in_use.items[0].fd);
    assert_nothing_told(&scene);
    tear_down(&scene);
}

/* What one process finds useless, no other is to find: not in this process, and not in the store.
 */
static void test_one_is_dropped(void **state)
{
    struct scene scene;
    struct err err = {0};
    (void)state;
    set_up(&scene);
    struct named_fd *at = calloc(2, sizeof(*at));
    assert_non_null(at);
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "useless" : "kept";
        at[i].fd = memory_with("x");
        strcpy(at[i].name, name);
        assert_true(fd_list_add(&scene.handover.inherited, name, memory_with("x"), &err));
    }
    scene.handover.at = at;
    scene.handover.count = 2;
    int copy = at[0].fd, first = scene.handover.inherited.items[0].fd;
    assert_false(handover_await_drop(&scene.handover));
    handover_drop(&scene.handover, "unknown");
    assert_false(handover_await_drop(&scene.handover));
    assert_nothing_told(&scene);
    handover_drop(&scene.handover, "useless");
    assert_told(&scene, "FDSTOREREMOVE=1\nFDNAME=useless", false);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    assert_null(fd_list_find(&scene.handover.inherited, "useless"));
    assert_non_null(fd_list_find(&scene.handover.inherited, "kept"));
    assert_int_equal(handover_take(&scene.handover, "useless"), -1);
    int pauses = 0;
    while (handover_await_drop(&scene.handover))
        pauses++;
    assert_in_range(pauses, 1, 1000); /* not for ever */
    tear_down(&scene);
}

/* A store keeps several of one name side by side. */
static void test_another_file_of_the_same_name(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    use(&scene, "a", "old");
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_told(&scene, "FDSTORE=1\nFDNAME=a\nFDPOLL=0", true);
    use(&scene, "b", "so that the new one is another file");
    stop_using(&scene, "a");
    use(&scene, "a", "new");
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_told(&scene, "FDSTOREREMOVE=1\nFDNAME=a", false);
    assert_told(&scene, "FDSTORE=1\nFDNAME=b\nFDPOLL=0", true);
    assert_told(&scene, "FDSTORE=1\nFDNAME=a\nFDPOLL=0", true);
    assert_nothing_told(&scene);
    tear_down(&scene);
}

static void test_without_a_store_nobody_is_told(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    scene.handover.has_store = false;
    use(&scene, "a", "x");
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_nothing_told(&scene);
    tear_down(&scene);
}

/* It is told once that something is to be told, and the rest when it listens again. */
static void assert_one_line_of_a_deaf_store(struct scene *scene)
{
    static struct caught_log log;
    caught_log_begin(&log);
    assert_false(handover_keep(&scene->handover, &scene->in_use));
    uint32_t lines = caught_log_count(&log);
    caught_log_end(&log);
    assert_int_equal(lines, 1);
}

static void test_a_store_that_does_not_listen(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    use(&scene, "a", "x");
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    close(scene.store);
    use(&scene, "b", "y");
    use(&scene, "c", "z");
    assert_one_line_of_a_deaf_store(&scene);
    stop_using(&scene, "a");
    assert_one_line_of_a_deaf_store(&scene);
    open_store(&scene);
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    assert_told(&scene, "FDSTOREREMOVE=1\nFDNAME=a", false);
    assert_told(&scene, "FDSTORE=1\nFDNAME=b\nFDPOLL=0", true);
    assert_told(&scene, "FDSTORE=1\nFDNAME=c\nFDPOLL=0", true);
    assert_nothing_told(&scene);
    tear_down(&scene);
}

static void test_a_store_that_is_too_small_is_named(void **state)
{
    struct scene scene;
    static struct caught_log log;
    (void)state;
    set_up(&scene);
    scene.handover.store_max = 1;
    use(&scene, "a", "x");
    use(&scene, "b", "y");
    caught_log_begin(&log);
    assert_true(handover_keep(&scene.handover, &scene.in_use));
    const char *text = caught_log_text(&log);
    caught_log_end(&log);
    assert_non_null(strstr(text, "event=fd_store_full"));
    assert_non_null(strstr(text, "FileDescriptorStoreMax="));
    tear_down(&scene);
}

/* In a child, which has 3 to 5 for itself. */
static void show_what_a_start_tells(void *context)
{
    struct scene *scene = context;
    struct err err = {0};
    int wanted = memory_with("wanted"), unwanted = memory_with("unwanted"), manager;
    manager = dup2(scene->store, 120);
    (void)manager;
    dup2(wanted, 103);
    dup2(unwanted, 104);
    dup2(103, 3);
    dup2(104, 4);
    set_listen("2", "a:listen-1-s", getpid());
    if (!handover_inherit(&scene->handover, true, &err))
        return;
    int fd = handover_take(&scene->handover, "a");
    if (!fd_list_add(&scene->in_use, "a", fd, &err))
        return;
    dup2(STDOUT_FILENO, STDERR_FILENO);
    if (!handover_keep(&scene->handover, &scene->in_use))
        return;
    printf("left=%u taken=%s", scene->handover.count, fcntl(fd, F_GETFD) != -1 ? "open" : "closed");
    fflush(stdout);
}

static void test_what_nobody_took_goes(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    const char *said = output_of(show_what_a_start_tells, &scene);
    assert_non_null(strstr(said, "event=descriptor_closed"));
    assert_non_null(strstr(said, "listen-1-s"));
    assert_non_null(strstr(said, "left=0 taken=open"));
    assert_told(&scene, "FDSTOREREMOVE=1\nFDNAME=listen-1-s", false);
    assert_nothing_told(&scene);
    tear_down(&scene);
}

/* In a child, which has 3 and 4 for itself. */
static void inherit_with_few_allowed(void *context)
{
    struct handover handover;
    struct err err = {0};
    int fd = dup2(memory_with("x"), 103);
    (void)context;
    dup2(fd, 3);
    dup2(fd, 4);
    set_listen("2", "a:b", getpid());
    allow_descriptors_below(5);
    bool is_good = handover_inherit(&handover, false, &err);
    printf("%s%u descriptors", is_good ? "" : err.text, handover.count);
    fflush(stdout);
}

static void test_a_soft_limit_that_leaves_no_room_for_copies(void **state)
{
    (void)state;
    assert_string_equal(output_of(inherit_with_few_allowed, NULL), "2 descriptors");
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
        cmocka_unit_test(test_the_store_is_told_the_difference),
        cmocka_unit_test(test_one_is_stored_early),
        cmocka_unit_test(test_one_is_dropped),
        cmocka_unit_test(test_another_file_of_the_same_name),
        cmocka_unit_test(test_without_a_store_nobody_is_told),
        cmocka_unit_test(test_a_store_that_does_not_listen),
        cmocka_unit_test(test_a_store_that_is_too_small_is_named),
        cmocka_unit_test(test_what_nobody_took_goes),
        cmocka_unit_test(test_a_soft_limit_that_leaves_no_room_for_copies),
    };
    if (argc == 3 && strcmp(argv[1], "--show") == 0)
        return show_inherited(atoi(argv[2]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
