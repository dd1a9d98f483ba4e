/* Which outcomes, reasons and results of counters.def the tests of one program have reached. */
#ifndef COVERAGE_H
#define COVERAGE_H

#include "count/counters.h"

/* Adds what these counters have counted. */
void coverage_add(const struct worker_counters *counters, uint32_t listener_count);

/* A cmocka test: fails with the names of those that were never reached. */
void coverage_is_complete(void **state);

#endif
