#include "gate/fuzz_gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/memory.h>

#include "gate/gate_state.h"
#include "run/reload.h"

enum { LISTENING_FD = 1000, BACKEND_FD = 1001, SENT_MAX = 1024, START_MS = 10000000 };

void fuzz_gate_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    fake_log_print();
    abort();
}

/* ---- memory of the library ------------------------------------------------------------------ */

static uint64_t blocks;

static void *count_malloc(size_t size)
{
    void *p = malloc(size);
    blocks += p != NULL;
    return p;
}

static void count_free(void *p)
{
    blocks -= p != NULL;
    free(p);
}

static void *count_realloc(void *p, size_t size)
{
    void *grown = realloc(p, size);
    blocks += p == NULL && grown != NULL;
    return grown;
}

uint64_t fuzz_gate_library_blocks(void)
{
    return blocks;
}

/* ---- in place of udp.c ---------------------------------------------------------------------- */

static struct fuzz_sent sent[SENT_MAX];
static uint32_t sent_count;

struct udp_out_buffers {
    uint8_t *room; /* of exactly the size asked for */
    size_t size;
};

bool udp_open_backend(struct udp_socket *socket, uint16_t port, bool is_first, struct err *err)
{
    (void)port;
    (void)is_first;
    (void)err;
    *socket = (struct udp_socket){.fd = BACKEND_FD, .bound = {.family = AF_INET, .port = 40000}};
    return true;
}

void udp_close(struct udp_socket *socket)
{
    socket->fd = -1;
}

bool udp_receive(struct udp_socket *socket, struct udp_in *in)
{
    (void)socket;
    (void)in;
    return false;
}

void udp_discard(const struct udp_socket *socket)
{
    (void)socket;
}

bool udp_take_error(struct udp_socket *socket, struct addr *from, struct addr *to, int *error)
{
    (void)socket;
    (void)from;
    (void)to;
    (void)error;
    return false;
}

/* The latest that the backend socket has sent to itself. */
static struct {
    struct addr addr;
    uint8_t data[8];
    bool is_there;
} own;

bool udp_send_one(const struct udp_socket *socket, const struct addr *local, const struct addr *to,
                  const void *data, size_t len, int *error)
{
    (void)local;
    MUST(socket->fd == BACKEND_FD && len == sizeof(own.data));
    own.addr = *to;
    own.is_there = true;
    memcpy(own.data, data, len);
    *error = 0;
    return true;
}

bool udp_out_init(struct udp_out *out)
{
    out->buffers = calloc(1, sizeof(*out->buffers));
    return out->buffers != NULL;
}

void udp_out_deinit(struct udp_out *out)
{
    if (out->buffers != NULL)
        free(out->buffers->room);
    free(out->buffers);
    out->buffers = NULL;
}

uint8_t *udp_out_room(struct udp_out *out, size_t size)
{
    MUST(size <= UDP_DATAGRAM_MAX);
    free(out->buffers->room);
    out->buffers->room = malloc(size > 0 ? size : 1);
    MUST(out->buffers->room != NULL);
    out->buffers->size = size;
    return out->buffers->room;
}

uint64_t udp_out_queue(struct udp_out *out, const struct udp_socket *socket,
                       const struct addr *local, const struct addr *to, size_t len, bool *failed,
                       counter *sent_bytes)
{
    (void)failed;
    (void)sent_bytes;
    MUST(len <= out->buffers->size);
    MUST(sent_count < SENT_MAX);
    struct fuzz_sent *s = &sent[sent_count++];
    *s = (struct fuzz_sent){
        .is_to_backend = socket->fd == BACKEND_FD, .from = *local, .to = *to, .len = len};
    s->from.port = socket->bound.port; /* the kernel takes the socket's, whatever local says */
    s->data = malloc(len > 0 ? len : 1);
    MUST(s->data != NULL);
    memcpy(s->data, out->buffers->room, len);
    return ++out->queued;
}

/* Each record is a datagram here. */
bool udp_out_append(struct udp_out *out, uint64_t number, const void *data, size_t len,
                    size_t max_len)
{
    (void)out;
    (void)number;
    (void)data;
    (void)len;
    (void)max_len;
    return false;
}

void udp_out_flush(struct udp_out *out)
{
    (void)out;
}

uint32_t fuzz_gate_sent_count(void)
{
    return sent_count;
}

const struct fuzz_sent *fuzz_gate_sent(uint32_t index)
{
    MUST(index < sent_count);
    return &sent[index];
}

void fuzz_gate_forget_sent(void)
{
    while (sent_count > 0)
        free(sent[--sent_count].data);
}

/* ---- the gate ------------------------------------------------------------------------------- */

struct addr fuzz_gate_client(uint32_t number)
{
    return (struct addr){.family = AF_INET,
                         .ip = {198, 51, 100, (uint8_t)number},
                         .port = (uint16_t)(50000 + number)};
}

struct addr fuzz_gate_listen(void)
{
    return (struct addr){.family = AF_INET, .ip = {192, 0, 2, 1}, .port = 5684};
}

struct addr fuzz_gate_backend(void)
{
    return (struct addr){.family = AF_INET, .ip = {127, 0, 0, 1}, .port = 5683};
}

