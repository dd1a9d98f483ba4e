/* Who else has the port of a listening socket: what the kernel does not tell at bind() any more
 * once sockets of this gate share it. Linux only. */
#ifndef UDP_HOLDERS_H
#define UDP_HOLDERS_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/fd_list.h"

/* Whether one of these sockets has an address that overlaps. NULL = there are none. */
bool udp_holders_overlap(const struct fd_list *ours, const struct addr *addr);

/* Whether nobody has an address that overlaps but `ours` and the socket `self`, which is bound to
 * it. False with err: somebody has, or nobody can tell. */
bool udp_holders_are_ours(const struct addr *addr, int self, const struct fd_list *ours,
                          struct err *err) MUST_USE;

#endif
