/* Devices whose address changes: RFC 9146 section 6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

static const char *const kinds[] = {"1.2 psk ccm-8, cid", "1.3 psk, cid 3"};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

static uint64_t moves(struct gate *gate)
{
    return counter_get(&gate_counters(gate, 0)->address_changes);
}

/* A record that the device makes now, and that the network does not deliver. */
static struct packet held_back(struct gate *gate, struct device *device, const char *text)
{
    (void)gate;
    fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL));
    device_send(device, text, strlen(text));
    return *fake_network_last(CLIENT_TO_GATE, NULL);
}

static void device_moves_and_is_reached(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        log_set_level(LOG_DEBUG);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        gate_assert_echo(gate, device, "before");
        struct addr source = gate_last_source(), old = device->addr;
        for (uint32_t move = 1; move <= 20; move++) {
            device->addr = gate_device_addr(20 + move % 7);
            if (move % 3 == 0)
                device->addr.port++;
            gate_assert_echo(gate, device, "after");
            struct addr now = gate_last_source();
            assert_true(addr_equal(&now, &source));
            assert_int_equal(moves(gate), move);
        }
        assert_true(fake_log_count("event=client_moved", NULL) > 0);
        /* Nothing of it is left at the old address. */
        assert_false(gate_has_session_at(&gate->dp, &old));
        gate_assert_echo(gate, device, "last");
        device_close(device);
        gate_run(gate, 10);
        assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        log_set_level(LOG_INFO);
    }
    gate_doing(NULL);
}

/* A record that is not newer than all before it is delivered, but says nothing of where the device
 * is: somebody may have held it back. */
static void reordered_record_moves_nothing(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        struct packet late = held_back(gate, device, "late");
        gate_assert_echo(gate, device, "newer");
        struct addr elsewhere = gate_device_addr(40);
        assert_int_equal(gate_inject(gate, &elsewhere, late.data, late.len), CLIENT_forwarded);
        assert_memory_equal(fake_network_last(GATE_TO_BACKEND, NULL)->data, "late", 4);
        assert_int_equal(moves(gate), 0);
        assert_int_equal(gate_session_count(&gate->dp), 1);
        assert_true(gate_has_session_at(&gate->dp, &device->addr));
        gate_assert_echo(gate, device, "and here it still is");
    }
    gate_doing(NULL);
}

static void replayed_and_forged_records_move_nothing(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        gate_assert_echo(gate, device, "x");
        struct addr elsewhere = gate_device_addr(40);
        struct packet packet = *fake_network_last(CLIENT_TO_GATE, NULL);
        assert_int_equal(gate_inject(gate, &elsewhere, packet.data, packet.len),
                         CLIENT_record_discarded);
        struct packet fresh = held_back(gate, device, "fresh");
        for (uint32_t at = 0; at < fresh.len; at++) {
            gate_doing("%s, byte %u changed", kinds[i], at);
            uint8_t *changed = fake_network_copy(fresh.data, fresh.len);
            changed[at] ^= 0x20;
            assert_int_not_equal(gate_inject(gate, &elsewhere, changed, fresh.len),
                                 CLIENT_forwarded);
            free(changed);
            assert_int_equal(moves(gate), 0);
        }
        gate_assert_echo(gate, device, "here");
        assert_int_equal(moves(gate), 0);
    }
    gate_doing(NULL);
}

/* Somebody who overtakes the device with its own record may move the session, but only so much goes
 * there, and the device's next record brings it back. */
