/* sessions_per_identity: a device that begins anew again and again cannot fill the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

static const char with_cid[] = "1.2 psk ccm-8, cid";

static void newest_sessions_stay(void **state)
{
    struct gate *gate = *state;
    for (uint32_t limit = 1; limit <= 3; limit++) {
        for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
            char ini[1024];
            gate_doing("%s, at most %u", kind->name, limit);
            snprintf(ini, sizeof(ini), USUAL "sessions_per_identity = %u\n", limit);
            gate_open(gate, ini);
            struct device *devices[6];
            for (uint32_t i = 0; i < 6; i++) {
                devices[i] = gate_connected(gate, kind);
                uint32_t expected = i + 1 < limit ? i + 1 : limit;
                assert_int_equal(gate_session_count(&gate->dp), expected);
                gate_assert_echo(gate, devices[i], "new");
            }
            assert_int_equal(gate_closed(gate, CLOSE_replaced), 6 - limit);
            for (uint32_t i = 6 - limit; i < 6; i++)
                gate_assert_echo(gate, devices[i], "stays");
            assert_int_equal(identities_count(gate->identities), limit);
        }
    }
    gate_doing(NULL);
}

static void no_limit_by_default(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    for (int i = 0; i < 20; i++)
        gate_connected(gate, gate_kind(with_cid));
    assert_int_equal(gate_session_count(&gate->dp), 20);
    assert_int_equal(identities_count(gate->identities), 0);
}

/* The device hears nothing of it: where its old session was, there may be another one. */
static void what_ended_is_silent(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "sessions_per_identity = 1\n");
    struct device *old = gate_connected(gate, gate_kind(with_cid));
    gate_assert_echo(gate, old, "x");
    struct addr source = gate_last_source();
    uint32_t before = fake_network_count(GATE_TO_CLIENT, &old->addr);
    gate_connected(gate, gate_kind(with_cid));
    assert_int_equal(gate_inject_from_backend(gate, &source, "late", 4), BACKEND_late);
    assert_int_equal(gate_late(gate, CLOSE_replaced), 1);
    device_send(old, "still here?", 11);
    gate_run(gate, 100);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_cid_unknown), 1);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &old->addr), before);
}

static void others_are_not_concerned(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER_AT("a", "5684") PSK CERTIFICATE CLIENT_CA
              "sessions_per_identity = 1\n" LISTENER_AT("b", "5685") PSK CERTIFICATE CLIENT_CA
              "sessions_per_identity = 1\n");
    gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_connected(gate, gate_kind("1.2 certificate"));
    struct device *elsewhere = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    elsewhere->to = gate_listener_addr(gate, 1);
    device_connect(elsewhere);
    assert_true(gate_run_until_up(gate, elsewhere, 100));
    gate_run(gate, 10);
    assert_int_equal(gate_session_count(&gate->dp), 3);
}

/* Nobody knows who they are. */
static void anonymous_devices_are_not_limited(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER CERTIFICATE "client_auth = none\nsessions_per_identity = 1\n");
    for (int i = 0; i < 4; i++)
        gate_connected(gate, gate_kind("1.2 anonymous"));
    assert_int_equal(gate_session_count(&gate->dp), 4);
}

/* A session that has ended by itself does not count. */
static void closed_sessions_do_not_count(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "sessions_per_identity = 2\nidle_timeout_cid = 60s\n");
    struct device *stays = gate_connected(gate, gate_kind(with_cid));
    device_close(gate_connected(gate, gate_kind(with_cid)));
    gate_run(gate, 10);
    gate_connected(gate, gate_kind(with_cid));
    assert_int_equal(gate_session_count(&gate->dp), 2);
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 0);
    gate_assert_echo(gate, stays, "stays");
    gate_run(gate, 61000);
    assert_int_equal(gate_closed(gate, CLOSE_idle), 2);
    assert_int_equal(identities_count(gate->identities), 0);
}

/* What a worker is asked to end may have ended, and its slot may be another session's. */
static void asked_too_late(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "sessions_per_identity = 1\n");
    struct device *device = gate_connected(gate, gate_kind(with_cid));
    const struct identities_session there = gate_name_of(&gate->dp, &device->addr);
    struct identities_session gone = {.slot = there.slot, .number = there.number + 1};
    datapath_end_session(&gate->dp, &gone, gate->now_ms);
    gone = (struct identities_session){.slot = 1000, .number = there.number};
    datapath_end_session(&gate->dp, &gone, gate->now_ms);
    gate_assert_echo(gate, device, "still there");
    gone.slot = there.slot;
    datapath_end_session(&gate->dp, &gone, gate->now_ms);
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 1);
    datapath_end_session(&gate->dp, &gone, gate->now_ms);
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 1);
}

static void note_session(void *context, const struct identities_session *session)
{
    *(struct identities_session *)context = *session;
}

static void oldest_may_be_of_another_worker(void **state)
{
    struct gate *gate = *state;
    struct identities_session asked = {.number = 0}, none;
    struct identities_key key;
    gate_open(gate, USUAL "sessions_per_identity = 1\n");
    gate_set_end_elsewhere(&gate->dp, note_session, &asked);
    identities_make_key(gate->identities, 0, CREDENTIAL_PSK, IDENTITY, strlen(IDENTITY), &key);
    const struct identities_session other = {.worker = 7, .slot = 3, .number = 99};
    assert_false(identities_begin(gate->identities, &key, 1, other, &none));
    gate_connected(gate, gate_kind(with_cid));
    assert_int_equal(asked.worker, 7);
    assert_int_equal(asked.slot, 3);
    assert_int_equal(asked.number, 99);
    assert_int_equal(gate_session_count(&gate->dp), 1);
}

int datapath_identities_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(newest_sessions_stay),
        GATE_TEST(no_limit_by_default),
        GATE_TEST(what_ended_is_silent),
        GATE_TEST(others_are_not_concerned),
        GATE_TEST(anonymous_devices_are_not_limited),
        GATE_TEST(closed_sessions_do_not_count),
        GATE_TEST(asked_too_late),
        GATE_TEST(oldest_may_be_of_another_worker),
    };
    return cmocka_run_group_tests_name("datapath: sessions per identity", tests, NULL, NULL);
}
