/* Whether this user could listen on the addresses of the settings, without listening: another gate
 * may have them now, and a second socket of theirs would take its datagrams. For --check-config. */
#ifndef BIND_CHECK_H
#define BIND_CHECK_H

#include "base/problems.h"
#include "config/config.h"

/* Warns of a control socket that could not be made, of each address that this machine has not got
 * now, and of ports that this user may not bind: a gate that is started as root has low ports from
 * its start, and a reload of it cannot add any. root: prefix of /proc, "" but in tests. */
void bind_check(const struct config *config, const char *root, struct problems *problems);

/* An error for each address that this machine has not got now: for who is about to start with these
 * settings, and cannot go back to others. */
void bind_check_addresses(const struct config *config, struct problems *problems);

#endif