static void unproved_address_gets_little(void **state)
{
    static const uint8_t data[400];
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        gate_assert_echo(gate, device, "x");
        struct addr source = gate_last_source(), victim = gate_device_addr(40);
        struct packet stolen = held_back(gate, device, "0123456789012345678901234567890123456789");
        assert_int_equal(gate_inject(gate, &victim, stolen.data, stolen.len), CLIENT_forwarded);
        assert_int_equal(moves(gate), 1);
        uint64_t bytes = 0;
        enum backend_outcome outcome;
        for (size_t len = 1; len <= 100; len += 3) {
            uint32_t before = fake_network_count(GATE_TO_CLIENT, &victim);
            outcome = gate_inject_from_backend(gate, &source, data, len);
            bool is_sent = fake_network_count(GATE_TO_CLIENT, &victim) != before;
            assert_int_equal(outcome, is_sent ? BACKEND_forwarded : BACKEND_address_unproved);
            bytes += is_sent ? fake_network_last(GATE_TO_CLIENT, &victim)->len : 0;
        }
        assert_in_range(bytes, 1, 3 * stolen.len);
        outcome = gate_inject_from_backend(gate, &source, data, sizeof(data));
        assert_int_equal(outcome, BACKEND_address_unproved);
        /* What is not authentic proves nothing. */
        assert_int_equal(gate_inject(gate, &victim, stolen.data, stolen.len),
                         CLIENT_record_discarded);
        assert_int_equal(gate_inject_from_backend(gate, &source, data, sizeof(data)),
                         BACKEND_address_unproved);
        gate_assert_echo(gate, device, "back again");
        assert_int_equal(moves(gate), 2);
        /* That was one authentic record from the old address: it has to prove itself too. */
        device_send(device, "y", 1);
        gate_run(gate, 5);
        assert_int_equal(gate_inject_from_backend(gate, &source, data, sizeof(data)),
                         BACKEND_forwarded);
    }
    gate_doing(NULL);
}

static void proved_by_the_second_record(void **state)
{
    static const uint8_t data[1000];
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind(kinds[0]));
    gate_assert_echo(gate, device, "x");
    struct addr source = gate_last_source();
    device->addr = gate_device_addr(40);
    device_send(device, "first", 5);
    gate_run(gate, 5);
    assert_int_equal(gate_inject_from_backend(gate, &source, data, sizeof(data)),
                     BACKEND_address_unproved);
    device_send(device, "second", 6);
    gate_run(gate, 5);
    assert_int_equal(gate_inject_from_backend(gate, &source, data, sizeof(data)),
                     BACKEND_forwarded);
    assert_true(addr_equal(&fake_network_last(GATE_TO_CLIENT, NULL)->to, &device->addr));
}

/* Where the gate sends from is what the device's newest record was sent to, of the gate's
 * addresses. */
static void answers_come_from_where_the_newest_record_went(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        struct addr here = device->to, there = device->to;
        there.ip[3]++;
        struct packet late = held_back(gate, device, "late");
        gate_assert_echo(gate, device, "newer");
        struct addr source = gate_last_source();
        fake_udp_fill(&gate->in, &device->addr, &there, late.data, late.len);
        datapath_from_client(&gate->dp, 0, &gate->listening[0], &gate->in, gate->now_ms);
        assert_memory_equal(fake_network_last(GATE_TO_BACKEND, NULL)->data, "late", 4);
        assert_int_equal(gate_inject_from_backend(gate, &source, "x", 1), BACKEND_forwarded);
        assert_true(addr_equal(&fake_network_last(GATE_TO_CLIENT, NULL)->from, &here));

        struct packet fresh = held_back(gate, device, "fresh");
        fake_udp_fill(&gate->in, &device->addr, &there, fresh.data, fresh.len);
        datapath_from_client(&gate->dp, 0, &gate->listening[0], &gate->in, gate->now_ms);
        assert_int_equal(gate_inject_from_backend(gate, &source, "x", 1), BACKEND_forwarded);
        assert_true(addr_equal(&fake_network_last(GATE_TO_CLIENT, NULL)->from, &there));
        assert_int_equal(moves(gate), 0);
    }
    gate_doing(NULL);
}

/* A NAT gives the address of a sleeping device to another one. */
static void address_is_given_to_another_device(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *sleeper = gate_connected(gate, gate_kind(kinds[i]));
        gate_assert_echo(gate, sleeper, "x");
        struct addr source = gate_last_source();
        struct device *other = gate_add(gate, gate_kind("1.2 certificate, cid"));
        other->addr = sleeper->addr;
        device_connect(other);
        assert_true(gate_run_until_up(gate, other, 100));
        gate_run(gate, 10);
        assert_int_equal(gate_session_count(&gate->dp), 2);
        gate_assert_echo(gate, other, "the other one");
        sleeper->addr = gate_device_addr(50);
        gate_assert_echo(gate, sleeper, "awake");
        struct addr now = gate_last_source();
        assert_true(addr_equal(&now, &source));
        gate_assert_echo(gate, other, "still there");
    }
    gate_doing(NULL);
}

