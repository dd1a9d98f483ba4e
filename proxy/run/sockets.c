#include "run/sockets.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "net/steering.h"
#include "run/handover.h"

/* ---- names ----------------------------------------------------------------------------------- */

enum { HEX_MAX = 2 * (16 + 4 + 2) + 1 };

/* Address, scope if it has one, port: as long as its family needs. */
static void write_hex(const struct addr *addr, char hex[HEX_MAX])
{
    size_t ip_bytes = addr->family == AF_INET ? 4 : 16, len = 0;
    for (size_t i = 0; i < ip_bytes; i++)
        len += (size_t)snprintf(hex + len, HEX_MAX - len, "%02x", addr->ip[i]);
    if (addr->scope_id != 0)
        len += (size_t)snprintf(hex + len, HEX_MAX - len, "%08x", addr->scope_id);
    snprintf(hex + len, HEX_MAX - len, "%04x", addr->port);
}

static bool list_one(struct fd_list *list, uint32_t worker, char kind,
                     const struct udp_socket *socket, struct err *err)
{
    char name[FD_NAME_MAX], hex[HEX_MAX];
    if (socket->fd < 0)
        return true;
    write_hex(&socket->bound, hex);
    snprintf(name, sizeof(name), "listen-%u-%c-%s", (uint8_t)worker, kind, hex);
    return fd_list_add(list, name, socket->fd, err);
}

bool sockets_list(const struct sockets *sockets, struct fd_list *list, struct err *err)
{
    for (uint32_t w = 0; w < sockets->worker_count; w++) {
        char name[FD_NAME_MAX];
        snprintf(name, sizeof(name), "backend-%u", w);
        if (!fd_list_add(list, name, sockets->backends[w].fd, err))
            return false;
        for (uint32_t i = 0; i < sockets->entry_count; i++) {
            const struct sockets_pair *pair = &sockets->entries[i].address->pairs[w];
            if (!list_one(list, w, 's', &pair->sessions, err) ||
                !list_one(list, w, 'h', &pair->hellos, err))
                return false;
        }
    }
    return true;
}

/* ---- one address ----------------------------------------------------------------------------- */

static void close_pair(struct sockets_pair *pair)
{
    udp_close(&pair->hellos);
    udp_close(&pair->sessions);
}

/* From the last on: the kernel counts those that are left as before. */
static void drop_pairs(struct sockets_address *address, uint32_t count)
{
    while (address->pair_count > count)
        close_pair(&address->pairs[--address->pair_count]);
}

static void leave_address(struct sockets_address *address)
{
    if (address == NULL || --address->users != 0)
        return;
    drop_pairs(address, 0);
    free(address->pairs);
    free(address);
}

static struct sockets_address *new_address(const struct addr *addr)
{
    struct sockets_address *address = calloc(1, sizeof(*address));
    if (address == NULL)
        return NULL;
    address->pairs = calloc(LAYOUT_WORKERS_MAX, sizeof(*address->pairs));
    address->addr = *addr;
    address->users = 1;
    for (uint32_t i = 0; address->pairs != NULL && i < LAYOUT_WORKERS_MAX; i++)
        address->pairs[i].sessions.fd = address->pairs[i].hellos.fd = -1;
    if (address->pairs != NULL)
        return address;
    free(address);
    return NULL;
}

/* In the order of steering.h. */
static bool open_pairs(struct sockets_address *address, uint32_t count, bool has_hello_sockets,
                       struct err *err)
{
    while (address->pair_count < count) {
        struct sockets_pair *pair = &address->pairs[address->pair_count++];
        bool is_first = address->pair_count == 1;
        if (!(is_first ? udp_open_first_listener(&pair->sessions, &address->addr, err)
                       : udp_open_listener(&pair->sessions, &address->addr, err)))
            return false;
        if (!has_hello_sockets)
            continue;
        if (!udp_open_listener(&pair->hellos, &address->addr, err))
            return false;
        udp_set_receive_buffer(&pair->hellos, UDP_HELLO_BUFFER_BYTES);
    }
    return true;
}

