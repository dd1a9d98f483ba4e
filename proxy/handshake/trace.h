/* One device that an operator watches: each of its datagrams and handshakes has a log line,
 * whatever the log level, until the time is up. One worker's thread; all zero = nobody. */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "creds/psk.h"

struct trace {
    size_t identity_len; /* 0 = no trace */
    uint8_t identity[PSK_IDENTITY_MAX];
    uint64_t until_ms;
    struct log_limiter limiter;
};

/* Ends what was traced before; no bytes: and that is all. */
void trace_begin(struct trace *trace, const void *identity, size_t len, uint64_t until_ms);

/* Somebody is. */
static inline bool trace_is_on(const struct trace *trace)
{
    return trace->identity_len != 0;
}
/* It is this one, and a line about it may be written now. */
bool trace_wants(struct trace *trace, const void *identity, size_t len, uint64_t now_ms);
/* Ends it if the time is up, and tells of lines held back. */
void trace_on_time(struct trace *trace, uint64_t now_ms);
/* When that is to be called; UINT64_MAX = no need. */
uint64_t trace_due_ms(const struct trace *trace);

#endif
