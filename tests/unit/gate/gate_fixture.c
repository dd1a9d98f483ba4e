#include "gate/gate_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/coverage.h"
#include "gate/gate_keys.h"
#include "gate/gate_policy.h"
#include "gate/gate_state.h"
#include "gate/gate_wolfssl.h"
#include "run/reload.h"

enum { START_MS = 10000000 };

static char doing[256];

void gate_doing(const char *fmt, ...)
{
    va_list args;
    doing[0] = '\0';
    if (fmt == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(doing, sizeof(doing), fmt, args);
    va_end(args);
}

int gate_set_up(void **state)
{
    struct gate *gate = calloc(1, sizeof(*gate));
    doing[0] = '\0';
    *state = gate;
    return gate != NULL ? 0 : -1;
}

int gate_tear_down(void **state)
{
    struct gate *gate = *state;
    if (doing[0] != '\0') {
        fprintf(stderr, "  it was at: %s\n", doing);
        fake_log_print();
    }
    gate_close(gate);
    free(gate);
    return 0;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static struct generation *build_generation(const char *ini)
{
    char path[512];
    struct problems problems;
    gate_keys_write_ini(ini, path, sizeof(path));
    problems_init(&problems);
    struct generation *generation = reload_build(path, &problems);
    for (uint32_t i = 0; i < problems.count && generation == NULL; i++)
        fprintf(stderr, "  %s\n", problems.texts[i]);
    problems_deinit(&problems);
    unlink(path);
    return generation;
}

static void on_arrival(void *context, const struct packet *packet)
{
    struct gate *gate = context;
    if (packet->direction == CLIENT_TO_GATE || packet->direction == BACKEND_TO_GATE) {
        fake_udp_put(packet);
        return;
    }
    if (packet->direction == GATE_TO_BACKEND) {
        if (gate->has_echo)
            fake_network_send(BACKEND_TO_GATE, &packet->to, &packet->from, packet->data,
                              packet->len);
        return;
    }
    for (uint32_t i = gate->device_count; i > 0; i--) {
        struct device *device = &gate->devices[i - 1];
        if (!addr_equal(&device->addr, &packet->to) || !addr_equal(&device->to, &packet->from))
            continue;
        memory_client_receive(device->client, packet->data, packet->len, gate->now_ms);
        return;
    }
}

static void on_sent(void *context, const struct packet *packet)
{
    struct gate *gate = context;
    if (packet->direction == GATE_TO_CLIENT)
        gate_policy_on_sent(&gate->policy, packet);
}

/* Of listeners that have none yet. */
static void open_sockets(struct gate *gate)
{
    struct err err;
    for (uint32_t i = 0; i < gate->generation->config->listener_count; i++) {
        const struct listener *listener = &gate->generation->listeners[i];
        struct udp_socket *socket = &gate->listening[listener->number];
        assert_true(listener->number < GATE_LISTENERS_MAX);
        if (socket->fd >= 0)
            continue;
        assert_true(udp_open_listener(socket, &listener->config->listen.addrs[0], &err));
        datapath_add_socket(&gate->dp, listener->number, socket);
        if (gate->listener_count <= listener->number)
            gate->listener_count = listener->number + 1;
    }
}

/* Those that no handshake has any more. */
static void free_retired(struct gate *gate)
{
    struct generation **at = &gate->before;
    while (*at != NULL) {
        struct generation *generation = *at;
        if (atomic_load(&generation->references) != 1) {
            at = &generation->older;
            continue;
        }
        *at = generation->older;
        reload_release(generation);
    }
}

void gate_open(struct gate *gate, const char *ini)
{
    struct err err;
    gate_close(gate);
    fake_system_seed(1);
    nonce_watch_reset();
    fake_log_reset();
    fake_udp_reset();
    fake_network_reset(START_MS);
    fake_network_set_handlers(on_arrival, on_sent, gate);
    *gate = (struct gate){.now_ms = START_MS, .due_ms = UINT64_MAX, .memory_left = UINT32_MAX};
    gate->generation = build_generation(ini);
    assert_non_null(gate->generation);
    gate->identities = identities_new(&err);
    assert_non_null(gate->identities);
    gate_state_open(&gate->state, gate->generation);
    const struct datapath_shared shared = {.state = &gate->state, .identities = gate->identities};
    assert_true(udp_open_backend(
        &gate->backend, (uint16_t)gate->generation->config->gate.backend_port, true, &err));
    assert_true(datapath_init(&gate->dp, gate->generation, &shared, 0, 1, &gate->backend, &err));
    assert_true(udp_in_init(&gate->in));
    gate->is_open = true;
    for (uint32_t i = 0; i < GATE_LISTENERS_MAX; i++)
        gate->listening[i].fd = -1;
    open_sockets(gate);
}

void gate_close(struct gate *gate)
{
    if (!gate->is_open)
        return;
    gate->is_open = false;
    coverage_add(&gate->dp.counters, gate->listener_count);
    for (uint32_t i = 0; i < gate->device_count; i++)
        memory_client_free(gate->devices[i].client);
    datapath_deinit(&gate->dp);
    state_close(&gate->state);
    identities_free(gate->identities);
    udp_in_deinit(&gate->in);
    free_retired(gate);
    assert_null(gate->before);
    reload_release(gate->generation);
    gate_policy_forget(&gate->policy);
    fake_udp_reset();
    fake_network_reset(0);
    fake_log_reset();
}

static bool is_needed(const struct gate *gate, uint32_t number)
{
    const struct listener *listener = generation_listener(gate->generation, number);
    return listener != NULL &&
           addr_equal(&listener->config->listen.addrs[0], &gate->listening[number].bound);
}

static void take_batch(struct gate *gate, uint32_t listener);

/* As worker_swap.c does. */
static void leave_sockets(struct gate *gate)
{
    for (uint32_t i = 0; i < gate->listener_count; i++) {
        struct udp_socket *socket = &gate->listening[i];
        if (socket->fd < 0 || is_needed(gate, i))
            continue;
        while (udp_receive(socket, &gate->in))
            take_batch(gate, i);
        while (datapath_end_handshakes_at(&gate->dp, i, socket, gate->now_ms))
            ;
        datapath_remove_socket(&gate->dp, socket);
        udp_close(socket);
    }
}

/* The state measures by the real clock. */
static void enter_state(struct gate *gate)
{
    struct addr before[GATE_LISTENERS_MAX];
    struct err err = {0};
    struct layout_listener *listeners = gate->state.header->listeners;
    for (uint32_t i = 0; i < GATE_LISTENERS_MAX; i++)
        before[i] = listeners[i].server.now;
    if (!reload_enter_state(gate->generation, &gate->state, &err) ||
        !reload_begin_counters(gate->generation, &gate->state, &err))
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < GATE_LISTENERS_MAX; i++)
        if (!addr_equal(&before[i], &listeners[i].server.now))
            listeners[i].server.before_until_ms =
                gate->now_ms + gate->generation->config->gate.tombstone_ms;
}

void gate_read_settings(struct gate *gate, const char *ini)
{
    free_retired(gate);
    gate->generation->older = gate->before;
    gate->before = gate->generation;
    gate->generation = build_generation(ini);
    assert_non_null(gate->generation);
}

uint32_t gate_reload(struct gate *gate, const char *ini)
{
    uint32_t slices = 1;
    gate_read_settings(gate, ini);
    enter_state(gate);
    datapath_swap(&gate->dp, gate->generation, gate->now_ms);
    while (datapath_swap_on(&gate->dp, gate->now_ms))
        slices++;
    leave_sockets(gate);
    open_sockets(gate);
    datapath_swap_end(&gate->dp);
    gate->due_ms = gate->now_ms;
    return slices;
}

/* ---- devices -------------------------------------------------------------------------------- */

struct addr gate_device_addr(uint32_t index)
{
    return (struct addr){.ip = {198, 51, (uint8_t)(100 + index / 250), (uint8_t)(1 + index % 250)},
                         .port = (uint16_t)(10000 + index),
                         .family = AF_INET};
}

struct addr gate_listener_addr(const struct gate *gate, uint32_t listener)
{
    return gate->listening[listener].bound;
}

static void on_client_sends(void *context, const uint8_t *datagram, size_t len)
{
    const struct device *device = context;
    fake_network_send(CLIENT_TO_GATE, &device->addr, &device->to, datagram, len);
}

void gate_limit_slots(struct gate *gate, uint32_t slot_max)
{
    gate_set_slot_max(&gate->dp, slot_max);
    gate->is_one_bucket = true;
}

/* To another port, so that it shares a bucket with all others that are. */
static void move_into_bucket(struct addr *addr)
{
    enum { BUCKET = 0xabc };
    while (steering_bucket_of_addr(addr) != BUCKET)
        addr->port++;
}

struct device *gate_add(struct gate *gate, const struct client_kind *kind)
{
    assert_true(gate->device_count < GATE_DEVICES_MAX);
    struct device *device = &gate->devices[gate->device_count];
    device->gate = gate;
    device->addr = gate_device_addr(gate->device_count);
    if (gate->is_one_bucket)
        move_into_bucket(&device->addr);
    device->to = gate_listener_addr(gate, 0);
    device->client = memory_client_new(kind, gate_keys(), on_client_sends, device);
    assert_non_null(device->client);
    gate->device_count++;
    return device;
}

struct device *gate_add_reborn(struct gate *gate, const struct client_kind *kind,
                               struct device *old)
{
    struct device *device = gate_add(gate, kind);
    device->addr = old->addr;
    old->client->is_deaf = true;
    return device;
}

void gate_replace(struct device *device, const struct client_kind *kind)
{
    memory_client_free(device->client);
    device->client = memory_client_new(kind, gate_keys(), on_client_sends, device);
    assert_non_null(device->client);
}

void device_connect(struct device *device)
{
    memory_client_connect(device->client, device->gate->now_ms);
}

void device_send(struct device *device, const void *data, size_t len)
{
    assert_true(memory_client_send(device->client, data, len));
}

void device_close(struct device *device)
{
    memory_client_close(device->client);
}

/* ---- counters ------------------------------------------------------------------------------- */

/* The one behind the last listener is of none. */
static struct counters *entry_of(const struct gate *gate, uint32_t listener)
{
    const struct worker_counters *counters = &gate->dp.counters;
    return &counters->by_listener[listener < gate->listener_count ? listener
                                                                  : counters->listener_count];
}

struct counters *gate_counters(struct gate *gate, uint32_t listener)
{
    return entry_of(gate, listener);
}

/* Sum of one array element or counter over all listeners and the entry for none. */
#define SUM(gate, member)                                       \
    ({                                                          \
        uint64_t sum_ = 0;                                      \
        for (uint32_t i_ = 0; i_ <= gate->listener_count; i_++) \
            sum_ += counter_get(&entry_of(gate, i_)->member);   \
        sum_;                                                   \
    })

uint64_t gate_client_outcomes(const struct gate *gate, enum client_outcome outcome)
{
    return SUM(gate, client[outcome]);
}

uint64_t gate_backend_outcomes(const struct gate *gate, enum backend_outcome outcome)
{
    return SUM(gate, backend[outcome]);
}

uint64_t gate_late(const struct gate *gate, unsigned reason)
{
    return SUM(gate, late[reason]);
}

uint64_t gate_closed(const struct gate *gate, enum close_reason reason)
{
    return SUM(gate, closed[reason]);
}

uint64_t gate_handshakes(const struct gate *gate, enum handshake_result result)
{
    uint64_t sum = 0;
    for (unsigned v = 0; v < VERSION_COUNT; v++) {
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++)
            sum += SUM(gate, handshakes[v][c][result]);
    }
    return sum;
}

