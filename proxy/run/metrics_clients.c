#include "run/metrics_clients.h"

#include <stddef.h>

void metrics_clients_init(struct metrics_clients *clients)
{
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++)
        clients->clients[i].fd = -1;
}

struct metrics_client *metrics_clients_add(struct metrics_clients *clients, int fd, uint64_t now_ms)
{
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++) {
        struct metrics_client *client = &clients->clients[i];
        if (client->fd < 0) {
            *client = (struct metrics_client){.fd = fd, .since_ms = now_ms};
            return client;
        }
    }
    return NULL;
}

void metrics_clients_remove(struct metrics_client *client)
{
    client->fd = -1;
}

struct metrics_client *metrics_clients_oldest(struct metrics_clients *clients)
{
    struct metrics_client *oldest = NULL;
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++) {
        struct metrics_client *client = &clients->clients[i];
        if (client->fd >= 0 && (oldest == NULL || client->since_ms < oldest->since_ms))
            oldest = client;
    }
    return oldest;
}
