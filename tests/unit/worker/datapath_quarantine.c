/* Backend addresses of sessions that have ended: what a backend still sends there, for however long
 * and at whatever pace, reaches no other device. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum { TOMBSTONE_MS = 20000 };

#define SETTINGS "[gate]\nmetrics =\ntombstone = 20s\n"
#define USUAL_20S SETTINGS LISTENER PSK
#define TWO_BACKENDS \
    USUAL_20S "[listener other]\nlisten = " GATE_ADDRESS ":5685\nbackend = 127.0.0.2:5683\n" PSK

static const char *const kind_12 = "1.2 psk ccm-8", *const kind_13 = "1.3 psk";

struct past {
    struct device *device;
    struct addr source;
};

static struct past used_session(struct gate *gate, const char *kind)
{
    struct past past = {.device = gate_connected(gate, gate_kind(kind))};
    gate_assert_echo(gate, past.device, "registration");
    past.source = gate_last_source();
    return past;
}

static struct past closed_session(struct gate *gate, const char *kind)
{
    struct past past = used_session(gate, kind);
    device_close(past.device);
    gate_run(gate, 10);
    return past;
}

static uint64_t gauge_of_quarantine(struct gate *gate)
{
    return counter_get(&gate_counters(gate, 0)->backend_addresses_in_quarantine);
}

static uint64_t gauge_of_noisy(struct gate *gate)
{
    return counter_get(&gate_counters(gate, 0)->backend_addresses_noisy);
}

/* The address of an observation that nobody cancels is given to nobody, as long as it lasts. */
static void backend_that_never_stops(void **state)
{
    static const uint32_t paces_ms[] = {1000, TOMBSTONE_MS / 2, TOMBSTONE_MS - 500};
    struct gate *gate = *state;
    for (size_t p = 0; p < sizeof(paces_ms) / sizeof(paces_ms[0]); p++) {
        gate_doing("every %u ms", paces_ms[p]);
        gate_open(gate, USUAL_20S);
        gate_limit_slots(gate, 2);
        struct past observer = closed_session(gate, kind_12);
        uint64_t sent = 0;
        for (int round = 0; round < 20; round++) {
            struct past other = used_session(gate, round % 2 == 0 ? kind_12 : kind_13);
            assert_false(addr_equal(&other.source, &observer.source));
            for (int i = 0; i < 3; i++) {
                gate_run(gate, paces_ms[p]);
                assert_int_equal(
                    gate_inject_from_backend(gate, &observer.source, "notification", 12),
                    BACKEND_late);
                assert_int_equal(gate_late(gate, CLOSE_closed_by_client), ++sent);
            }
            assert_int_equal(gauge_of_noisy(gate), 1);
            assert_int_equal(other.device->client->message_count, 1);
            device_close(other.device);
            gate_run(gate, 10);
        }
        /* At last it is silent, and of use again. */
        struct past staying = used_session(gate, kind_12);
        gate_run(gate, TOMBSTONE_MS);
        assert_int_equal(gauge_of_quarantine(gate), 0);
        struct past heir = used_session(gate, kind_12);
        assert_true(addr_equal(&heir.source, &observer.source));
        assert_false(addr_equal(&staying.source, &observer.source));
    }
    gate_doing(NULL);
}

/* Milliseconds until the gate finds the handshake complete. */
static uint64_t establish(struct gate *gate, struct device *device)
{
    uint64_t took_ms = 0, before = gate_handshakes(gate, HANDSHAKE_established);
    device_connect(device);
    for (; gate_handshakes(gate, HANDSHAKE_established) == before; took_ms++)
        gate_run(gate, 1);
    return took_ms;
}