uint64_t gate_resumptions(const struct gate *gate)
{
    uint64_t sum = 0;
    for (unsigned v = 0; v < VERSION_COUNT; v++) {
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++)
            sum += SUM(gate, resumptions[v][c]);
    }
    return sum;
}

static void check_listener(const struct counters *c)
{
    uint64_t client = 0, backend = 0, late = 0;
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        client += counter_get(&c->client[i]);
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        backend += counter_get(&c->backend[i]);
    for (unsigned i = 0; i < LATE_REASON_COUNT; i++)
        late += counter_get(&c->late[i]);
    assert_int_equal(counter_get(&c->client_received), client);
    assert_int_equal(counter_get(&c->backend_received), backend);
    assert_int_equal(counter_get(&c->backend[BACKEND_late]), late);
}

/* What must always hold. */
static void check(struct gate *gate)
{
    uint64_t closed = 0;
    for (uint32_t i = 0; i <= gate->listener_count; i++)
        check_listener(entry_of(gate, i));
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        closed += gate_closed(gate, i);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established) + gate_resumptions(gate) +
                         gate->inherited,
                     SUM(gate, sessions) + closed);
    assert_int_equal(SUM(gate, sessions), gate_session_count(&gate->dp));
    assert_int_equal(SUM(gate, handshakes_in_progress), gate_handshake_count(&gate->dp));
    /* The role policy had to keep something back: a bug of ours or of the library. */
    assert_int_equal(fake_log_count_new(&gate->log_seen, "event=datagram_kept_back", NULL), 0);
}

