/* run/control_socket.c: which file may make way for the socket of a gate that starts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/skip_because.h"
#include "run/control_socket.h"

enum { NOBODY = 65534 };

struct scene {
    char folder[32];
    char path[64];
    struct gate_config config;
    struct control_socket opened; /* the one that a test opens */
    int other;                    /* of somebody else, bound to the path; -1 = none */
    struct rlimit descriptors;    /* as they were */
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    snprintf(scene->folder, sizeof(scene->folder), "/tmp/control-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->path, sizeof(scene->path), "%s/socket", scene->folder);
    scene->config =
        (struct gate_config){.control = scene->path, .control_group = "", .control_mode = 0600};
    scene->other = scene->opened.fd = -1;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &scene->descriptors), 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(seteuid(getuid()), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &scene->descriptors), 0);
    control_socket_close(&scene->opened);
    if (scene->other >= 0)
        close(scene->other);
    unlink(scene->path);
    assert_int_equal(rmdir(scene->folder), 0);
    free(scene);
    return 0;
}

/* Binds somebody else's socket to the path. */
static struct sockaddr_un bind_other(struct scene *scene, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, scene->path, strlen(scene->path) + 1);
    scene->other = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_true(scene->other >= 0);
    assert_int_equal(bind(scene->other, (struct sockaddr *)&address, sizeof(address)), 0);
    return address;
}

static void leave_stale(struct scene *scene)
{
    bind_other(scene, SOCK_STREAM);
    close(scene->other);
    scene->other = -1;
}

static ino_t inode_of(const struct scene *scene)
{
    struct stat status;
    assert_int_equal(lstat(scene->path, &status), 0);
    return status.st_ino;
}

/* The start fails, says so, and what is there stays. */
static void assert_refused(struct scene *scene, const char *part)
{
    struct err err;
    ino_t before = inode_of(scene);
    assert_false(control_socket_open(&scene->opened, &scene->config, &err));
    if (strstr(err.text, part) == NULL || strstr(err.text, scene->path) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, part);
    assert_true(inode_of(scene) == before);
}

static void assert_opens(struct scene *scene)
{
    struct err err = {0};
    if (!control_socket_open(&scene->opened, &scene->config, &err))
        fail_msg("%s", err.text);
    int fd = control_socket_connect(scene->path, &err);
    assert_true(fd >= 0);
    close(fd);
}

/* ---- what makes way ------------------------------------------------------------------------- */

static void where_nothing_is(void **state)
{
    struct scene *scene = *state;
    assert_opens(scene);
    control_socket_close(&scene->opened);
    assert_int_equal(access(scene->path, F_OK), -1);
}

static void what_a_killed_gate_has_left(void **state)
{
    struct scene *scene = *state;
    leave_stale(scene);
    assert_opens(scene);
}

/* ---- what does not -------------------------------------------------------------------------- */

static void another_gate(void **state)
{
    struct scene *scene = *state;
    bind_other(scene, SOCK_STREAM);
    assert_int_equal(listen(scene->other, 1), 0);
    assert_refused(scene, "another gate answers there");
}

/* It is busy, or hangs: it accepts nobody. */
static void another_gate_that_accepts_nobody(void **state)
{
    struct scene *scene = *state;
    struct sockaddr_un address = bind_other(scene, SOCK_STREAM);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(listen(scene->other, 0), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_refused(scene, "another gate answers there");
    close(client);
}

static void a_socket_of_another_kind(void **state)
{
    struct scene *scene = *state;
    bind_other(scene, SOCK_DGRAM);
    assert_refused(scene, "cannot be told whether a gate answers there");
}

/* A gate that runs must not lose its socket because the one that starts can have no descriptor. */
static void no_descriptor_to_ask_with(void **state)
{
    struct scene *scene = *state;
    struct rlimit none = scene->descriptors;
    bind_other(scene, SOCK_STREAM);
    assert_int_equal(listen(scene->other, 1), 0);
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_refused(scene, "cannot be told whether a gate answers there");
}

static void no_permission_to_ask(void **state)
{
    struct scene *scene = *state;
    if (geteuid() != 0)
        skip_because("another user's socket is needed, and this is not root");
    bind_other(scene, SOCK_STREAM);
    assert_int_equal(listen(scene->other, 1), 0);
    assert_int_equal(chmod(scene->path, 0600), 0);
    assert_int_equal(chmod(scene->folder, 0777), 0);
    assert_int_equal(seteuid(NOBODY), 0);
    assert_refused(scene, "cannot be told whether a gate answers there: Permission denied");
}

static void what_is_no_socket(void **state)
{
    struct scene *scene = *state;
    FILE *file = fopen(scene->path, "w");
    assert_non_null(file);
    fclose(file);
    assert_refused(scene, "something else than a socket");
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Somebody has removed the file, and another gate has begun there. */
static void the_file_of_another_gate_stays(void **state)
{
    struct scene *scene = *state;
    assert_opens(scene);
    assert_int_equal(unlink(scene->path), 0);
    bind_other(scene, SOCK_STREAM);
    control_socket_close(&scene->opened);
    assert_int_equal(access(scene->path, F_OK), 0);
}

#define SOCKET_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCKET_TEST(where_nothing_is),
        SOCKET_TEST(what_a_killed_gate_has_left),
        SOCKET_TEST(another_gate),
        SOCKET_TEST(another_gate_that_accepts_nobody),
        SOCKET_TEST(a_socket_of_another_kind),
        SOCKET_TEST(no_descriptor_to_ask_with),
        SOCKET_TEST(no_permission_to_ask),
        SOCKET_TEST(what_is_no_socket),
        SOCKET_TEST(the_file_of_another_gate_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
