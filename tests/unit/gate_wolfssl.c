#include "gate_wolfssl.h"

#include <stdlib.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/memory.h>

#include "dtls.h"

static uint32_t remaining = UINT32_MAX;

static bool may_allocate(void)
{
    if (remaining == UINT32_MAX)
        return true;
    if (remaining == 0)
        return false;
    remaining--;
    return true;
}

static void *allocate(size_t size)
{
    return may_allocate() ? malloc(size) : NULL;
}

static void *reallocate(void *memory, size_t size)
{
    return may_allocate() ? realloc(memory, size) : NULL;
}

bool gate_wolfssl_init(void)
{
    return wolfSSL_SetAllocators(allocate, free, reallocate) == 0 && dtls_library_init();
}

void gate_wolfssl_fail_after(uint32_t allocations)
{
    remaining = allocations;
}
