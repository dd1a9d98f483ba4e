#include "worker/datapath_tickets.h"

#include "handshake/ticket.h"

static bool is_retry_request(const uint8_t *reply, size_t len)
{
    enum { TYPE_AT = 13, SERVER_HELLO = 2 };
    return len > TYPE_AT && reply[0] == CLASSIFY_HANDSHAKE && reply[TYPE_AT] == SERVER_HELLO;
}

void datapath_tickets_note(struct datapath_tickets *tickets, const struct sessions *all,
                           const struct listener *listener, const struct udp_datagram *hello,
                           const uint8_t *reply, size_t reply_len)
{
    size_t len = 0;
    const uint8_t *ticket = classify_hello_ticket(hello->data, hello->len, &len);
    if (ticket == NULL || !is_retry_request(reply, reply_len) || !ticket_looks_ours(ticket, len))
        return;
    tickets->end_ms = all->now_ms + DATAPATH_TICKETS_MS;
    tickets->at[tickets->next].client = hello->from;
    tickets->at[tickets->next].end_ms = tickets->end_ms;
    tickets->at[tickets->next].listener = listener->index;
    tickets->at[tickets->next].is_known =
        ticket_is_known(listener->creds->ticket_master, all->now_ms, ticket, len);
    tickets->next = (tickets->next + 1) % DATAPATH_TICKETS_MAX;
}

enum datapath_ticket datapath_tickets_take(struct datapath_tickets *tickets,
                                           const struct sessions *all,
                                           const struct listener *listener,
                                           const struct udp_datagram *d,
                                           const struct classified *kind)
{
    enum { FATAL = 2, CLOSE_NOTIFY = 0, USER_CANCELED = 90 };
    if (all->now_ms >= tickets->end_ms || kind->before_alert_len != 0 ||
        kind->alert_level != FATAL || kind->alert_code == CLOSE_NOTIFY ||
        kind->alert_code == USER_CANCELED)
        return DATAPATH_TICKET_NONE;
    for (uint32_t i = 0; i < DATAPATH_TICKETS_MAX; i++) {
        if (all->now_ms >= tickets->at[i].end_ms || tickets->at[i].listener != listener->index ||
            !addr_equal(&tickets->at[i].client, &d->from))
            continue;
        tickets->at[i].end_ms = 0;
        return tickets->at[i].is_known ? DATAPATH_TICKET_KNOWN : DATAPATH_TICKET_OLD;
    }
    return DATAPATH_TICKET_NONE;
}
