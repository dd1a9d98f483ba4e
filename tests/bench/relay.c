/* Plain UDP relay: what the gate does, without DTLS. The lower bound that the gate's CPU time is
 * compared with: the same sockets, the same source address per client, the same batches. */
#include "batch.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    TABLE_BITS_MIN = 17,
    TABLE_BITS_MAX = 23,
    FIRST_SOURCE = 0x7f010001 /* 127.1.0.1: client 0 toward the backend */
};

struct client {
    struct sockaddr_in address;
    struct in_addr local; /* our address that the client sent to; replies leave from it */
};

struct relay {
    int listener;
    int backend;
    struct sockaddr_in backend_address;
    unsigned client_count, client_max; /* the table stays at most half full */
    struct client *clients;            /* owned */
    unsigned table_bits;
    uint32_t *table; /* owned: client number + 1; 0 = free; linear probing */
    struct batch_in in;
    struct batch_out to_backend;
    struct batch_out to_clients;
    uint64_t dropped, icmp_errors;
};

static struct relay relay; /* too large for the stack */
static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static bool is_same(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
    return a->sin_addr.s_addr == b->sin_addr.s_addr && a->sin_port == b->sin_port;
}

static uint32_t hash(const struct relay *r, const struct sockaddr_in *address)
{
    uint64_t key = (uint64_t)address->sin_addr.s_addr << 16 | address->sin_port;
    return (uint32_t)(key * 0x9e3779b97f4a7c15u >> (64 - r->table_bits));
}

/* The client of this address, made if it is new; NULL if there is no room for another. */
static struct client *get_client(struct relay *r, const struct sockaddr_in *address)
{
    uint32_t place = hash(r, address);
    while (r->table[place] != 0) {
        struct client *found = &r->clients[r->table[place] - 1];
        if (is_same(&found->address, address)) {
            return found;
        }
        place = (place + 1) & ((1u << r->table_bits) - 1);
    }
    if (r->client_count == r->client_max) {
        return NULL;
    }
    struct client *made = &r->clients[r->client_count++];
    made->address = *address;
    r->table[place] = r->client_count;
    return made;
}

static void from_clients(struct relay *r)
{
    if (!batch_receive(&r->in, r->listener)) {
        return;
    }
    for (unsigned i = 0; i < r->in.count; i++) {
        struct client *client = get_client(r, &r->in.from[i]);
        if (!client) {
            r->dropped++;
            continue;
        }
        client->local = batch_local(&r->in, i);
        struct in_addr source = {htonl(FIRST_SOURCE + (uint32_t)(client - r->clients))};
        batch_add(&r->to_backend, &r->backend_address, source, r->in.vectors[i].iov_base,
                  r->in.messages[i].msg_len);
    }
    batch_flush(&r->to_backend);
}

static void from_backend(struct relay *r)
{
    if (!batch_receive(&r->in, r->backend)) {
        return;
    }
    for (unsigned i = 0; i < r->in.count; i++) {
        uint32_t number = ntohl(batch_local(&r->in, i).s_addr) - FIRST_SOURCE;
        if (number >= r->client_count || !is_same(&r->in.from[i], &r->backend_address)) {
            r->dropped++;
            continue;
        }
        struct client *client = &r->clients[number];
        batch_add(&r->to_clients, &client->address, client->local, r->in.vectors[i].iov_base,
                  r->in.messages[i].msg_len);
    }
    batch_flush(&r->to_clients);
}

static void make_table(struct relay *r, unsigned long clients)
{
    r->table_bits = TABLE_BITS_MIN;
    while (r->table_bits < TABLE_BITS_MAX && 1ul << r->table_bits < 2 * clients) {
        r->table_bits++;
    }
    r->client_max = 1u << (r->table_bits - 1);
    r->clients = calloc(r->client_max, sizeof *r->clients);
    r->table = calloc((size_t)1 << r->table_bits, sizeof *r->table);
    if (!r->clients || !r->table) {
        perror("relay: calloc");
        exit(1);
    }
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("relay: epoll_ctl");
        exit(1);
    }
}

static void run(struct relay *r)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, r->listener);
    watch(epoll, r->backend);
    while (!stopping) {
        struct epoll_event events[2];
        int n = epoll_wait(epoll, events, 2, 100); /* wakes up to see stopping */
        for (int i = 0; i < n; i++) {
            if (events[i].events & EPOLLERR) {
                r->icmp_errors += batch_drain_errors(events[i].data.fd);
            }
            if (events[i].data.fd == r->listener) {
                from_clients(r);
            } else {
                from_backend(r);
            }
        }
    }
    close(epoll);
}

static void print_totals(const struct relay *r)
{
    printf("{\"to_backend\": %llu, \"to_backend_calls\": %llu, \"to_clients\": %llu, "
           "\"to_clients_calls\": %llu, \"clients\": %u, \"dropped\": %llu, \"errors\": %llu}\n",
           (unsigned long long)r->to_backend.datagrams, (unsigned long long)r->to_backend.calls,
           (unsigned long long)r->to_clients.datagrams, (unsigned long long)r->to_clients.calls,
           r->client_count, (unsigned long long)r->dropped,
           (unsigned long long)(r->icmp_errors + r->to_backend.errors + r->to_clients.errors));
}

int main(int argc, char **argv)
{
    unsigned long backend_port = argc == 2 || argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    if (backend_port == 0 || backend_port > 65535) {
        fprintf(stderr,
                "usage: relay BACKEND_PORT [CLIENTS]\n"
                "  The backend is on 127.0.0.1; listens on a free port there. CLIENTS: how\n"
                "  many there will be, if they are more than 65536.\n");
        return 2;
    }
    struct relay *r = &relay;
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    make_table(r, argc == 3 ? strtoul(argv[2], NULL, 10) : 0);
    r->backend_address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr = loopback, .sin_port = htons((uint16_t)backend_port)};
    r->listener = batch_open(
        loopback, 0, BATCH_PKTINFO | BATCH_REUSEPORT | BATCH_DROP_COUNTER | BATCH_NONBLOCKING);
    r->backend =
        batch_open((struct in_addr){INADDR_ANY}, 0,
                   BATCH_PKTINFO | BATCH_ONLY_LOOPBACK | BATCH_ICMP_ERRORS | BATCH_NONBLOCKING);
    batch_in_init(&r->in);
    batch_out_init(&r->to_backend, r->backend);
    batch_out_init(&r->to_clients, r->listener);

    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: epoll_wait returns */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    printf("port=%u\n", batch_port(r->listener));
    fflush(stdout);
    run(r);
    print_totals(r);
    batch_in_deinit(&r->in);
    free(r->clients);
    free(r->table);
    close(r->listener);
    close(r->backend);
    return 0;
}
