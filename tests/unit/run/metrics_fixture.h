/* What metrics.c and metrics_text.c serve, for their tests: two workers with two listeners, "coaps"
 * and one whose name needs escaping; all counters zero. */
#ifndef METRICS_FIXTURE_H
#define METRICS_FIXTURE_H

#include "run/metrics.h"
#include "run/report_json.h"

enum { WORKERS = 2, LISTENERS = 2 };

struct fixture {
    struct listener_config listener_configs[LISTENERS];
    struct config config;
    struct listener listeners[LISTENERS];
    struct generation generation;
    struct swap swap;
    struct counters counters[WORKERS][LISTENERS + 1];
    struct whole_counters whole[WORKERS];
    struct worker_counters workers[WORKERS];
    const struct worker_counters *worker_pointers[WORKERS];
    _Atomic bool is_ready;
    struct drains drains;
    struct report_start start;
    struct metrics_source source;
    struct metrics *metrics;
    int listen_fd; /* what they serve on */
    struct addr addr;
};

/* For cmocka. The metrics are closed by the second if a test opened them. */
int metrics_fixture_set_up(void **state);
int metrics_fixture_tear_down(void **state);

/* True if the text has exactly this line. */
bool metrics_fixture_has_line(const char *text, const char *line);

#define assert_line(text, line)                           \
    do {                                                  \
        if (!metrics_fixture_has_line(text, line))        \
            fail_msg("no line '%s' in:\n%s", line, text); \
    } while (0)

#endif
