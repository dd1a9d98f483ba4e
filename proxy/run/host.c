#include "run/host.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/process.h"
#include "config/config_print.h"

/* ---- IPv6 ----------------------------------------------------------------------------------- */

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno != EAFNOSUPPORT;
    close(fd);
    return true;
}

/* Returns how many it took out; *first is one of them. */
static uint32_t drop_ipv6(struct addr_list *list, struct addr *first)
{
    uint32_t kept = 0, count = list->count;
    for (uint32_t i = 0; i < count; i++) {
        if (list->addrs[i].family != AF_INET6)
            list->addrs[kept++] = list->addrs[i];
        else if (i == kept)
            *first = list->addrs[i];
    }
    list->count = kept;
    return count - kept;
}

static void fit_ipv6(struct config *config, struct problems *problems)
{
    char text[ADDR_TEXT_MAX];
    const struct addr *metrics = &config->gate.metrics;
    if (has_ipv6())
        return;
    if (metrics->family == AF_INET6)
        problems_passing(problems,
                         "%s:%u: [gate] metrics = %s: this kernel has no IPv6; name an IPv4 "
                         "address, such as 127.0.0.1:%u",
                         config->path, config->gate.lines[GATE_metrics], addr_format(metrics, text),
                         metrics->port);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        struct listener_config *listener = &config->listeners[i];
        struct addr first = {0};
        char where[PROBLEM_TEXT_MAX];
        if (listener->listen.count == 0)
            continue;
        config_where(config, listener, "listen", where, sizeof(where));
        uint32_t dropped = drop_ipv6(&listener->listen, &first);
        if (dropped != 0 && listener->listen.count != 0)
            problems_warning(problems,
                             "%s: this kernel has no IPv6: %s is left out, the other addresses are "
                             "listened on",
                             where, addr_format(&first, text));
        else if (dropped != 0)
            problems_passing(problems,
                             "%s: this kernel has no IPv6; name an IPv4 address, such as "
                             "0.0.0.0:%u, or give it IPv6",
                             where, first.port);
    }
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Bytes; docs/operations.md, "How much memory", has them from here. */
enum {
    GATE_BYTES = 8 << 20,
    WORKER_BYTES = 200 << 10,
    /* The larger kinds, with a connection ID, an identity, and addresses that rest. */
    SESSION_1_2_BYTES = 512,
    SESSION_1_3_BYTES = 704,
    HANDSHAKE_BYTES = 22000,
};

struct needs {
    uint64_t gate, handshakes, sessions;
};

static struct needs needs_of(const struct config *config)
{
    uint64_t session_bytes = SESSION_1_2_BYTES;
    struct needs needs = {.gate = GATE_BYTES + (config->gate.workers - 1) * WORKER_BYTES};
    for (uint32_t i = 0; i < config->listener_count; i++) {
        needs.handshakes += (uint64_t)config->listeners[i].max_handshakes * HANDSHAKE_BYTES;
        if ((config->listeners[i].versions & CONFIG_VERSION_1_3) != 0)
            session_bytes = SESSION_1_3_BYTES;
    }
    needs.sessions = config->gate.max_sessions * session_bytes;
    return needs;
}

static uint64_t to_mib(uint64_t bytes)
{
    return (bytes + (1 << 20) - 1) >> 20;
}

static void fit_memory(const struct config *config, const char *root, struct problems *problems)
{
    struct cgroup_limits limits;
    cgroup_read(root, &limits);
    if (limits.memory_bytes == 0 || config->listener_count == 0)
        return;
    struct needs needs = needs_of(config);
    if (needs.gate + needs.handshakes + needs.sessions <= limits.memory_bytes)
        return;
    uint64_t gate = to_mib(needs.gate), handshakes = to_mib(needs.handshakes),
             sessions = to_mib(needs.sessions);
    uint32_t line = config->gate.lines[GATE_max_sessions];
    char where[16] = ""; /* a default has no line */
    if (line != 0)
        snprintf(where, sizeof(where), ":%u", line);
    problems_warning(
        problems,
        "%s%s: [gate] max_sessions = %u: may need %" PRIu64 " MiB, and the memory limit of the "
        "control group is %" PRIu64 " MiB, beyond which the kernel kills the gate: %" PRIu64
        " MiB + %" PRIu64 " MiB for handshakes + %" PRIu64 " MiB for sessions; raise the limit, or "
        "lower max_sessions",
        config->path, where, config->gate.max_sessions, gate + handshakes + sessions,
        limits.memory_bytes >> 20, gate, handshakes, sessions);
}

void host_fit(struct config *config, const char *root, struct problems *problems)
{
    fit_ipv6(config, problems);
    fit_memory(config, root, problems);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

enum {
    LOOP_DESCRIPTORS = 3,     /* epoll, its wake-up, and a timer if libev takes one */
    ADDRESS_DESCRIPTORS = 2,  /* sessions and hellos */
    METRICS_DESCRIPTORS = 64, /* the HTTP server, its connections, the files that it reads */
    SPARE_DESCRIPTORS = 16,   /* name service, files, what a library opens for a moment */
};

uint64_t host_descriptors(const struct config *config, uint32_t worker_count)
{
    uint64_t addresses = 0;
    for (uint32_t i = 0; i < config->listener_count; i++)
        addresses += config->listeners[i].listen.count;
    uint64_t worker = LOOP_DESCRIPTORS + 1 + ADDRESS_DESCRIPTORS * addresses;
    return worker_count * worker + LOOP_DESCRIPTORS +
           (config->gate.metrics.family != 0 ? METRICS_DESCRIPTORS : 0) + SPARE_DESCRIPTORS;
}

bool host_raise_descriptors(const struct config *config, uint32_t worker_count, struct err *err)
{
    struct process_usage usage;
    struct rlimit limit;
    process_read_usage(&usage);
    uint64_t needed = usage.open_fds + host_descriptors(config, worker_count);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
        return true;
    struct rlimit wanted = {needed, limit.rlim_max > needed ? limit.rlim_max : needed};
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
        return true;
    return err_set_passing(
        err,
        "%" PRIu64 " descriptors are needed (%u workers, with a socket for each address of each "
        "listener twice), and %" PRIu64 " are allowed: LimitNOFILE=%" PRIu64
        " in the unit, ulimit -n, or docker run --ulimit nofile=%" PRIu64
        "; or set fewer workers in [gate]",
        needed, worker_count, (uint64_t)limit.rlim_max, needed, needed);
}
