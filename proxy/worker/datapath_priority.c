#include "worker/datapath_priority.h"

#include "handshake/ticket.h"
#include "session/session.h"
#include "wire/classify.h"

bool datapath_priority_has(const struct sessions *all, const struct listener *listener,
                           const struct udp_datagram *hello)
{
    size_t len = 0;
    const struct session *s = sessions_find(all, listener, &hello->from);
    if (s != NULL && s->state == SESSION_ESTABLISHED)
        return true;
    const uint8_t *ticket = classify_hello_ticket(hello->data, hello->len, &len);
    return ticket != NULL &&
           ticket_is_known(listener->creds->ticket_master, all->now_ms, ticket, len);
}

uint32_t datapath_priority_share(uint32_t max, bool has_priority)
{
    return has_priority ? max : max - max / 4;
}
