/* Tells the service manager how far we are: the protocol of sd_notify(3). */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdbool.h>

#include "base/err.h"

/* Sends `state`, such as "READY=1", to the socket that the environment's NOTIFY_SOCKET names. True
 * if that was done or nobody wants to know. Waits for a manager that is busy, 3 s at most. */
bool notify_send(const char *state, struct err *err) MUST_USE;

/* Whether the manager wants to hear "WATCHDOG=1" of us all the time, and restarts us when it does
 * not (WatchdogSec= of the unit). */
bool notify_wants_watchdog(void);

#endif
