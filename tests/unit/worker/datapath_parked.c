/* Sessions that are parked: when, at what cost, and what a stranger can make of it. That they
 * behave like others is for all other tests of the datapath, which are run with parked ones too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "worker/datapath_tests.h"

static const struct client_kind sleeper = {.name = "1.2",
                                           .version = VERSION_1_2,
                                           .suites = "PSK-AES128-CCM-8",
                                           .identity = IDENTITY,
                                           .key = KEY,
                                           .has_cid = true,
                                           .cid_bytes = 4};
static const struct client_kind sleeper_13 = {.name = "1.3",
                                              .version = VERSION_1_3,
                                              .suites = "TLS13-AES128-GCM-SHA256",
                                              .identity = IDENTITY,
                                              .key = KEY,
                                              .has_small_hello = true,
                                              .has_cid = true};

enum { LAST_FLIGHT_MS = 240000 };

static uint64_t parked(struct gate *gate)
{
    return counter_get(&gate_counters(gate, 0)->sessions_parked);
}

static uint64_t woken(struct gate *gate)
{
    return counter_get(&gate_counters(gate, 0)->sessions_woken);
}

static uint64_t woken_in_vain(struct gate *gate)
{
    return counter_get(&gate_counters(gate, 0)->sessions_woken_in_vain);
}

static struct session *only_session(struct gate *gate)
{
    assert_int_equal(gate->dp.sessions.established_count, 1);
    return gate->dp.sessions.least_recent;
}

/* In use, so that its last flight is not needed any more. */
static struct device *in_use(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_connected(gate, kind);
    gate_assert_echo(gate, device, "hello");
    return device;
}

static void after_park_after(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    gate->dp.sessions.park_after_ms = 20000;
    struct device *device = in_use(gate, &sleeper);
    gate_run(gate, 19000);
    assert_int_equal(parked(gate), 0);
    gate_assert_echo(gate, device, "still awake");
    gate_run(gate, 19000);
    assert_int_equal(parked(gate), 0);
    gate_run(gate, 2000);
    assert_int_equal(parked(gate), 1);
    assert_null(only_session(gate)->dtls);
    assert_int_equal(gate->dp.sessions.live_count, 0);
    assert_int_equal(woken(gate), 0);
    /* It is woken by either side, and then sleeps when it is idle again. */
    gate_assert_echo(gate, device, "awake again");
    assert_int_equal(parked(gate), 0);
    assert_int_equal(woken(gate), 1);
    gate_run(gate, 20000);
    assert_int_equal(parked(gate), 1);
    struct addr source = gate_last_source();
    assert_int_equal(gate_inject_from_backend(gate, &source, "are you there", 13),
                     BACKEND_forwarded);
    assert_int_equal(parked(gate), 0);
    gate_run(gate, 1000);
    assert_memory_equal(memory_client_last(device->client).data, "are you there", 13);
    gate_run(gate, 20000);
    assert_int_equal(parked(gate), 1);
    assert_int_equal(woken(gate), 2);
}

static void never_if_not_wanted(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    gate->dp.sessions.park_after_ms = 0;
    gate->dp.sessions.live_max = 1;
    in_use(gate, &sleeper);
    in_use(gate, &sleeper);
    gate_run(gate, LAST_FLIGHT_MS * 2);
    assert_int_equal(parked(gate), 0);
}

/* A device that has not used its session may not have the last flight yet, and asks for it: it need
 * not be awake for that. */
static void last_flight_is_kept_for_a_while(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *device = gate_connected(gate, &sleeper);
    struct packet theirs = *fake_network_last(CLIENT_TO_GATE, NULL);
    struct packet ours = *fake_network_last(GATE_TO_CLIENT, NULL);
    for (int round = 0; round < 2; round++) {
        gate_run(gate, LAST_FLIGHT_MS / 2 - 1000);
        assert_int_equal(parked(gate), 1);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, theirs.data, theirs.len),
                         CLIENT_handshake);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before + 1);
        assert_int_equal(fake_network_last(GATE_TO_CLIENT, NULL)->len, ours.len);
        assert_int_equal(parked(gate), 1);
    }
    gate_run(gate, 4000);
    assert_int_equal(gate_inject(gate, &device->addr, theirs.data, theirs.len),
                     CLIENT_record_discarded);
    gate_assert_echo(gate, device, "good morning");
    gate_run(gate, 31000);
    assert_int_equal(parked(gate), 1);
}

