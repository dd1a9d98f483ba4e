/* Which processes had the state before, and how they ended: so that a gate which crashes over what
 * is in there, or a new version that does not come up, is not started with it for ever. Main
 * thread. */
#ifndef STATE_STARTS_H
#define STATE_STARTS_H

#include "state/state.h"

/* This process has begun, is ready, goes in good order. `build` names the version. */
void state_starts_note(struct state *state, const char *build);
void state_starts_note_ready(struct state *state);
void state_starts_note_stop(struct state *state);

/* Processes of that build before this one that began within the last ms milliseconds and did not go
 * in good order; up to LAYOUT_STARTS_MAX - 1. Of the build alone: a new version that does not come
 * up says nothing about the state for the old one. */
uint32_t state_starts_crashes_within(const struct state *state, const char *build, uint64_t ms);

/* How many of the latest processes before this one were of that build and never became ready. */
uint32_t state_starts_failed(const struct state *state, const char *build);

/* The process before this one, if there was one, did not go in good order. */
bool state_starts_is_after_crash(const struct state *state);

/* Processes that had the state, with this one. */
uint32_t state_starts_count(const struct state *state);

#endif
