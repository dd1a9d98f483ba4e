/* The C library's clock and random numbers, replaced for the whole test program: wolfSSL and the
 * code under test see a clock that only moves when the test says so, and the same random numbers
 * in each run. Link it in place by including this header in the test. */
#ifndef FAKE_SYSTEM_H
#define FAKE_SYSTEM_H

#include <stdint.h>

/* What time() and gettimeofday() say, in milliseconds since a date near that of the real clock:
 * the certificates of the tests are valid then. */
void fake_system_set_ms(uint64_t now_ms);

/* The date at 0 ms, in seconds since 1970; 0 = that of the real clock. */
void fake_system_set_epoch_s(int64_t epoch_s);

/* Begins the random numbers of getrandom() anew. */
void fake_system_seed(uint64_t seed);

/* Lets the next calls of getrandom() fail with that errno; with 0 they give a byte too few. */
void fake_system_fail_random(int error, uint32_t times);

/* The same, but these calls still succeed before. */
void fake_system_fail_random_after(uint32_t calls, int error, uint32_t times);

/* A small generator for the tests' own needs; *state is any seed. */
uint64_t fake_system_random(uint64_t *state);

#endif