/* What the library cannot export stays as it is, and is served. */
static void sessions_of_1_3_stay_live(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *first = in_use(gate, &sleeper_13), *second = in_use(gate, &sleeper_13);
    struct device *other = in_use(gate, &sleeper);
    gate_run(gate, LAST_FLIGHT_MS * 2);
    assert_int_equal(parked(gate), 1);
    gate_assert_echo(gate, first, "one");
    gate_assert_echo(gate, second, "two");
    gate_assert_echo(gate, other, "three");
    assert_int_equal(woken(gate), 1);
}

static struct device *connected_to(struct gate *gate, const struct client_kind *kind,
                                   uint32_t listener)
{
    struct device *device = gate_add(gate, kind);
    device->to = gate_listener_addr(gate, listener);
    device_connect(device);
    assert_true(gate_run_until_up(gate, device, 1000));
    gate_assert_echo(gate, device, "hello");
    return device;
}

/* Whatever its listener authenticates itself with, a PSK or nothing but a certificate, and
 * whichever listener has the first session of the worker. */
static void every_listener_parks(void **state)
{
    struct gate *gate = *state;
    static const char *const orders[] = {
        GATE LISTENER PSK LISTENER_AT("other", "5685") CERTIFICATE CLIENT_CA,
        GATE LISTENER CERTIFICATE CLIENT_CA LISTENER_AT("other", "5685") PSK,
    };
    for (uint32_t i = 0; i < 2; i++) {
        gate_open(gate, orders[i]);
        struct device *psk = connected_to(gate, &sleeper, i);
        struct device *certificate = connected_to(gate, gate_kind("1.2 certificate"), !i);
        for (int round = 0; round < 2; round++) {
            gate_run(gate, 40000);
            assert_int_equal(gate->dp.sessions.live_count, 0);
            gate_assert_echo(gate, psk, "good morning");
            gate_assert_echo(gate, certificate, "good morning");
        }
    }
}

/* That memory was short when the library was asked does not mean that it cannot. */
static void is_asked_again_after_memory_was_short(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    for (uint32_t left = 0; left < 8; left++) {
        gate->dp.sessions.can_park[VERSION_1_2] = DTLS_CAN_PARK_UNKNOWN;
        struct device *device = in_use(gate, &sleeper);
        gate_wolfssl_fail_after(left);
        session_park(gate_session_of(gate, device));
        gate_wolfssl_fail_after(UINT32_MAX);
        gate_run(gate, 40000);
        assert_int_equal(gate->dp.sessions.live_count, 0);
        gate_assert_echo(gate, device, "good morning");
    }
}

/* Sessions that cannot be parked do not use up the room of those that can. */
static void room_is_for_those_that_can_be_parked(void **state)
{
    enum { DEVICES_13 = 6 };
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    gate->dp.sessions.live_max = 2;
    for (int i = 0; i < DEVICES_13; i++)
        in_use(gate, &sleeper_13);
    struct device *one = in_use(gate, &sleeper), *other = in_use(gate, &sleeper);
    gate_assert_echo(gate, one, "here");
    gate_assert_echo(gate, other, "here");
    uint64_t before = woken(gate);
    for (int i = 0; i < 10; i++) {
        gate_assert_echo(gate, one, "again");
        gate_assert_echo(gate, other, "again");
    }
    assert_int_equal(woken(gate), before);
    assert_int_equal(parked(gate), 0);
}

