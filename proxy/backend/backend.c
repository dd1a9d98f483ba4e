#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

/* 127.0.0.0/16 is left alone: 127.0.0.1 and what people configure by hand live there. The last
 * address of 127.0.0.0/8 is its broadcast address. */
#define FIRST_ADDRESS 0x7f010000u
#define LAST_ADDRESS 0x7ffffffeu

/* What fits into `since`: 557 years. */
#define SINCE_MASK ((1ull << 44) - 1)

enum {
    POOL_MIN = 65536,
    POOL_PER_SESSION = 4,
    CHUNK = 4096,
    /* Quarantines ended at once; well below a millisecond. */
    RESTS_AT_ONCE = 256,
    /* The next is due that much late, so that many end in one go. */
    REST_DELAY_MS = 1000,
    /* A mark that is not there by then was lost in a full socket buffer. */
    MARK_LOST_MS = 1000,
};

/* ---- beginning and end ---------------------------------------------------------------------- */

static uint32_t pool_of_worker(uint32_t max_sessions, uint32_t worker_count)
{
    uint64_t all = (uint64_t)POOL_PER_SESSION * max_sessions;
    uint32_t most = (LAST_ADDRESS - FIRST_ADDRESS + 1) / worker_count;
    if (all < POOL_MIN)
        all = POOL_MIN;
    uint64_t share = (all + worker_count - 1) / worker_count;
    return share < most ? (uint32_t)share : most;
}

static bool send_mark(struct backend *backend, uint32_t from_slot, int *error)
{
    struct addr from = backend_slot_addr(backend, from_slot);
    struct addr to = backend_slot_addr(backend, 0);
    return udp_send_one(&backend->socket, &from, &to, &backend->mark_sent,
                        sizeof(backend->mark_sent), error);
}

/* Some sandboxes give the loopback interface one address only. Sessions would begin, and nothing of
 * them would ever be passed on. */
static bool try_addresses(struct backend *backend, struct err *err)
{
    const uint32_t slots[] = {0, backend->slot_max - 1};
    for (int i = 0; i < 2; i++) {
        int error;
        char text[ADDR_TEXT_MAX];
        struct addr from = backend_slot_addr(backend, slots[i]);
        if (send_mark(backend, slots[i], &error))
            continue;
        return err_set(
            err,
            "sending from %s on the loopback interface: %s; the gate gives each session an address "
            "of its own in 127.0.0.0/8, and this machine or container has not got them all: lo "
            "must be up with 127.0.0.1/8 (ip addr show lo; ip addr add 127.0.0.1/8 dev lo)",
            addr_format(&from, text), strerror(error));
    }
    return true;
}

bool backend_open(struct backend *backend, uint32_t worker, uint32_t worker_count,
                  uint32_t max_sessions, uint64_t tombstone_ms, struct worker_counters *counters,
                  struct err *err)
{
    *backend = (struct backend){
        .counters = counters,
        .slot_max = pool_of_worker(max_sessions, worker_count),
        .worker = worker,
        .worker_count = worker_count,
        .tombstone_ms = tombstone_ms,
    };
    for (int i = 0; i < SLOT_LISTS; i++)
        backend->lists[i] =
            (struct backend_list){.oldest = BACKEND_NO_SLOT, .newest = BACKEND_NO_SLOT};
    if (!udp_open_backend(&backend->socket, 0, true, err))
        return false;
    if (!try_addresses(backend, err)) {
        udp_close(&backend->socket);
        return false;
    }
    return true;
}

void backend_close(struct backend *backend)
{
    udp_close(&backend->socket);
    for (uint32_t i = 0; i < backend->chunk_count; i++)
        free(backend->chunks[i]);
    free(backend->chunks);
    backend->chunks = NULL;
    backend->chunk_count = backend->slot_count = 0;
}

/* ---- lists of those that nobody has --------------------------------------------------------- */

static struct backend_slot *at(const struct backend *backend, uint32_t slot)
{
    return &backend->chunks[slot / CHUNK][slot % CHUNK];
}

static struct counters *counters_of(struct backend *backend, const struct backend_slot *slot)
{
    return &backend->counters->by_listener[slot->listener];
}

static void enter_list(struct backend *backend, uint32_t index, enum backend_slot_state state)
{
    struct backend_slot *slot = at(backend, index);
    struct backend_list *list = &backend->lists[state];
    slot->state = state;
    slot->older = list->newest;
    slot->newer = BACKEND_NO_SLOT;
    if (list->newest != BACKEND_NO_SLOT)
        at(backend, list->newest)->newer = index;
    else
        list->oldest = index;
    list->newest = index;
    list->count++;
    if (state != SLOT_RESTED)
        counter_add(&counters_of(backend, slot)->backend_addresses_in_quarantine, 1);
    if (state == SLOT_NOISY)
        counter_add(&counters_of(backend, slot)->backend_addresses_noisy, 1);
}

