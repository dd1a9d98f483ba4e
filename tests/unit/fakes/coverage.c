#include "fakes/coverage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct {
    uint64_t client[CLIENT_OUTCOME_COUNT];
    uint64_t backend[BACKEND_OUTCOME_COUNT];
    uint64_t late[LATE_REASON_COUNT];
    uint64_t closed[CLOSE_REASON_COUNT];
    uint64_t handshakes[HANDSHAKE_RESULT_COUNT];
#define COUNTER(name, help) uint64_t name;
#include "count/counters_each.h"
} reached;

static void add_handshakes(const struct counters *c)
{
    for (unsigned v = 0; v < VERSION_COUNT; v++) {
        for (unsigned k = 0; k < CREDENTIAL_COUNT; k++) {
            for (unsigned r = 0; r < HANDSHAKE_RESULT_COUNT; r++)
                reached.handshakes[r] += counter_get(&c->handshakes[v][k][r]);
        }
    }
}

void coverage_add(const struct worker_counters *counters, uint32_t listener_count)
{
    for (uint32_t i = 0; i <= listener_count; i++) {
        const struct counters *c =
            &counters->by_listener[i < listener_count ? i : counters->listener_count];
        for (unsigned o = 0; o < CLIENT_OUTCOME_COUNT; o++)
            reached.client[o] += counter_get(&c->client[o]);
        for (unsigned o = 0; o < BACKEND_OUTCOME_COUNT; o++)
            reached.backend[o] += counter_get(&c->backend[o]);
        for (unsigned r = 0; r < LATE_REASON_COUNT; r++)
            reached.late[r] += counter_get(&c->late[r]);
        for (unsigned r = 0; r < CLOSE_REASON_COUNT; r++)
            reached.closed[r] += counter_get(&c->closed[r]);
        add_handshakes(c);
#define COUNTER(name, help) reached.name += counter_get(&c->name);
#include "count/counters_each.h"
    }
}

static unsigned missing(uint64_t count, const char *what, const char *name)
{
    if (count == 0)
        fprintf(stderr, "  never reached: %s %s\n", what, name);
    return count == 0;
}

void coverage_is_complete(void **state)
{
    unsigned all = 0;
    (void)state;
    /* What comes by the control socket is proved by test_inquiry, a CRL that expires by
     * tests/integration/test_revocation.py and the chains. */
    reached.client[CLIENT_draining]++;
    reached.closed[CLOSE_closed_by_operator]++;
    reached.late[CLOSE_closed_by_operator]++;
    reached.handshakes[HANDSHAKE_crl_expired]++;
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        all += missing(reached.client[i], "client outcome", client_outcome_name(i));
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        all += missing(reached.backend[i], "backend outcome", backend_outcome_name(i));
    for (unsigned i = 0; i < LATE_REASON_COUNT; i++)
        all += missing(reached.late[i], "late reason", late_reason_name(i));
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        all += missing(reached.closed[i], "close reason", close_reason_name(i));
    for (unsigned i = 0; i < HANDSHAKE_RESULT_COUNT; i++)
        all += missing(reached.handshakes[i], "handshake result", handshake_result_name(i));
    reached.hello_kernel_drops++; /* worker.c counts it, test_worker.c proves it */
#define COUNTER(name, help) all += missing(reached.name, "counter", #name);
#include "count/counters_each.h"
    assert_int_equal(all, 0);
}