/* The least recently used go first; those in use stay. */
static void live_sessions_is_a_bound(void **state)
{
    enum { DEVICES = 12, LIVE = 5 };
    struct gate *gate = *state;
    struct device *devices[DEVICES];
    gate_open(gate, GATE LISTENER PSK);
    gate->dp.sessions.live_max = 5;
    for (int i = 0; i < DEVICES; i++) {
        devices[i] = in_use(gate, &sleeper);
        assert_in_range(gate->dp.sessions.live_count, 1, LIVE);
    }
    for (int i = 0; i < DEVICES; i++)
        assert_int_equal(gate_session_of(gate, devices[i])->dtls != NULL, i >= DEVICES - LIVE);
    for (int round = 0; round < 3; round++) {
        for (int i = DEVICES - 1; i >= 0; i--) {
            gate_assert_echo(gate, devices[i], "here");
            assert_in_range(gate->dp.sessions.live_count, 1, LIVE);
            assert_non_null(gate_session_of(gate, devices[i])->dtls);
        }
    }
    uint64_t before = woken(gate);
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < LIVE; i++)
            gate_assert_echo(gate, devices[i], "and again");
    assert_int_equal(woken(gate), before);
}

/* Also between two ticks: when a backend wakes all its devices, or they all wake, workers read many
 * datagrams before they look at the time. */
static void live_sessions_is_a_bound_within_a_turn(void **state)
{
    enum { DEVICES = 30, LIVE = 5 };
    struct gate *gate = *state;
    static uint8_t records[DEVICES][128];
    size_t lens[DEVICES];
    gate_open(gate, GATE LISTENER PSK);
    gate->dp.sessions.live_max = 5;
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = in_use(gate, &sleeper);
        lens[i] = memory_client_seal(device->client, 23, "later", 5, records[i], 128);
    }
    gate_run(gate, 40000);
    assert_int_equal(gate->dp.sessions.live_count, 0);
    const struct addr *backend = &gate->generation->config->listeners[0].backend;
    for (int i = 0; i < DEVICES; i++) {
        struct session *s = gate_session_of(gate, &gate->devices[i]);
        struct addr to = backend_slot_addr(&gate->dp.backend, s->slot);
        fake_udp_fill(&gate->in, backend, &to, "wake up", 7);
        datapath_from_backend(&gate->dp, &gate->in, gate->now_ms);
        assert_non_null(s->dtls);
        assert_in_range(gate->dp.sessions.live_count, 1, LIVE);
    }
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = &gate->devices[i];
        fake_udp_fill(&gate->in, &device->addr, &device->to, records[i], lens[i]);
        datapath_from_client(&gate->dp, 0, &gate->listening[0], &gate->in, gate->now_ms);
        assert_non_null(gate_session_of(gate, device)->dtls);
        assert_in_range(gate->dp.sessions.live_count, 1, LIVE);
    }
    assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), DEVICES * 2);
    assert_int_equal(gate_backend_outcomes(gate, BACKEND_forwarded), DEVICES * 2);
}

/* What nobody uses is parked again at once: a stranger cannot keep sessions from sleeping. */
static void forged_record_leaves_it_parked(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *device = in_use(gate, &sleeper);
    device_send(device, "to be copied", 12);
    struct packet copy = *fake_network_last(CLIENT_TO_GATE, NULL);
    uint8_t forged[256];
    gate_run(gate, 40000);
    assert_int_equal(parked(gate), 1);
    memcpy(forged, copy.data, copy.len);
    forged[copy.len - 1] ^= 1;
    struct addr elsewhere = gate_device_addr(50);
    uint64_t used_ms = only_session(gate)->last_used_ms;
    for (uint64_t i = 1; i <= 20; i++) {
        const uint8_t *data = i % 2 == 0 ? copy.data : forged; /* a replay is no better */
        assert_int_equal(gate_inject(gate, i % 3 == 0 ? &elsewhere : &device->addr, data, copy.len),
                         CLIENT_record_discarded);
        assert_int_equal(parked(gate), 1);
        assert_int_equal(woken_in_vain(gate), i);
        assert_int_equal(gate->dp.sessions.live_count, 0);
    }
    assert_int_equal(only_session(gate)->last_used_ms, used_ms);
    gate_assert_echo(gate, device, "not impressed");
    assert_int_equal(woken_in_vain(gate), 20);
}

/* Beyond a number each second such records are not looked at; who was not named in one goes first.
 */
