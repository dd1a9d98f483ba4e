/* The ends of sessions: each with its reason, and after it nothing more to the device, whatever the
 * backend sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum { TOMBSTONE_MS = 247000, HOUR_MS = 3600000, TYPE_ALERT = 21 };

static const char *const both_versions[] = {"1.2 psk ccm-8", "1.3 psk"};

/* A session over which data has gone both ways, and the address of its slot. */
struct ended {
    struct device *device;
    struct addr source;
};

static struct ended used_session(struct gate *gate, const char *kind)
{
    struct ended ended = {.device = gate_connected(gate, gate_kind(kind))};
    gate_assert_echo(gate, ended.device, "registration");
    ended.source = gate_last_source();
    return ended;
}

/* From now on the backend may send what it likes: it is counted under the reason until it has
 * paused for the tombstone time and under unknown afterwards, and the device hears nothing.
 * `farewells` datagrams have been sent to it since `before`. */
static void assert_silence(struct gate *gate, const struct ended *ended, unsigned reason,
                           uint32_t before, uint32_t farewells)
{
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &ended->device->addr), before + farewells);
    assert_int_equal(gate_late(gate, reason), 0);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(gate_inject_from_backend(gate, &ended->source, "late answer", 11),
                         BACKEND_late);
        assert_int_equal(gate_late(gate, reason), i);
        gate_run(gate, 40);
    }
    gate_run(gate, TOMBSTONE_MS - 41);
    assert_int_equal(gate_inject_from_backend(gate, &ended->source, "very late", 9), BACKEND_late);
    assert_int_equal(gate_late(gate, reason), 6);
    assert_int_equal(gate_late(gate, LATE_UNKNOWN), 0);
    gate_run(gate, TOMBSTONE_MS);
    assert_int_equal(gate_inject_from_backend(gate, &ended->source, "too late", 8), BACKEND_late);
    assert_int_equal(gate_late(gate, reason), 6);
    assert_int_equal(gate_late(gate, LATE_UNKNOWN), 1);
    gate_run(gate, 2 * HOUR_MS);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &ended->device->addr), before + farewells);
}

static void assert_closed(struct gate *gate, enum close_reason reason)
{
    char text[64];
    snprintf(text, sizeof(text), "reason=%s", close_reason_name(reason));
    assert_int_equal(gate_closed(gate, reason), 1);
    assert_int_equal(fake_log_count("event=session_closed", text, NULL), 1);
}

static void run_until_closed(struct gate *gate)
{
    uint32_t sessions = gate_session_count(&gate->dp);
    while (gate_session_count(&gate->dp) == sessions)
        gate_run(gate, 1);
}

static bool is_alert(const struct packet *packet)
{
    return packet->data[0] == TYPE_ALERT || (packet->data[0] & 0xe0) == 0x20;
}

/* The trace that this project exists for: register, deregister, close_notify, and then the answer
 * to the deregistration. */
static void device_that_closed_hears_no_more(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", both_versions[i]);
        gate_open(gate, USUAL);
        struct ended ended = used_session(gate, both_versions[i]);
        gate->has_echo = false;
        uint32_t before = fake_network_count(GATE_TO_CLIENT, &ended.device->addr);
        device_send(ended.device, "deregister", 10);
        device_close(ended.device);
        run_until_closed(gate);
        assert_closed(gate, CLOSE_closed_by_client);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_session_closed), 1);
        /* Its close_notify is answered with ours. */
        assert_true(is_alert(fake_network_last(GATE_TO_CLIENT, NULL)));
        assert_silence(gate, &ended, CLOSE_closed_by_client, before, 1);
    }
    gate_doing(NULL);
}

