#include "handshake/trace.h"

#include <string.h>

/* A device that sends all the time would fill the log alone. */
enum { LINES_PER_S = 200 };

void trace_begin(struct trace *trace, const void *identity, size_t len, uint64_t until_ms)
{
    trace->limiter.per_s = LINES_PER_S;
    trace->until_ms = until_ms;
    trace->identity_len = len;
    if (len != 0)
        memcpy(trace->identity, identity, len);
}

bool trace_wants(struct trace *trace, const void *identity, size_t len, uint64_t now_ms)
{
    return trace_is_on(trace) && now_ms < trace->until_ms && len == trace->identity_len &&
           memcmp(identity, trace->identity, len) == 0 &&
           log_limiter_allows(&trace->limiter, now_ms);
}

void trace_on_time(struct trace *trace, uint64_t now_ms)
{
    log_limiter_flush(&trace->limiter, now_ms);
    if (trace_is_on(trace) && now_ms >= trace->until_ms)
        trace->identity_len = 0;
}

uint64_t trace_due_ms(const struct trace *trace)
{
    if (trace->limiter.held_back != 0)
        return (trace->limiter.second + 1) * 1000;
    return trace_is_on(trace) ? trace->until_ms : UINT64_MAX;
}
