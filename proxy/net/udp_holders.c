#include "net/udp_holders.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool name_of(int fd, struct addr *addr)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof(name);
    return getsockname(fd, (struct sockaddr *)&name, &size) == 0 &&
           addr_from_sockaddr(addr, (struct sockaddr *)&name);
}

bool udp_holders_overlap(const struct fd_list *ours, const struct addr *addr)
{
    for (uint32_t i = 0; ours != NULL && i < ours->count; i++) {
        struct addr name;
        if (name_of(ours->items[i].fd, &name) && addr_overlaps(&name, addr))
            return true;
    }
    return false;
}

static bool is_file(int fd, uint64_t file)
{
    struct stat of;
    return fstat(fd, &of) == 0 && of.st_ino == file;
}

static bool is_one_of(const struct fd_list *ours, uint64_t file)
{
    for (uint32_t i = 0; i < ours->count; i++) {
        if (is_file(ours->items[i].fd, file))
            return true;
    }
    return false;
}

/* A line of proc_net_udp(5): an address is words of four bytes in network order, each printed as a
 * number of this machine. It does not tell the scope of a link-local one. */
static bool read_line(const char *line, struct addr *addr, uint64_t *file)
{
    char hex[33];
    unsigned port;
    if (sscanf(line, " %*u: %32[0-9A-F]:%4x %*s %*s %*s %*s %*s %*u %*u %" SCNu64, hex, &port,
               file) != 3)
        return false;
    *addr = (struct addr){.family = strlen(hex) == 8 ? AF_INET : AF_INET6, .port = (uint16_t)port};
    for (size_t i = 0; 8 * i < strlen(hex); i++) {
        uint32_t word;
        if (sscanf(hex + 8 * i, "%8" SCNx32, &word) != 1)
            return false;
        memcpy(addr->ip + 4 * i, &word, sizeof(word));
    }
    return true;
}

bool udp_holders_are_ours(const struct addr *addr, int self, const struct fd_list *ours,
                          struct err *err)
{
    const char *path = addr->family == AF_INET ? "/proc/self/net/udp" : "/proc/self/net/udp6";
    char line[512], text[ADDR_TEXT_MAX];
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return err_set(err,
                       "UDP socket on %s: whether another program has this address cannot be "
                       "told: %s: %s",
                       addr_format(addr, text), path, strerror(errno));
    bool is_good = true;
    while (is_good && fgets(line, sizeof(line), in) != NULL) {
        struct addr other;
        uint64_t file;
        if (!read_line(line, &other, &file))
            continue;
        other.scope_id = addr->scope_id;
        is_good = !addr_overlaps(&other, addr) || is_file(self, file) || is_one_of(ours, file) ||
                  err_set(err,
                          "UDP socket on %s: another program has this port (ss -ulpn shows "
                          "which)",
                          addr_format(addr, text));
    }
    fclose(in);
    return is_good;
}
