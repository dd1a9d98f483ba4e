/* Other settings and credentials while sessions and handshakes go on: what changes for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate/gate_keys.h"
#include "gate/gate_restart.h"
#include "worker/datapath_tests.h"
#include "worker/inquiry.h"

#define SECOND LISTENER_AT("second", "5685")

/* Writes a file of keys and returns settings that name it. */
static const char *with_psks(const char *psks, const char *more)
{
    static char ini[1024];
    char path[512];
    snprintf(path, sizeof(path), "%s/swap-%d.psk", gate_keys(), getpid());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(psks, file);
    fclose(file);
    snprintf(ini, sizeof(ini), GATE LISTENER "psk_file = swap-%d.psk\n%s", getpid(), more);
    return ini;
}

#define DEVICE1 "device1:30313233343536373839616263646566\n"
#define CHANGED "device1:00112233445566778899aabbccddeeff\n"
#define DEVICE2 "device2:ffeeddccbbaa99887766554433221100\n"

static void assert_told(const struct gate *gate, const struct device *device,
                        enum close_reason reason, uint64_t count)
{
    assert_int_equal(gate_closed(gate, reason), count);
    assert_int_equal(gate_session_count(&gate->dp), 0);
    assert_int_equal(device->client->state, CLIENT_CLOSED);
}

/* Nothing that changes concerns it. */
static void sessions_go_on(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; gate_kinds[i].name != NULL; i++) {
        gate_open(gate, USUAL);
        gate->has_echo = true;
        struct device *device = gate_connected(gate, &gate_kinds[i]);
        for (int round = 0; round < 3; round++) {
            gate_reload(gate, USUAL);
            gate_assert_echo(gate, device, "as before");
        }
        assert_int_equal(gate->before->references, 1);
        assert_int_equal(gate_session_count(&gate->dp), 1);
    }
}

static void a_psk_that_is_gone(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, with_psks(DEVICE1 DEVICE2, ""));
    gate->has_echo = true;
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_assert_echo(gate, device, "good");
    struct addr source = gate_last_source();
    gate_reload(gate, with_psks(DEVICE2, ""));
    gate_run(gate, 100);
    assert_told(gate, device, CLOSE_revoked, 1);
    /* What its server says afterwards goes nowhere, under that reason. */
    assert_int_equal(gate_inject_from_backend(gate, &source, "late", 4), BACKEND_late);
    assert_int_equal(gate_late(gate, CLOSE_revoked), 1);
}

static void a_psk_that_is_another(void **state)
{
    static const char *const policies[] = {"", "on_key_change = keep\n", "on_key_change = end\n"};
    struct gate *gate = *state;
    for (int i = 0; i < 3; i++) {
        gate_open(gate, with_psks(DEVICE1, policies[i]));
        gate->has_echo = true;
        struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
        gate_reload(gate, with_psks(CHANGED, policies[i]));
        gate_run(gate, 100);
        if (i == 2)
            assert_told(gate, device, CLOSE_revoked, 1);
        else
            gate_assert_echo(gate, device, "over the running session");
        /* Who begins now needs the new key. */
        struct device *late = gate_add(gate, gate_kind("1.2 psk ccm-8"));
        device_connect(late);
        assert_false(gate_run_until_up(gate, late, 100000));
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_wrong_key) +
                             gate_handshakes(gate, HANDSHAKE_timeout),
                         1);
    }
}

static void a_listener_that_is_gone(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK SECOND PSK);
    gate->has_echo = true;
    struct device *stays = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct device *goes = gate_add(gate, gate_kind("1.3 psk"));
    goes->to = gate_listener_addr(gate, 1);
    device_connect(goes);
    assert_true(gate_run_until_up(gate, goes, 1000));
    assert_int_equal(gate_session_count(&gate->dp), 2);
    gate_assert_echo(gate, goes, "good");
    struct addr source = gate_last_source();
    const struct counters *gone = gate_counters(gate, 1);
    gate_reload(gate, GATE LISTENER PSK);
    gate_run(gate, 100);
    assert_int_equal(goes->client->state, CLIENT_CLOSED);
    assert_int_equal(counter_get(&gone->closed[CLOSE_listener_removed]), 1);
    assert_int_equal(gate_inject_from_backend(gate, &source, "late", 4), BACKEND_late);
    assert_int_equal(counter_get(&gone->late[CLOSE_listener_removed]), 1);
    gate_assert_echo(gate, stays, "here still");
}

