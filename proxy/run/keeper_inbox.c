#include "run/keeper_inbox.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* That the kernel passes with one message at most. */
enum { FDS_MAX = 253 };
/* Messages of others that are thrown away at once: nobody keeps us busy with them. */
enum { STRANGERS_MAX = 64 };

/* In the abstract namespace: a container may have no folder that can be written to. Anybody on the
 * host who finds the name can send there; the kernel says who it was, and we listen to one only. */
bool keeper_inbox_open(struct keeper_inbox *inbox, struct err *err)
{
    static const int on = 1;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    unsigned char random[16];
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return err_set_passing(err, "the kernel gave no random bytes");
    int len = snprintf(inbox->name, sizeof(inbox->name), "@dtlsgate-");
    for (size_t i = 0; i < sizeof(random); i++)
        len += snprintf(inbox->name + len, sizeof(inbox->name) - (size_t)len, "%02x", random[i]);
    memcpy(name.sun_path + 1, inbox->name + 1, (size_t)len - 1);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
    inbox->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (inbox->fd < 0 || bind(inbox->fd, (struct sockaddr *)&name, size) != 0 ||
        setsockopt(inbox->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
        int error = errno;
        keeper_inbox_close(inbox);
        return err_set_passing(err, "a socket for what the gate tells: %s", strerror(error));
    }
    return true;
}

void keeper_inbox_close(struct keeper_inbox *inbox)
{
    if (inbox->fd >= 0)
        close(inbox->fd);
    inbox->fd = -1;
}

/* Of what came beside the text: who sent it, and the first descriptor. Further ones are closed. */
static void read_control(struct msghdr *header, pid_t *from, int *fd)
{
    *from = 0;
    *fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred who;
            memcpy(&who, CMSG_DATA(c), sizeof(who));
            *from = who.pid;
        }
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
            if (*fd < 0)
                *fd = got;
            else
                close(got);
        }
    }
}

static void set_name(struct keeper_message *message, const char *name)
{
    snprintf(message->name, sizeof(message->name), "%s", name);
}

static void read_field(struct keeper_message *message, const char *field)
{
    static const char NAME[] = "FDNAME=";
    if (strcmp(field, "READY=1") == 0)
        message->kind = KEEPER_READY;
    else if (strcmp(field, "WATCHDOG=1") == 0)
        message->kind = KEEPER_WATCHDOG;
    else if (strcmp(field, "FDSTORE=1") == 0)
        message->kind = KEEPER_STORE;
    else if (strcmp(field, KEEPER_SAY_LOGFMT) == 0)
        message->kind = KEEPER_LOGFMT;
    else if (strcmp(field, KEEPER_SAY_JSON) == 0)
        message->kind = KEEPER_JSON;
    else if (strcmp(field, "FDSTOREREMOVE=1") == 0)
        message->kind = KEEPER_REMOVE;
    else if (strncmp(field, NAME, sizeof(NAME) - 1) == 0 &&
             fd_list_is_name(field + sizeof(NAME) - 1))
        set_name(message, field + sizeof(NAME) - 1);
}

static void read_text(struct keeper_message *message)
{
    char copy[sizeof(message->text)], *rest = copy, *field;
    memcpy(copy, message->text, sizeof(copy));
    message->kind = KEEPER_OTHER;
    message->name[0] = '\0';
    while ((field = strsep(&rest, "\n")) != NULL)
        read_field(message, field);
    bool is_of_store = message->kind == KEEPER_STORE || message->kind == KEEPER_REMOVE;
    if (is_of_store && message->name[0] == '\0')
        set_name(message, "stored"); /* as systemd calls it */
}

/* False: thrown away. */
static bool accept_message(struct keeper_message *message, pid_t sender, pid_t from)
{
    read_text(message);
    bool is_wanted =
        sender == from && from > 0 && (message->kind != KEEPER_STORE || message->fd >= 0);
    if (message->fd >= 0 && !(is_wanted && message->kind == KEEPER_STORE)) {
        close(message->fd);
        message->fd = -1;
    }
    return is_wanted;
}

bool keeper_inbox_read(struct keeper_inbox *inbox, pid_t from, struct keeper_message *message)
{
    for (int i = 0; i < STRANGERS_MAX; i++) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec into = {.iov_base = message->text, .iov_len = sizeof(message->text) - 1};
        struct msghdr header = {.msg_iov = &into,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = sizeof(control)};
        pid_t sender;
        ssize_t got = recvmsg(inbox->fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0)
            return false;
        memset(message->text + got, 0, sizeof(message->text) - (size_t)got);
        read_control(&header, &sender, &message->fd);
        if (accept_message(message, sender, from))
            return true;
    }
    return false;
}