static void forged_records_are_bounded(void **state)
{
    enum { PER_S = 5000, FLOOD = 20000 };
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *victim = in_use(gate, &sleeper), *other = in_use(gate, &sleeper);
    device_send(victim, "to be copied", 12);
    struct packet copy = *fake_network_last(CLIENT_TO_GATE, NULL);
    gate_run(gate, 40000);
    assert_int_equal(parked(gate), 2);
    for (int i = 0; i < FLOOD; i++)
        gate_inject(gate, &victim->addr, copy.data, copy.len);
    assert_in_range(woken_in_vain(gate), PER_S / 2, PER_S);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_limit_parked), FLOOD - woken_in_vain(gate));
    gate_assert_echo(gate, other, "not concerned");
    /* The victim has to repeat itself, until a second has passed. */
    device_send(victim, "lost", 4);
    gate_run(gate, 1);
    uint64_t limited = gate_client_outcomes(gate, CLIENT_limit_parked);
    gate_run(gate, 1000);
    gate_assert_echo(gate, victim, "repeated");
    assert_int_equal(gate_client_outcomes(gate, CLIENT_limit_parked), limited);
    /* Once awake it is what any session is: no limit is in its way. */
    for (int i = 0; i < FLOOD; i++)
        gate_inject(gate, &victim->addr, copy.data, copy.len);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_limit_parked), limited);
    gate_assert_echo(gate, victim, "in between");
}

/* An authentic record without data wakes it for a moment only: it is not used. */
static void warning_does_not_keep_it_awake(void **state)
{
    static const uint8_t user_canceled[] = {1, 90};
    struct gate *gate = *state;
    uint8_t record[128];
    gate_open(gate, GATE LISTENER PSK);
    struct device *device = in_use(gate, &sleeper);
    gate_run(gate, 40000);
    for (uint64_t i = 1; i <= 3; i++) {
        size_t len =
            memory_client_seal(device->client, 21, user_canceled, 2, record, sizeof(record));
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_control);
        assert_int_equal(parked(gate), 1);
        assert_int_equal(woken(gate), i * 2 - 1);
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_record_discarded);
    }
    gate_assert_echo(gate, device, "awake");
}

static void datagram_that_cannot_go_leaves_it_parked(void **state)
{
    static uint8_t large[DTLS_PLAINTEXT_MAX + 1];
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *device = in_use(gate, &sleeper);
    struct addr source = gate_last_source();
    gate_run(gate, 40000);
    assert_int_equal(gate_inject_from_backend(gate, &source, large, sizeof(large)),
                     BACKEND_too_large);
    assert_int_equal(parked(gate), 1);
    gate_assert_echo(gate, device, "awake");
}

/* It ends like any other, and says so to its device. */
static void ends_of_parked_sessions(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK "idle_timeout_cid = 60s\n");
    struct device *device = in_use(gate, &sleeper);
    gate_run(gate, 59000);
    assert_int_equal(parked(gate), 1);
    gate_run(gate, 2000);
    assert_int_equal(parked(gate), 0);
    assert_int_equal(gate_closed(gate, CLOSE_idle), 1);
    assert_int_equal(device->client->state, CLIENT_CLOSED);

    device = in_use(gate, &sleeper);
    gate_run(gate, 40000);
    device_close(device);
    gate_run(gate, 10);
    assert_int_equal(parked(gate), 0);
    assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), 1);

    device = in_use(gate, &sleeper);
    gate_run(gate, 40000);
    struct device *reborn = gate_add_reborn(gate, &sleeper, device);
    device_connect(reborn);
    assert_true(gate_run_until_up(gate, reborn, 1000));
    assert_int_equal(parked(gate), 0);
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 1);

    gate_assert_echo(gate, reborn, "to sleep");
    gate_run(gate, 40000);
    assert_int_equal(parked(gate), 1);
    gate_stop(gate);
    gate_run(gate, 10);
    assert_int_equal(parked(gate), 0);
    assert_int_equal(reborn->client->state, CLIENT_CLOSED);
    assert_int_equal(gate->dp.sessions.live_count, 0);
}