/* ---- time ----------------------------------------------------------------------------------- */

void gate_tick(struct gate *gate)
{
    gate->due_ms = datapath_tick(&gate->dp, gate->now_ms);
    assert_true(gate->due_ms > gate->now_ms);
    check(gate);
}

static void take_batch(struct gate *gate, uint32_t listener)
{
    for (uint32_t i = 0; i < gate->in.count; i++)
        gate_policy_on_received(&gate->policy, &gate->in.at[i]);
    gate_wolfssl_fail_after(gate->memory_left);
    datapath_from_client(&gate->dp, listener, &gate->listening[listener], &gate->in, gate->now_ms);
    gate->memory_left = gate_wolfssl_remaining();
    gate_wolfssl_fail_after(UINT32_MAX);
}

void gate_step(struct gate *gate, uint64_t now_ms)
{
    gate->now_ms = now_ms;
    fake_network_deliver(now_ms);
    for (uint32_t i = 0; i < gate->listener_count; i++) {
        while (gate->listening[i].fd >= 0 && udp_receive(&gate->listening[i], &gate->in))
            take_batch(gate, i);
    }
    while (udp_receive(gate_backend_socket(&gate->dp), &gate->in))
        datapath_from_backend(&gate->dp, &gate->in, now_ms);
    gate_tick(gate);
    for (uint32_t i = 0; i < gate->device_count; i++)
        memory_client_on_time(gate->devices[i].client, now_ms);
}

