#include "gate/gate_view.h"

#include <string.h>

#include "session/session_linger.h"
#include "session/sessions.h"

/* Established or not; NULL = nothing is found there. */
static struct session *find(const struct datapath *dp, const struct addr *client)
{
    return sessions_find(&dp->sessions, &dp->generation->listeners[0], client);
}

static struct session *find_established(const struct datapath *dp, const struct addr *client)
{
    struct session *s = find(dp, client);
    return s != NULL && s->state == SESSION_ESTABLISHED ? s : NULL;
}

/* ---- all of them ---------------------------------------------------------------------------- */

uint32_t gate_session_count(const struct datapath *dp)
{
    return dp->sessions.established_count;
}

uint32_t gate_handshake_count(const struct datapath *dp)
{
    return dp->sessions.handshake_count;
}

bool gate_is_empty(const struct datapath *dp)
{
    return dp->sessions.established_count == 0 && dp->sessions.handshake_count == 0 &&
           session_table_count(&dp->sessions.table) == 0;
}

bool gate_is_reaped(const struct datapath *dp)
{
    return dp->sessions.ended == NULL;
}

uint64_t gate_next_due_ms(const struct datapath *dp)
{
    return sessions_next_due_ms(&dp->sessions);
}

uint64_t gate_next_timer_ms(const struct datapath *dp)
{
    return timers_next_due_ms(&dp->sessions.timers);
}

/* ---- one of them ---------------------------------------------------------------------------- */

bool gate_has_session_at(const struct datapath *dp, const struct addr *client)
{
    return find_established(dp, client) != NULL;
}

bool gate_is_proved_at(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_established(dp, client);
    return s != NULL && s->path.is_proved;
}

size_t gate_copy_cid(const struct datapath *dp, const struct addr *client,
                     uint8_t cid[GATE_CID_MAX])
{
    const struct session *s = find(dp, client);
    if (s == NULL)
        return GATE_NOT_THERE;
    memcpy(cid, s->cid_entry.cid, s->cid_entry.cid_len);
    return s->cid_entry.cid_len;
}

size_t gate_cid_bytes(const struct datapath *dp, const struct addr *client)
{
    uint8_t cid[GATE_CID_MAX];
    return gate_copy_cid(dp, client, cid);
}

size_t gate_plaintext_max(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_established(dp, client);
    return s != NULL && s->dtls != NULL ? s->dtls->plaintext_max : 0;
}

struct identities_session gate_name_of(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_established(dp, client);
    if (s == NULL)
        return (struct identities_session){0};
    return (struct identities_session){
        .worker = dp->sessions.worker, .slot = s->slot, .number = s->number};
}

/* ---- toward the backend --------------------------------------------------------------------- */

struct addr gate_slot_addr_of(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_established(dp, client);
    return s != NULL ? gate_slot_addr(dp, s->slot) : (struct addr){0};
}

struct addr gate_slot_addr(const struct datapath *dp, uint32_t slot)
{
    return backend_slot_addr(&dp->backend, slot);
}

struct udp_socket *gate_backend_socket(struct datapath *dp)
{
    return &dp->backend.socket;
}

uint16_t gate_backend_port(const struct datapath *dp)
{
    return dp->backend.socket.bound.port;
}

uint32_t gate_slot_max(const struct datapath *dp)
{
    return dp->backend.slots.share;
}

void gate_set_slot_max(struct datapath *dp, uint32_t slot_max)
{
    dp->backend.slots.share = slot_max;
    dp->backend.slots.extra_left = 0;
    dp->backend.slots.first = 0;
}

static struct session *find_from(const struct datapath *dp, const struct addr *source)
{
    return backend_owner(&dp->backend, slots_number_of_addr(source));
}

bool gate_has_session_from(const struct datapath *dp, const struct addr *source)
{
    const struct session *s = find_from(dp, source);
    return s != NULL && s->state == SESSION_ESTABLISHED;
}

void gate_end_session_from(struct datapath *dp, const struct addr *source)
{
    struct session *s = find_from(dp, source);
    if (s != NULL)
        session_end(s, CLOSE_idle, false);
    sessions_reap(&dp->sessions);
}

/* ---- those that their device has closed ------------------------------------------------------ */

uint32_t gate_closing_count(const struct datapath *dp)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < SESSION_LINGERS_MAX; i++)
        count += dp->sessions.lingers.at[i].dtls != NULL;
    return count;
}

uint64_t gate_closing_end_ms(const struct datapath *dp)
{
    return dp->sessions.lingers.at[dp->sessions.lingers.oldest].end_ms;
}

/* ---- what tests change ---------------------------------------------------------------------- */

void gate_set_worker(struct datapath *dp, uint32_t index, uint32_t count)
{
    dp->sessions.worker = index;
    dp->sessions.worker_count = count;
}

void gate_set_end_elsewhere(struct datapath *dp,
                            void (*end_elsewhere)(void *, const struct identities_session *),
                            void *context)
{
    dp->sessions.shared.end_elsewhere = end_elsewhere;
    dp->sessions.shared.context = context;
}

struct gate_limits gate_limits_of(const struct datapath *dp)
{
    return (struct gate_limits){.session_max = dp->sessions.session_max,
                                .handshake_max = dp->limits[0].handshake_max,
                                .handshakes_per_s = dp->limits[0].handshakes.per_s,
                                .hellos_per_s = dp->limits[0].hellos.per_s};
}

void gate_forget_spare(struct datapath *dp)
{
    cookie_deinit(&dp->fronts[0]);
}

void gate_forget_refusals(struct datapath *dp)
{
    dp->sessions.refusals = (struct session_refusals){0};
}
