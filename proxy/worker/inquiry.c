#include "worker/inquiry.h"

#include <stdlib.h>
#include <string.h>

#include "worker/datapath.h"

/* Whose it is: of who asks, but for ASKED and GIVEN_UP. */
enum {
    STATE_IDLE,
    STATE_ASKED,    /* of the worker */
    STATE_ANSWERED, /* of who asks */
    STATE_GIVEN_UP, /* of the worker, to be freed */
};

struct inquiry *inquiry_new(enum inquiry_kind kind, void (*wake)(void *context), void *context)
{
    struct inquiry *inquiry = calloc(1, sizeof(*inquiry));
    if (inquiry == NULL)
        return NULL;
    inquiry->kind = kind;
    inquiry->wake = wake;
    inquiry->context = context;
    return inquiry;
}

void inquiry_ask(struct inquiry *inquiry)
{
    if (atomic_load(&inquiry->state) != STATE_GIVEN_UP) /* that one stays so, to be freed */
        atomic_store(&inquiry->state, STATE_ASKED);
}

bool inquiry_is_answered(const struct inquiry *inquiry)
{
    return atomic_load(&inquiry->state) == STATE_ANSWERED;
}

bool inquiry_give_up(struct inquiry *inquiry)
{
    if (inquiry == NULL || atomic_exchange(&inquiry->state, STATE_GIVEN_UP) == STATE_ASKED)
        return true;
    if (inquiry->is_more)
        return false;
    free(inquiry);
    return true;
}

void inquiries_add(struct inquiries *inquiries, struct inquiry *inquiry)
{
    inquiry->next = NULL;
    if (inquiries->first == NULL)
        inquiries->first = inquiry;
    else
        inquiries->last->next = inquiry;
    inquiries->last = inquiry;
}

struct inquiry *inquiries_take(struct inquiries *inquiries)
{
    struct inquiry *inquiry = inquiries->first;
    if (inquiry != NULL)
        inquiries->first = inquiry->next;
    return inquiry;
}

/* ---- the worker's side ---------------------------------------------------------------------- */

static bool is_walk(const struct inquiry *inquiry)
{
    return inquiry->kind == INQUIRY_SESSIONS || inquiry->kind == INQUIRY_CLOSE;
}

static void take_one(struct inquiry *inquiry, struct sessions *all, struct session *s,
                     uint64_t now_ms)
{
    if (!session_filter_fits(&inquiry->filter, all, s) ||
        (inquiry->kind == INQUIRY_CLOSE && s->established_ms > inquiry->began_ms))
        return;
    if (inquiry->kind == INQUIRY_CLOSE)
        session_end(all, s, CLOSE_closed_by_operator, true, now_ms);
    else
        session_report_fill(&inquiry->reports[inquiry->count], all, s, now_ms);
    inquiry->count++;
}

static void walk(struct inquiry *inquiry, struct sessions *all, uint64_t now_ms)
{
    uint32_t count_max = inquiry->kind == INQUIRY_CLOSE ? INQUIRY_ENDS : INQUIRY_REPORTS;
    if (!inquiry->is_more)
        session_walk_begin(all, &inquiry->cursor);
    inquiry->is_more = true;
    while (inquiry->looks < INQUIRY_LOOKS && inquiry->count < count_max) {
        struct session *s = session_walk_next(all, &inquiry->cursor);
        if (s == NULL) {
            inquiry->is_more = false;
            return;
        }
        inquiry->looks++;
        take_one(inquiry, all, s, now_ms);
    }
}

/* Only one session can have the backend address. */
static void look_at_source(struct inquiry *inquiry, struct sessions *all, uint64_t now_ms)
{
    struct session *s =
        session_store_find_slot(all, slots_number_of_addr(&inquiry->filter.backend_source));
    inquiry->looks = 1;
    if (s != NULL && s->state == SESSION_ESTABLISHED)
        take_one(inquiry, all, s, now_ms);
}

static void look(struct inquiry *inquiry, struct sessions *all, uint64_t now_ms)
{
    if (inquiry->filter.backend_source.family != 0)
        look_at_source(inquiry, all, now_ms);
    else
        walk(inquiry, all, now_ms);
}

static void copy_failures(struct inquiry *inquiry, const struct failures *failures)
{
    const struct failure *failure;
    while ((failure = failures_newest(failures, inquiry->count)) != NULL)
        inquiry->failures[inquiry->count++] = *failure;
}

static void set_trace(const struct inquiry *inquiry, struct datapath *dp, uint64_t now_ms)
{
    uint64_t until_ms = now_ms + inquiry->trace.for_ms;
    trace_begin(&dp->sessions.trace, inquiry->trace.identity, inquiry->trace.len, until_ms);
    trace_begin(&dp->handshakes.trace, inquiry->trace.identity, inquiry->trace.len, until_ms);
}

/* It may have waited for its turn while a listener went. */
static void set_drains(const struct inquiry *inquiry, struct datapath *dp)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        dp->is_draining[i] =
            inquiry->is_draining[i] && generation_listener(dp->generation, i) != NULL;
}

static void answer(struct inquiry *inquiry, struct datapath *dp, uint64_t now_ms)
{
    inquiry->count = inquiry->looks = 0;
    inquiry->now_ms = now_ms;
    if (inquiry->began_ms == 0)
        inquiry->began_ms = now_ms;
    switch (inquiry->kind) {
    case INQUIRY_SESSIONS:
    case INQUIRY_CLOSE: look(inquiry, &dp->sessions, now_ms); break;
    case INQUIRY_SOURCE:
        session_report_source(&inquiry->reports[0], &dp->sessions, &inquiry->source, now_ms);
        inquiry->count = 1;
        break;
    case INQUIRY_FAILURES: copy_failures(inquiry, &dp->handshakes.failures); break;
    case INQUIRY_DRAIN: set_drains(inquiry, dp); break;
    case INQUIRY_TRACE: set_trace(inquiry, dp, now_ms); break;
    }
}

void inquiry_answer(struct inquiry *inquiry, struct datapath *dp, uint64_t now_ms)
{
    /* Who asks may free it as soon as it is answered. */
    void (*wake)(void *context) = inquiry->wake;
    void *context = inquiry->context;
    int asked = STATE_ASKED;
    if (atomic_load(&inquiry->state) == STATE_ASKED) {
        answer(inquiry, dp, now_ms);
        datapath_flush(dp);
    }
    if (atomic_compare_exchange_strong(&inquiry->state, &asked, STATE_ANSWERED))
        wake(context);
    else
        inquiry_forget(inquiry, dp);
}

void inquiry_forget(struct inquiry *inquiry, struct datapath *dp)
{
    if (is_walk(inquiry))
        session_walk_end(&dp->sessions, &inquiry->cursor);
    free(inquiry);
}
