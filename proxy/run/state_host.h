/* Where and when a state file is written or read: what says whether a state goes on where it was.
 */
#ifndef RUN_STATE_HOST_H
#define RUN_STATE_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { STATE_HOST_ID_BYTES = 16 };

struct state_host {
    uint8_t boot_id[STATE_HOST_ID_BYTES];    /* of the running kernel, another one after a reboot */
    uint8_t machine_id[STATE_HOST_ID_BYTES]; /* of the installed system; zeros: there is none */
    uint64_t wall_ms;                        /* since 1970; may be set back and forth */
    uint64_t since_boot_ms;                  /* counts on while the machine sleeps */
};

/* False: without /proc nobody can tell one boot from the next. An /etc/machine-id that is not
 * there, or not filled in, is normal in a container. */
bool state_host_read(struct state_host *host, struct err *err) MUST_USE;

static inline bool state_host_has_machine_id(const struct state_host *host)
{
    for (int i = 0; i < STATE_HOST_ID_BYTES; i++)
        if (host->machine_id[i] != 0)
            return true;
    return false;
}

/* Whether the kernel has run without a break between the two. */
bool state_host_is_same_boot(const struct state_host *a, const struct state_host *b);

/* Whether both are one installation; where one of them has no machine id, whether they are the same
 * boot. */
bool state_host_is_same_machine(const struct state_host *a, const struct state_host *b);

/* How long after `then` it is `now`, in ms; negative: the clock has been set back. Within a boot
 * nobody can set the clock that this is taken from. */
int64_t state_host_age_ms(const struct state_host *then, const struct state_host *now);

#endif