uint64_t gate_next_event_ms(const struct gate *gate)
{
    uint64_t next_ms = fake_network_next_due_ms();
    if (gate->due_ms < next_ms)
        next_ms = gate->due_ms;
    for (uint32_t i = 0; i < gate->device_count; i++) {
        if (gate->devices[i].client->due_ms < next_ms)
            next_ms = gate->devices[i].client->due_ms;
    }
    return next_ms;
}

void gate_run(struct gate *gate, uint64_t ms)
{
    uint64_t end_ms = gate->now_ms + ms, next_ms;
    while ((next_ms = gate_next_event_ms(gate)) <= end_ms)
        gate_step(gate, next_ms > gate->now_ms ? next_ms : gate->now_ms);
    gate_step(gate, end_ms);
}

bool gate_run_until_up(struct gate *gate, struct device *device, uint64_t ms)
{
    uint64_t end_ms = gate->now_ms + ms, next_ms;
    while (device->client->state == CLIENT_CONNECTING &&
           (next_ms = gate_next_event_ms(gate)) <= end_ms)
        gate_step(gate, next_ms > gate->now_ms ? next_ms : gate->now_ms);
    return device->client->state == CLIENT_UP;
}

struct device *gate_connected(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_add(gate, kind);
    device_connect(device);
    if (!gate_run_until_up(gate, device, 100))
        fail_msg("%s: not connected, state %d, error %d", kind->name, device->client->state,
                 device->client->error);
    gate_run(gate, 10);
    return device;
}

void gate_assert_echo(struct gate *gate, struct device *device, const char *text)
{
    bool had_echo = gate->has_echo;
    gate_run(gate, 5); /* what is still on its way is not to be mixed up with this */
    uint32_t before = device->client->message_count;
    gate->has_echo = true;
    device_send(device, text, strlen(text));
    gate_run(gate, 10);
    gate->has_echo = had_echo;
    assert_int_equal(device->client->message_count, before + 1);
    struct client_message message = memory_client_last(device->client);
    assert_int_equal(message.len, strlen(text));
    assert_memory_equal(message.data, text, message.len);
}

/* ---- single datagrams ----------------------------------------------------------------------- */

enum client_outcome gate_inject(struct gate *gate, const struct addr *from, const void *data,
                                size_t len)
{
    uint64_t before[CLIENT_OUTCOME_COUNT];
    unsigned outcome = CLIENT_OUTCOME_COUNT;

    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        before[i] = gate_client_outcomes(gate, i);
    struct addr to = gate_listener_addr(gate, 0);
    fake_udp_fill(&gate->in, from, &to, data, len);
    take_batch(gate, 0);
    gate_tick(gate);
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++) {
        if (gate_client_outcomes(gate, i) != before[i])
            outcome = i;
    }
    assert_true(outcome < CLIENT_OUTCOME_COUNT);
    return outcome;
}

enum backend_outcome gate_inject_from_other(struct gate *gate, const struct addr *from,
                                            const struct addr *to, const void *data, size_t len)
{
    uint64_t before[BACKEND_OUTCOME_COUNT];
    unsigned outcome = BACKEND_OUTCOME_COUNT;

    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        before[i] = gate_backend_outcomes(gate, i);
    fake_udp_fill(&gate->in, from, to, data, len);
    datapath_from_backend(&gate->dp, &gate->in, gate->now_ms);
    gate_tick(gate);
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++) {
        if (gate_backend_outcomes(gate, i) != before[i])
            outcome = i;
    }
    assert_true(outcome < BACKEND_OUTCOME_COUNT);
    return outcome;
}

enum backend_outcome gate_inject_from_backend(struct gate *gate, const struct addr *to,
                                              const void *data, size_t len)
{
    return gate_inject_from_other(gate, &gate->generation->config->listeners[0].backend, to, data,
                                  len);
}

void gate_stop(struct gate *gate)
{
    datapath_stop(&gate->dp, gate->now_ms);
    check(gate);
}

const struct packet *gate_nth(enum direction direction, uint32_t number)
{
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction == direction && packet->number == number)
            return packet;
    }
    fail_msg("no such datagram");
    return NULL;
}

struct addr gate_last_source(void)
{
    const struct packet *packet = fake_network_last(GATE_TO_BACKEND, NULL);
    assert_non_null(packet);
    return packet->from;
}
