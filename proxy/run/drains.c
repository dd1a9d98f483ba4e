#include "run/drains.h"

void drains_recount(struct drains *drains, const struct generation *generation)
{
    bool are_all = generation->config->listener_count != 0;
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        bool is_there = generation_listener(generation, i) != NULL;
        if (!is_there)
            atomic_store(&drains->is_draining[i], false);
        are_all = are_all && (!is_there || atomic_load(&drains->is_draining[i]));
    }
    atomic_store(&drains->are_all, are_all);
}

void drains_set(struct drains *drains, const struct generation *generation,
                const struct listener *listener, bool is_draining)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        if (listener == NULL || listener->number == i)
            atomic_store(&drains->is_draining[i], is_draining);
    drains_recount(drains, generation);
}
