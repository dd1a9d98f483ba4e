/* wolfSSL for the tests of a program, and its memory, which runs out when a test wants it to. */
#ifndef GATE_WOLFSSL_H
#define GATE_WOLFSSL_H

#include <stdbool.h>
#include <stdint.h>

/* Group set-up and tear-down for cmocka: the library, with its usual memory. */
int gate_wolfssl_set_up(void **state);
int gate_wolfssl_tear_down(void **state);

/* Begins wolfSSL with an allocator that can be made to fail; false if it does not take it. */
bool gate_wolfssl_init(void);

/* This many allocations more succeed; UINT32_MAX = all. */
void gate_wolfssl_fail_after(uint32_t allocations);
/* How many are left of them. */
uint32_t gate_wolfssl_remaining(void);

/* Blocks that wolfSSL holds. */
uint64_t gate_wolfssl_blocks(void);
/* And their bytes. */
uint64_t gate_wolfssl_bytes(void);

#endif
