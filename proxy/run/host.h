/* What the machine gives, against what the settings need: looked at before anything is opened. */
#ifndef HOST_H
#define HOST_H

#include "base/err.h"
#include "base/problems.h"
#include "config/config.h"

/* Takes the IPv6 addresses out of the listeners if the kernel has no IPv6: a warning, or an error
 * that may pass where no other address is left. Warns of a memory limit that max_sessions does not
 * fit; root as for cgroup_read(). */
void host_fit(struct config *config, const char *root, struct problems *problems);

/* Descriptors that a gate with so many workers opens at most. */
uint64_t host_descriptors(const struct config *config, uint32_t worker_count);

/* Raises the soft limit of descriptors to what is needed; false if the hard limit is lower. */
bool host_raise_descriptors(const struct config *config, uint32_t worker_count,
                            struct err *err) MUST_USE;

/* A line for each thing that an operator should know of, though the gate runs: root without
 * `user`, receive buffers that the kernel cuts. With the privileges that the sockets are opened
 * with. */
void host_log_warnings(const struct config *config);

#endif
