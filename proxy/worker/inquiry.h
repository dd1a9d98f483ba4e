/* What other threads ask of a worker, by mail (mailbox.h): typed questions, each answered in turns
 * that take the worker less than half a millisecond. Who asks owns the inquiry until it is mailed,
 * and again when it is answered; what is in it may be read and changed by its owner only. A walk
 * over all sessions takes many turns: each answer has some, and the same inquiry is mailed again
 * for the next ones, as often as is_more says. */
#ifndef INQUIRY_H
#define INQUIRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "handshake/failures.h"
#include "session/session_report.h"
#include "session/session_walk.h"
#include "state/layout.h"

enum {
    INQUIRY_REPORTS = 64, /* sessions in one answer */
    INQUIRY_LOOKS = 512,  /* sessions that are looked at for it */
    INQUIRY_ENDS = 32,    /* sessions that are ended for it: each with a record to its device */
};

enum inquiry_kind {
    INQUIRY_SESSIONS, /* reports on those that fit the filter */
    INQUIRY_CLOSE,    /* ends those as closed_by_operator, but for new ones; the count is told */
    INQUIRY_SOURCE,   /* one report on a backend address of the worker's */
    INQUIRY_FAILURES, /* handshakes that failed, newest first */
    INQUIRY_DRAIN,    /* who may begin handshakes, from now on */
    INQUIRY_TRACE,    /* the identity that is traced; of no bytes: none */
};

struct inquiry {
    enum inquiry_kind kind;
    union {
        struct session_filter filter;           /* INQUIRY_SESSIONS, INQUIRY_CLOSE */
        struct addr source;                     /* INQUIRY_SOURCE: see session_report_source() */
        bool is_draining[LAYOUT_LISTENERS_MAX]; /* INQUIRY_DRAIN, by number */
        struct {
            uint8_t identity[PSK_IDENTITY_MAX];
            size_t len;
            uint64_t for_ms;
        } trace; /* INQUIRY_TRACE */
    };
    /* Called by the worker's thread when it has answered. It must stay callable until the worker
     * has ended, whatever becomes of the inquiry. */
    void (*wake)(void *context);
    void *context;

    /* The answer. */
    bool is_more;   /* mail it again for the rest */
    uint32_t count; /* reports, failures, or sessions that were ended */
    uint32_t looks; /* sessions that were looked at in this turn */
    union {
        struct session_report reports[INQUIRY_REPORTS];
        struct failure failures[FAILURES_KEPT];
    };
    uint64_t now_ms; /* of the answer; times of failures are before it */

    /* The worker's and the functions' below. */
    struct inquiry *next; /* that waits for its turn in the worker */
    struct session_cursor cursor;
    /* When the first worker began with it, of the gate's clock, which all workers have; 0 = none
     * has. Who has begun a session since may have done so because of it. */
    uint64_t began_ms;
    _Atomic int state;
};

/* NULL: out of memory. */
struct inquiry *inquiry_new(enum inquiry_kind kind, void (*wake)(void *context), void *context);

/* The owner is about to mail it. */
void inquiry_ask(struct inquiry *inquiry);
bool inquiry_is_answered(const struct inquiry *inquiry);

/* Who has asked wants no answer any more. True: it is gone, or the worker will see to that. False:
 * the worker has a place in it, so it must be mailed once more; then it is the worker's. NULL is
 * harmless. */
bool inquiry_give_up(struct inquiry *inquiry) MUST_USE;

/* Those that wait, oldest first; zeroed = none. */
struct inquiries {
    struct inquiry *first, *last;
};

void inquiries_add(struct inquiries *inquiries, struct inquiry *inquiry);
/* NULL = there is none. */
struct inquiry *inquiries_take(struct inquiries *inquiries);

struct datapath;

/* One turn, in the worker's thread. */
void inquiry_answer(struct inquiry *inquiry, struct datapath *dp, uint64_t now_ms);
/* The worker has ended and will not answer any more. */
void inquiry_forget(struct inquiry *inquiry, struct datapath *dp);

#endif