/* What has arrived before the kernel knew whose it is. */
static void discard_new(const struct sockets_address *address)
{
    for (uint32_t w = 0; w < address->pair_count; w++) {
        udp_discard(&address->pairs[w].sessions);
        if (address->pairs[w].hellos.fd >= 0)
            udp_discard(&address->pairs[w].hellos);
    }
}

/* ---- inherited ones -------------------------------------------------------------------------- */

/* Takes those of the address. Their order in the kernel is known by their names only if none is
 * missing: else they are closed. */
static void inherit_pairs(struct sockets_address *address, bool has_hello_sockets,
                          struct handover *handover)
{
    uint32_t taken = 0, count = 0;
    for (uint32_t i = 0; handover != NULL && i < handover->count; i++) {
        struct named_fd *item = &handover->at[i];
        struct udp_socket socket;
        struct err err;
        unsigned worker;
        char kind;
        if (item->fd < 0 || sscanf(item->name, "listen-%u-%c-", &worker, &kind) != 2 ||
            worker >= LAYOUT_WORKERS_MAX || (kind != 's' && kind != 'h') ||
            !udp_adopt(&socket, item->fd, &err) || !addr_equal(&socket.bound, &address->addr))
            continue;
        struct sockets_pair *pair = &address->pairs[worker];
        struct udp_socket *place = kind == 's' ? &pair->sessions : &pair->hellos;
        if (place->fd >= 0)
            continue;
        *place = socket;
        item->fd = -1;
        taken++;
        if (worker >= count)
            count = worker + 1;
    }
    address->pair_count = count;
    address->is_inherited = taken != 0;
    if (taken == (has_hello_sockets ? 2 : 1) * count)
        return;
    char text[ADDR_TEXT_MAX];
    log_text(LOG_WARNING, "sockets_incomplete",
             "%s: some of its sockets were not handed over, so that nobody knows the order of the "
             "others; they are opened anew, and what waits in them is lost",
             addr_format(&address->addr, text));
    drop_pairs(address, 0);
    address->is_inherited = false;
}

static void inherit_backends(struct sockets *sockets, uint16_t port, struct handover *handover)
{
    for (uint32_t w = 0; handover != NULL && w < LAYOUT_WORKERS_MAX; w++) {
        char name[FD_NAME_MAX];
        struct err err;
        snprintf(name, sizeof(name), "backend-%u", w);
        int fd = handover_take(handover, name);
        struct udp_socket *socket = &sockets->backends[w];
        if (fd < 0 || !udp_adopt(socket, fd, &err) || (port != 0 && socket->bound.port != port)) {
            if (fd >= 0)
                close(fd);
            socket->fd = -1;
            return;
        }
        sockets->backend_count++;
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

static struct sockets *new_sockets(const struct generation *generation, struct err *err)
{
    struct sockets *sockets = calloc(1, sizeof(*sockets));
    uint32_t count = 0;
    for (uint32_t i = 0; i < generation->config->listener_count; i++)
        count += generation->config->listeners[i].listen.count;
    if (sockets != NULL)
        sockets->entries = calloc(count, sizeof(*sockets->entries));
    if (sockets != NULL && sockets->entries != NULL)
        return sockets;
    free(sockets);
    err_set(err, "out of memory for %u listening addresses", count);
    return NULL;
}

static struct sockets_address *share(const struct sockets *before, const struct addr *addr)
{
    for (uint32_t i = 0; before != NULL && i < before->entry_count; i++) {
        struct sockets_address *address = before->entries[i].address;
        if (!addr_equal(&address->addr, addr))
            continue;
        address->users++;
        return address;
    }
    return NULL;
}

static bool add_entry(struct sockets *sockets, struct sockets *before,
                      const struct listener *listener, const struct addr *addr,
                      struct handover *handover, struct err *err)
{
    struct sockets_entry *entry = &sockets->entries[sockets->entry_count];
    *entry = (struct sockets_entry){
        .listener = listener->number,
        .cid_bytes = listener->config->cid_bytes,
        .address = share(before, addr),
    };
    if (entry->address != NULL) {
        sockets->entry_count++;
        return true;
    }
    entry->address = new_address(addr);
    if (entry->address == NULL)
        return err_set(err, "out of memory for a listening address");
    sockets->entry_count++;
    inherit_pairs(entry->address, sockets->has_hello_sockets, handover);
    return open_pairs(entry->address, sockets->worker_count, sockets->has_hello_sockets, err);
}

static bool add_entries(struct sockets *sockets, struct sockets *before,
                        const struct generation *generation, struct handover *handover,
                        struct err *err)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        for (uint32_t j = 0; j < listener->config->listen.count; j++)
            if (!add_entry(sockets, before, listener, &listener->config->listen.addrs[j], handover,
                           err))
                return false;
    }
    return true;
}