/* So many datagrams lie in the socket when the address is given away that they fill batches. */
static void assert_stale_are_dropped(struct gate *gate, bool has_marks)
{
    enum { STALE = 200 };
    gate_open(gate, USUAL_20S);
    gate_limit_slots(gate, 2);
    struct past before = closed_session(gate, kind_12);
    uint64_t took_ms = establish(gate, gate_add(gate, gate_kind(kind_12)));
    gate_run(gate, 2 * TOMBSTONE_MS);
    struct addr backend = gate->generation->config->listeners[0].backend;
    struct device *heir = gate_add(gate, gate_kind(kind_12));
    device_connect(heir);
    gate_run(gate, took_ms - 1);
    fake_udp_lose_own(!has_marks);
    for (int i = 0; i < STALE; i++)
        fake_network_send(BACKEND_TO_GATE, &backend, &before.source, "stale", 5);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 2);
    gate_run(gate, 1);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 3);
    assert_int_equal(gate_late(gate, LATE_UNKNOWN), STALE);
    if (!has_marks) {
        assert_int_equal(gate_inject_from_backend(gate, &before.source, "?", 1), BACKEND_late);
        gate_run(gate, 1000);
        /* This is all that there is, so whatever is older has been read. */
        assert_int_equal(gate_inject_from_backend(gate, &before.source, "?", 1), BACKEND_late);
    }
    gate_run(gate, 5);
    assert_int_equal(heir->client->message_count, 0);
    assert_int_equal(gate_inject_from_backend(gate, &before.source, "mine", 4), BACKEND_forwarded);
    gate_run(gate, 5);
    assert_int_equal(heir->client->message_count, 1);
    assert_int_equal(gate_backend_outcomes(gate, BACKEND_forwarded), 2);
}

static void what_was_sent_before_is_for_nobody(void **state)
{
    assert_stale_are_dropped(*state, true);
}

static void the_same_when_a_mark_is_lost(void **state)
{
    assert_stale_are_dropped(*state, false);
}

/* A backend that is not that of the session now, but may be that of the next one. */
static void noise_of_another_listener_is_remembered(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, TWO_BACKENDS);
    gate_limit_slots(gate, 2);
    struct past observer = closed_session(gate, kind_12);
    struct past staying = used_session(gate, kind_12);
    /* Silent until now, so it is taken early; then the observation goes on. */
    struct device *between = gate_add(gate, gate_kind(kind_12));
    between->to = gate_listener_addr(gate, 1);
    device_connect(between);
    assert_true(gate_run_until_up(gate, between, 100));
    gate_assert_echo(gate, between, "of the other listener");
    struct addr source = gate_last_source();
    assert_true(addr_equal(&source, &observer.source));
    assert_int_equal(counter_get(&gate_counters(gate, 1)->backend_addresses_taken_early), 1);
    assert_int_equal(gate_inject_from_backend(gate, &observer.source, "notification", 12),
                     BACKEND_wrong_sender);
    device_close(between);
    gate_run(gate, 10);
    assert_int_equal(counter_get(&gate_counters(gate, 1)->backend_addresses_noisy), 1);
    for (int i = 0; i < 5; i++) {
        gate_run(gate, TOMBSTONE_MS - 1);
        /* As a tombstone of the other listener, too. */
        assert_int_equal(gate_inject_from_backend(gate, &observer.source, "notification", 12),
                         BACKEND_wrong_sender);
    }
    device_close(staying.device);
    gate_run(gate, 10);
    struct past heir = used_session(gate, kind_12);
    assert_true(addr_equal(&heir.source, &staying.source));
    assert_int_equal(heir.device->client->message_count, 1);
}

/* Any other program may send what it likes: that takes no address away. */
static void strangers_make_no_noise(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL_20S);
    gate_limit_slots(gate, 1);
    struct past past = closed_session(gate, kind_12);
    struct addr stranger = {.ip = {127, 0, 0, 9}, .port = 5683, .family = AF_INET};
    for (int i = 0; i < 10; i++) {
        gate_run(gate, TOMBSTONE_MS / 4);
        assert_int_equal(gate_inject_from_other(gate, &stranger, &past.source, "x", 1),
                         BACKEND_wrong_sender);
        assert_int_equal(gauge_of_noisy(gate), 0);
    }
    struct past heir = used_session(gate, kind_12);
    assert_true(addr_equal(&heir.source, &past.source));
    assert_int_equal(counter_get(&gate_counters(gate, 0)->backend_addresses_taken_early), 0);
    assert_true(counter_get(&gate->dp.counters.whole->backend_address_silence) >= TOMBSTONE_MS);
}

