#include "run/sockets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "base/log.h"
#include "net/steering.h"
#include "run/handover.h"
#include "run/privileges.h"

bool sockets_list(const struct sockets *sockets, struct fd_list *list, struct err *err)
{
    for (uint32_t w = 0; w < sockets->worker_count; w++) {
        char name[FD_NAME_MAX];
        snprintf(name, sizeof(name), "backend-%u", w);
        if (!fd_list_add(list, name, sockets->backends[w].fd, err))
            return false;
        for (uint32_t i = 0; i < sockets->entry_count; i++) {
            if (!sockets_address_list(sockets->entries[i].address, w, list, err))
                return false;
        }
    }
    return true;
}

/* ---- toward devices -------------------------------------------------------------------------- */

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

static bool add_entry(struct sockets *sockets, const struct sockets *before,
                      const struct listener *listener, const struct addr *addr,
                      const struct sockets_wish *wish, struct err *err)
{
    struct sockets_entry *entry = &sockets->entries[sockets->entry_count];
    *entry = (struct sockets_entry){
        .listener = listener->number,
        .cid_bytes = listener->config->cid_bytes,
        .address = share(before, addr),
    };
    if (entry->address == NULL)
        entry->address = sockets_address_open(addr, wish, err);
    sockets->entry_count += entry->address != NULL;
    return entry->address != NULL;
}

static bool list_listening(const struct sockets *sockets, struct fd_list *list, struct err *err)
{
    for (uint32_t i = 0; sockets != NULL && i < sockets->entry_count; i++) {
        for (uint32_t w = 0; w < sockets->worker_count; w++) {
            if (!sockets_address_list(sockets->entries[i].address, w, list, err))
                return false;
        }
    }
    return true;
}

static bool add_all(struct sockets *sockets, const struct sockets *before,
                    const struct generation *generation, const struct sockets_wish *wish,
                    struct err *err)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        for (uint32_t j = 0; j < listener->config->listen.count; j++) {
            if (!add_entry(sockets, before, listener, &listener->config->listen.addrs[j], wish,
                           err))
                return false;
        }
    }
    return true;
}

/* before, handover: NULL = none. */
static bool add_entries(struct sockets *sockets, const struct sockets *before,
                        const struct generation *generation, struct handover *handover,
                        struct err *err)
{
    struct fd_list listening = {0};
    const struct sockets_wish wish = {
        .worker_count = sockets->worker_count,
        .has_hello_sockets = sockets->has_hello_sockets,
        .before = &listening,
        .handover = handover,
    };
    bool is_good =
        list_listening(before, &listening, err) && add_all(sockets, before, generation, &wish, err);
    fd_list_free(&listening);
    return is_good;
}

/* ---- toward backends ------------------------------------------------------------------------- */

/* Whether one was handed over though one before it was not. */
static bool has_gap(const struct sockets *sockets, const struct handover *handover)
{
    for (uint32_t w = sockets->backend_count; w < LAYOUT_WORKERS_MAX; w++) {
        char name[FD_NAME_MAX];
        snprintf(name, sizeof(name), "backend-%u", w);
        if (fd_list_find(&handover->inherited, name) != NULL)
            return true;
    }
    return false;
}

static void close_backends(struct sockets *sockets, uint32_t count)
{
    while (sockets->backend_count > count)
        udp_close(&sockets->backends[--sockets->backend_count]);
}

/* As of an address: in a group with a gap nobody knows how the kernel counts. */
static void let_go_of_backends(struct sockets *sockets, struct handover *handover)
{
    log_text(LOG_WARNING, "sockets_incomplete",
             "some of the sockets toward backends were not handed over, so that nobody knows the "
             "order of the others; they are opened anew, and what waits in them is lost");
    close_backends(sockets, 0);
    for (uint32_t w = 0; w < LAYOUT_WORKERS_MAX; w++) {
        char name[FD_NAME_MAX];
        snprintf(name, sizeof(name), "backend-%u", w);
        handover_drop(handover, name);
    }
}

static void inherit_backends(struct sockets *sockets, uint16_t port, struct handover *handover)
{
    for (uint32_t w = 0; handover != NULL && w < LAYOUT_WORKERS_MAX; w++) {
        char name[FD_NAME_MAX];
        struct err err;
        snprintf(name, sizeof(name), "backend-%u", w);
        int fd = handover_take(handover, name);
        struct udp_socket *socket = &sockets->backends[w];
        bool is_one = fd >= 0 && udp_adopt(socket, fd, &err);
        if (is_one && (port == 0 || socket->bound.port == port)) {
            sockets->backend_count++;
            continue;
        }
        if (fd >= 0)
            close(fd);
        socket->fd = -1;
        if (!is_one && has_gap(sockets, handover))
            let_go_of_backends(sockets, handover);
        return;
    }
}

