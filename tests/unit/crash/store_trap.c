#include "crash/store_trap.h"

#include <assert.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

enum {
    PAGE_BYTES = 4096,
    PAGES_MAX = 4,     /* that one instruction can write to */
    TRAP_FLAG = 0x100, /* of the processor: a trap after each instruction */
};

/* A thread sanitizer does not bear a handler that forks, and has nothing to see: there is one
 * thread. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

#define NOT_CHECKED __attribute__((no_sanitize("address")))
enum { PAGE_WORDS = PAGE_BYTES / sizeof(uint64_t) };

static struct {
    uint8_t *base; /* NULL = not armed */
    size_t bytes;
    void (*before_store)(const struct store_trap_stop *stop, void *context);
    void *context;
    uint8_t *open[PAGES_MAX];               /* that the present instruction may write to */
    uint64_t before[PAGES_MAX][PAGE_WORDS]; /* what was in these */
    int open_count;
    bool has_changed; /* since the latest stop */
    struct sigaction fault_before, trap_before;
} trap;

static greg_t *flags_of(void *machine)
{
    return &((ucontext_t *)machine)->uc_mcontext.gregs[REG_EFL];
}

static void protect(void *at, size_t bytes, int protection)
{
    if (mprotect(at, bytes, protection) != 0)
        abort();
}

/* By words that are read one by one: an address sanitizer's memcpy() would object to free cells. */
NOT_CHECKED static void copy_page(uint64_t *to, const uint8_t *page)
{
    const volatile uint64_t *from = (const volatile uint64_t *)page;
    for (size_t i = 0; i < PAGE_WORDS; i++)
        to[i] = from[i];
}

NOT_CHECKED static bool is_page_same(const uint64_t *as, const uint8_t *page)
{
    const volatile uint64_t *at = (const volatile uint64_t *)page;
    for (size_t i = 0; i < PAGE_WORDS; i++) {
        if (at[i] != as[i])
            return false;
    }
    return true;
}

static void stop(size_t offset)
{
    const struct store_trap_stop here = {.offset = offset, .has_changed = trap.has_changed};
    trap.has_changed = false;
    trap.before_store(&here, trap.context);
}

/* A store that crosses pages comes here for each of them. */
static void on_fault(int number, siginfo_t *info, void *machine)
{
    uint8_t *at = info->si_addr;
    (void)number;
    if (trap.base == NULL || at < trap.base || at >= trap.base + trap.bytes) {
        sigaction(SIGSEGV, &trap.fault_before,
                  NULL); /* it faults again, for who was asked before */
        return;
    }
    if (trap.open_count == 0)
        stop((size_t)(at - trap.base));
    uint8_t *page = at - (size_t)(at - trap.base) % PAGE_BYTES;
    assert(trap.open_count < PAGES_MAX);
    copy_page(trap.before[trap.open_count], page);
    trap.open[trap.open_count++] = page;
    protect(page, PAGE_BYTES, PROT_READ | PROT_WRITE);
    *flags_of(machine) |= TRAP_FLAG;
}

static void on_trap(int number, siginfo_t *info, void *machine)
{
    (void)number;
    (void)info;
    while (trap.open_count > 0) {
        uint8_t *page = trap.open[--trap.open_count];
        trap.has_changed |= !is_page_same(trap.before[trap.open_count], page);
        protect(page, PAGE_BYTES, PROT_READ);
    }
    *flags_of(machine) &= ~(greg_t)TRAP_FLAG;
}

bool store_trap_is_possible(void)
{
    return true;
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), struct sigaction *before)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    if (sigaction(number, &action, before) != 0)
        abort();
}

void store_trap_arm(struct region *region,
                    void (*before_store)(const struct store_trap_stop *stop, void *context),
                    void *context)
{
    trap.base = region->base;
    trap.bytes = region->bytes;
    trap.before_store = before_store;
    trap.context = context;
    trap.has_changed = true;
    handle(SIGSEGV, on_fault, &trap.fault_before);
    handle(SIGTRAP, on_trap, &trap.trap_before);
    protect(region->base, region->bytes, PROT_READ);
}

void store_trap_leave_out(size_t offset, size_t bytes)
{
    protect(trap.base + offset, bytes, PROT_READ | PROT_WRITE);
}

void store_trap_disarm(void)
{
    if (trap.base == NULL)
        return;
    protect(trap.base, trap.bytes, PROT_READ | PROT_WRITE);
    sigaction(SIGSEGV, &trap.fault_before, NULL);
    sigaction(SIGTRAP, &trap.trap_before, NULL);
    trap.base = NULL;
}

#else

bool store_trap_is_possible(void)
{
    return false;
}

void store_trap_arm(struct region *region,
                    void (*before_store)(const struct store_trap_stop *stop, void *context),
                    void *context)
{
    (void)region;
    (void)before_store;
    (void)context;
    abort();
}

void store_trap_leave_out(size_t offset, size_t bytes)
{
    (void)offset;
    (void)bytes;
    abort();
}

void store_trap_disarm(void)
{
}

#endif
