#include "gate/gate_view.h"

#include <string.h>

#include "session/path.h"

static struct session *find_session(const struct datapath *dp, const struct addr *client)
{
    return sessions_find(&dp->sessions, &dp->generation->listeners[0], client);
}

static struct handshake *find_handshake(const struct datapath *dp, const struct addr *client)
{
    return handshakes_find(&dp->handshakes, &dp->generation->listeners[0], client);
}

/* ---- all of them ---------------------------------------------------------------------------- */

uint32_t gate_session_count(const struct datapath *dp)
{
    return dp->sessions.count;
}

uint32_t gate_handshake_count(const struct datapath *dp)
{
    return dp->handshakes.count;
}

bool gate_is_empty(const struct datapath *dp)
{
    return dp->sessions.count == 0 && dp->handshakes.count == 0 &&
           dp->sessions.by_address.count == 0 && dp->sessions.by_cid.count == 0 &&
           handshake_table_count(&dp->handshakes.table) == 0 &&
           handshake_table_count_cid(&dp->handshakes.table) == 0;
}

bool gate_is_reaped(const struct datapath *dp)
{
    return dp->sessions.ended == CELLS_NONE && dp->handshakes.ended == NULL;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t gate_next_due_ms(const struct datapath *dp)
{
    return earlier(earlier(sessions_due_ms(&dp->sessions), handshakes_due_ms(&dp->handshakes)),
                   datapath_log_due_ms(&dp->log));
}

uint64_t gate_next_timer_ms(const struct datapath *dp)
{
    return earlier(timers_next_due_ms(&dp->sessions.timers),
                   timers_next_due_ms(&dp->handshakes.timers));
}

size_t gate_bytes_kept(const struct datapath *dp)
{
    return cells_bytes_taken(&dp->sessions.cells) + slabs_bytes_taken(&dp->slabs);
}

/* ---- one of them ---------------------------------------------------------------------------- */

bool gate_has_session_at(const struct datapath *dp, const struct addr *client)
{
    return find_session(dp, client) != NULL;
}

bool gate_is_proved_at(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_session(dp, client);
    return s != NULL && path_is_proved(s);
}

size_t gate_copy_cid(const struct datapath *dp, const struct addr *client,
                     uint8_t cid[GATE_CID_MAX])
{
    const struct session *s = find_session(dp, client);
    const struct handshake *h = find_handshake(dp, client);
    if (s == NULL && h == NULL)
        return GATE_NOT_THERE;
    size_t len = s != NULL ? s->association.cid_len : h->cid_entry.cid_len;
    memcpy(cid, s != NULL ? association_cid(&s->association) : h->cid_entry.cid, len);
    return len;
}

size_t gate_cid_bytes(const struct datapath *dp, const struct addr *client)
{
    uint8_t cid[GATE_CID_MAX];
    return gate_copy_cid(dp, client, cid);
}

struct credential_digests gate_digests_of(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_session(dp, client);
    struct credential_digests digests = {0};
    const struct session_who *who = session_who(s);
    digests.count = who->digest_count;
    memcpy(digests.at, session_who_digests(who), (size_t)digests.count * CREDENTIAL_DIGEST_BYTES);
    return digests;
}

size_t gate_plaintext_max(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_session(dp, client);
    return s != NULL ? association_plaintext_max(&s->association) : 0;
}

struct identities_session gate_name_of(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_session(dp, client);
    if (s == NULL)
        return (struct identities_session){0};
    return (struct identities_session){.worker = dp->worker, .slot = s->slot, .number = s->number};
}

void gate_tear(struct datapath *dp, const struct addr *client, bool is_ending)
{
    struct session *s = find_session(dp, client);
    if (is_ending) {
        s->reason = CLOSE_evicted;
        s->state = SESSION_ENDED;
    } else {
        (void)association_begin_change(&s->association);
    }
}

uint64_t gate_next_nonce(const struct datapath *dp, const struct addr *client)
{
    const struct association *a = &find_session(dp, client)->association;
    return a->write_next + (a->version == VERSION_1_2 ? a->v12.nonce_base : 0);
}

/* ---- toward the backend --------------------------------------------------------------------- */

struct addr gate_slot_addr_of(const struct datapath *dp, const struct addr *client)
{
    const struct session *s = find_session(dp, client);
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
    dp->backend.slots.extra_max = 0;
    dp->backend.slots.first = dp->backend.slots.state->header->slot_first = 0;
}

static struct session *find_from(const struct datapath *dp, const struct addr *source)
{
    return session_store_find_slot(&dp->sessions, slots_number_of_addr(source));
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
        session_end(&dp->sessions, s, CLOSE_idle, false, dp->sessions.now_ms);
    sessions_reap(&dp->sessions);
}

/* ---- those that their device has closed ------------------------------------------------------ */

uint32_t gate_closing_count(const struct datapath *dp)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < SESSION_CLOSING_MAX; i++)
        count += dp->sessions.closing[i].session != NULL;
    return count;
}

uint64_t gate_closing_end_ms(const struct datapath *dp)
{
    return dp->sessions.closing[dp->sessions.closing_oldest].end_ms;
}

/* ---- what tests change ---------------------------------------------------------------------- */

void gate_set_worker(struct datapath *dp, uint32_t index, uint32_t count)
{
    dp->worker = dp->sessions.worker = dp->handshakes.worker = index;
    dp->worker_count = dp->sessions.worker_count = dp->handshakes.worker_count = count;
}

void gate_set_end_elsewhere(struct datapath *dp,
                            void (*end_elsewhere)(void *, const struct identities_session *),
                            void *context)
{
    dp->sessions.end_elsewhere = end_elsewhere;
    dp->sessions.context = context;
}

void gate_set_record_limits(struct datapath *dp, const struct record_limits *limits)
{
    dp->sessions.limits = limits;
}

struct gate_limits gate_limits_of(const struct datapath *dp)
{
    const struct admission_limits *limits = &dp->admission.limits[0];
    return (struct gate_limits){.session_max = dp->sessions.max,
                                .handshake_max = limits->handshake_max,
                                .handshakes_per_s = limits->handshakes.per_s,
                                .hellos_per_s = limits->hellos.per_s};
}

void gate_forget_spare(struct datapath *dp)
{
    cookie_deinit(&dp->fronts[0]);
}

void gate_forget_refusals(struct datapath *dp)
{
    dp->handshakes.refusals = (struct refusals){0};
}