/* A device that reboots keeps its address, and its old session is of no use. */
static void rebooted_device_replaces_its_session(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        device->addr = gate_device_addr(50);
        gate_assert_echo(gate, device, "moved before");
        struct device *reborn = gate_add_reborn(gate, gate_kind(kinds[i]), device);
        device_connect(reborn);
        assert_true(gate_run_until_up(gate, reborn, 100));
        gate_run(gate, 10);
        assert_int_equal(gate_closed(gate, CLOSE_replaced), 1);
        assert_int_equal(gate_session_count(&gate->dp), 1);
        gate_assert_echo(gate, reborn, "new");
    }
    gate_doing(NULL);
}

/* A device with a connection ID appears at the address of one without, which needs it. */
static void session_without_cid_keeps_its_address(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *without = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct device *with = gate_connected(gate, gate_kind(kinds[0]));
    struct packet stolen = held_back(gate, with, "stolen");
    assert_int_equal(gate_inject(gate, &without->addr, stolen.data, stolen.len), CLIENT_forwarded);
    assert_int_equal(moves(gate), 1);
    gate_assert_echo(gate, without, "unharmed");
    gate_assert_echo(gate, with, "moved back");
    gate_assert_echo(gate, without, "unharmed");
    assert_int_equal(gate_session_count(&gate->dp), 2);
}

/* While a new handshake runs at its old address, the device moves. */
static void moves_away_from_a_handshake(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        struct device *other = gate_add(gate, gate_kind("1.2 certificate, cid"));
        struct addr old = device->addr;
        other->addr = old;
        device_connect(other);
        gate_run(gate, 3); /* the second hello has arrived */
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        device->addr = gate_device_addr(50);
        gate_assert_echo(gate, device, "moved");
        assert_true(gate_run_until_up(gate, other, 5000));
        gate_run(gate, 10);
        gate_assert_echo(gate, other, "there");
        gate_assert_echo(gate, device, "and here");
        assert_int_equal(gate_session_count(&gate->dp), 2);
    }
    gate_doing(NULL);
}

/* The same, and a third device moves to that address: the handshake goes on there. */
static void moves_to_the_address_of_a_handshake(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *sleeper = gate_connected(gate, gate_kind(kinds[i]));
        struct device *mover = gate_connected(gate, gate_kind(kinds[i]));
        struct device *other = gate_add(gate, gate_kind("1.2 certificate, cid"));
        other->addr = sleeper->addr;
        device_connect(other);
        gate_run(gate, 3); /* the second hello has arrived */
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        struct packet moved = held_back(gate, mover, "moved");
        assert_int_equal(gate_inject(gate, &other->addr, moved.data, moved.len), CLIENT_forwarded);
        assert_int_equal(moves(gate), 1);
        assert_true(gate_run_until_up(gate, other, 100));
        gate_run(gate, 10);
        gate_assert_echo(gate, other, "there");
        sleeper->addr = gate_device_addr(50);
        gate_assert_echo(gate, sleeper, "here");
        mover->addr = gate_device_addr(60);
        gate_assert_echo(gate, mover, "and here");
        assert_int_equal(gate_session_count(&gate->dp), 3);
    }
    gate_doing(NULL);
}

/* Old and new session at one address, both in use until the new one is complete. */
static void handshake_at_a_live_address_costs_nothing(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        gate_assert_echo(gate, device, "x");
        struct addr source = gate_last_source();
        struct device *fake = gate_add(gate, gate_kind("1.2 certificate, cid"));
        fake->addr = device->addr;
        fake->client->is_deaf = true;
        device_connect(fake);
        gate_run(gate, 5);
        struct packet hello = *fake_network_last(CLIENT_TO_GATE, NULL);
        for (int n = 0; n < 5; n++) {
            gate_inject(gate, &device->addr, hello.data, hello.len);
            device_send(device, "data", 4);
            assert_int_equal(gate_inject_from_backend(gate, &source, "back", 4), BACKEND_forwarded);
            gate_run(gate, 5);
        }
        assert_int_equal(gate_closed(gate, CLOSE_replaced), 0);
        fake->addr = gate_device_addr(60);
        gate_assert_echo(gate, device, "unharmed");
    }
    gate_doing(NULL);
}

