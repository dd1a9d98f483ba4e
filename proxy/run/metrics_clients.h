/* Who is connected to the metrics, and since when. There is room for few; whoever comes when it is
 * full takes the place of the one that has been there longest. One thread, which gives the time. */
#ifndef METRICS_CLIENTS_H
#define METRICS_CLIENTS_H

#include <stdint.h>

enum {
    METRICS_CLIENTS_MAX = 16,
    METRICS_CLIENT_LIMIT_MS = 10000, /* for a request and its answer, and between two of them */
};

struct metrics_client {
    int fd; /* borrowed; -1 = no client */
    uint64_t since_ms;
};

struct metrics_clients {
    struct metrics_client clients[METRICS_CLIENTS_MAX];
};

void metrics_clients_init(struct metrics_clients *clients);

/* The new entry, or NULL if all are in use. */
struct metrics_client *metrics_clients_add(struct metrics_clients *clients, int fd,
                                           uint64_t now_ms);
void metrics_clients_remove(struct metrics_client *client);

/* NULL if there is none. */
struct metrics_client *metrics_clients_oldest(struct metrics_clients *clients);

#endif