/* A million farewells would take too long when the gate stops: those used last are told. */
static void not_all_are_told_when_the_gate_stops(void **state)
{
    enum { DEVICES = 5, TOLD = 2 };
    struct gate *gate = *state;
    struct device *devices[DEVICES];
    gate_open(gate, GATE LISTENER PSK);
    for (int i = 0; i < DEVICES; i++)
        devices[i] = in_use(gate, &sleeper);
    gate_run(gate, 40000);
    assert_int_equal(parked(gate), DEVICES);
    gate->dp.sessions.farewells_of_parked = TOLD;
    gate_stop(gate);
    gate_run(gate, 10);
    for (int i = 0; i < DEVICES; i++)
        assert_int_equal(devices[i]->client->state == CLIENT_CLOSED, i >= DEVICES - TOLD);
    assert_int_equal(gate_closed(gate, CLOSE_shutdown), DEVICES);
    assert_int_equal(parked(gate), 0);
    assert_int_equal(fake_log_count("event=session_closed", NULL), TOLD);
    assert_int_equal(fake_log_count("event=sessions_closed", "count=3", NULL), 1);
}

/* Without memory for it, it stays asleep; later it wakes. */
static void without_memory_it_stays_parked(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    struct device *device = in_use(gate, &sleeper);
    struct addr source = gate_last_source();
    gate_run(gate, 40000);
    uint32_t needed = 0;
    for (uint32_t left = 0; left < 100 && needed == 0; left++) {
        gate_wolfssl_fail_after(left);
        enum backend_outcome outcome = gate_inject_from_backend(gate, &source, "text", 4);
        gate_wolfssl_fail_after(UINT32_MAX);
        if (outcome == BACKEND_forwarded)
            needed = left;
        else
            assert_int_equal(outcome, BACKEND_encrypt_failed);
    }
    assert_in_range(needed, 3, 99);
    gate_run(gate, 40000);
    device_send(device, "to be lost", 10);
    struct packet record = *fake_network_last(CLIENT_TO_GATE, NULL);
    fake_network_plan(LOSE, CLIENT_TO_GATE, record.number);
    gate->memory_left = 2;
    assert_int_equal(gate_inject(gate, &device->addr, record.data, record.len),
                     CLIENT_out_of_memory);
    gate->memory_left = UINT32_MAX;
    assert_int_equal(parked(gate), 1);
    gate_run(gate, 10);
    gate_assert_echo(gate, device, "awake");
}

/* Many that fall asleep at once do not hold up others: a few at a time. */
static void few_at_a_time(void **state)
{
    enum { DEVICES = GATE_DEVICES_MAX, AT_ONCE = 64 };
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK);
    for (int i = 0; i < DEVICES; i++)
        in_use(gate, &sleeper);
    for (uint32_t i = 0; i < gate->device_count; i++)
        device_send(&gate->devices[i], "now", 3);
    gate_run(gate, 10);
    assert_int_equal(parked(gate), 0);
    uint64_t next_ms = gate->now_ms + 40000;
    datapath_tick(&gate->dp, next_ms);
    assert_int_equal(parked(gate), AT_ONCE);
    assert_int_equal(datapath_tick(&gate->dp, next_ms) > next_ms, true);
    assert_int_equal(parked(gate), DEVICES);
    gate->now_ms = next_ms;
}

int datapath_parked_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(few_at_a_time),
        GATE_TEST(after_park_after),
        GATE_TEST(never_if_not_wanted),
        GATE_TEST(last_flight_is_kept_for_a_while),
        GATE_TEST(sessions_of_1_3_stay_live),
        GATE_TEST(every_listener_parks),
        GATE_TEST(is_asked_again_after_memory_was_short),
        GATE_TEST(live_sessions_is_a_bound),
        GATE_TEST(room_is_for_those_that_can_be_parked),
        GATE_TEST(live_sessions_is_a_bound_within_a_turn),
        GATE_TEST(forged_record_leaves_it_parked),
        GATE_TEST(forged_records_are_bounded),
        GATE_TEST(warning_does_not_keep_it_awake),
        GATE_TEST(datagram_that_cannot_go_leaves_it_parked),
        GATE_TEST(ends_of_parked_sessions),
        GATE_TEST(not_all_are_told_when_the_gate_stops),
        GATE_TEST(without_memory_it_stays_parked),
    };
    /* When it happens is what is tested here. */
    if (gate_parks_always)
        return 0;
    return cmocka_run_group_tests_name("datapath: parked sessions", tests, NULL, NULL);
}