static void on_answer(void *context)
{
    (void)context;
}

static void drain(struct gate *gate, uint32_t listener)
{
    struct inquiry *inquiry = inquiry_new(INQUIRY_DRAIN, on_answer, NULL);
    assert_non_null(inquiry);
    inquiry->is_draining[listener] = true;
    inquiry_ask(inquiry);
    inquiry_answer(inquiry, &gate->dp, gate->now_ms);
    assert_true(inquiry_give_up(inquiry));
}

/* It is forgotten with the listener, even if that comes back with the number that it had; and one
 * that is told late is not for a listener that has gone. */
static void a_drain_ends_with_its_listener(void **state)
{
    struct gate *gate = *state;
    for (int is_late = 0; is_late < 2; is_late++) {
        gate_open(gate, GATE LISTENER PSK SECOND PSK);
        if (!is_late)
            drain(gate, 1);
        gate_reload(gate, GATE LISTENER PSK);
        if (is_late)
            drain(gate, 1);
        gate_reload(gate, GATE LISTENER PSK SECOND PSK);
        assert_string_equal(gate->dp.listeners[1]->config->name, "second");
        struct device *device = gate_add(gate, gate_kind("1.2 psk ccm-8"));
        device->to = gate_listener_addr(gate, 1);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 1000));
    }
}

/* As if many listeners had come and gone: of the numbers there are left those that are in use. */
static void use_up_numbers(struct gate *gate)
{
    for (uint32_t i = 2; i < LAYOUT_LISTENERS_MAX; i++) {
        struct layout_listener *listener = &gate->state.header->listeners[i];
        snprintf(listener->name, sizeof(listener->name), "gone-%u", i);
        listener->use = LAYOUT_LISTENER_REMOVED;
        listener->removed = UINT32_MAX;
    }
}

static void a_number_that_was_another_listeners_counts_anew(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK SECOND PSK);
    struct device *goes = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    goes->to = gate_listener_addr(gate, 1);
    device_connect(goes);
    assert_true(gate_run_until_up(gate, goes, 1000));
    use_up_numbers(gate);
    const struct counters *counted = gate_counters(gate, 1);
    assert_true(counter_get(&counted->client_received) > 0);
    gate_reload(gate, GATE LISTENER PSK);
    gate_run(gate, 100);
    assert_int_equal(counter_get(&counted->closed[CLOSE_listener_removed]), 1);
    uint64_t resting = counter_get(&counted->backend_addresses_in_quarantine);
    gate_reload(gate, GATE LISTENER PSK LISTENER_AT("third", "5686") PSK);
    assert_string_equal(gate->dp.listeners[1]->config->name, "third");
    assert_int_equal(counter_get(&counted->client_received), 0);
    assert_int_equal(counter_get(&counted->closed[CLOSE_listener_removed]), 0);
    assert_int_equal(counter_get(&counted->backend_addresses_in_quarantine), resting);
}

/* In another order, and with another name: numbers stay. */
static void listeners_keep_their_numbers(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK SECOND PSK);
    gate->has_echo = true;
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_reload(gate, GATE SECOND PSK LISTENER PSK);
    gate_assert_echo(gate, device, "after that of the other");
    gate_reload(gate, GATE SECOND PSK LISTENER_AT("renamed", "5684") PSK);
    gate_assert_echo(gate, device, "by another name");
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_string_equal(gate->dp.listeners[0]->config->name, "renamed");
}

