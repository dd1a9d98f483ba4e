/* Builds one immutable generation from files: settings, credentials, contexts. Nothing is changed
 * before all of it has succeeded. Start-up builds the first one. */
#ifndef RELOAD_H
#define RELOAD_H

#include "base/problems.h"
#include "creds/generation.h"
#include "state/state.h"

/* NULL if there was an error; all problems of all files are in `problems`. The caller holds the
 * first reference. Listeners are numbered in the order of the file, and secrets are its own. */
struct generation *reload_build(const char *path, struct problems *problems) MUST_USE;

/* Its listeners get the numbers and the secrets that the state has for them. The state is not
 * changed, and must outlive the generation. */
bool reload_plan(struct generation *generation, struct state *state, struct err *err) MUST_USE;

/* That, and the state has these listeners from now on: for the first generation. False: there are
 * no numbers left, or no random bytes, and nothing has changed. */
bool reload_enter_state(struct generation *generation, struct state *state,
                        struct err *err) MUST_USE;
/* Then, after counters_area_adopt(): there is memory for what is counted of each of its listeners,
 * by every worker; what processes before have counted under a number that another listener has now
 * is forgotten. False: out of memory. */
bool reload_begin_counters(const struct generation *generation, struct state *state,
                           struct err *err) MUST_USE;

/* Both, after reload_plan(), for a generation that follows: before any worker gets to know it.
 * False, and nothing has changed but that there may be more memory. */
bool reload_follow(const struct generation *generation, struct state *state,
                   struct err *err) MUST_USE;

/* Gives back a reference; the last one wipes and frees. NULL is harmless. */
void reload_release(struct generation *generation);

#endif
