#include "session/session_report.h"

#include <string.h>

#include "session/path.h"

static void fill_who(struct session_report *report, const struct session_who *who)
{
    report->credential = (enum credential)who->credential;
    report->identity_len = who->identity_len;
    if (report->identity_len > sizeof(report->identity))
        report->identity_len = sizeof(report->identity);
    memcpy(report->identity, who->identity, report->identity_len);
}

void session_report_fill(struct session_report *report, const struct sessions *all,
                         const struct session *s, uint64_t now_ms)
{
    *report = (struct session_report){
        .kind = REPORT_SESSION,
        .slot = s->slot,
        .backend_source = backend_slot_addr(all->backend, s->slot),
        .listener = (uint32_t)s->listener,
        .began_ms = s->established_ms,
        .number = s->number,
        .client = s->client,
        .is_proved = path_is_proved(s),
        .version = (enum dtls_version)s->association.version,
        .suite = (uint16_t)s->suite,
        .cid_len = s->association.cid_len,
        .age_ms = SESSION_MS(now_ms - s->established_ms),
        .unused_ms = SESSION_MS(now_ms - s->last_used_ms),
        .from_client = s->from_client,
        .from_backend = s->from_backend,
    };
    fill_who(report, session_who(s));
    memcpy(report->cid, association_cid(&s->association), report->cid_len);
}

static bool is_source(const struct addr *asked, const struct addr *source)
{
    return addr_prefix_has(&(struct addr_prefix){.addr = *asked, .bits = 32}, source);
}

void session_report_source(struct session_report *report, const struct sessions *all,
                           const struct addr *source, uint64_t now_ms)
{
    const struct slots *slots = &all->backend->slots;
    uint32_t slot = slots_number_of_addr(source);
    *report = (struct session_report){.kind = REPORT_NOBODY, .slot = slot};
    report->backend_source = backend_slot_addr(all->backend, slot);
    if (!is_source(source, &report->backend_source)) {
        report->backend_source = *source;
        return;
    }
    const struct session *s = session_store_find_slot(all, slot);
    if (s != NULL && s->state == SESSION_ESTABLISHED) {
        session_report_fill(report, all, s, now_ms);
        return;
    }
    const struct backend_slot *found = slots_find(slots, slot);
    if (found == NULL)
        return;
    unsigned reason = slots_late_reason(slots, found, now_ms);
    if (reason >= CLOSE_REASON_COUNT)
        return;
    report->kind = REPORT_TOMBSTONE;
    report->listener = (uint32_t)found->listener;
    report->reason = (enum close_reason)reason;
    report->began_ms = found->since;
    report->silent_ms = now_ms - found->since;
    report->rest_ms = slots->tombstone_ms - report->silent_ms;
}

bool session_filter_fits(const struct session_filter *filter, const struct sessions *all,
                         const struct session *s)
{
    struct addr source = backend_slot_addr(all->backend, s->slot);
    if ((filter->has_number && s->number != filter->number) ||
        (filter->backend_source.family != 0 && !is_source(&filter->backend_source, &source)) ||
        (filter->has_listener && s->listener != filter->listener) ||
        (filter->client.addr.family != 0 && !addr_prefix_has(&filter->client, &s->client)))
        return false;
    const struct session_who *who = session_who(s);
    return filter->identity_len == 0 ||
           (who->identity_len == filter->identity_len &&
            memcmp(who->identity, filter->identity, filter->identity_len) == 0);
}