static void alert_of_the_device_ends_its_session(void **state)
{
    static const uint8_t internal_error[] = {2, 80};
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t record[64];
        gate_doing("%s", both_versions[i]);
        gate_open(gate, USUAL);
        struct ended ended = used_session(gate, both_versions[i]);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, &ended.device->addr);
        size_t len = memory_client_seal(ended.device->client, TYPE_ALERT, internal_error, 2, record,
                                        sizeof(record));
        assert_int_equal(gate_inject(gate, &ended.device->addr, record, len),
                         CLIENT_session_closed);
        assert_closed(gate, CLOSE_fatal_alert);
        assert_silence(gate, &ended, CLOSE_fatal_alert, before, 0);
    }
    gate_doing(NULL);
}

/* A warning is no end. */
/* However many of them in the life of a session: it may last for months. The library bounds them
 * for the sake of handshakes, where anybody can send one. */
static void warning_is_not_fatal(void **state)
{
    static const struct {
        const char *kind;
        uint8_t alert[2];
    } warnings[] = {
        {"1.2 psk ccm-8", {1, 100}},  /* no_renegotiation */
        {"1.2 certificate", {1, 90}}, /* user_canceled */
        {"1.3 psk", {1, 90}},
    };
    enum { MANY = 250 };
    struct gate *gate = *state;
    uint8_t record[64];
    for (unsigned i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++) {
        gate_doing("%s", warnings[i].kind);
        gate_open(gate, USUAL);
        struct ended ended = used_session(gate, warnings[i].kind);
        for (int n = 0; n < MANY; n++) {
            size_t len = memory_client_seal(ended.device->client, TYPE_ALERT, warnings[i].alert, 2,
                                            record, sizeof(record));
            assert_int_equal(gate_inject(gate, &ended.device->addr, record, len), CLIENT_control);
        }
        gate_assert_echo(gate, ended.device, "still here");
    }
    gate_doing(NULL);
}

static void idle_session_ends(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", both_versions[i]);
        gate_open(gate, USUAL "idle_timeout = 1h\n");
        struct ended ended = used_session(gate, both_versions[i]);
        uint64_t used_ms = gate->now_ms;
        /* Traffic from either side counts. */
        gate_run(gate, HOUR_MS - 20);
        assert_int_equal(gate_inject_from_backend(gate, &ended.source, "notify", 6),
                         BACKEND_forwarded);
        gate_run(gate, HOUR_MS - 20);
        gate_assert_echo(gate, ended.device, "answer");
        assert_true(gate->now_ms > used_ms + HOUR_MS);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, &ended.device->addr);
        gate_run(gate, HOUR_MS - 20);
        assert_int_equal(gate_closed(gate, CLOSE_idle), 0);
        gate_run(gate, 20);
        assert_closed(gate, CLOSE_idle);
        gate_run(gate, 0);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &ended.device->addr), before + 1);
    }
    gate_doing(NULL);
}

static void after_idle_there_is_silence(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", both_versions[i]);
        gate_open(gate, USUAL "idle_timeout = 10s\n");
        struct ended ended = used_session(gate, both_versions[i]);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, &ended.device->addr);
        run_until_closed(gate);
        assert_silence(gate, &ended, CLOSE_idle, before, 1);
        /* The device was told. */
        assert_int_equal(ended.device->client->state, CLIENT_CLOSED);
    }
    gate_doing(NULL);
}