/* The last datagram of a handshake comes from another address. */
static void address_changes_within_the_handshake(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, gate_kind(kinds[1]));
    fake_network_plan(LOSE, CLIENT_TO_GATE, 2); /* its Finished */
    device_connect(device);
    gate_run(gate, 100);
    assert_int_equal(gate_handshake_count(&gate->dp), 1);
    device->addr = gate_device_addr(50);
    gate_run(gate, 10000);
    assert_int_equal(moves(gate), 1);
    gate_assert_echo(gate, device, "there");
}

/* A connection ID can be read by all who see the ServerHello. What stands in plaintext behind it,
 * from another address, is nobody's: here an alert that would make the handshake fall silent. */
static void plaintext_from_elsewhere_is_not_of_the_handshake(void **state)
{
    enum { TYPE_CID = 25, CID_AT = 11, BODY = 40 };
    static const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, gate_kind(kinds[0]));
    fake_network_plan(LOSE, CLIENT_TO_GATE, 2);
    device_connect(device);
    gate_run(gate, 100);
    assert_int_equal(gate_handshake_count(&gate->dp), 1);
    uint8_t datagram[200] = {TYPE_CID, 0xfe, 0xfd, 0, 1};
    size_t len = CID_AT + gate_copy_cid(&gate->dp, &device->addr, datagram + CID_AT);
    assert_int_equal(len, CID_AT + 8);
    datagram[len + 1] = BODY;
    len += 2 + BODY;
    memcpy(datagram + len, alert, sizeof(alert));
    struct addr elsewhere = gate_device_addr(40);
    gate_inject(gate, &elsewhere, datagram, len + sizeof(alert));
    assert_int_equal(fake_log_count("event=handshake_stalled", NULL), 0);
    assert_true(gate_run_until_up(gate, device, 5000));
    gate_assert_echo(gate, device, "unharmed");
}

/* The last flight is lost, and the device's own comes again from another address, which may be
 * forged. A flight of 1.2 has plaintext in it: it goes there only once the address has proved
 * itself. */
static void last_flight_waits_for_the_proof(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, gate_kind(kinds[0]));
    fake_network_plan(LOSE, GATE_TO_CLIENT, 2);
    device_connect(device);
    gate_run(gate, 500);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_int_equal(device->client->state, CLIENT_CONNECTING);
    struct addr before = device->addr;
    device->addr = gate_device_addr(50);
    gate_run(gate, 30000);
    assert_int_equal(moves(gate), 1);
    assert_int_equal(device->client->state, CLIENT_UP);
    gate_assert_echo(gate, device, "repaired");
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_true(gate_is_proved_at(&gate->dp, &device->addr));
    assert_int_not_equal(before.port, device->addr.port);
}

int datapath_moving_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(device_moves_and_is_reached),
        GATE_TEST(reordered_record_moves_nothing),
        GATE_TEST(replayed_and_forged_records_move_nothing),
        GATE_TEST(unproved_address_gets_little),
        GATE_TEST(proved_by_the_second_record),
        GATE_TEST(answers_come_from_where_the_newest_record_went),
        GATE_TEST(address_is_given_to_another_device),
        GATE_TEST(rebooted_device_replaces_its_session),
        GATE_TEST(session_without_cid_keeps_its_address),
        GATE_TEST(moves_away_from_a_handshake),
        GATE_TEST(moves_to_the_address_of_a_handshake),
        GATE_TEST(handshake_at_a_live_address_costs_nothing),
        GATE_TEST(address_changes_within_the_handshake),
        GATE_TEST(plaintext_from_elsewhere_is_not_of_the_handshake),
        GATE_TEST(last_flight_waits_for_the_proof),
    };
    return cmocka_run_group_tests_name("datapath: moving devices", tests, NULL, NULL);
}
