/* Tells the service manager how far we are: the protocol of sd_notify(3). */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdbool.h>

/* Sends `state`, such as "READY=1", to the socket that the environment's NOTIFY_SOCKET names. True
 * if that was done or nobody wants to know; else the log says why (notify_failed). Waits for a
 * manager that is busy, 3 s at most. */
bool notify_send(const char *state);

/* The same with a descriptor, of which the manager gets a copy, as "FDSTORE=1" wants it; -1 = with
 * none. */
bool notify_send_fd(const char *state, int fd);

/* RELOADING=1 with the time that systemd 253 and later want beside it. READY=1 ends it. */
bool notify_send_reloading(void);

/* Whether the manager wants to hear "WATCHDOG=1" of us all the time, and restarts us when it does
 * not (WatchdogSec= of the unit). */
bool notify_wants_watchdog(void);

#endif
