#include "backend/backend.h"

#include <string.h>

#include "backend/slots_adopt.h"

/* A mark that is not there by then was lost in a full socket buffer. */
enum { MARK_LOST_MS = 1000 };

/* ---- marks ---------------------------------------------------------------------------------- */

/* They go to an address that the kernel steers to this worker: of the first of its buckets. */
static struct addr mark_addr(const struct backend *backend)
{
    return backend_slot_addr(backend, slots_number(backend->slots.worker, 0));
}

static bool send_mark(struct backend *backend, const struct addr *from, int *error)
{
    struct addr to = mark_addr(backend);
    return udp_send_one(&backend->socket, from, &to, &backend->mark_sent,
                        sizeof(backend->mark_sent), error);
}

/* Nothing can be done if the mark is not sent: it counts as lost. */
static void begin_mark(struct backend *backend, uint64_t now_ms)
{
    int error;
    struct addr from = mark_addr(backend);
    if (backend->mark_seen == backend->mark_sent)
        backend->mark_missed_ms = now_ms;
    atomic_store_explicit(&backend->own->mark_sent, ++backend->mark_sent, memory_order_release);
    (void)send_mark(backend, &from, &error);
}

static void see_mark(struct backend *backend, uint64_t number)
{
    backend->mark_seen = number;
    atomic_store_explicit(&backend->own->mark_seen, number, memory_order_release);
}

/* True if that was a mark. Other workers have our port too, but send none here; and no other
 * program of this machine can have it. */
static bool take_mark(struct backend *backend, const struct udp_datagram *datagram, uint64_t now_ms)
{
    uint64_t number;
    struct addr self = mark_addr(backend);
    if (datagram->from.port != self.port || !addr_equal(&datagram->to, &self) ||
        datagram->len != sizeof(number))
        return false;
    memcpy(&number, datagram->data, sizeof(number));
    if (number > backend->mark_seen && number <= backend->mark_sent) {
        see_mark(backend, number);
        backend->mark_missed_ms = now_ms;
    }
    return true;
}