static void deadlines_move(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK "idle_timeout = 1h\n");
    gate->has_echo = true;
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_run(gate, 10000);
    gate_reload(gate, GATE LISTENER PSK "idle_timeout = 20s\n");
    gate_run(gate, 9000);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    gate_run(gate, 2000);
    assert_told(gate, device, CLOSE_idle, 1);
}

static void less_room_for_sessions(void **state)
{
    enum { MANY = 50, ROOM = 3 };
    struct gate *gate = *state;
    gate_open(gate, GATE "max_sessions = 100\n" LISTENER PSK);
    for (int i = 0; i < MANY; i++)
        gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    /* Some at a time. */
    assert_true(gate_reload(gate, GATE "max_sessions = 3\n" LISTENER PSK) > 2);
    assert_int_equal(gate_session_count(&gate->dp), ROOM);
    assert_int_equal(gate_closed(gate, CLOSE_evicted), MANY - ROOM);
}

/* It keeps what it began with: the generation of before is there as long as it is. */
static void a_handshake_goes_on(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    gate->has_echo = true;
    struct device *device = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    device_connect(device);
    while (gate_handshake_count(&gate->dp) == 0)
        gate_step(gate, gate_next_event_ms(gate));
    gate_reload(gate, USUAL);
    assert_int_equal(gate->before->references, 2);
    assert_true(gate_run_until_up(gate, device, 1000));
    gate_assert_echo(gate, device, "begun before");
    assert_int_equal(gate->before->references, 1);
}

/* But not with a key that is gone, or that ends sessions when it changes. */
static void a_handshake_with_a_key_that_is_gone(void **state)
{
    static const char *const names[] = {"1.2 psk ccm-8", "1.3 psk"};
    struct gate *gate = *state;
    for (int i = 0; i < 4; i++) {
        bool is_gone = i % 2 == 0;
        gate_open(gate, with_psks(DEVICE1, "on_key_change = end\n"));
        struct device *device = gate_add(gate, gate_kind(names[i / 2]));
        device_connect(device);
        while (gate_handshake_count(&gate->dp) == 0)
            gate_step(gate, gate_next_event_ms(gate));
        gate_reload(gate, with_psks(is_gone ? DEVICE2 : CHANGED, "on_key_change = end\n"));
        gate_run(gate, 1000);
        assert_int_equal(gate_session_count(&gate->dp), 0);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_revoked), 1);
        assert_int_equal(device->client->state, CLIENT_CLOSED);
    }
}

/* A cookie that was given before is good, and a ticket too. */
static void secrets_stay(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    uint8_t cookie[32], ticket[32];
    memcpy(cookie, gate->generation->cookie_master, 32);
    memcpy(ticket, gate->generation->listeners[0].creds->ticket_master, 32);
    gate_reload(gate, USUAL);
    assert_memory_equal(gate->generation->cookie_master, cookie, 32);
    assert_memory_equal(gate->generation->listeners[0].creds->ticket_master, ticket, 32);
}

/* Its datagrams go to the new server at once; what the old one has to say yet is passed on. */
static void another_server(void **state)
{
    static const char moved[] =
        GATE "[listener coaps]\nlisten = " GATE_ADDRESS ":5684\nbackend = 127.0.0.1:5699\n" PSK;
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    device_send(device, "one", 3);
    gate_run(gate, 100);
    struct addr source = gate_last_source();
    struct addr old = gate->generation->config->listeners[0].backend;
    gate_reload(gate, moved);
    device_send(device, "two", 3);
    gate_run(gate, 100);
    const struct packet *packet = gate_nth(GATE_TO_BACKEND, 1);
    assert_int_equal(packet->to.port, 5699);
    assert_int_equal(gate_inject_from_other(gate, &old, &source, "answer", 6), BACKEND_forwarded);
    gate_run(gate, 250000);
    assert_int_equal(gate_inject_from_other(gate, &old, &source, "answer", 6),
                     BACKEND_wrong_sender);
}

