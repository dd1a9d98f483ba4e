#include "run/sockets_address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/udp.h"
#include "run/handover.h"
#include "state/layout.h"

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

bool sockets_address_list(const struct sockets_address *address, uint32_t worker,
                          struct fd_list *list, struct err *err)
{
    const struct sockets_pair *pair = &address->pairs[worker];
    return list_one(list, worker, 's', &pair->sessions, err) &&
           list_one(list, worker, 'h', &pair->hellos, err);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void close_pair(struct sockets_pair *pair)
{
    udp_close(&pair->hellos);
    udp_close(&pair->sessions);
}

/* From the last on: the kernel counts those that are left as before. */
void sockets_address_shrink(struct sockets_address *address, uint32_t count)
{
    while (address->pair_count > count)
        close_pair(&address->pairs[--address->pair_count]);
}

void sockets_address_leave(struct sockets_address *address)
{
    if (address == NULL || --address->users != 0)
        return;
    sockets_address_shrink(address, 0);
    free(address->pairs);
    free(address);
}

/* ---- opening --------------------------------------------------------------------------------- */

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

/* ---- from the process before ----------------------------------------------------------------- */

/* Nobody keeps one: the kernel would count it among those that are opened now, until it is closed.
 */
static void let_go(struct sockets_address *address, struct handover *handover)
{
    const struct fd_list *inherited = &handover->inherited;
    sockets_address_shrink(address, 0);
    for (uint32_t i = 0; i < inherited->count;) {
        char name[FD_NAME_MAX];
        struct udp_socket socket;
        struct err err;
        memcpy(name, inherited->items[i].name, sizeof(name));
        if (strncmp(name, "listen-", strlen("listen-")) != 0 ||
            !udp_adopt(&socket, inherited->items[i].fd, &err) ||
            !addr_equal(&socket.bound, &address->addr)) {
            i++;
            continue;
        }
        handover_drop(handover, name);
        i = 0; /* several may have gone */
    }
}

/* Takes those of the address. Their order in the kernel is known by their names only if none is
 * missing: else all are let go of. */
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
        if (kind == 'h')
            udp_set_receive_buffer(place, UDP_HELLO_BUFFER_BYTES);
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
    let_go(address, handover);
    address->is_inherited = false;
}

/* ---- new ones -------------------------------------------------------------------------------- */

/* What was dropped may be open elsewhere for a moment. */
static bool open_first(struct sockets_address *address, const struct fd_list *ours,
                       struct handover *handover, struct err *err)
{
    while (!udp_open_first_listener(&address->pairs[0].sessions, &address->addr, ours, err)) {
        if (handover == NULL || !handover_await_drop(handover))
            return false;
    }
    return true;
}

/* In the order of steering.h. */
static bool open_pairs(struct sockets_address *address, const struct sockets_wish *wish,
                       const struct fd_list *ours, struct err *err)
{
    while (address->pair_count < wish->worker_count) {
        struct sockets_pair *pair = &address->pairs[address->pair_count++];
        bool is_first = address->pair_count == 1;
        if (!(is_first ? open_first(address, ours, wish->handover, err)
                       : udp_open_listener(&pair->sessions, &address->addr, err)))
            return false;
        if (!wish->has_hello_sockets)
            continue;
        if (!udp_open_listener(&pair->hellos, &address->addr, err))
            return false;
        udp_set_receive_buffer(&pair->hellos, UDP_HELLO_BUFFER_BYTES);
    }
    return true;
}

/* All that could be in the way. */
static bool list_ours(const struct sockets_wish *wish, struct fd_list *list, struct err *err)
{
    const struct fd_list *from[] = {wish->before,
                                    wish->handover != NULL ? &wish->handover->inherited : NULL};
    for (int i = 0; i < 2; i++) {
        for (uint32_t j = 0; from[i] != NULL && j < from[i]->count; j++) {
            if (!fd_list_add(list, from[i]->items[j].name, from[i]->items[j].fd, err))
                return false;
        }
    }
    return true;
}

struct sockets_address *sockets_address_open(const struct addr *addr,
                                             const struct sockets_wish *wish, struct err *err)
{
    struct sockets_address *address = new_address(addr);
    struct fd_list ours = {0};
    if (address == NULL) {
        err_set(err, "out of memory for a listening address");
        return NULL;
    }
    inherit_pairs(address, wish->has_hello_sockets, wish->handover);
    bool is_open = list_ours(wish, &ours, err) && open_pairs(address, wish, &ours, err);
    fd_list_free(&ours);
    if (is_open)
        return address;
    sockets_address_leave(address);
    return NULL;
}

void sockets_address_discard(const struct sockets_address *address)
{
    for (uint32_t w = 0; w < address->pair_count; w++) {
        udp_discard(&address->pairs[w].sessions);
        if (address->pairs[w].hellos.fd >= 0)
            udp_discard(&address->pairs[w].hellos);
    }
}
