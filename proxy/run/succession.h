/* What goes from one process to the next, whoever begins that one: what this process has found, and
 * what it leaves. Main thread. */
#ifndef SUCCESSION_H
#define SUCCESSION_H

#include <stdbool.h>

#include "run/handover.h"
#include "run/program.h"
#include "run/sockets.h"
#include "run/state_keep.h"
#include "run/upgrade.h"
#include "state/state.h"

struct succession {
    struct handover handover;
    const struct program *program; /* borrowed */
    int binary;                    /* the program that runs, open; -1 = that is not possible */
    struct state *state;           /* borrowed */
    int metrics;                   /* the socket that it listens at, owned; -1 = it has none */
    struct fd_list aside;          /* states that were not used, owned */
    enum upgrade_result upgrade;   /* how this process began */
    char upgrade_text[256];        /* see upgrade_result_take() */
    int asker;                     /* who is to hear of it; -1 = nobody */
    uint64_t keep_again_ms;        /* when the store is offered the rest; 0 = it has all */
};

/* First of all. What it finds wrong is in the log. */
void succession_begin(struct succession *all, const struct program *program, bool wants_store,
                      struct state *state);

/* Fills the state: that of the process before, in memory or in a file, or a new one. Does not
 * return if another version is to run, and can. False with err: this process must not go on. */
bool succession_take_state(struct succession *all, const struct generation *generation,
                           struct err *err) MUST_USE;

/* The listening socket of the metrics, from the process before or a new one, is kept in ->metrics
 * until the end. */
bool succession_open_metrics(struct succession *all, const struct addr *addr,
                             struct err *err) MUST_USE;

/* Whether a state in memory outlives a stop in good order: a keeper ends with its gate. */
bool succession_keeps_state(const struct succession *all);

/* Ready: the store gets the state, the program and `sockets`; to be called again when those are
 * others. now_ms: of CLOCK_MONOTONIC. What the store does not take is in the log. */
void succession_keep(struct succession *all, const struct sockets *sockets, uint64_t now_ms);

/* To be called now and then: the store is offered again what it has not taken, after a while. */
void succession_keep_rest(struct succession *all, const struct sockets *sockets, uint64_t now_ms);

/* Says how an upgrade went that this process began with, in the log and to who has asked for it. */
void succession_tell(struct succession *all);

/* Becomes the new version, or if that fails this one again, when nothing uses the state any more.
 * asker: see upgrade.h. If both fail the process ends; the log says what becomes of its sessions,
 * which go into the state file if the settings ask for one. deadline_ms: see state_keep_write(). */
_Noreturn void succession_execute(struct succession *all, const struct generation *generation,
                                  const struct sockets *sockets, int asker, uint64_t deadline_ms);

/* Becomes the version before, if an upgrade has begun this process, and it was not ready yet; else
 * it returns. why: what has failed. generation: NULL if the settings could not be read. If it fails
 * the process ends, as above. */
void succession_go_back(struct succession *all, const struct generation *generation,
                        const char *why, uint64_t deadline_ms);

/* This process ends in good order, and writes the state file if the settings ask for one.
 * generation: NULL if the settings could not be read. was_ready: else a new state with nothing in
 * it is worth nothing, but one that was taken from a file is given back. deadline_ms: see
 * state_keep_write(). */
void succession_end(struct succession *all, const struct generation *generation, bool was_ready,
                    uint64_t deadline_ms);

#endif