/* Many sessions are looked at in slices. */
static void many_sessions_take_many_slices(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, with_psks(DEVICE1, ""));
    for (int i = 0; i < 40; i++)
        gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    assert_true(gate_reload(gate, with_psks(DEVICE2, "")) >= 3);
    assert_int_equal(gate_closed(gate, CLOSE_revoked), 40);
}

/* Those that are there count too; if it is lowered, the oldest go when the next one begins. */
static void another_limit_of_an_identity(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    gate->has_echo = true;
    struct device *devices[4];
    for (int i = 0; i < 3; i++)
        devices[i] = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_reload(gate, USUAL "sessions_per_identity = 2\n");
    assert_int_equal(identities_count(gate->identities), 3);
    assert_int_equal(gate_session_count(&gate->dp), 3);
    devices[3] = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 2);
    gate_assert_echo(gate, devices[2], "one of the last two");
    gate_assert_echo(gate, devices[3], "the last one");
    gate_reload(gate, USUAL "sessions_per_identity = 0\n");
    assert_int_equal(identities_count(gate->identities), 0);
    gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    assert_int_equal(gate_session_count(&gate->dp), 3);
}

/* ---- what has changed while no process ran ----------------------------------------------------
 */

/* Some of many: those that are left go on, and are looked at but once. */
static void a_start_judges_by_its_settings(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, with_psks(DEVICE1 DEVICE2, ""));
    gate->has_echo = true;
    for (int i = 0; i < 40; i++)
        gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct sessions_adopted adopted = gate_restart_as(gate, with_psks(DEVICE1, ""));
    assert_int_equal(adopted.kept, 40);
    assert_int_equal(gate_session_count(&gate->dp), 40);
    gate_assert_echo(gate, &gate->devices[39], "its key is there");
    (void)gate_restart_as(gate, with_psks(DEVICE2, ""));
    gate_run(gate, 100);
    assert_int_equal(gate_closed(gate, CLOSE_revoked), 40);
    assert_int_equal(gate_session_count(&gate->dp), 0);
    assert_int_equal(gate->devices[0].client->state, CLIENT_CLOSED);
}

static void a_start_minds_on_key_change(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, with_psks(DEVICE1, ""));
    gate->has_echo = true;
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    (void)gate_restart_as(gate, with_psks(CHANGED, ""));
    gate_assert_echo(gate, device, "its key is another one");
    (void)gate_restart_as(gate, with_psks(CHANGED, "on_key_change = end\n"));
    gate_run(gate, 100);
    assert_told(gate, device, CLOSE_revoked, 1);
}

/* A reload does not wait until all have been looked at. */
static void a_reload_soon_after_a_start(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, with_psks(DEVICE1, ""));
    for (int i = 0; i < 40; i++)
        gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    datapath_look(&gate->dp);
    assert_true(gate->dp.is_looking);
    (void)gate_reload(gate, with_psks(DEVICE2, ""));
    assert_int_equal(gate_closed(gate, CLOSE_revoked), 40);
    assert_false(gate->dp.is_looking);
}

int datapath_swap_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(sessions_go_on),
        GATE_TEST(a_psk_that_is_gone),
        GATE_TEST(a_psk_that_is_another),
        GATE_TEST(a_listener_that_is_gone),
        GATE_TEST(a_drain_ends_with_its_listener),
        GATE_TEST(a_number_that_was_another_listeners_counts_anew),
        GATE_TEST(listeners_keep_their_numbers),
        GATE_TEST(deadlines_move),
        GATE_TEST(less_room_for_sessions),
        GATE_TEST(a_handshake_goes_on),
        GATE_TEST(a_handshake_with_a_key_that_is_gone),
        GATE_TEST(secrets_stay),
        GATE_TEST(another_server),
        GATE_TEST(many_sessions_take_many_slices),
        GATE_TEST(another_limit_of_an_identity),
        GATE_TEST(a_start_judges_by_its_settings),
        GATE_TEST(a_start_minds_on_key_change),
        GATE_TEST(a_reload_soon_after_a_start),
    };
    return cmocka_run_group_tests_name("datapath: swap", tests, NULL, NULL);
}
