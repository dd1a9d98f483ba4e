/* What the control groups of this process allow it, of version 1 and 2, nested ones included. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdint.h>

/* The tightest of all; 0 = no limit, or none that can be seen. */
struct cgroup_limits {
    uint64_t cpu_milli; /* thousandths of a CPU */
    uint64_t memory_bytes;
};

/* root: where /proc and the mounts are looked for; "" = this machine. */
void cgroup_read(const char *root, struct cgroup_limits *limits);

#endif
