#include "handshake/handshake_store.h"

#include <stdlib.h>

/* A slow device on a bad network may need this long. Without an end to patience, one host with
 * max_handshakes ports would keep all others out for the whole of handshake_timeout. */
enum { PATIENCE_MS = 10000 };

/* Lines a second. A stranger with spoofed addresses must not use up those of others. */
enum { LINES_PER_S = 20, STRANGER_LINES_PER_S = 5 };

struct counters *handshake_counters(const struct handshakes *all, const struct listener *listener)
{
    return &all->counters->by_listener[listener->number];
}

struct handshake *handshakes_find(const struct handshakes *all, const struct listener *listener,
                                  const struct addr *client)
{
    struct handshake_table_entry *entry =
        handshake_table_find(&all->table, client, listener->number);
    return entry != NULL ? HANDSHAKE_OF_ENTRY(entry, struct handshake, entry) : NULL;
}

struct handshake *handshakes_find_cid(const struct handshakes *all, const struct listener *listener,
                                      const uint8_t *cid)
{
    struct handshake_table_cid_entry *entry =
        handshake_table_find_cid(&all->table, listener->number, cid, listener->config->cid_bytes);
    return entry != NULL ? HANDSHAKE_OF_ENTRY(entry, struct handshake, cid_entry) : NULL;
}

uint32_t handshakes_count_of(const struct handshakes *all, const struct listener *listener)
{
    return all->orders[listener->number].count;
}

struct handshake *handshakes_find_slow(const struct handshakes *all,
                                       const struct listener *listener, uint64_t now_ms)
{
    struct handshake *h = all->orders[listener->number].oldest;
    return h != NULL && now_ms - h->begun_ms >= PATIENCE_MS ? h : NULL;
}

void handshake_store_enter(struct handshakes *all, struct handshake *h)
{
    struct handshake_order *order = &all->orders[h->listener->number];
    h->older = order->newest;
    *(order->newest != NULL ? &order->newest->newer : &order->oldest) = h;
    order->newest = h;
    order->count++;
    all->count++;
    atomic_store_explicit(all->last_number, all->next_number, memory_order_relaxed);
    all->next_number += all->worker_count;
    generation_keep(h->listener->generation);
    counter_add(&handshake_counters(all, h->listener)->handshakes_in_progress, 1);
}

void handshake_store_drop_early(struct handshakes *all, struct handshake *h)
{
    slabs_give(all->slabs, h->early, h->early_len);
    h->early = NULL;
    h->early_len = 0;
}

void handshake_store_retire(struct handshakes *all, struct handshake *h)
{
    struct handshake_order *order = &all->orders[h->listener->number];
    timers_cancel(&all->timers, &h->timer);
    handshake_table_remove(&all->table, &h->entry);
    handshake_table_remove_cid(&all->table, &h->cid_entry);
    *(h->older != NULL ? &h->older->newer : &order->oldest) = h->newer;
    *(h->newer != NULL ? &h->newer->older : &order->newest) = h->older;
    flight_deinit(&h->flight);
    handshake_store_drop_early(all, h);
    dtls_free(h->dtls);
    h->dtls = NULL;
    h->state = HANDSHAKE_ENDED;
    h->older = all->ended;
    all->ended = h;
    order->count--;
    all->count--;
    counter_subtract(&handshake_counters(all, h->listener)->handshakes_in_progress, 1);
}

struct handshake *handshake_store_oldest(const struct handshakes *all)
{
    for (uint32_t i = 0; all->orders != NULL && i < all->listener_count; i++) {
        if (all->orders[i].oldest != NULL)
            return all->orders[i].oldest;
    }
    return NULL;
}

bool handshakes_init(struct handshakes *all, const struct handshakes_settings *settings,
                     struct err *err)
{
    *all = (struct handshakes){
        .to_client = settings->to_client,
        .slabs = settings->slabs,
        .counters = settings->counters,
        .limiter = {.per_s = LINES_PER_S},
        .stranger_limiter = {.per_s = STRANGER_LINES_PER_S},
        .is_cid_taken = settings->is_cid_taken,
        .context = settings->context,
        .next_number = settings->first_number,
        .last_number = settings->last_number,
        .worker = settings->worker,
        .listener_count = settings->listener_count,
        .worker_count = settings->worker_count,
    };
    timers_init(&all->timers);
    all->orders = calloc(settings->listener_count, sizeof(*all->orders));
    if (all->orders == NULL)
        return err_set(err, "out of memory for handshakes");
    return handshake_table_init(&all->table, err);
}

void handshakes_reap(struct handshakes *all)
{
    while (all->ended != NULL) {
        struct handshake *h = all->ended;
        all->ended = h->older;
        generation_give(h->listener->generation);
        slabs_give(all->slabs, h, sizeof(*h));
    }
}

void handshakes_deinit(struct handshakes *all)
{
    struct handshake *h;
    while ((h = handshake_store_oldest(all)) != NULL)
        handshake_store_retire(all, h);
    handshakes_reap(all);
    timers_deinit(&all->timers);
    free(all->orders);
    all->orders = NULL;
}
