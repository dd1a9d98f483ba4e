#include "session/session_store.h"

#include <string.h>

/* Lines a second. */
enum { LINES_PER_S = 20 };

/* Looked at to find the least recently used one. */
enum { LOOKED_AT = 64 };

_Static_assert(CONFIG_LISTENERS_MAX <= 1 << 8, "a session has room for its listener's number");

bool session_store_init(struct sessions *all, const struct sessions_settings *settings,
                        struct err *err)
{
    *all = (struct sessions){
        .oldest = CELLS_NONE,
        .newest = CELLS_NONE,
        .hand = CELLS_NONE,
        .ended = CELLS_NONE,
        .listeners = settings->listeners,
        .identities = settings->identities,
        .end_elsewhere = settings->end_elsewhere,
        .context = settings->context,
        .backend = settings->backend,
        .to_client = settings->to_client,
        .counters = settings->counters,
        .limiter = {.per_s = LINES_PER_S},
        .full_limiter = {.per_s = 1},
        .worker = settings->worker,
        .worker_count = settings->worker_count,
        .max = settings->session_max,
    };
    timers_init(&all->timers);
    all->work = aead_work_new();
    if (all->work == NULL)
        return err_set(err, "out of memory for sessions");
    cells_init(&all->cells, &settings->state->region);
    return routes_init(&all->routes, settings->state, err) &&
           keyed_hash_key_init(&all->hash_key, err);
}

void session_store_deinit(struct sessions *all)
{
    index_table_deinit(&all->by_address);
    index_table_deinit(&all->by_cid);
    timers_deinit(&all->timers);
    routes_deinit(&all->routes);
    aead_work_free(all->work);
    all->work = NULL;
}

/* ---- tables --------------------------------------------------------------------------------- */

static uint64_t hash_of_address(const struct sessions *all, uint32_t listener,
                                const struct addr *client)
{
    struct {
        struct addr client;
        uint32_t listener;
    } key = {.client = *client, .listener = listener};
    _Static_assert(sizeof(key) == sizeof(struct addr) + sizeof(uint32_t), "no padding is hashed");
    return keyed_hash(&all->hash_key, &key, sizeof(key));
}

static uint64_t hash_of_cid(const struct sessions *all, uint32_t listener, const uint8_t *cid,
                            size_t len)
{
    uint8_t key[sizeof(listener) + RECORD_CID_MAX];
    memcpy(key, &listener, sizeof(listener));
    memcpy(key + sizeof(listener), cid, len);
    return keyed_hash(&all->hash_key, key, sizeof(listener) + len);
}

struct session *session_store_find(const struct sessions *all, uint32_t listener,
                                   const struct addr *client)
{
    uint64_t hash = hash_of_address(all, listener, client);
    uint32_t place = 0, number;
    while ((number = index_table_next(&all->by_address, hash, &place)) != INDEX_TABLE_NONE) {
        struct session *s = cells_at(&all->cells, number);
        if (s->listener == listener && addr_equal(&s->client, client))
            return s;
    }
    return NULL;
}

struct session *session_store_find_cid(const struct sessions *all, uint32_t listener,
                                       const uint8_t *cid, size_t cid_len)
{
    uint64_t hash = hash_of_cid(all, listener, cid, cid_len);
    uint32_t place = 0, number;
    while ((number = index_table_next(&all->by_cid, hash, &place)) != INDEX_TABLE_NONE) {
        struct session *s = cells_at(&all->cells, number);
        if (s->listener == listener && s->association.cid_len == cid_len &&
            memcmp(association_cid(&s->association), cid, cid_len) == 0)
            return s;
    }
    return NULL;
}

struct session *session_store_find_slot(const struct sessions *all, uint32_t slot)
{
    uint32_t owner = backend_owner(all->backend, slot);
    return owner != BACKEND_NO_OWNER ? cells_at(&all->cells, owner) : NULL;
}

bool session_store_enter_address(struct sessions *all, struct session *s)
{
    uint64_t hash = hash_of_address(all, s->listener, &s->client);
    s->is_at_address = index_table_add(&all->by_address, hash, cells_number_of(&all->cells, s));
    return s->is_at_address;
}

void session_store_leave_address(struct sessions *all, struct session *s)
{
    if (s->is_at_address)
        index_table_remove(&all->by_address, hash_of_address(all, s->listener, &s->client),
                           cells_number_of(&all->cells, s));
    s->is_at_address = false;
}

static uint64_t hash_of_own_cid(const struct sessions *all, const struct session *s)
{
    return hash_of_cid(all, s->listener, association_cid(&s->association), s->association.cid_len);
}

bool session_store_enter_cid(struct sessions *all, struct session *s)
{
    return s->association.cid_len == 0 ||
           index_table_add(&all->by_cid, hash_of_own_cid(all, s), cells_number_of(&all->cells, s));
}

void session_store_leave_cid(struct sessions *all, struct session *s)
{
    if (s->association.cid_len != 0)
        index_table_remove(&all->by_cid, hash_of_own_cid(all, s), cells_number_of(&all->cells, s));
}

/* ---- order ---------------------------------------------------------------------------------- */

/* NULL for CELLS_NONE. */
static struct session *at(const struct sessions *all, uint32_t number)
{
    return number != CELLS_NONE ? cells_at(&all->cells, number) : NULL;
}