/* At max_sessions the one goes whose last datagram, either way, is the oldest. */
static void least_recently_used_session_is_evicted(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind = gate_kind("1.2 psk ccm-8");
    gate_open(gate, GATE "max_sessions = 3\n" LISTENER PSK);
    struct ended sessions[3];
    for (int i = 0; i < 3; i++)
        sessions[i] = used_session(gate, kind->name);
    /* Order of use: 1, then 0 (from the device), then 2 (from the backend). */
    gate_assert_echo(gate, sessions[0].device, "used");
    assert_int_equal(gate_inject_from_backend(gate, &sessions[2].source, "used", 4),
                     BACKEND_forwarded);
    gate_run(gate, 10);
    uint32_t before = fake_network_count(GATE_TO_CLIENT, &sessions[1].device->addr);
    assert_int_equal(fake_log_count("limit=max_sessions", NULL), 0);
    struct device *fourth = gate_connected(gate, kind);
    assert_closed(gate, CLOSE_evicted);
    assert_int_equal(
        fake_log_count("level=warning event=limit_reached", "limit=max_sessions", NULL), 1);
    assert_int_equal(sessions[1].device->client->state, CLIENT_CLOSED);
    assert_int_equal(gate_session_count(&gate->dp), 3);
    gate_assert_echo(gate, fourth, "fourth");
    assert_int_equal(gate_inject_from_backend(gate, &sessions[1].source, "late", 4), BACKEND_late);
    gate_connected(gate, kind);
    assert_int_equal(sessions[0].device->client->state, CLIENT_CLOSED);
    gate_connected(gate, kind);
    assert_int_equal(sessions[2].device->client->state, CLIENT_CLOSED);
    gate_connected(gate, kind);
    assert_int_equal(fourth->client->state, CLIENT_CLOSED);
    assert_int_equal(gate_closed(gate, CLOSE_evicted), 4);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &sessions[1].device->addr), before + 1);
    assert_int_equal(gate_inject_from_backend(gate, &sessions[1].source, "late", 4), BACKEND_late);
    assert_int_equal(gate_late(gate, CLOSE_evicted), 2);
}

/* A device with the same address begins anew without having closed (RFC 6347 section 4.2.8): the
 * old session serves both directions until the new one is complete. */
static void replaced(struct gate *gate, const struct client_kind *kind)
{
    struct ended old = used_session(gate, kind->name[2] == '2' ? "1.2 psk ccm-8" : "1.3 psk");
    struct memory_client *old_client = old.device->client;
    struct device *device = gate_add_reborn(gate, kind, old.device);
    uint64_t forwarded = gate_client_outcomes(gate, CLIENT_forwarded);
    uint32_t late = 0;

    gate->has_echo = false;
    device_connect(device);
    for (int i = 0; i < 50 && device->client->state != CLIENT_UP; i++) {
        bool was_replaced = gate_closed(gate, CLOSE_replaced) != 0;
        assert_int_equal(was_replaced, gate_handshakes(gate, HANDSHAKE_established) == 2);
        /* Something from the backend, and a late datagram of the old device. */
        enum backend_outcome expected = was_replaced ? BACKEND_late : BACKEND_forwarded;
        assert_int_equal(gate_inject_from_backend(gate, &old.source, "notify", 6), expected);
        late += was_replaced;
        if (!was_replaced) {
            assert_true(memory_client_send(old_client, "from before", 11));
            forwarded++;
        }
        gate_run(gate, 1);
    }
    gate_run(gate, 5);
    assert_int_equal(device->client->state, CLIENT_UP);
    assert_closed(gate, CLOSE_replaced);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 2);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_in_range(gate_client_outcomes(gate, CLIENT_forwarded), forwarded - 2, forwarded);
    gate_assert_echo(gate, device, "new session");
    assert_false(addr_equal(&old.source, &(struct addr){0}));
    struct addr source = gate_last_source();
    assert_false(addr_equal(&source, &old.source));
    assert_int_equal(gate_inject_from_backend(gate, &old.source, "late", 4), BACKEND_late);
    assert_int_equal(gate_late(gate, CLOSE_replaced), late + 1);
}

static void old_session_serves_until_the_new_one_is_complete(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        replaced(gate, kind);
    }
    struct client_kind single = *gate_kind("1.2 psk ccm-8");
    single.has_single_records = true;
    gate_doing("1.2, each record in a datagram of its own");
    gate_open(gate, USUAL);
    replaced(gate, &single);
    gate_doing(NULL);
}

/* Everything that a backend may get wrong, while the device is in a handshake again: each is
 * counted as what it is, and the device hears of its old session only what is good. */
