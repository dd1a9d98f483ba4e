#include "run/watchdog.h"

#include <time.h>

#include "base/clock.h"
#include "base/log.h"

enum { SECOND_LOOK_MS = 500 };

struct watchdog_verdict watchdog_look(const struct worker_counters *const *workers, uint32_t count,
                                      uint64_t now_ms)
{
    struct watchdog_verdict verdict = {0};
    for (uint32_t w = 0; w < count; w++) {
        uint64_t seen_ms = counter_get(&workers[w]->seen_ms);
        uint64_t silent_ms = seen_ms != 0 && seen_ms < now_ms ? now_ms - seen_ms : 0;
        verdict.late += silent_ms >= WATCHDOG_LATE_MS;
        if (silent_ms > verdict.silent_ms) {
            verdict.silent_ms = silent_ms;
            verdict.worker = w;
        }
    }
    return verdict;
}

struct watchdog_verdict watchdog_look_twice(const struct worker_counters *const *workers,
                                            uint32_t count)
{
    static const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
    uint64_t begin_ms = clock_now_ms();
    for (;;) {
        uint64_t now_ms = clock_now_ms();
        struct watchdog_verdict verdict = watchdog_look(workers, count, now_ms);
        if (verdict.silent_ms < WATCHDOG_FAILED_MS || now_ms - begin_ms >= SECOND_LOOK_MS)
            return verdict;
        nanosleep(&pause, NULL);
    }
}

static void log_silence(const struct watchdog_verdict *verdict)
{
    struct log_line line;
    log_begin(&line, LOG_ERROR, "worker_unresponsive");
    log_add_u64(&line, "worker", verdict->worker);
    log_add_ms(&line, "silent_s", verdict->silent_ms);
    log_add(&line, "text",
            "it does not come back to its event loop, and its devices are not served; /healthz "
            "answers 503");
    log_end(&line);
}

bool watchdog_log_look(struct watchdog_log *log, const struct worker_counters *const *workers,
                       uint32_t count, uint64_t now_ms)
{
    struct watchdog_verdict verdict = watchdog_look(workers, count, now_ms);
    if (verdict.silent_ms >= WATCHDOG_FAILED_MS) {
        /* One look proves nothing: this thread may have been paused together with the worker. */
        if (log->failed_since_ms == 0)
            log->failed_since_ms = now_ms;
        if (now_ms - log->failed_since_ms < SECOND_LOOK_MS)
            return true;
        if (!log->is_said)
            log_silence(&verdict);
        log->is_said = true;
        log->worker = verdict.worker;
        return false;
    }
    log->failed_since_ms = 0;
    if (!log->is_said)
        return true;
    log->is_said = false;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "worker_responsive");
    log_add_u64(&line, "worker", log->worker);
    log_add(&line, "text", "it goes round its event loop again");
    log_end(&line);
    return true;
}