void fuzz_gate_open(struct fuzz_gate *gate)
{
    struct err err = {0};
    *gate = (struct fuzz_gate){.now_ms = START_MS,
                               .listening = {.fd = LISTENING_FD, .bound = fuzz_gate_listen()}};
    fake_system_seed(1);
    fake_system_set_ms(START_MS);
    MUST(wolfSSL_SetAllocators(count_malloc, count_free, count_realloc) == 0);
    MUST(dtls_library_init());
    gate->generation = memory_generation(FUZZ_GATE_INI);
    gate->identities = identities_new(&err);
    MUST(gate->identities != NULL);
    gate_state_open(&gate->state, gate->generation);
    const struct datapath_shared shared = {.state = &gate->state, .identities = gate->identities};
    MUST(udp_open_backend(&gate->backend, 0, true, &err));
    MUST(datapath_init(&gate->dp, gate->generation, &shared, 0, 1, &gate->backend, &err));
}

void fuzz_gate_close(struct fuzz_gate *gate)
{
    datapath_deinit(&gate->dp);
    state_close(&gate->state);
    identities_free(gate->identities);
    reload_release(gate->generation);
    dtls_library_deinit();
    fuzz_gate_forget_sent();
    fake_log_reset();
}

void fuzz_gate_add(struct fuzz_gate *gate, const struct addr *from, const struct addr *to,
                   const uint8_t *data, size_t len)
{
    MUST(gate->in.count < UDP_BATCH && len <= UDP_DATAGRAM_MAX);
    uint8_t *copy = malloc(len > 0 ? len : 1);
    MUST(copy != NULL);
    memcpy(copy, data, len);
    gate->in.at[gate->in.count++] =
        (struct udp_datagram){.from = *from, .to = *to, .data = copy, .len = (uint32_t)len};
}

static void forget_batch(struct fuzz_gate *gate)
{
    for (uint32_t i = 0; i < gate->in.count; i++)
        free((void *)gate->in.at[i].data);
    gate->in.count = 0;
}

void fuzz_gate_run_from_client(struct fuzz_gate *gate)
{
    datapath_from_client(&gate->dp, 0, &gate->listening, &gate->in, gate->now_ms);
    forget_batch(gate);
    if (!own.is_there)
        return;
    own.is_there = false;
    fuzz_gate_add(gate, &own.addr, &own.addr, own.data, sizeof(own.data));
    fuzz_gate_run_from_backend(gate);
}

void fuzz_gate_run_from_backend(struct fuzz_gate *gate)
{
    datapath_from_backend(&gate->dp, &gate->in, gate->now_ms);
    forget_batch(gate);
}

void fuzz_gate_check(const struct fuzz_gate *gate)
{
    /* Of its one listener, and of none. */
    for (uint32_t i = 0; i <= gate->dp.counters.listener_count;
         i += gate->dp.counters.listener_count) {
        struct counters *c = &gate->dp.counters.by_listener[i];
        uint64_t client = 0, backend = 0, late = 0;
        for (int o = 0; o < CLIENT_OUTCOME_COUNT; o++)
            client += counter_get(&c->client[o]);
        for (int o = 0; o < BACKEND_OUTCOME_COUNT; o++)
            backend += counter_get(&c->backend[o]);
        for (int r = 0; r < LATE_REASON_COUNT; r++)
            late += counter_get(&c->late[r]);
        MUST(client == counter_get(&c->client_received));
        MUST(backend == counter_get(&c->backend_received));
        MUST(late == counter_get(&c->backend[BACKEND_late]));
        MUST(counter_get(&c->client[CLIENT_out_of_memory]) == 0);
    }
    struct counters *c = &gate->dp.counters.by_listener[0];
    MUST(counter_get(&c->sessions) == gate_session_count(&gate->dp));
    MUST(counter_get(&c->handshakes_in_progress) == gate_handshake_count(&gate->dp));
    MUST(gate_is_reaped(&gate->dp));
    MUST(fake_log_count("event=datagram_kept_back", (char *)NULL) == 0);
}

/* ---- devices -------------------------------------------------------------------------------- */

static void send_to_gate(void *context, const uint8_t *datagram, size_t len)
{
    struct fuzz_device *device = context;
    struct addr to = fuzz_gate_listen();
    fuzz_gate_add(device->gate, &device->addr, &to, datagram, len);
}

void fuzz_device_settle(struct fuzz_device *device)
{
    struct fuzz_gate *gate = device->gate;
    for (uint32_t next = 0; next < sent_count || gate->in.count > 0;) {
        if (gate->in.count > 0)
            fuzz_gate_run_from_client(gate);
        for (; next < sent_count; next++) {
            if (!sent[next].is_to_backend && addr_equal(&sent[next].to, &device->addr))
                memory_client_receive(device->client, sent[next].data, sent[next].len,
                                      gate->now_ms);
        }
    }
    fuzz_gate_forget_sent();
}

void fuzz_device_connect(struct fuzz_device *device, struct fuzz_gate *gate, uint32_t number,
                         const struct client_kind *kind)
{
    *device = (struct fuzz_device){.gate = gate, .addr = fuzz_gate_client(number)};
    device->client = memory_client_new(kind, "", send_to_gate, device);
    MUST(device->client != NULL);
    memory_client_connect(device->client, gate->now_ms);
    fuzz_device_settle(device);
    MUST(device->client->state == CLIENT_UP);
}
