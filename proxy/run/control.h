/* The control socket: a Unix socket at which an operator asks and tells a running gate things, a
 * line a command (command.h), and is answered in JSON, an object a line; the last one has "done"
 * and "ok". In the main thread's loop. Whoever may write to the socket may end sessions and stop
 * the gate; but nobody who does holds up a worker, and slow or many clients cost a bounded amount
 * of memory. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "run/control_source.h"

struct ev_loop;
struct control;

/* Binds to config's `control`; not if another gate answers there. The loop and what `source` points
 * to must outlive it. NULL with err if that fails. The caller owns the result. */
struct control *control_open(struct ev_loop *loop, const struct gate_config *config,
                             const struct control_source *source, struct err *err) MUST_USE;

/* Ends all conversations and removes the socket. When workers have ended, and before they are
 * closed. NULL is harmless. */
void control_close(struct control *control);

#endif