/* If the settings leave the choice, it is the port that servers know, also after a state file,
 * which keeps no sockets. */
static bool open_first_backend(struct sockets *sockets, uint16_t port, const struct state *state,
                               struct err *err)
{
    struct udp_socket *socket = &sockets->backends[0];
    uint32_t known = state->header->backend_port;
    if (port != 0 || known == 0 || known > UINT16_MAX)
        return udp_open_backend(socket, port, true, err);
    if (udp_open_backend(socket, (uint16_t)known, true, err))
        return true;
    log_text(LOG_WARNING, "backend_port_lost",
             "%s; servers see all sessions at another port now, so that for them each is another "
             "device, and observations are lost",
             err->text);
    return udp_open_backend(socket, 0, true, err);
}

static bool open_backends(struct sockets *sockets, uint16_t port, struct state *state,
                          struct handover *handover, struct err *err)
{
    sockets->backends = calloc(LAYOUT_WORKERS_MAX, sizeof(*sockets->backends));
    sockets->backend_users = malloc(sizeof(*sockets->backend_users));
    if (sockets->backends == NULL || sockets->backend_users == NULL)
        return err_set(err, "out of memory for backend sockets");
    *sockets->backend_users = 1;
    inherit_backends(sockets, port, handover);
    while (sockets->backend_count < sockets->worker_count) {
        struct udp_socket *socket = &sockets->backends[sockets->backend_count];
        if (!(sockets->backend_count == 0
                  ? open_first_backend(sockets, port, state, err)
                  : udp_open_backend(socket, sockets->backends[0].bound.port, false, err)))
            return false;
        sockets->backend_count++;
    }
    state->header->backend_port = sockets->backends[0].bound.port;
    return true;
}

bool sockets_steer(struct sockets *sockets, struct err *err)
{
    for (uint32_t i = 0; sockets->has_hello_sockets && i < sockets->entry_count; i++) {
        const struct sockets_entry *entry = &sockets->entries[i];
        const struct steering steering = {
            .worker_count = sockets->worker_count,
            .cid_length = entry->cid_bytes,
            .has_hello_sockets = true,
            .is_v4 = entry->address->addr.family == AF_INET,
        };
        if (!steering_attach(entry->address->pairs[0].sessions.fd, &steering, err))
            return false;
    }
    /* One socket alone is no group, and there is nothing to steer. */
    return sockets->backend_count == 1 ||
           steering_attach_backend(sockets->backends[0].fd, sockets->worker_count, err);
}

struct sockets *sockets_open(const struct generation *generation, struct state *state,
                             uint32_t worker_count, bool may_steer, struct handover *handover,
                             struct err *err)
{
    struct sockets *sockets = new_sockets(generation, err);
    if (sockets == NULL)
        return NULL;
    sockets->worker_count = worker_count;
    sockets->has_hello_sockets = may_steer;
    if (!add_entries(sockets, NULL, generation, handover, err) ||
        !open_backends(sockets, (uint16_t)generation->config->gate.backend_port, state, handover,
                       err) ||
        !sockets_steer(sockets, err)) {
        sockets_close(sockets);
        return NULL;
    }
    for (uint32_t i = 0; i < sockets->entry_count; i++)
        if (!sockets->entries[i].address->is_inherited)
            discard_new(sockets->entries[i].address);
    return sockets;
}

static bool is_shared(const struct sockets_address *address)
{
    return address->users > 1;
}