static void leave_list(struct backend *backend, uint32_t index)
{
    struct backend_slot *slot = at(backend, index);
    struct backend_list *list = &backend->lists[slot->state];
    if (slot->older != BACKEND_NO_SLOT)
        at(backend, slot->older)->newer = slot->newer;
    else
        list->oldest = slot->newer;
    if (slot->newer != BACKEND_NO_SLOT)
        at(backend, slot->newer)->older = slot->older;
    else
        list->newest = slot->older;
    list->count--;
    if (slot->state != SLOT_RESTED)
        counter_subtract(&counters_of(backend, slot)->backend_addresses_in_quarantine, 1);
    if (slot->state == SLOT_NOISY)
        counter_subtract(&counters_of(backend, slot)->backend_addresses_noisy, 1);
}

static bool has_rested(const struct backend *backend, const struct backend_slot *slot,
                       uint64_t now_ms)
{
    return now_ms - slot->since >= backend->tombstone_ms;
}

/* Of those in quarantine the one that has been silent for longest. */
static uint32_t longest_silent(const struct backend *backend)
{
    uint32_t silent = backend->lists[SLOT_SILENT].oldest, noisy = backend->lists[SLOT_NOISY].oldest;
    if (silent == BACKEND_NO_SLOT || noisy == BACKEND_NO_SLOT)
        return silent == BACKEND_NO_SLOT ? noisy : silent;
    return at(backend, noisy)->since < at(backend, silent)->since ? noisy : silent;
}

uint64_t backend_on_time(struct backend *backend, uint64_t now_ms)
{
    uint32_t slot = longest_silent(backend);
    for (int i = 0; i < RESTS_AT_ONCE && slot != BACKEND_NO_SLOT; i++) {
        if (!has_rested(backend, at(backend, slot), now_ms))
            return at(backend, slot)->since + backend->tombstone_ms + REST_DELAY_MS;
        leave_list(backend, slot);
        enter_list(backend, slot, SLOT_RESTED);
        slot = longest_silent(backend);
    }
    return slot != BACKEND_NO_SLOT ? now_ms + 1 : UINT64_MAX;
}

/* ---- taking and giving back ----------------------------------------------------------------- */

static uint32_t add_slot(struct backend *backend)
{
    if (backend->slot_count == backend->slot_max)
        return BACKEND_NO_SLOT;
    if (backend->slot_count == backend->chunk_count * CHUNK) {
        struct backend_slot **chunks =
            reallocarray(backend->chunks, backend->chunk_count + 1, sizeof(*chunks));
        if (chunks == NULL)
            return BACKEND_NO_SLOT;
        backend->chunks = chunks;
        chunks[backend->chunk_count] = calloc(CHUNK, sizeof(**chunks));
        if (chunks[backend->chunk_count] == NULL)
            return BACKEND_NO_SLOT;
        backend->chunk_count++;
    }
    return backend->slot_count++;
}

static uint32_t reuse_slot(struct backend *backend, uint64_t now_ms, bool *is_early)
{
    uint32_t slot = backend->lists[SLOT_RESTED].oldest;
    if (slot == BACKEND_NO_SLOT) {
        slot = backend->lists[SLOT_SILENT].oldest;
        *is_early = slot != BACKEND_NO_SLOT;
    }
    if (slot != BACKEND_NO_SLOT) {
        leave_list(backend, slot);
        counter_lower(&backend->counters->backend_address_silence,
                      now_ms - at(backend, slot)->since);
    }
    return slot;
}

/* Nothing can be done if the mark is not sent: it counts as lost. */
static uint64_t begin_mark(struct backend *backend, uint64_t now_ms)
{
    int error;
    if (backend->mark_seen == backend->mark_sent)
        backend->mark_missed_ms = now_ms;
    backend->mark_sent++;
    (void)send_mark(backend, 0, &error);
    return backend->mark_sent;
}

uint32_t backend_take(struct backend *backend, void *owner, uint32_t listener, uint64_t now_ms,
                      bool *is_early)
{
    *is_early = false;
    (void)backend_on_time(backend, now_ms);
    uint32_t slot = add_slot(backend);
    if (slot == BACKEND_NO_SLOT)
        slot = reuse_slot(backend, now_ms, is_early);
    if (slot != BACKEND_NO_SLOT)
        *at(backend, slot) =
            (struct backend_slot){.owner = owner,
                                  .since = begin_mark(backend, now_ms) & SINCE_MASK,
                                  .state = SLOT_TAKEN,
                                  .reason = LATE_UNKNOWN,
                                  .listener = (uint8_t)listener};
    return slot;
}

