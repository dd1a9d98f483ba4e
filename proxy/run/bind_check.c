#include "run/bind_check.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config_print.h"
#include "run/control_socket.h"

enum {
    LOW_PORTS = 1024,                 /* where the kernel does not say */
    CAPABILITY_NET_BIND_SERVICE = 10, /* capabilities(7) */
};

/* The number behind `key` in a file of /proc; `otherwise` if it is not there. */
static uint64_t read_number(const char *root, const char *file, const char *key, int base,
                            uint64_t otherwise)
{
    char path[PATH_MAX], line[256];
    uint64_t number = otherwise;
    snprintf(path, sizeof(path), "%s%s", root, file);
    FILE *in = fopen(path, "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            number = strtoull(line + strlen(key), NULL, base);
            break;
        }
    }
    if (in != NULL)
        fclose(in);
    return number;
}

static bool may_bind_low_ports(const char *root)
{
    uint64_t capabilities = read_number(root, "/proc/self/status", "CapEff:", 16, 0);
    return (capabilities >> CAPABILITY_NET_BIND_SERVICE & 1) != 0;
}

/* With a port of the kernel's choice: the address alone is asked for. */
static bool has_address(const struct addr *addr)
{
    struct sockaddr_storage name;
    struct addr any_port = *addr;
    any_port.port = 0;
    int fd = socket(addr->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true; /* not for that reason */
    socklen_t size = addr_to_sockaddr(&any_port, &name);
    bool has_it = bind(fd, (const struct sockaddr *)&name, size) == 0 || errno != EADDRNOTAVAIL;
    close(fd);
    return has_it;
}

static void check_address(const struct addr *addr, const char *where, uint64_t first_free_port,
                          struct problems *problems)
{
    char text[ADDR_TEXT_MAX];
    if (addr->port < first_free_port)
        problems_warning(problems,
                         "%s: this user may not listen on %s: ports below %" PRIu64
                         " need the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= of the "
                         "unit); a gate that is started as root has it until it becomes `user`, a "
                         "reload does not",
                         where, addr_format(addr, text), first_free_port);
    else if (!has_address(addr))
        problems_warning(problems, "%s: this machine has not got the address of %s now", where,
                         addr_format(addr, text));
}

/* Its folder may be one that the service manager makes for the gate (RuntimeDirectory=). */
static void check_control(const struct config *config, struct problems *problems)
{
    struct err err;
    if (config->gate.control[0] != '\0' && !control_socket_check(&config->gate, &err))
        problems_warning(problems, "%s:%u: [gate] control = %s: %s; a gate that starts so fails",
                         config->path, config->gate.lines[GATE_control], config->gate.control,
                         err.text);
}

void bind_check_addresses(const struct config *config, struct problems *problems)
{
    char text[ADDR_TEXT_MAX], where[PROBLEM_TEXT_MAX];
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        config_where(config, listener, "listen", where, sizeof(where));
        for (uint32_t j = 0; j < listener->listen.count; j++)
            if (!has_address(&listener->listen.addrs[j]))
                problems_error(problems, "%s: this machine has not got the address of %s now",
                               where, addr_format(&listener->listen.addrs[j], text));
    }
}

void bind_check(const struct config *config, const char *root, struct problems *problems)
{
    uint64_t first_free_port =
        may_bind_low_ports(root)
            ? 0
            : read_number(root, "/proc/sys/net/ipv4/ip_unprivileged_port_start", "", 10, LOW_PORTS);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        char where[PROBLEM_TEXT_MAX];
        config_where(config, listener, "listen", where, sizeof(where));
        for (uint32_t j = 0; j < listener->listen.count; j++)
            check_address(&listener->listen.addrs[j], where, first_free_port, problems);
    }
    check_control(config, problems);
}