void backend_on_batch(struct backend *backend, bool is_all, uint64_t now_ms)
{
    if (is_all && backend->mark_seen != backend->mark_sent &&
        now_ms - backend->mark_missed_ms >= MARK_LOST_MS)
        see_mark(backend, backend->mark_sent);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

/* Some sandboxes give the loopback interface one address only. Sessions would begin, and nothing of
 * them would ever be passed on. */
static bool try_addresses(struct backend *backend, struct err *err)
{
    const uint32_t indexes[] = {0, SLOTS_BUCKET_MAX - 1};
    for (int i = 0; i < 2; i++) {
        int error;
        char text[ADDR_TEXT_MAX];
        struct addr from =
            backend_slot_addr(backend, slots_number(backend->slots.worker, indexes[i]));
        if (send_mark(backend, &from, &error))
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

static void copy_servers(struct backend *backend)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        backend->servers[i] = backend->state->header->listeners[i].server;
}

bool backend_open(struct backend *backend, struct state *state, const struct gate_config *gate,
                  uint32_t worker, uint32_t worker_count, const struct udp_socket *socket,
                  struct worker_counters *counters, struct err *err)
{
    *backend = (struct backend){
        .socket = *socket,
        .state = state,
        .own = state_worker(state, worker),
        .mark_sent = state->mark_base,
        .mark_seen = state->mark_base,
    };
    copy_servers(backend);
    if (slots_init(&backend->slots, state, worker, worker_count, gate->max_sessions,
                   gate->tombstone_ms, counters, err) &&
        (udp_out_init(&backend->out) ||
         err_set(err, "out of memory for the backend socket of worker %u", worker)) &&
        try_addresses(backend, err))
        return true;
    backend_close(backend);
    return false;
}

void backend_close(struct backend *backend)
{
    udp_out_deinit(&backend->out);
    slots_deinit(&backend->slots);
}

void backend_set(struct backend *backend, const struct gate_config *gate)
{
    slots_set(&backend->slots, gate->max_sessions, gate->tombstone_ms);
    copy_servers(backend);
}

/* ---- taking over ---------------------------------------------------------------------------- */

bool backend_adopt(struct backend *backend, uint64_t now_ms, struct err *err)
{
    bool is_mark_missing;
    if (!slots_adopt(&backend->slots, now_ms, &is_mark_missing, err))
        return false;
    see_mark(backend, backend->mark_seen);
    if (is_mark_missing)
        begin_mark(backend, now_ms);
    return true;
}

bool backend_claim(struct backend *backend, uint32_t slot, uint32_t owner, uint32_t listener)
{
    return slots_adopt_claim(&backend->slots, slot, owner, listener);
}

uint32_t backend_adopt_end(struct backend *backend, enum close_reason reason, uint64_t now_ms)
{
    return slots_adopt_end(&backend->slots, reason, now_ms);
}

/* ---- slots ---------------------------------------------------------------------------------- */

uint32_t backend_take(struct backend *backend, uint32_t bucket, uint32_t owner, uint32_t listener,
                      uint64_t now_ms, bool *is_early)
{
    uint32_t slot = slots_take(&backend->slots, bucket, owner, listener, backend->mark_sent + 1,
                               now_ms, is_early);
    if (slot != SLOTS_NONE)
        begin_mark(backend, now_ms);
    return slot;
}

bool backend_is_exhausted(struct backend *backend, uint32_t bucket, uint64_t now_ms)
{
    return slots_is_exhausted(&backend->slots, bucket, now_ms);
}

bool backend_is_noisy(const struct backend *backend, uint32_t slot)
{
    const struct backend_slot *found = slots_find(&backend->slots, slot);
    return found != NULL && found->is_noisy;
}

void backend_release(struct backend *backend, uint32_t slot, enum close_reason reason,
                     uint64_t now_ms)
{
    slots_release(&backend->slots, slot, reason, now_ms);
}

uint64_t backend_on_time(struct backend *backend, uint64_t now_ms)
{
    return slots_on_time(&backend->slots, now_ms);
}

uint32_t backend_owner(const struct backend *backend, uint32_t slot)
{
    const struct backend_slot *found = slots_find(&backend->slots, slot);
    return found != NULL && found->state == SLOT_TAKEN ? found->owner : BACKEND_NO_OWNER;
}

struct addr backend_slot_addr(const struct backend *backend, uint32_t slot)
{
    struct addr addr = slots_addr(slot);
    addr.port = backend->socket.bound.port;
    return addr;
}

/* ---- to a backend --------------------------------------------------------------------------- */

uint8_t *backend_room(struct backend *backend, size_t size)
{
    return udp_out_room(&backend->out, size);
}

void backend_send(struct backend *backend, uint32_t slot, uint32_t listener, size_t len,
                  bool *failed)
{
    struct addr source = slots_addr(slot);
    udp_out_queue(&backend->out, &backend->socket, &source, &backend->servers[listener].now, len,
                  failed, &backend->slots.counters->by_listener[listener].backend_bytes_sent);
}

void backend_flush(struct backend *backend)
{
    udp_out_flush(&backend->out);
}

int backend_send_error(const struct backend *backend)
{
    return backend->out.error;
}

/* ---- from a backend ------------------------------------------------------------------------- */

bool backend_receive(struct backend *backend, struct udp_in *in)
{
    return udp_receive(&backend->socket, in);
}

/* After a change of settings the old one may still have answers on their way. */
static bool is_server(const struct layout_server *server, const struct addr *from, uint64_t now_ms)
{
    return addr_equal(from, &server->now) ||
           (now_ms < server->before_until_ms && addr_equal(from, &server->before));
}

/* The first listener with that backend, or UINT32_MAX. */
static uint32_t listener_of_server(const struct backend *backend, const struct addr *server)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        if (addr_equal(server, &backend->servers[i].now))
            return i;
    return UINT32_MAX;
}

struct backend_recipient backend_recipient(struct backend *backend,
                                           const struct udp_datagram *datagram, uint64_t now_ms)
{
    struct backend_recipient recipient = {.owner = BACKEND_NO_OWNER,
                                          .outcome = BACKEND_late,
                                          .late = LATE_UNKNOWN,
                                          .listener = UINT32_MAX};
    if (take_mark(backend, datagram, now_ms)) {
        recipient.is_mark = true;
        return recipient;
    }
    uint32_t number = slots_number_of_addr(&datagram->to);
    const struct backend_slot *slot = slots_find(&backend->slots, number);
    if (slot == NULL)
        return recipient;
    recipient.listener = slot->listener;
    if (!is_server(&backend->servers[slot->listener], &datagram->from, now_ms)) {
        /* The backend of another listener may have been talking to an earlier session at this
         * address, and must not be forgotten over this one. */
        if (listener_of_server(backend, &datagram->from) != UINT32_MAX)
            slots_on_noise(&backend->slots, number, now_ms);
        recipient.outcome = BACKEND_wrong_sender;
        return recipient;
    }
    recipient.late = slots_late_reason(&backend->slots, slot, now_ms);
    if (slot->state != SLOT_TAKEN)
        slots_on_noise(&backend->slots, number, now_ms);
    else if (slot->since <= backend->mark_seen)
        recipient.owner = slot->owner;
    return recipient;
}

/* The kernel does not steer ICMP errors by our program: they may be of a session of another worker.
 * So the backend's address says what listener they are of, if the slot does not. */
bool backend_take_error(struct backend *backend, uint32_t *listener, int *error)
{
    struct addr from, to;
    if (!udp_take_error(&backend->socket, &from, &to, error))
        return false;
    const struct backend_slot *slot = slots_find(&backend->slots, slots_number_of_addr(&from));
    *listener = slot != NULL ? slot->listener : listener_of_server(backend, &to);
    return true;
}