bool backend_is_exhausted(struct backend *backend, uint64_t now_ms)
{
    (void)backend_on_time(backend, now_ms);
    return backend->slot_count == backend->slot_max && backend->lists[SLOT_RESTED].count == 0 &&
           backend->lists[SLOT_SILENT].count == 0;
}

bool backend_is_noisy(const struct backend *backend, uint32_t slot)
{
    return at(backend, slot)->is_noisy;
}

void backend_release(struct backend *backend, uint32_t slot, enum close_reason reason,
                     uint64_t now_ms)
{
    struct backend_slot *released = at(backend, slot);
    released->since = now_ms & SINCE_MASK;
    released->reason = (uint8_t)reason;
    enter_list(backend, slot, released->is_noisy ? SLOT_NOISY : SLOT_SILENT);
}

void backend_on_noise(struct backend *backend, uint32_t index, uint64_t now_ms)
{
    struct backend_slot *slot = at(backend, index);
    if (slot->state == SLOT_TAKEN) {
        slot->is_noisy = true;
        return;
    }
    leave_list(backend, index);
    if (has_rested(backend, slot, now_ms))
        slot->reason = LATE_UNKNOWN;
    slot->since = now_ms & SINCE_MASK;
    enter_list(backend, index, SLOT_NOISY);
}

/* ---- marks ---------------------------------------------------------------------------------- */

bool backend_take_mark(struct backend *backend, const struct udp_datagram *datagram,
                       uint64_t now_ms)
{
    uint64_t number;
    /* Nobody else on this machine can have our port. */
    struct addr self = backend_slot_addr(backend, 0);
    if (datagram->from.port != self.port || !addr_equal(&datagram->to, &self) ||
        datagram->len != sizeof(number))
        return false;
    memcpy(&number, datagram->data, sizeof(number));
    if (number > backend->mark_seen && number <= backend->mark_sent) {
        backend->mark_seen = number;
        backend->mark_missed_ms = now_ms;
    }
    return true;
}

void backend_on_batch(struct backend *backend, bool is_all, uint64_t now_ms)
{
    if (is_all && backend->mark_seen != backend->mark_sent &&
        now_ms - backend->mark_missed_ms >= MARK_LOST_MS)
        backend->mark_seen = backend->mark_sent;
}

/* ---- finding -------------------------------------------------------------------------------- */

void *backend_owner(const struct backend *backend, uint32_t slot)
{
    bool is_taken = slot < backend->slot_count && at(backend, slot)->state == SLOT_TAKEN;
    return is_taken ? at(backend, slot)->owner : NULL;
}

struct addr backend_slot_addr(const struct backend *backend, uint32_t slot)
{
    uint32_t value = FIRST_ADDRESS + slot * backend->worker_count + backend->worker;
    struct addr addr = {.family = AF_INET, .port = backend->socket.bound.port};
    uint32_t network = htonl(value);
    memcpy(addr.ip, &network, 4);
    return addr;
}

/* BACKEND_NO_SLOT if the address is none of this worker's. */
static uint32_t slot_of_addr(const struct backend *backend, const struct addr *addr)
{
    uint32_t network;
    memcpy(&network, addr->ip, 4);
    uint32_t value = ntohl(network);
    if (addr->family != AF_INET || value < FIRST_ADDRESS || value > LAST_ADDRESS)
        return BACKEND_NO_SLOT;
    uint32_t offset = value - FIRST_ADDRESS;
    if (offset % backend->worker_count != backend->worker)
        return BACKEND_NO_SLOT;
    uint32_t slot = offset / backend->worker_count;
    return slot < backend->slot_count ? slot : BACKEND_NO_SLOT;
}

struct backend_found backend_find(const struct backend *backend, const struct addr *addr,
                                  uint64_t now_ms)
{
    struct backend_found found = {.late = LATE_UNKNOWN, .listener = UINT32_MAX};
    found.slot = slot_of_addr(backend, addr);
    if (found.slot == BACKEND_NO_SLOT)
        return found;
    const struct backend_slot *slot = at(backend, found.slot);
    found.listener = slot->listener;
    if (slot->state == SLOT_TAKEN) {
        found.owner = slot->owner;
        found.is_stale = slot->since > backend->mark_seen;
    } else if (!has_rested(backend, slot, now_ms)) {
        found.late = slot->reason;
    }
    return found;
}
