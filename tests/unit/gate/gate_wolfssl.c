#include "gate/gate_wolfssl.h"

#include <malloc.h>
#include <stdlib.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/memory.h>

#include "handshake/dtls.h"

static uint32_t remaining = UINT32_MAX;
static uint64_t blocks, bytes;

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
    void *memory = may_allocate() ? malloc(size) : NULL;
    blocks += memory != NULL;
    bytes += malloc_usable_size(memory);
    return memory;
}

static void *reallocate(void *memory, size_t size)
{
    size_t before = malloc_usable_size(memory);
    void *grown = may_allocate() ? realloc(memory, size) : NULL;
    blocks += memory == NULL && grown != NULL;
    if (grown != NULL)
        bytes += malloc_usable_size(grown) - before;
    return grown;
}

static void release(void *memory)
{
    blocks -= memory != NULL;
    bytes -= malloc_usable_size(memory);
    free(memory);
}

int gate_wolfssl_set_up(void **state)
{
    (void)state;
    return dtls_library_init() ? 0 : -1;
}

int gate_wolfssl_tear_down(void **state)
{
    (void)state;
    dtls_library_deinit();
    return 0;
}

bool gate_wolfssl_init(void)
{
    return wolfSSL_SetAllocators(allocate, release, reallocate) == 0 && dtls_library_init();
}

void gate_wolfssl_fail_after(uint32_t allocations)
{
    remaining = allocations;
}

uint32_t gate_wolfssl_remaining(void)
{
    return remaining;
}

uint64_t gate_wolfssl_blocks(void)
{
    return blocks;
}

uint64_t gate_wolfssl_bytes(void)
{
    return bytes;
}
