/* Builds one immutable generation from files: settings, credentials, contexts. Nothing is changed
 * before all of it has succeeded. Start-up builds the first one. */
#ifndef RELOAD_H
#define RELOAD_H

#include "creds/generation.h"
#include "state/state.h"

/* NULL if there was an error; all problems of all files are in `problems`. The caller holds the
 * first reference. */
struct generation *reload_build(const char *path, struct problems *problems) MUST_USE;

/* Gives its listeners the numbers that they have in the state, and has it use the secrets there.
 * The state knows these listeners from then on, and no others. False: there are no numbers left, or
 * no random bytes for a new one. */
bool reload_enter_state(struct generation *generation, struct state *state,
                        struct err *err) MUST_USE;

/* Gives back a reference; the last one wipes and frees. NULL is harmless. */
void reload_release(struct generation *generation);

#endif