static void backend_answers_while_the_device_begins_anew(void **state)
{
    static const uint8_t giant[17000];
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", both_versions[i]);
        gate_open(gate, USUAL);
        struct ended first = used_session(gate, both_versions[i]);
        device_close(first.device);
        gate_run(gate, 10);
        struct ended old = used_session(gate, both_versions[i]);
        struct ended other = used_session(gate, both_versions[i]);
        struct addr nobody = old.source,
                    stranger = {.family = AF_INET, .ip = {127, 0, 0, 9}, .port = 1};
        nobody.ip[1] = 200;
        struct device *reborn = gate_add_reborn(gate, gate_kind(both_versions[i]), old.device);
        fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL) + 2);
        device_connect(reborn);
        gate_run(gate, 20);
        assert_int_equal(gate_handshake_count(&gate->dp), 1);

        uint32_t heard = other.device->client->message_count;
        uint32_t sent = fake_network_count(GATE_TO_CLIENT, &old.device->addr);
        for (int twice = 0; twice < 2; twice++)
            assert_int_equal(gate_inject_from_backend(gate, &old.source, "same", 4),
                             BACKEND_forwarded);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &old.device->addr), sent + 2);
        assert_int_equal(gate_inject_from_backend(gate, &old.source, giant, sizeof(giant)),
                         BACKEND_too_large);
        assert_int_equal(gate_inject_from_other(gate, &stranger, &old.source, "x", 1),
                         BACKEND_wrong_sender);
        assert_int_equal(gate_inject_from_backend(gate, &first.source, "x", 1), BACKEND_late);
        assert_int_equal(gate_late(gate, CLOSE_closed_by_client), 1);
        assert_int_equal(gate_inject_from_backend(gate, &nobody, "x", 1), BACKEND_late);
        assert_int_equal(gate_late(gate, LATE_UNKNOWN), 1);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &old.device->addr), sent + 2);

        assert_true(gate_run_until_up(gate, reborn, 10000));
        gate_run(gate, 10);
        assert_int_equal(gate_inject_from_backend(gate, &old.source, "same", 4), BACKEND_late);
        assert_int_equal(gate_late(gate, CLOSE_replaced), 1);
        assert_int_equal(reborn->client->message_count, 0);
        assert_int_equal(other.device->client->message_count, heard);
        gate_assert_echo(gate, reborn, "new");
    }
    gate_doing(NULL);
}

/* Slots are given to other devices only after their tombstone, the one free for longest first. */
static void addresses_are_reused_late_and_oldest_first(void **state)
{
    static const int order[] = {1, 0, 2};
    struct gate *gate = *state;
    const char *kind = "1.2 psk ccm-8";
    struct ended first[3];
    gate_open(gate, USUAL);
    gate_limit_slots(gate, 6);
    for (int i = 0; i < 3; i++)
        first[i] = used_session(gate, kind);
    for (int i = 0; i < 3; i++) {
        device_close(first[order[i]].device);
        gate_run(gate, 1000);
    }
    for (int i = 0; i < 3; i++) {
        struct ended fresh = used_session(gate, kind);
        for (int j = 0; j < 3; j++)
            assert_false(addr_equal(&fresh.source, &first[j].source));
    }
    gate_run(gate, TOMBSTONE_MS);
    for (int i = 0; i < 3; i++) {
        struct ended later = used_session(gate, kind);
        assert_true(addr_equal(&later.source, &first[order[i]].source));
    }
    assert_int_equal(counter_get(&gate_counters(gate, 0)->backend_addresses_taken_early), 0);
}

