/* Numbers of listeners. Sessions, slots, counters and tickets know a listener by its number, which
 * stays the same while settings change, also over restarts. Main thread. */
#ifndef STATE_LISTENERS_H
#define STATE_LISTENERS_H

#include "state/state.h"

/* One of new settings. */
struct state_listener {
    const char *name; /* borrowed, as the addresses are */
    const struct addr *addrs;
    uint32_t addr_count;
    struct addr server;
    /* What state_listeners_plan() finds. */
    uint32_t number;
    bool
        is_new; /* the number was another listener's before, or nobody's: its counters begin anew */
};

/* Gives each of them its number, and changes nothing yet, since settings may be refused:
 * - a name that was ever there has the number that it had;
 * - else one that listens where another did whose name is gone is that one, renamed;
 * - else one gets a number that was never used, or, if there is none, that of the listener which
 *   was removed longest ago.
 * False if there are more names than numbers: those of listeners that are in use now are given away
 * only when they have been gone for one set of settings. */
bool state_listeners_plan(const struct state *state, struct state_listener *listeners,
                          uint32_t count, struct err *err) MUST_USE;

/* Makes it so; all others are removed from now on. A new one gets a new secret for its tickets. A
 * server that was replaced may still answer for tombstone_ms. Workers must not read servers
 * meanwhile. False, and nothing has changed: no random numbers. */
bool state_listeners_commit(struct state *state, const struct state_listener *listeners,
                            uint32_t count, uint64_t tombstone_ms, struct err *err) MUST_USE;

#endif
