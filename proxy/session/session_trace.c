#include "session/session_trace.h"

#include <stdio.h>

/* Room for two numbers and a colon. */
enum { NUMBER_ROOM = 48 };

static bool wants(struct sessions *all, const struct session *s)
{
    const struct session_who *who = session_who(s);
    return trace_is_on(&all->trace) &&
           trace_wants(&all->trace, who->identity, who->identity_len, all->now_ms);
}

static void add_session(struct log_line *line, const struct sessions *all, const struct session *s)
{
    char text[ADDR_TEXT_MAX];
    log_add(line, "listener", session_listener(all, s)->config->name);
    log_add_u64(line, "session", s->number);
    log_add(line, "client", addr_format(&s->client, text));
}

static void add_number(struct log_line *line, uint64_t epoch, uint64_t number)
{
    char text[NUMBER_ROOM];
    snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)epoch,
             (unsigned long long)number);
    log_add(line, "record", text);
}

/* Why a record was discarded. */
static const char *verdict_name(enum record_verdict verdict)
{
    switch (verdict) {
    case RECORD_MALFORMED: return "malformed";
    case RECORD_WRONG_CID: return "wrong connection ID";
    case RECORD_WRONG_EPOCH: return "no keys of its epoch";
    case RECORD_TOO_SHORT: return "too short";
    case RECORD_REPLAYED: return "replayed";
    case RECORD_FORGED: return "forged";
    case RECORD_WITHOUT_TYPE: return "without a type";
    case RECORD_TOO_LONG: return "too long";
    case RECORD_OPENED: break;
    }
    return "discarded";
}

static const char *event_name(const struct association_opened *opened)
{
    switch (opened->event) {
    case ASSOCIATION_DISCARDED: return verdict_name(opened->verdict);
    case ASSOCIATION_DATA: return "data";
    case ASSOCIATION_CONTROL: return "control";
    case ASSOCIATION_REFUSED: return "renegotiation refused";
    case ASSOCIATION_REPEATED: return "finished repeated";
    case ASSOCIATION_CLOSED: return "close_notify";
    case ASSOCIATION_ALERTED: return "fatal alert";
    case ASSOCIATION_FAILED: return "against the rules";
    case ASSOCIATION_WORN_OUT: break;
    }
    return "keys worn out";
}

void session_trace_record(struct sessions *all, const struct session *s,
                          const struct association_opened *opened)
{
    struct log_line line;
    if (!wants(all, s))
        return;
    log_begin_always(&line, LOG_DEBUG, "trace_record");
    add_session(&line, all, s);
    log_add_u64(&line, "bytes", opened->record_len);
    if (opened->event != ASSOCIATION_DISCARDED)
        add_number(&line, opened->number.epoch, opened->number.number);
    log_add(&line, "is", event_name(opened));
    if (opened->event == ASSOCIATION_DATA)
        log_add_u64(&line, "plaintext_bytes", opened->data_len);
    log_end(&line);
}

void session_trace_from_client(struct sessions *all, const struct session *s, size_t len,
                               enum client_outcome outcome)
{
    struct log_line line;
    if (!wants(all, s))
        return;
    log_begin_always(&line, LOG_DEBUG, "trace_datagram");
    add_session(&line, all, s);
    log_add(&line, "from", "client");
    log_add_u64(&line, "bytes", len);
    log_add(&line, "outcome", client_outcome_name(outcome));
    log_end(&line);
}

void session_trace_from_backend(struct sessions *all, const struct session *s, size_t len,
                                enum backend_outcome outcome)
{
    const struct association *a = &s->association;
    struct log_line line;
    if (!wants(all, s))
        return;
    log_begin_always(&line, LOG_DEBUG, "trace_datagram");
    add_session(&line, all, s);
    log_add(&line, "from", "backend");
    log_add_u64(&line, "bytes", len);
    log_add(&line, "outcome", backend_outcome_name(outcome));
    if (outcome == BACKEND_forwarded)
        add_number(&line, a->version == VERSION_1_3 ? a->v13.write_epoch : 1, a->write_next - 1);
    log_end(&line);
}
