/* Messages to the keeper, sent as the gate sends them: by base/notify.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/notify.h"
#include "run/keeper_inbox.h"

static struct keeper_inbox inbox;
static struct keeper_message message;

static int set_up(void **state)
{
    struct err err = {0};
    (void)state;
    assert_true(keeper_inbox_open(&inbox, &err));
    return setenv("NOTIFY_SOCKET", inbox.name, 1);
}

static int tear_down(void **state)
{
    (void)state;
    keeper_inbox_close(&inbox);
    return unsetenv("NOTIFY_SOCKET");
}

static void say(const char *text, int fd)
{
    assert_true(notify_send_fd(text, fd));
}

static uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 512; fd++) {
        int copy = dup(fd);
        count += copy >= 0;
        if (copy >= 0)
            close(copy);
    }
    return count;
}

static void test_kinds_of_messages(void **state)
{
    static const struct {
        const char *text;
        enum keeper_message_kind kind;
        const char *name;
    } cases[] = {
        {"READY=1", KEEPER_READY, ""},
        {"READY=1\nSTATUS=serving", KEEPER_READY, ""},
        {"STATUS=READY=1", KEEPER_OTHER, ""},
        {"STOPPING=1", KEEPER_OTHER, ""},
        {"WATCHDOG=1", KEEPER_WATCHDOG, ""},
        {"FDSTOREREMOVE=1\nFDNAME=state", KEEPER_REMOVE, "state"},
        {"FDSTOREREMOVE=1", KEEPER_REMOVE, "stored"},
        {"FDSTOREREMOVE=1\nFDNAME=no name", KEEPER_REMOVE, "stored"},
        {KEEPER_SAY_JSON, KEEPER_JSON, ""},
        {KEEPER_SAY_LOGFMT, KEEPER_LOGFMT, ""},
        {"X_LOG_FORMAT=", KEEPER_OTHER, ""},
        {"", KEEPER_OTHER, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        say(cases[i].text, -1);
        assert_true(keeper_inbox_read(&inbox, getpid(), &message));
        assert_int_equal(message.kind, cases[i].kind);
        assert_string_equal(message.name, cases[i].name);
        assert_string_equal(message.text, cases[i].text);
        assert_false(keeper_inbox_read(&inbox, getpid(), &message));
    }
}

static void test_a_descriptor_to_keep(void **state)
{
    int ends[2];
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    say("FDSTORE=1\nFDNAME=listen-0-s\nFDPOLL=0", ends[1]);
    close(ends[1]);
    assert_true(keeper_inbox_read(&inbox, getpid(), &message));
    assert_int_equal(message.kind, KEEPER_STORE);
    assert_string_equal(message.name, "listen-0-s");
    assert_int_equal(write(message.fd, "x", 1), 1);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(message.fd);
    close(ends[0]);
}

static void test_a_descriptor_that_nobody_is_to_keep(void **state)
{
    uint32_t before = open_descriptors();
    (void)state;
    say("READY=1", STDERR_FILENO);
    assert_true(keeper_inbox_read(&inbox, getpid(), &message));
    assert_int_equal(message.kind, KEEPER_READY);
    say("FDSTORE=1\nFDNAME=nothing", -1);
    assert_false(keeper_inbox_read(&inbox, getpid(), &message));
    assert_int_equal(open_descriptors(), before);
}

static void test_several_descriptors_at_once(void **state)
{
    enum { COUNT = 100 };
    int fds[COUNT];
    uint32_t before = open_descriptors();
    char text[] = "FDSTORE=1\nFDNAME=many";
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(fds))];
    } control = {0};
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    struct msghdr header = {.msg_name = &name,
                            .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control.space)};
    (void)state;
    memcpy(name.sun_path, inbox.name, strlen(inbox.name));
    name.sun_path[0] = '\0';
    header.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(inbox.name));
    for (int i = 0; i < COUNT; i++)
        fds[i] = STDERR_FILENO;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
    int from = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(sendmsg(from, &header, 0) > 0);
    close(from);
    assert_true(keeper_inbox_read(&inbox, getpid(), &message));
    assert_int_equal(message.kind, KEEPER_STORE);
    close(message.fd);
    assert_int_equal(open_descriptors(), before);
}

static void test_strangers_are_not_heard(void **state)
{
    uint32_t before = open_descriptors();
    int status;
    (void)state;
    pid_t stranger = fork();
    assert_true(stranger >= 0);
    if (stranger == 0) {
        bool is_sent =
            notify_send("READY=1") && notify_send_fd("FDSTORE=1\nFDNAME=state", STDERR_FILENO);
        _exit(is_sent ? 0 : 1);
    }
    assert_int_equal(waitpid(stranger, &status, 0), stranger);
    assert_int_equal(status, 0);
    say("STATUS=mine", -1);
    assert_true(keeper_inbox_read(&inbox, getpid(), &message));
    assert_string_equal(message.text, "STATUS=mine");
    assert_int_equal(open_descriptors(), before);
    say("READY=1", -1);
    assert_false(keeper_inbox_read(&inbox, 0, &message)); /* no gate runs */
}

static void test_a_long_message_is_cut(void **state)
{
    static char text[4000];
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "STATUS=", 7);
    say(text, -1);
    assert_true(keeper_inbox_read(&inbox, getpid(), &message));
    assert_int_equal(strlen(message.text), sizeof(message.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_of_messages),
        cmocka_unit_test(test_a_descriptor_to_keep),
        cmocka_unit_test(test_a_descriptor_that_nobody_is_to_keep),
        cmocka_unit_test(test_several_descriptors_at_once),
        cmocka_unit_test(test_strangers_are_not_heard),
        cmocka_unit_test(test_a_long_message_is_cut),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
