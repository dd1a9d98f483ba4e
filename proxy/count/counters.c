#include "count/counters.h"

#include <assert.h>
#include <time.h>

#include "base/clock.h"

/* A struct counters is also an array of all its counters. */
enum { COUNTERS_EACH = sizeof(struct counters) / sizeof(counter) };
_Static_assert(COUNTERS_EACH * sizeof(counter) == sizeof(struct counters), "padding");

/* --- a copy of one moment --- */

/* Some tens of microseconds: longer than many turns, so that their end is seen and used. */
enum { SPINS = 5000 };

static void copy_counters(struct counters *to, const struct counters *from)
{
    const counter *source = (const counter *)from;
    counter *target = (counter *)to;
    for (unsigned i = 0; i < COUNTERS_EACH; i++)
        atomic_store_explicit(&target[i], counter_get(&source[i]), memory_order_relaxed);
}

/* Acquire loads keep the second look at `turn` after the copy; release stores of the worker keep
 * what it counts after the odd `turn`. So a copy that saw anything of a turn sees its number. */
static bool copy_between_turns(struct counters *to, const struct worker_counters *worker,
                               uint32_t index)
{
    for (unsigned spin = 0; spin < SPINS; spin++) {
        uint64_t turn = counter_get(&worker->turn);
        if (turn % 2 != 0)
            continue;
        copy_counters(to, &worker->by_listener[index]);
        if (counter_get(&worker->turn) == turn)
            return true;
    }
    return false;
}

static uint64_t sum_of(const counter *outcomes, unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += counter_get(&outcomes[i]);
    return sum;
}

bool counters_add_copy(struct counters *sum, const struct worker_counters *worker, uint32_t index,
                       uint64_t deadline_ms)
{
    static const struct timespec pause = {.tv_nsec = 50000}; /* the worker may need this CPU */
    struct counters copy;
    bool is_settled;
    while (!(is_settled = copy_between_turns(&copy, worker, index)) && clock_now_ms() < deadline_ms)
        nanosleep(&pause, NULL);
    if (!is_settled) {
        copy_counters(&copy, &worker->by_listener[index]);
        copy.client_received = sum_of(copy.client, CLIENT_OUTCOME_COUNT);
        copy.backend_received = sum_of(copy.backend, BACKEND_OUTCOME_COUNT);
    }
    counter *to = (counter *)sum;
    const counter *from = (const counter *)&copy;
    for (unsigned i = 0; i < COUNTERS_EACH; i++)
        counter_add(&to[i], counter_get(&from[i]));
    return is_settled;
}

/* --- names --- */

void durations_add(struct durations *durations, uint64_t ns)
{
    static const uint32_t bounds_us[DURATION_BUCKET_COUNT] = {DURATION_BUCKETS_US};
    unsigned bucket = 0;
    while (bucket < DURATION_BUCKET_COUNT && ns > (uint64_t)bounds_us[bucket] * 1000)
        bucket++;
    counter_add(&durations->bucket[bucket], 1);
    counter_add(&durations->ns_sum, ns);
}

const char *client_outcome_name(enum client_outcome outcome)
{
    static const char *const names[] = {
#define CLIENT_OUTCOME(name, help) #name,
#include "count/counters_each.h"
    };
    assert(outcome < CLIENT_OUTCOME_COUNT);
    return names[outcome];
}

const char *backend_outcome_name(enum backend_outcome outcome)
{
    static const char *const names[] = {
#define BACKEND_OUTCOME(name, help) #name,
#include "count/counters_each.h"
    };
    assert(outcome < BACKEND_OUTCOME_COUNT);
    return names[outcome];
}

const char *close_reason_name(enum close_reason reason)
{
    static const char *const names[] = {
#define CLOSE_REASON(code, name, help) [code] = #name,
#include "count/counters_each.h"
    };
    assert(reason < CLOSE_REASON_COUNT);
    return names[reason];
}

const char *late_reason_name(unsigned reason)
{
    assert(reason < LATE_REASON_COUNT);
    return reason == LATE_UNKNOWN ? "unknown" : close_reason_name((enum close_reason)reason);
}

const char *handshake_result_name(enum handshake_result result)
{
    static const char *const names[] = {
#define HANDSHAKE_RESULT(name, help) #name,
#include "count/counters_each.h"
    };
    assert(result < HANDSHAKE_RESULT_COUNT);
    return names[result];
}

const char *dtls_version_name(enum dtls_version version)
{
    static const char *const names[VERSION_COUNT] = {"unknown", "1.2", "1.3"};
    assert(version < VERSION_COUNT);
    return names[version];
}

const char *credential_name(enum credential credential)
{
    static const char *const names[CREDENTIAL_COUNT] = {"unknown", "psk", "certificate", "none"};
    assert(credential < CREDENTIAL_COUNT);
    return names[credential];
}