/* A pool as small as this shows what happens when a real one runs dry. */
static void dry_pool_takes_the_oldest_early_or_refuses(void **state)
{
    struct gate *gate = *state;
    const char *kind = "1.2 psk ccm-8";
    gate_open(gate, USUAL);
    gate_limit_slots(gate, 2);
    struct ended first = used_session(gate, kind);
    struct ended second = used_session(gate, kind);
    device_close(second.device);
    gate_run(gate, 10);
    struct ended third = used_session(gate, kind);
    assert_true(addr_equal(&third.source, &second.source));
    assert_int_equal(counter_get(&gate_counters(gate, 0)->backend_addresses_taken_early), 1);

    struct device *fourth = gate_add(gate, gate_kind(kind));
    device_connect(fourth);
    gate_run(gate, 100);
    assert_int_equal(fourth->client->state, CLIENT_CONNECTING);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_no_backend_address), 1);
    gate_assert_echo(gate, first.device, "not affected");
    gate_assert_echo(gate, third.device, "not affected");
}

static void stopping_says_goodbye_to_each(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct ended first = used_session(gate, "1.2 psk ccm-8");
    struct ended second = used_session(gate, "1.3 psk");
    /* Two handshakes in progress: of a new device, and of one that has a session. */
    struct device *fresh = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    device_connect(fresh);
    gate_run(gate, 3);
    fresh->client->is_deaf = true;
    struct device *reborn = gate_add_reborn(gate, gate_kind("1.2 psk ccm-8"), first.device);
    device_connect(reborn);
    gate_run(gate, 3);
    reborn->client->is_deaf = true;
    assert_int_equal(gate_handshake_count(&gate->dp), 2);

    uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
    gate_stop(gate);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before + 2);
    assert_true(is_alert(fake_network_last(GATE_TO_CLIENT, &first.device->addr)));
    assert_true(is_alert(fake_network_last(GATE_TO_CLIENT, &second.device->addr)));
    assert_int_equal(gate_closed(gate, CLOSE_shutdown), 2);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_shutdown), 2);
    gate_run(gate, 10);
    assert_int_equal(second.device->client->state, CLIENT_CLOSED);

    const struct packet *hello = gate_nth(CLIENT_TO_GATE, 0);
    assert_int_equal(gate_inject(gate, &hello->from, hello->data, hello->len),
                     CLIENT_shutting_down);
    assert_int_equal(gate_inject(gate, &second.device->addr, "junk", 4), CLIENT_shutting_down);
    assert_int_equal(gate_inject_from_backend(gate, &first.source, "late", 4), BACKEND_late);
    assert_int_equal(gate_late(gate, CLOSE_shutdown), 1);
    gate_run(gate, HOUR_MS);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before + 2);
    assert_int_equal(gate_next_due_ms(&gate->dp), TIMERS_NONE);
}

/* The end of a session and everything else in one batch: the device closes and comes back. */
static void close_and_hello_in_one_batch(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", both_versions[i]);
        gate_open(gate, USUAL);
        struct ended old = used_session(gate, both_versions[i]);
        struct device *device = gate_add_reborn(gate, gate_kind(both_versions[i]), old.device);
        device_send(old.device, "last words", 10);
        device_close(old.device);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        gate_assert_echo(gate, device, "again");
        assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), 1);
        assert_int_equal(gate_session_count(&gate->dp), 1);
    }
    gate_doing(NULL);
}

int datapath_closing_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(device_that_closed_hears_no_more),
        GATE_TEST(alert_of_the_device_ends_its_session),
        GATE_TEST(warning_is_not_fatal),
        GATE_TEST(idle_session_ends),
        GATE_TEST(after_idle_there_is_silence),
        GATE_TEST(least_recently_used_session_is_evicted),
        GATE_TEST(old_session_serves_until_the_new_one_is_complete),
        GATE_TEST(backend_answers_while_the_device_begins_anew),
        GATE_TEST(addresses_are_reused_late_and_oldest_first),
        GATE_TEST(dry_pool_takes_the_oldest_early_or_refuses),
        GATE_TEST(stopping_says_goodbye_to_each),
        GATE_TEST(close_and_hello_in_one_batch),
    };
    return cmocka_run_group_tests_name("datapath: closing", tests, NULL, NULL);
}
