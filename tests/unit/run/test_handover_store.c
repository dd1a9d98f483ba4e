/* What the store of descriptors is told. It is a socket of the test. */
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
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "fakes/caught_log.h"
#include "run/handover.h"
#include "run/handover_child.h"

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
    assert_true(fd_list_add(&scene->in_use, name, handover_child_memory(text), &err));
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
        at[i].fd = handover_child_memory("x");
        strcpy(at[i].name, name);
        assert_true(fd_list_add(&scene.handover.inherited, name, handover_child_memory("x"), &err));
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
    int wanted = handover_child_memory("wanted"), unwanted = handover_child_memory("unwanted"),
        manager;
    manager = dup2(scene->store, 120);
    (void)manager;
    dup2(wanted, 103);
    dup2(unwanted, 104);
    dup2(103, 3);
    dup2(104, 4);
    handover_child_listen("2", "a:listen-1-s", getpid());
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
    const char *said = handover_child_output(show_what_a_start_tells, &scene);
    assert_non_null(strstr(said, "event=descriptor_closed"));
    assert_non_null(strstr(said, "listen-1-s"));
    assert_non_null(strstr(said, "left=0 taken=open"));
    assert_told(&scene, "FDSTOREREMOVE=1\nFDNAME=listen-1-s", false);
    assert_nothing_told(&scene);
    tear_down(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_store_is_told_the_difference),
        cmocka_unit_test(test_one_is_stored_early),
        cmocka_unit_test(test_one_is_dropped),
        cmocka_unit_test(test_another_file_of_the_same_name),
        cmocka_unit_test(test_without_a_store_nobody_is_told),
        cmocka_unit_test(test_a_store_that_does_not_listen),
        cmocka_unit_test(test_a_store_that_is_too_small_is_named),
        cmocka_unit_test(test_what_nobody_took_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