struct sockets *sockets_change(struct sockets *before, const struct generation *generation,
                               struct err *err)
{
    struct sockets *sockets = new_sockets(generation, err);
    if (sockets == NULL)
        return NULL;
    sockets->worker_count = before->worker_count;
    sockets->has_hello_sockets = before->has_hello_sockets;
    sockets->backends = before->backends;
    sockets->backend_count = before->backend_count;
    sockets->backend_users = before->backend_users;
    ++*sockets->backend_users;
    if (!add_entries(sockets, before, generation, NULL, err) || !sockets_steer(sockets, err)) {
        sockets_close(sockets);
        return NULL;
    }
    for (uint32_t i = 0; i < sockets->entry_count; i++)
        if (!is_shared(sockets->entries[i].address))
            discard_new(sockets->entries[i].address);
    return sockets;
}

void sockets_of_worker(const struct sockets *sockets, uint32_t worker, struct worker_sockets *at)
{
    for (uint32_t i = 0; i < sockets->entry_count; i++) {
        const struct sockets_entry *entry = &sockets->entries[i];
        at[i] = (struct worker_sockets){
            .listener = entry->listener,
            .sessions = entry->address->pairs[worker].sessions,
            .hellos = entry->address->pairs[worker].hellos,
        };
    }
}

void sockets_close(struct sockets *sockets)
{
    if (sockets == NULL)
        return;
    for (uint32_t i = 0; i < sockets->entry_count; i++)
        leave_address(sockets->entries[i].address);
    if (sockets->backend_users != NULL && --*sockets->backend_users == 0) {
        while (sockets->backend_count > 0)
            udp_close(&sockets->backends[--sockets->backend_count]);
        free(sockets->backends);
        free(sockets->backend_users);
    }
    free(sockets->entries);
    free(sockets);
}

/* ---- what has waited ------------------------------------------------------------------------- */

/* One datagram of a batch, as a batch. */
static void give_one(struct worker *worker, const struct addr *bound,
                     const struct udp_datagram *datagram)
{
    struct udp_in one = {.at = {*datagram}, .count = 1};
    worker_give(worker, bound, &one);
}

static void give_from_clients(const struct sockets *sockets, const struct sockets_entry *entry,
                              struct udp_socket *socket, struct udp_in *in,
                              struct worker *const *workers)
{
    const struct steering steering = {.worker_count = sockets->worker_count,
                                      .cid_length = entry->cid_bytes};
    while (socket->fd >= 0 && udp_receive(socket, in)) {
        for (uint32_t i = 0; i < in->count; i++) {
            const struct udp_datagram *d = &in->at[i];
            uint32_t worker = steering_socket_of(&steering, &d->from, d->data, d->len);
            give_one(workers[worker], &entry->address->addr, d);
        }
    }
}

static void give_from_backends(const struct sockets *sockets, struct udp_socket *socket,
                               struct udp_in *in, struct worker *const *workers)
{
    while (udp_receive(socket, in)) {
        for (uint32_t i = 0; i < in->count; i++) {
            uint32_t bucket = steering_bucket_of_backend(&in->at[i].to);
            give_one(workers[steering_worker_of_bucket(bucket, sockets->worker_count)], NULL,
                     &in->at[i]);
        }
    }
}

bool sockets_give_waiting(struct sockets *sockets, struct worker *const *workers, struct err *err)
{
    struct udp_in in;
    if (!udp_in_init(&in))
        return err_set(err, "out of memory for what waits in inherited sockets");
    for (uint32_t i = 0; i < sockets->entry_count; i++) {
        struct sockets_entry *entry = &sockets->entries[i];
        for (uint32_t w = 0; entry->address->is_inherited && w < entry->address->pair_count; w++) {
            give_from_clients(sockets, entry, &entry->address->pairs[w].sessions, &in, workers);
            give_from_clients(sockets, entry, &entry->address->pairs[w].hellos, &in, workers);
        }
        drop_pairs(entry->address, sockets->worker_count);
    }
    for (uint32_t w = 0; w < sockets->backend_count; w++)
        give_from_backends(sockets, &sockets->backends[w], &in, workers);
    while (sockets->backend_count > sockets->worker_count)
        udp_close(&sockets->backends[--sockets->backend_count]);
    udp_in_deinit(&in);
    return true;
}
