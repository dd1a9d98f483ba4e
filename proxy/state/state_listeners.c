#include "state/state_listeners.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"

/* ---- which number ---------------------------------------------------------------------------- */

struct plan {
    const struct state *state;
    bool is_given[LAYOUT_LISTENERS_MAX]; /* numbers, to one of the new settings */
};

static bool has_name(const struct layout_listener *known, const char *name)
{
    return known->use != LAYOUT_LISTENER_NEVER &&
           strncmp(known->name, name, sizeof(known->name)) == 0;
}

static bool share_address(const struct layout_listener *known, const struct state_listener *new)
{
    for (uint32_t i = 0; i < known->addr_count; i++) {
        for (uint32_t j = 0; j < new->addr_count; j++) {
            if (addr_equal(&known->addrs[i], &new->addrs[j]))
                return true;
        }
    }
    return false;
}

static uint32_t find_by_name(const struct plan *plan, const struct state_listener *new)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        if (!plan->is_given[i] && has_name(&plan->state->header->listeners[i], new->name))
            return i;
    }
    return LAYOUT_LISTENERS_MAX;
}

/* Of those that are in use, and whose names are gone: the others have been given away. */
static uint32_t find_renamed(const struct plan *plan, const struct state_listener *new)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        const struct layout_listener *known = &plan->state->header->listeners[i];
        if (!plan->is_given[i] && known->use == LAYOUT_LISTENER_IN_USE && share_address(known, new))
            return i;
    }
    return LAYOUT_LISTENERS_MAX;
}

static uint32_t find_free(const struct plan *plan)
{
    uint32_t oldest = LAYOUT_LISTENERS_MAX;
    const struct layout_listener *listeners = plan->state->header->listeners;
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        if (plan->is_given[i] || listeners[i].use == LAYOUT_LISTENER_IN_USE)
            continue;
        if (listeners[i].use == LAYOUT_LISTENER_NEVER)
            return i;
        if (oldest == LAYOUT_LISTENERS_MAX || listeners[i].removed < listeners[oldest].removed)
            oldest = i;
    }
    return oldest;
}

/* LAYOUT_LISTENERS_MAX = it has none yet. */
static bool give(struct plan *plan, struct state_listener *new, uint32_t number)
{
    new->number = number;
    if (number == LAYOUT_LISTENERS_MAX)
        return false;
    plan->is_given[number] = true;
    return true;
}

bool state_listeners_plan(const struct state *state, struct state_listener *listeners,
                          uint32_t count, struct err *err)
{
    struct plan plan = {.state = state};
    assert(count <= LAYOUT_LISTENERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        (void)give(&plan, &listeners[i], find_by_name(&plan, &listeners[i]));
        listeners[i].is_new = false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (listeners[i].number == LAYOUT_LISTENERS_MAX)
            (void)give(&plan, &listeners[i], find_renamed(&plan, &listeners[i]));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (listeners[i].number != LAYOUT_LISTENERS_MAX)
            continue;
        listeners[i].is_new = true;
        if (!give(&plan, &listeners[i], find_free(&plan)))
            return err_set(err,
                           "[listener %s]: there is no number left for it: %d listeners are known. "
                           "Remove some in one reload, and add others in the next",
                           listeners[i].name, LAYOUT_LISTENERS_MAX);
    }
    return true;
}

/* ---- making it so ---------------------------------------------------------------------------- */

static void remove_all_but(struct state *state, const struct state_listener *listeners,
                           uint32_t count)
{
    bool is_kept[LAYOUT_LISTENERS_MAX] = {false};
    for (uint32_t i = 0; i < count; i++)
        is_kept[listeners[i].number] = true;
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        struct layout_listener *known = &state->header->listeners[i];
        if (known->use != LAYOUT_LISTENER_IN_USE || is_kept[i])
            continue;
        known->removed = ++state->header->removals;
        known->use = LAYOUT_LISTENER_REMOVED;
    }
}

static void set_server(struct layout_server *server, const struct addr *now, uint64_t until_ms)
{
    if (addr_equal(&server->now, now))
        return;
    server->before = server->now;
    server->before_until_ms = until_ms;
    server->now = *now;
}

static void enter(struct state *state, const struct state_listener *new, const uint8_t *secret,
                  uint64_t tombstone_ms)
{
    struct layout_listener *known = &state->header->listeners[new->number];
    assert(new->addr_count <= LAYOUT_LISTEN_MAX);
    if (new->is_new) {
        memcpy(known->ticket_master, secret, LAYOUT_MASTER_BYTES);
        known->server = (struct layout_server){.now = new->server};
    }
    set_server(&known->server, &new->server, state_now_ms(state) + tombstone_ms);
    if (known->use != LAYOUT_LISTENER_IN_USE || !has_name(known, new->name)) {
        memset(known->name, 0, sizeof(known->name));
        memcpy(known->name, new->name, strnlen(new->name, LAYOUT_NAME_MAX));
    }
    memset(known->addrs, 0, sizeof(known->addrs));
    for (uint32_t i = 0; i < new->addr_count; i++)
        known->addrs[i] = new->addrs[i];
    known->addr_count = (uint8_t) new->addr_count;
    known->use = LAYOUT_LISTENER_IN_USE;
}

bool state_listeners_commit(struct state *state, const struct state_listener *listeners,
                            uint32_t count, uint64_t tombstone_ms, struct err *err)
{
    uint8_t secrets[LAYOUT_LISTENERS_MAX][LAYOUT_MASTER_BYTES];
    /* At most 256 bytes are certain to be given at once. */
    for (uint32_t i = 0; i < count; i++) {
        if (getrandom(secrets[i], sizeof(secrets[i]), 0) != sizeof(secrets[i]))
            return err_set(err, "no random numbers for the tickets of [listener %s]: %s",
                           listeners[i].name, strerror(errno));
    }
    remove_all_but(state, listeners, count);
    for (uint32_t i = 0; i < count; i++)
        enter(state, &listeners[i], secrets[i], tombstone_ms);
    bytes_wipe(secrets, sizeof(secrets));
    return true;
}