/* What was dropped may be open elsewhere for a moment. */
static bool open_backend_at(struct udp_socket *socket, uint16_t port, struct handover *handover,
                            struct err *err)
{
    while (!udp_open_backend(socket, port, true, err)) {
        if (handover == NULL || !handover_await_drop(handover))
            return false;
    }
    return true;
}

/* If the settings leave the choice, it is the port that servers know, also after a state file,
 * which keeps no sockets. */
static bool open_first_backend(struct sockets *sockets, uint16_t port, const struct state *state,
                               struct handover *handover, struct err *err)
{
    struct udp_socket *socket = &sockets->backends[0];
    uint32_t known = state->header->backend_port;
    if (port != 0 || known == 0 || known > UINT16_MAX)
        return open_backend_at(socket, port, handover, err);
    if (open_backend_at(socket, (uint16_t)known, handover, err))
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
                  ? open_first_backend(sockets, port, state, handover, err)
                  : udp_open_backend(socket, sockets->backends[0].bound.port, false, err)))
            return false;
        sockets->backend_count++;
    }
    state->header->backend_port = sockets->backends[0].bound.port;
    return true;
}

/* ---- all together ---------------------------------------------------------------------------- */

/* By the connection IDs of the listeners, and the number of workers. */
static bool steer(const struct sockets *sockets, struct err *err)
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

static bool open_all(struct sockets *sockets, const struct generation *generation,
                     struct state *state, struct handover *handover, struct err *err)
{
    return add_entries(sockets, NULL, generation, handover, err) &&
           open_backends(sockets, (uint16_t)generation->config->gate.backend_port, state, handover,
                         err) &&
           steer(sockets, err);
}

/* The kernel lets sockets share a port only if they are of one user. So all are of the one that
 * this process will be: it opens others beside them later, and the next process may be root again.
 */
static bool open_all_as(uid_t owner, struct sockets *sockets, const struct generation *generation,
                        struct state *state, struct handover *handover, struct err *err)
{
    if (geteuid() != 0)
        return open_all(sockets, generation, state, handover, err);
    for (uint32_t i = 0; handover != NULL && i < handover->inherited.count; i++) {
        const struct named_fd *item = &handover->inherited.items[i];
        if (strncmp(item->name, "listen-", 7) == 0 || strncmp(item->name, "backend-", 8) == 0)
            (void)!fchown(item->fd, owner, (gid_t)-1); /* the copies are the same sockets */
    }
    int before = setfsuid(owner); /* of new sockets; of this thread, whose privileges it keeps */
    bool is_open = open_all(sockets, generation, state, handover, err);
    setfsuid((uid_t)before);
    return is_open;
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
    uid_t owner = privileges_uid(generation->config->gate.user);
    if (!open_all_as(owner, sockets, generation, state, handover, err)) {
        sockets_close(sockets);
        return NULL;
    }
    for (uint32_t i = 0; i < sockets->entry_count; i++)
        if (!sockets->entries[i].address->is_inherited)
            sockets_address_discard(sockets->entries[i].address);
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
    if (!add_entries(sockets, before, generation, NULL, err) || !steer(sockets, err)) {
        sockets_change_back(sockets, before);
        return NULL;
    }
    for (uint32_t i = 0; i < sockets->entry_count; i++)
        if (!is_shared(sockets->entries[i].address))
            sockets_address_discard(sockets->entries[i].address);
    return sockets;
}

void sockets_change_back(struct sockets *sockets, const struct sockets *before)
{
    struct err err = {0};
    bool is_steered = steer(before, &err);
    sockets_close(sockets);
    if (!is_steered)
        log_text(LOG_ERROR, "steering_failed",
                 "%s; datagrams arrive at workers that do not know the session, until the next "
                 "reload that succeeds, or a restart",
                 err.text);
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
        sockets_address_leave(sockets->entries[i].address);
    if (sockets->backend_users != NULL && --*sockets->backend_users == 0) {
        close_backends(sockets, 0);
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
        sockets_address_shrink(entry->address, sockets->worker_count);
    }
    for (uint32_t w = 0; w < sockets->backend_count; w++)
        give_from_backends(sockets, &sockets->backends[w], &in, workers);
    close_backends(sockets, sockets->worker_count);
    udp_in_deinit(&in);
    return true;
}
