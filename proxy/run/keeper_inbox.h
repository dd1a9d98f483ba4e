/* What a gate tells its keeper: the other end of base/notify.h. */
#ifndef KEEPER_INBOX_H
#define KEEPER_INBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/fd_list.h"

/* In which form the gate writes log lines; systemd looks at nothing that begins with X_. */
#define KEEPER_SAY_LOGFMT "X_LOG_FORMAT=logfmt"
#define KEEPER_SAY_JSON "X_LOG_FORMAT=json"

struct keeper_inbox {
    int fd;
    char name[64]; /* for NOTIFY_SOCKET */
};

struct keeper_message {
    enum keeper_message_kind {
        KEEPER_OTHER,
        KEEPER_READY,
        KEEPER_WATCHDOG,
        KEEPER_STORE,  /* fd and name; the reader owns fd */
        KEEPER_REMOVE, /* name */
        KEEPER_LOGFMT, /* how it writes log lines */
        KEEPER_JSON,
    } kind;
    int fd;
    char name[FD_NAME_MAX];
    char text[1024]; /* as it came */
};

bool keeper_inbox_open(struct keeper_inbox *inbox, struct err *err) MUST_USE;

/* The next message of the process `from`; those of anybody else are thrown away. False: there is
 * none. Does not wait. */
bool keeper_inbox_read(struct keeper_inbox *inbox, pid_t from, struct keeper_message *message);

void keeper_inbox_close(struct keeper_inbox *inbox);

#endif
