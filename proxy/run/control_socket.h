/* Opening and removing the file of the control socket. */
#ifndef CONTROL_SOCKET_H
#define CONTROL_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"
#include "config/config.h"

struct control_socket {
    int fd;                     /* -1 = closed; does not block */
    struct sockaddr_un address; /* settings come and go meanwhile */
    dev_t device;               /* of the file that was made */
    ino_t inode;
};

/* A socket that a gate has left there is replaced, if connecting to it is refused: then nobody has
 * it. Whatever else is there stays, with err. Mode and group are set before anybody can connect. */
bool control_socket_open(struct control_socket *s, const struct gate_config *config,
                         struct err *err) MUST_USE;
/* Whether this user could open it now, as far as that shows without opening it. */
bool control_socket_check(const struct gate_config *config, struct err *err) MUST_USE;
/* Removes the file, unless another one is there by now. */
void control_socket_close(struct control_socket *s);

/* A connection to a gate, that blocks; -1 with err if none answers there. */
int control_socket_connect(const char *path, struct err *err);

#endif
