/* For try-package --smoke: qemu-user 7.2 does not know SO_RXQ_OVFL, the count of datagrams that the
 * kernel has dropped, without which the gate does not start. Under it nothing is counted. Loaded in
 * front of the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    int (*next)(int, int, int, const void *, socklen_t);
    *(void **)&next = dlsym(RTLD_NEXT, "setsockopt");
    if (level == SOL_SOCKET && name == SO_RXQ_OVFL)
        return 0;
    return next(fd, level, name, value, size);
}
