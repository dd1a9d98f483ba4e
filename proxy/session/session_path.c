#include "session/session_path.h"

#include <sys/random.h>

#include "net/steering.h"
#include "session/session.h"
#include "session/session_log.h"

/* ---- connection IDs ------------------------------------------------------------------------- */

/* One that is not taken is found, as long as a few are left of its length. */
enum { DRAWS_MAX = 64 };

uint32_t session_path_bucket(const struct session *s)
{
    return sessions_bucket_of(s->all, &s->entry.key.client);
}

static bool draw_cid(const struct sessions *all, struct table_cid_entry *entry, size_t len,
                     uint32_t bucket)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        if (getrandom(entry->cid, len, 0) != (ssize_t)len)
            return false;
        steering_put_bucket(entry->cid, bucket);
        if (session_table_find_cid(&all->table, entry->listener, entry->cid, len) == NULL)
            return true;
    }
    return false;
}

bool session_path_take_cid(struct session *s)
{
    size_t len = s->listener->config->cid_bytes;
    s->cid_entry.listener = s->listener->index;
    if (!dtls_has_cid(s->dtls) || !draw_cid(s->all, &s->cid_entry, len, session_path_bucket(s)))
        return true;
    s->cid_entry.cid_len = (uint8_t)len;
    return dtls_set_cid(s->dtls, s->cid_entry.cid, len) &&
           session_table_add_cid(&s->all->table, &s->cid_entry);
}

void session_path_settle_cid(struct session *s)
{
    if (s->state != SESSION_HANDSHAKE || s->cid_entry.cid_len == 0 || dtls_has_cid(s->dtls))
        return;
    session_table_remove_cid(&s->all->table, &s->cid_entry);
    s->cid_entry.cid_len = 0;
}

/* ---- the address ---------------------------------------------------------------------------- */

void session_path_leave_address(struct session *s)
{
    struct session *next = s->successor;
    session_table_remove(&s->all->table, &s->entry);
    if (next == NULL)
        return;
    s->successor = NULL;
    next->predecessor = NULL;
    if (!session_table_add(&s->all->table, &next->entry))
        session_fail(next, HANDSHAKE_internal_error, "out of memory");
}

/* Sessions with a connection ID do not need their place in the table of addresses: the latest has
 * it, so that a reboot of its device at this address is noticed. The others do need it, and a
 * record with somebody else's connection ID must not cost them anything. */
static void take_address(struct session *s)
{
    struct session *other = sessions_find(s->all, s->listener, &s->entry.key.client);
    if (other != NULL) {
        if (other->state != SESSION_ESTABLISHED || other->successor != NULL ||
            !session_path_has_cid(&other->cid_entry))
            return;
        session_path_leave_address(other);
    }
    /* Without memory for it, it is found by its connection ID all the same. */
    (void)!session_table_add(&s->all->table, &s->entry);
}

void session_path_on_authentic(struct session *s, const struct udp_datagram *datagram,
                               const struct udp_socket *socket, bool is_newest)
{
    struct session_path *path = &s->path;
    if (addr_equal(&datagram->from, &s->entry.key.client)) {
        path->is_proved = true;
        if (is_newest) {
            path->local = datagram->to;
            path->socket = socket;
        }
        return;
    }
    if (!is_newest)
        return;
    session_log_moved(s, &datagram->from);
    counter_add(&s->all->counters->by_listener[s->listener->index].address_changes, 1);
    session_path_leave_address(s);
    s->entry.key.client = datagram->from;
    *path = (struct session_path){
        .local = datagram->to, .socket = socket, .received_bytes = datagram->len};
    take_address(s);
}

bool session_path_may_send(struct session *s, size_t len)
{
    struct session_path *path = &s->path;
    if (path->is_proved)
        return true;
    uint64_t limit = (uint64_t)path->received_bytes * SESSION_PATH_AMPLIFICATION_MAX;
    if (path->sent_bytes + len > limit)
        return false;
    path->sent_bytes += (uint32_t)len;
    return true;
}