/* With no address left a device is not let in, and told in the log; until one falls silent. */
static void exhausted_pool_refuses(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL_20S);
    gate_limit_slots(gate, 2);
    struct past staying = used_session(gate, kind_12);
    struct past observer = closed_session(gate, kind_12);
    assert_int_equal(gate_inject_from_backend(gate, &observer.source, "notification", 12),
                     BACKEND_late);
    struct device *refused = gate_add(gate, gate_kind(kind_13));
    device_connect(refused);
    gate_run(gate, 1000);
    assert_int_equal(refused->client->state, CLIENT_CONNECTING);
    assert_true(gate_client_outcomes(gate, CLIENT_no_backend_address) >= 1);
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
    assert_true(fake_log_count("event=limit_reached", "limit=no_backend_address", NULL) >= 1);
    /* It tries again by itself, and gets in as soon as the server is silent. */
    assert_true(gate_run_until_up(gate, refused, 3 * TOMBSTONE_MS));
    gate_assert_echo(gate, refused, "at last");
    gate_assert_echo(gate, staying.device, "not affected");
    assert_int_equal(counter_get(&gate_counters(gate, 0)->backend_addresses_taken_early), 0);
}

/* A device that has a session is not locked out by others: its old address is free then. */
static void exhausted_pool_lets_its_own_devices_begin_anew(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL_20S);
    gate_limit_slots(gate, 2);
    struct past old = used_session(gate, kind_12);
    struct past observer = closed_session(gate, kind_12);
    gate_inject_from_backend(gate, &observer.source, "notification", 12);
    struct device *reborn = gate_add_reborn(gate, gate_kind(kind_12), old.device);
    device_connect(reborn);
    assert_true(gate_run_until_up(gate, reborn, 100));
    gate_assert_echo(gate, reborn, "back again");
    assert_int_equal(counter_get(&gate_counters(gate, 0)->backend_addresses_taken_early), 1);
}

/* Two begin while one address is left: the slower one is told that it is over, at once. */
static void last_address_is_taken_meanwhile(void **state)
{
    struct gate *gate = *state;
    for (int k = 0; k < 2; k++) {
        const char *kind = k == 0 ? kind_12 : kind_13;
        gate_doing("%s", kind);
        gate_open(gate, USUAL_20S);
        gate_limit_slots(gate, 1);
        struct device *first = gate_add(gate, gate_kind(kind));
        struct device *second = gate_add(gate, gate_kind(kind));
        device_connect(first);
        device_connect(second);
        gate_run(gate, 100);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_no_backend_address), 1);
        assert_int_equal(
            fake_log_count("event=handshake_failed", "reason=no_backend_address", NULL), 1);
        assert_int_equal(fake_log_count("event=limit_reached", "limit=no_backend_address", NULL),
                         1);
        assert_int_equal(first->client->state, CLIENT_UP);
        assert_int_equal(second->client->state, CLIENT_CLOSED);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
        gate_assert_echo(gate, first, "not affected");
    }
    gate_doing(NULL);
}

int datapath_quarantine_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(backend_that_never_stops),
        GATE_TEST(what_was_sent_before_is_for_nobody),
        GATE_TEST(the_same_when_a_mark_is_lost),
        GATE_TEST(noise_of_another_listener_is_remembered),
        GATE_TEST(strangers_make_no_noise),
        GATE_TEST(exhausted_pool_refuses),
        GATE_TEST(exhausted_pool_lets_its_own_devices_begin_anew),
        GATE_TEST(last_address_is_taken_meanwhile),
    };
    return cmocka_run_group_tests_name("datapath: quarantine", tests, NULL, NULL);
}