static counter *gauge_of_kind(struct sessions *all, const struct session *s)
{
    const struct association *association = &s->association;
    return &session_counters(all, s)->sessions_by[association->version][session_who(s)->credential]
                                                 [association->cid_len != 0];
}

void session_store_enter_gauges(struct sessions *all, const struct session *s)
{
    counter_add(&session_counters(all, s)->sessions, 1);
    counter_add(gauge_of_kind(all, s), 1);
}

void session_store_leave_gauges(struct sessions *all, const struct session *s)
{
    counter_subtract(&session_counters(all, s)->sessions, 1);
    counter_subtract(gauge_of_kind(all, s), 1);
}

static void link(struct sessions *all, uint32_t older, uint32_t newer)
{
    *(older != CELLS_NONE ? &at(all, older)->newer : &all->oldest) = newer;
    *(newer != CELLS_NONE ? &at(all, newer)->older : &all->newest) = older;
}

void session_store_enter_order(struct sessions *all, struct session *s)
{
    uint32_t number = cells_number_of(&all->cells, s), newest = all->newest;
    link(all, number, CELLS_NONE);
    link(all, newest, number);
}

void session_store_enter_oldest(struct sessions *all, struct session *s)
{
    uint32_t number = cells_number_of(&all->cells, s), oldest = all->oldest;
    link(all, CELLS_NONE, number);
    link(all, number, oldest);
}

void session_store_leave_order(struct sessions *all, struct session *s)
{
    uint32_t number = cells_number_of(&all->cells, s);
    if (all->hand == number)
        all->hand = s->newer;
    for (struct session_cursor *c = all->cursors; c != NULL; c = c->other)
        if (c->next == number)
            c->next = s->newer;
    link(all, s->older, s->newer);
    s->older = s->newer = CELLS_NONE;
}

struct session *session_store_newest(const struct sessions *all)
{
    return at(all, all->newest);
}

struct session *session_store_least_used(struct sessions *all)
{
    uint32_t looked_at = all->count < LOOKED_AT ? all->count : LOOKED_AT;
    struct session *least = NULL;
    for (uint32_t i = 0; i < looked_at; i++) {
        struct session *s = at(all, all->hand != CELLS_NONE ? all->hand : all->oldest);
        if (s == NULL)
            break;
        if (least == NULL || s->last_used_ms < least->last_used_ms)
            least = s;
        all->hand = s->newer;
    }
    return least;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

struct session *session_store_make(struct sessions *all, const struct taken *taken)
{
    size_t bytes = offsetof(struct session, association) + association_bytes(taken);
    if (!timers_reserve(&all->timers, all->count + SESSION_CLOSING_MAX + 1))
        return NULL;
    struct session *s = cells_take(&all->cells, CELLS_SESSIONS, bytes);
    if (s == NULL)
        return NULL;
    s->older = s->newer = CELLS_NONE;
    s->slot = BACKEND_NO_SLOT;
    if (association_init(&s->association, taken, &all->cells, all->now_ms))
        return s;
    cells_give(&all->cells, CELLS_SESSIONS, s, bytes);
    return NULL;
}

struct session_rare *session_store_rare(struct sessions *all, struct session *s)
{
    struct session_rare *rare = session_rare(s);
    if (rare != NULL)
        return rare;
    rare = cells_take(&all->cells, CELLS_PIECES, sizeof(*rare));
    ref_set(&s->rare, rare);
    return rare;
}

void session_store_drop_flight(struct sessions *all, struct session_rare *rare)
{
    struct session_flight *flight = ref_find(&rare->flight);
    if (flight == NULL)
        return;
    ref_set(&rare->flight, NULL);
    order_stores();
    cells_give(&all->cells, CELLS_PIECES, flight, sizeof(*flight) + flight->len);
}

void session_store_drop_rare(struct sessions *all, struct session *s)
{
    struct session_rare *rare = session_rare(s);
    if (rare == NULL)
        return;
    ref_set(&s->rare, NULL);
    order_stores();
    session_store_drop_flight(all, rare);
    cells_give(&all->cells, CELLS_PIECES, rare, sizeof(*rare));
}

static void drop_who(struct sessions *all, struct session *s)
{
    struct session_who *who = ref_find(&s->who);
    if (who == NULL)
        return;
    ref_set(&s->who, NULL);
    order_stores();
    cells_give(&all->cells, CELLS_PIECES, who,
               session_who_bytes(who->identity_len, who->digest_count));
}

void session_store_free(struct sessions *all, struct session *s)
{
    size_t bytes = offsetof(struct session, association) + association_size(&s->association);
    session_store_drop_rare(all, s);
    drop_who(all, s);
    association_deinit(&s->association, &all->cells);
    cells_give(&all->cells, CELLS_SESSIONS, s, bytes);
}

void session_store_retire(struct sessions *all, struct session *s)
{
    s->older = all->ended;
    all->ended = cells_number_of(&all->cells, s);
}

void session_store_reap(struct sessions *all)
{
    while (all->ended != CELLS_NONE) {
        struct session *s = at(all, all->ended);
        all->ended = s->older;
        session_store_free(all, s);
    }
}
