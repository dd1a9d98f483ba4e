#include "worker/unusable_tickets.h"

#include "handshake/ticket.h"
#include "wire/message.h"

static bool is_retry_request(const uint8_t *reply, size_t len)
{
    return len > RECORD_HEADER_BYTES && reply[0] == RECORD_HANDSHAKE &&
           reply[RECORD_HEADER_BYTES] == HANDSHAKE_SERVER_HELLO;
}

void unusable_tickets_note(struct unusable_tickets *tickets, const struct arrival *a,
                           const uint8_t *reply, size_t reply_len)
{
    size_t len = 0;
    const uint8_t *ticket = classify_hello_ticket(a->datagram->data, a->datagram->len, &len);
    if (ticket == NULL || !is_retry_request(reply, reply_len) || !ticket_looks_ours(ticket, len))
        return;
    tickets->end_ms = a->now_ms + UNUSABLE_TICKETS_MS;
    tickets->at[tickets->next].client = a->datagram->from;
    tickets->at[tickets->next].end_ms = tickets->end_ms;
    tickets->at[tickets->next].listener = a->listener->number;
    tickets->at[tickets->next].is_known =
        ticket_is_known(a->listener->creds->ticket_master, a->now_ms, ticket, len);
    tickets->next = (tickets->next + 1) % UNUSABLE_TICKETS_MAX;
}

enum ticket_noted unusable_tickets_take(struct unusable_tickets *tickets, const struct arrival *a)
{
    const struct classified *kind = &a->kind;
    if (a->now_ms >= tickets->end_ms || kind->before_alert_len != 0 ||
        kind->alert_level != ALERT_FATAL || kind->alert_code == ALERT_CLOSE_NOTIFY ||
        kind->alert_code == ALERT_USER_CANCELED)
        return TICKET_NOTED_NONE;
    for (uint32_t i = 0; i < UNUSABLE_TICKETS_MAX; i++) {
        if (a->now_ms >= tickets->at[i].end_ms || tickets->at[i].listener != a->listener->number ||
            !addr_equal(&tickets->at[i].client, &a->datagram->from))
            continue;
        tickets->at[i].end_ms = 0;
        return tickets->at[i].is_known ? TICKET_NOTED_KNOWN : TICKET_NOTED_OLD;
    }
    return TICKET_NOTED_NONE;
}
