#include "backend.h"

#include <stdlib.h>
#include <string.h>

/* 127.0.0.0/16 is left alone: 127.0.0.1 and what people configure by hand live there. The last
 * address of 127.0.0.0/8 is its broadcast address. */
#define FIRST_ADDRESS 0x7f010000u
#define LAST_ADDRESS 0x7ffffffeu

bool backend_open(struct backend *backend, uint32_t worker, uint32_t worker_count,
                  uint64_t tombstone_ms, struct err *err)
{
    *backend = (struct backend){
        .slot_max = (LAST_ADDRESS - FIRST_ADDRESS + 1) / worker_count,
        .oldest_free = BACKEND_NO_SLOT,
        .newest_free = BACKEND_NO_SLOT,
        .worker = worker,
        .worker_count = worker_count,
        .tombstone_ms = tombstone_ms,
    };
    return udp_open_backend(&backend->socket, err);
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

enum { CHUNK = 4096 };

static struct backend_slot *at(const struct backend *backend, uint32_t slot)
{
    return &backend->chunks[slot / CHUNK][slot % CHUNK];
}

static bool has_ended(const struct backend *backend, const struct backend_slot *slot,
                      uint64_t now_ms)
{
    return now_ms - slot->released_ms >= backend->tombstone_ms;
}

static uint32_t take_oldest_free(struct backend *backend)
{
    uint32_t slot = backend->oldest_free;
    backend->oldest_free = at(backend, slot)->next_free;
    if (backend->oldest_free == BACKEND_NO_SLOT)
        backend->newest_free = BACKEND_NO_SLOT;
    return slot;
}

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

uint32_t backend_take(struct backend *backend, void *owner, uint32_t listener, uint64_t now_ms,
                      bool *is_early)
{
    uint32_t oldest = backend->oldest_free;
    uint32_t slot = BACKEND_NO_SLOT;

    *is_early = false;
    if (oldest != BACKEND_NO_SLOT && has_ended(backend, at(backend, oldest), now_ms))
        slot = take_oldest_free(backend);
    if (slot == BACKEND_NO_SLOT)
        slot = add_slot(backend);
    if (slot == BACKEND_NO_SLOT && oldest != BACKEND_NO_SLOT) {
        slot = take_oldest_free(backend);
        *is_early = true;
    }
    if (slot != BACKEND_NO_SLOT)
        *at(backend, slot) = (struct backend_slot){
            .owner = owner, .state = SLOT_TAKEN, .listener = (uint8_t)listener};
    return slot;
}

void backend_release(struct backend *backend, uint32_t slot, enum close_reason reason,
                     uint64_t now_ms)
{
    struct backend_slot *released = at(backend, slot);
    released->released_ms = now_ms;
    released->next_free = BACKEND_NO_SLOT;
    released->state = SLOT_TOMBSTONE;
    released->reason = (uint8_t)reason;
    if (backend->newest_free != BACKEND_NO_SLOT)
        at(backend, backend->newest_free)->next_free = slot;
    else
        backend->oldest_free = slot;
    backend->newest_free = slot;
}

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
    uint32_t index = slot_of_addr(backend, addr);
    if (index == BACKEND_NO_SLOT)
        return found;
    const struct backend_slot *slot = at(backend, index);
    found.listener = slot->listener;
    if (slot->state == SLOT_TAKEN)
        found.owner = slot->owner;
    else if (!has_ended(backend, slot, now_ms))
        found.late = slot->reason;
    return found;
}
