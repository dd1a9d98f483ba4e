/* What is kept of a session that its device has closed: for how long, how much, and what becomes of
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/linger_fixture.h"
#include "worker/datapath_tests.h"

enum { TYPE_ALERT = 21 };

static void it_is_over_after_a_moment(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 2);
        uint64_t end_ms = gate_closing_end_ms(&gate->dp);
        assert_in_range(end_ms - gate->now_ms, GATE_CLOSING_MS - 10, GATE_CLOSING_MS);
        gate_run(gate, end_ms - 1 - gate->now_ms);
        linger_assert_delivered(gate, &c, &c.late[0], "deregister 0");
        gate_run(gate, 1);
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        linger_assert_gone(gate, &c, &c.late[1]);
        assert_int_equal(gate_next_due_ms(&gate->dp), TIMERS_NONE);
    }
    gate_doing(NULL);
}

/* Nobody can make the gate keep more than a number of them; the oldest goes. */
static void only_so_many_are_kept(void **state)
{
    struct gate *gate = *state;
    static struct linger_closed c[GATE_CLOSING_MAX + 2];
    enum { COUNT = GATE_CLOSING_MAX + 2 };
    gate_open(gate, USUAL);
    for (unsigned i = 0; i < COUNT; i++)
        c[i] = linger_live_session(gate, gate_kind("1.2 psk ccm-8"), 1);
    uint64_t begun_ms = gate->now_ms;
    for (unsigned i = 0; i < COUNT; i++) {
        linger_close_now(gate, &c[i]);
        assert_true(gate_closing_count(&gate->dp) <= GATE_CLOSING_MAX);
    }
    assert_true(gate->now_ms < begun_ms + GATE_CLOSING_MS / 2);
    for (unsigned i = 0; i < COUNT; i++) {
        c[i].to_backend = fake_network_count(GATE_TO_BACKEND, NULL);
        if (i < 2)
            linger_assert_gone(gate, &c[i], &c[i].late[0]);
        else
            linger_assert_delivered(gate, &c[i], &c[i].late[0], "deregister 0");
    }
    assert_int_equal(gate_closing_count(&gate->dp), 0);
    gate_run(gate, GATE_CLOSING_MS);
    assert_int_equal(gate_next_due_ms(&gate->dp), TIMERS_NONE);
}

static void forged_records_change_nothing(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 1);
        struct packet late = c.late[0];
        /* Fewer than the forgery limit of CCM-8 in 1.3. */
        for (uint32_t at = 0; at < late.len; at++) {
            uint8_t *changed = fake_network_copy(late.data, late.len);
            changed[at] ^= 0x20;
            assert_int_not_equal(gate_inject(gate, &late.from, changed, late.len),
                                 CLIENT_forwarded);
            free(changed);
        }
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), c.to_backend);
        linger_assert_delivered(gate, &c, &late, "deregister 0");
    }
    gate_doing(NULL);
}

/* What is fed to one of them has a bound. */
static void only_so_many_bytes_are_looked_at(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 1);
        assert_int_equal(gate_closing_count(&gate->dp), 1);
        uint8_t *changed = fake_network_copy(c.late[0].data, c.late[0].len);
        changed[c.late[0].len - 1] ^= 1;
        for (uint32_t fed = 0; fed <= GATE_CLOSING_BYTES; fed += c.late[0].len)
            linger_assert_ignored(gate, &c, &c.late[0].from, changed, c.late[0].len);
        free(changed);
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        linger_assert_gone(gate, &c, &c.late[0]);
    }
    gate_doing(NULL);
}

/* When the pool is dry another device has the address: it must not seem to have sent that. */
static void address_is_given_away_early(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        gate_limit_slots(gate, 1);
        struct linger_closed c = linger_closed_session(gate, kind, 1);
        assert_int_equal(gate_closing_count(&gate->dp), 1);
        struct device *other = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
        gate_assert_echo(gate, other, "it is mine");
        struct addr source = gate_last_source();
        assert_true(addr_equal(&source, &c.source));
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        c.to_backend = fake_network_count(GATE_TO_BACKEND, NULL);
        linger_assert_gone(gate, &c, &c.late[0]);
    }
    gate_doing(NULL);
}

static void backend_does_not_take_it(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct linger_closed c = linger_closed_session(gate, gate_kind("1.3 psk"), 1);
    fake_udp_refuse(GATE_TO_BACKEND, true);
    assert_int_equal(linger_arrives(gate, &c.late[0]), CLIENT_backend_send_failed);
    fake_udp_refuse(GATE_TO_BACKEND, false);
}

static void gate_stops_meanwhile(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 1);
        assert_int_equal(gate_closing_count(&gate->dp), 1);
        gate_stop(gate);
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        assert_int_equal(linger_arrives(gate, &c.late[0]), CLIENT_shutting_down);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &c.device->addr), c.to_device);
        assert_int_equal(gate_next_due_ms(&gate->dp), TIMERS_NONE);
        /* And the one that is closed without being stopped leaks nothing. */
        gate_open(gate, USUAL);
        linger_closed_session(gate, kind, 1);
    }
    gate_doing(NULL);
}

/* Only a closure of the device's own leaves anything to wait for. */
static void no_other_end_lingers(void **state)
{
    static const uint8_t internal_error[] = {2, 80};
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        uint8_t record[64];
        gate_open(gate, USUAL "idle_timeout = 1h\nidle_timeout_cid = 1h\n");
        struct linger_closed c = {.device = gate_connected(gate, kind)};
        gate_assert_echo(gate, c.device, "registration");
        c.late[0] = linger_hold_back(c.device, "late");
        size_t len = memory_client_seal(c.device->client, TYPE_ALERT, internal_error, 2, record,
                                        sizeof(record));
        assert_int_equal(gate_inject(gate, &c.device->addr, record, len), CLIENT_session_closed);
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        c.to_device = fake_network_count(GATE_TO_CLIENT, &c.device->addr);
        c.to_backend = fake_network_count(GATE_TO_BACKEND, NULL);
        linger_assert_gone(gate, &c, &c.late[0]);

        c.device = gate_connected(gate, kind);
        gate_assert_echo(gate, c.device, "registration");
        c.late[0] = linger_hold_back(c.device, "late");
        gate_run(gate, 3600000 + 10);
        assert_int_equal(gate_closed(gate, CLOSE_idle), 1);
        c.to_device = fake_network_count(GATE_TO_CLIENT, &c.device->addr);
        c.to_backend = fake_network_count(GATE_TO_BACKEND, NULL);
        linger_assert_gone(gate, &c, &c.late[0]);
    }
    gate_doing(NULL);
}

int datapath_linger_end_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(it_is_over_after_a_moment),     GATE_TEST(only_so_many_are_kept),
        GATE_TEST(forged_records_change_nothing), GATE_TEST(only_so_many_bytes_are_looked_at),
        GATE_TEST(address_is_given_away_early),   GATE_TEST(backend_does_not_take_it),
        GATE_TEST(gate_stops_meanwhile),          GATE_TEST(no_other_end_lingers),
    };
    return cmocka_run_group_tests_name("datapath: end of lingering", tests, NULL, NULL);
}
