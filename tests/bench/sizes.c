/* What the parts of an established session take, by the compiler's word: one JSON object a line.
 * What the allocator adds, and tables that grow in steps, show in the growth of resident memory
 * only. */
#include "backend/backend.h"
#include "base/timers.h"
#include "session/session.h"

#include <stdio.h>

struct part {
    const char *name;
    size_t bytes;
    unsigned count; /* of each session */
};

int main(void)
{
    static const struct part parts[] = {
        /* A part of a session that is allocated for itself has a line here. */
        {"session", sizeof(struct session), 1},
        {"slots toward the backend", sizeof(struct backend_slot), 4},
        {"place in the heap of timers", sizeof(struct timer *), 1},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        printf("{\"part\": \"%s\", \"bytes\": %zu, \"count\": %u}\n", parts[i].name, parts[i].bytes,
               parts[i].count);
    }
    return 0;
}
