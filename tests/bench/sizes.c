/* What the parts of an established session take, by the compiler's word: one JSON object a line.
 * What the allocator adds, and tables that grow in steps, show in the growth of resident memory
 * only. */
#include "backend/backend.h"
#include "base/timers.h"
#include "session/session.h"

#include <stddef.h>
#include <stdio.h>

struct part {
    const char *name;
    size_t bytes;
    unsigned count; /* of each session */
};

enum { IDENTITY_BYTES = 24 };

static size_t in_steps(size_t bytes, size_t step)
{
    return (bytes + step - 1) / step * step;
}

/* Of DTLS 1.2 with PSK-AES128-CCM-8. */
static size_t cell_bytes(void)
{
    const struct taken taken = {.version = VERSION_1_2, .aead = AEAD_AES_128_CCM_8};
    return in_steps(offsetof(struct session, association) + association_bytes(&taken),
                    CELLS_UNIT_BYTES);
}

int main(void)
{
    const struct part parts[] = {
        /* A part of a session that is allocated for itself has a line here. */
        {"session with its keys", cell_bytes(), 1},
        {"who the device is", in_steps(session_who_bytes(IDENTITY_BYTES, 1), SLABS_STEP_BYTES), 1},
        {"slot toward the backend", sizeof(struct backend_slot), 1},
        {"place in the heap of timers", sizeof(struct timers_entry), 1},
        {"places in the tables of addresses and connection IDs", sizeof(struct index_entry), 2},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        printf("{\"part\": \"%s\", \"bytes\": %zu, \"count\": %u}\n", parts[i].name, parts[i].bytes,
               parts[i].count);
    }
    return 0;
}
