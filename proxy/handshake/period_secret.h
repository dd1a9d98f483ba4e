/* Secrets that change with time and are the same in all workers, though these share nothing that
 * changes: made of a master and the number of the period. Who knows one of them knows neither the
 * master nor any other. Pure. */
#ifndef PERIOD_SECRET_H
#define PERIOD_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { PERIOD_SECRET_BYTES = 32, PERIOD_SECRET_MASTER_BYTES = 32 };

/* HMAC-SHA256(master, purpose, period): of the purpose its letters and the NUL behind them, of the
 * period 8 bytes, the least significant one first. False: out of memory. The caller wipes it. */
bool period_secret(const uint8_t master[PERIOD_SECRET_MASTER_BYTES], const char *purpose,
                   uint64_t period, uint8_t secret[PERIOD_SECRET_BYTES]) MUST_USE;

#endif
