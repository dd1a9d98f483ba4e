/* Data that a device sent before its close_notify, and that the network delivers after it: RFC 9147
 * section 5.10. How that ends is in datapath_linger_end.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gate/linger_fixture.h"
#include "worker/datapath_tests.h"

enum { TYPE_ALERT = 21, TYPE_HANDSHAKE = 22, TYPE_DATA = 23 };

static void overtaken_data_is_delivered_once(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 1);
        assert_int_equal(gate_closing_count(&gate->dp), 1);
        linger_assert_delivered(gate, &c, &c.late[0], "deregister 0");
        /* Nothing else is missing. */
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        linger_assert_gone(gate, &c, &c.late[0]);
        assert_int_equal(gate_inject_from_backend(gate, &c.source, "2.02 Deleted", 12),
                         BACKEND_late);
        assert_int_equal(gate_late(gate, CLOSE_closed_by_client), 1);
        gate_run(gate, 10 * GATE_CLOSING_MS);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &c.device->addr), c.to_device);
        assert_int_equal(fake_log_count("event=session_closed", NULL), 1);
    }
    gate_doing(NULL);
}

/* As it happens: both are on their way, and the backend answers. */
static void deregister_and_close_change_places(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        gate_assert_echo(gate, device, "registration");
        struct addr source = gate_last_source();
        uint32_t before = fake_network_count(GATE_TO_CLIENT, &device->addr);
        gate->has_echo = true;
        fake_network_plan(OVERTAKE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL));
        device_send(device, "deregister", 10);
        device_close(device);
        gate_run(gate, 10 * GATE_CLOSING_MS);
        const struct packet *sent = fake_network_last(GATE_TO_BACKEND, NULL);
        assert_int_equal(sent->len, 10);
        assert_memory_equal(sent->data, "deregister", 10);
        assert_true(addr_equal(&sent->from, &source));
        assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_session_closed), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), 2);
        assert_int_equal(gate_late(gate, CLOSE_closed_by_client), 1);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &device->addr), before + 1);
    }
    gate_doing(NULL);
}

static void in_any_order_and_each_once(void **state)
{
    static const int order[] = {2, 0, 1};
    static const char *const texts[] = {"deregister 0", "deregister 1", "deregister 2"};
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(gate_closing_count(&gate->dp), 1);
            linger_assert_delivered(gate, &c, &c.late[order[i]], texts[order[i]]);
            for (int j = 0; j <= i; j++)
                linger_assert_gone(gate, &c, &c.late[order[j]]);
        }
        assert_int_equal(gate_closing_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* If nothing is missing nothing can come, and nothing is kept. */
static void without_a_gap_all_is_over_at_once(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        linger_closed_session(gate, kind, 0);
        assert_int_equal(gate_closing_count(&gate->dp), 0);
        /* The network was slow, but it has caught up. */
        struct linger_closed c = {.device = gate_connected(gate, kind)};
        struct packet late = linger_hold_back(c.device, "late");
        gate_assert_echo(gate, c.device, "in time");
        assert_int_equal(linger_arrives(gate, &late), CLIENT_forwarded);
        linger_close_now(gate, &c);
        assert_int_equal(gate_closing_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* A device that talks on after its closure, also if that comes before the closure does. */
static void newer_data_is_ignored(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        uint8_t newer[3][128];
        size_t len[3];
        gate_open(gate, USUAL);
        struct linger_closed c = linger_closed_session(gate, kind, 2);
        for (int i = 0; i < 3; i++)
            len[i] = memory_client_seal(c.device->client, TYPE_DATA, "newer", 5, newer[i],
                                        sizeof(newer[i]));
        linger_assert_ignored(gate, &c, &c.device->addr, newer[2], len[2]);
        linger_assert_delivered(gate, &c, &c.late[1], "deregister 1");
        /* Not newer than all before, but newer than the closure. */
        linger_assert_ignored(gate, &c, &c.device->addr, newer[0], len[0]);
        linger_assert_delivered(gate, &c, &c.late[0], "deregister 0");
        linger_assert_ignored(gate, &c, &c.device->addr, newer[1], len[1]);
    }
    gate_doing(NULL);
}

/* What the library would like to say is not said: an ACK, a warning, its own closure once more. */
static void nothing_is_said_to_the_device(void **state)
{
    static const uint8_t key_update[] = {24, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1};
    static const uint8_t hello[] = {1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 254, 253};
    static const uint8_t close[] = {1, 0}, handshake_failure[] = {2, 40};
    static const struct {
        int type;
        const uint8_t *plaintext;
        size_t len;
    } sayings[] = {{TYPE_HANDSHAKE, key_update, sizeof(key_update)},
                   {TYPE_HANDSHAKE, hello, sizeof(hello)},
                   {TYPE_ALERT, close, sizeof(close)},
                   {TYPE_ALERT, handshake_failure, sizeof(handshake_failure)}};
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        for (unsigned i = 0; i < sizeof(sayings) / sizeof(sayings[0]); i++) {
            uint8_t record[2][128];
            size_t len[2];
            gate_open(gate, USUAL);
            struct linger_closed c = {.device = gate_connected(gate, kind)};
            gate_assert_echo(gate, c.device, "registration");
            c.source = gate_last_source();
            len[0] = memory_client_seal(c.device->client, sayings[i].type, sayings[i].plaintext,
                                        sayings[i].len, record[0], sizeof(record[0]));
            c.late[0] = linger_hold_back(c.device, "deregister 0");
            linger_close_now(gate, &c);
            len[1] = memory_client_seal(c.device->client, sayings[i].type, sayings[i].plaintext,
                                        sayings[i].len, record[1], sizeof(record[1]));
            for (int j = 0; j < 2; j++)
                linger_assert_ignored(gate, &c, &c.device->addr, record[j], len[j]);
            linger_arrives(gate, &c.late[0]);
            gate_run(gate, 100 * GATE_CLOSING_MS);
            assert_int_equal(fake_network_count(GATE_TO_CLIENT, &c.device->addr), c.to_device);
        }
    }
    gate_doing(NULL);
}

static void keys_have_changed_meanwhile(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        if (kind->version != VERSION_1_3)
            continue;
        gate_open(gate, USUAL);
        struct linger_closed c = {.device = gate_connected(gate, kind)};
        gate_assert_echo(gate, c.device, "registration");
        c.source = gate_last_source();
        c.late[0] = linger_hold_back(c.device, "old keys");
        memory_client_update_keys(c.device->client, gate->now_ms);
        gate_run(gate, 10);
        c.late[1] = linger_hold_back(c.device, "new keys");
        linger_close_now(gate, &c);
        linger_assert_delivered(gate, &c, &c.late[1], "new keys");
        linger_assert_delivered(gate, &c, &c.late[0], "old keys");
        assert_int_equal(gate_closing_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* Found by its connection ID it may come from anywhere, and nothing moves. */
static void late_data_moves_nothing(void **state)
{
    struct gate *gate = *state;
    struct addr elsewhere = gate_device_addr(40);
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", linger_kinds_with_cid[i]);
        gate_open(gate, USUAL);
        struct linger_closed c =
            linger_closed_session(gate, gate_kind(linger_kinds_with_cid[i]), 2);
        c.late[0].from = elsewhere;
        linger_assert_delivered(gate, &c, &c.late[0], "deregister 0");
        linger_assert_delivered(gate, &c, &c.late[1], "deregister 1");
        assert_int_equal(counter_get(&gate_counters(gate, 0)->address_changes), 0);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &elsewhere), 0);
    }
    /* Without one only from where the device was. */
    gate_open(gate, USUAL);
    struct linger_closed c = linger_closed_session(gate, gate_kind("1.2 psk ccm-8"), 1);
    linger_assert_ignored(gate, &c, &elsewhere, c.late[0].data, c.late[0].len);
    linger_assert_delivered(gate, &c, &c.late[0], "deregister 0");
    gate_doing(NULL);
}

/* The device comes back at once, as whatever it is then: as if nothing were kept of its
 * earlier session, of which the rest arrives at each moment of the handshake, or afterwards.
 */
static void returns(struct gate *gate, const struct client_kind *before,
                    const struct client_kind *after, unsigned at_ms)
{
    gate_open(gate, USUAL);
    struct linger_closed c = linger_closed_session(gate, before, 2);
    struct device *device = gate_add_reborn(gate, after, c.device);
    device_connect(device);
    gate_run(gate, at_ms);
    c.to_device = fake_network_count(GATE_TO_CLIENT, &device->addr);
    linger_assert_delivered(gate, &c, &c.late[0], "deregister 0");
    assert_int_not_equal(linger_arrives(gate, &c.late[0]), CLIENT_forwarded);
    assert_true(gate_run_until_up(gate, device, 100));
    assert_true(gate->now_ms - c.late[0].sent_ms < 100);
    gate_assert_echo(gate, device, "here again");
    struct addr source = gate_last_source();
    assert_false(addr_equal(&source, &c.source));
    c.to_device = fake_network_count(GATE_TO_CLIENT, &device->addr);
    c.to_backend = fake_network_count(GATE_TO_BACKEND, NULL);
    assert_int_equal(gate_closing_count(&gate->dp), 1);
    linger_assert_delivered(gate, &c, &c.late[1], "deregister 1");
    assert_int_equal(gate_inject_from_backend(gate, &c.source, "late", 4), BACKEND_late);
    gate_assert_echo(gate, device, "still here");
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 0);
}

static void device_returns_meanwhile(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *before, *after;
    for (unsigned i = 0; (before = linger_kind_at(i)) != NULL; i++) {
        for (unsigned j = 0; (after = linger_kind_at(j)) != NULL; j++) {
            for (unsigned at_ms = 0; at_ms < 10; at_ms += j == i ? 1 : 3) {
                gate_doing("%s, then %s, after %u ms", before->name, after->name, at_ms);
                returns(gate, before, after, at_ms);
            }
        }
    }
    gate_doing(NULL);
}

/* A second time at the same address: both are kept. */
static void device_closes_twice(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind;
    for (unsigned k = 0; (kind = linger_doing_kind_at(k)) != NULL; k++) {
        gate_open(gate, USUAL);
        struct linger_closed first = linger_closed_session(gate, kind, 1);
        struct linger_closed second = {.device = gate_add_reborn(gate, kind, first.device)};
        device_connect(second.device);
        assert_true(gate_run_until_up(gate, second.device, 100));
        gate_assert_echo(gate, second.device, "registration");
        second.source = gate_last_source();
        second.late[0] = linger_hold_back(second.device, "deregister again");
        linger_close_now(gate, &second);
        linger_assert_delivered(gate, &second, &second.late[0], "deregister again");
        first.to_device = second.to_device;
        first.to_backend = second.to_backend;
        linger_assert_delivered(gate, &first, &first.late[0], "deregister 0");
    }
    gate_doing(NULL);
}

/* A listener of the same name and number has taken the place of its own, and has connection IDs of
 * another length: they are not those of before, however they begin, and nothing is opened for them.
 */
static void its_listener_is_another_one(void **state)
{
    static const char second[] = GATE LISTENER_AT("second", "5685") PSK,
                      again[] =
                          GATE LISTENER PSK "cid_length = 4\n" LISTENER_AT("second", "5685") PSK;
    enum { HEADER = 0x3b /* of epoch 3, with connection ID, to the datagram's end */ };
    struct gate *gate = *state;
    uint8_t cid[GATE_CID_MAX], record[1024] = {HEADER};
    gate_open(gate, GATE LISTENER PSK LISTENER_AT("second", "5685") PSK);
    struct linger_closed c = linger_live_session(gate, gate_kind("1.3 psk, cid 3"), 1);
    size_t cid_bytes = gate_copy_cid(&gate->dp, &c.device->addr, cid);
    memcpy(record + 1, cid, cid_bytes);
    linger_close_now(gate, &c);
    gate_reload(gate, second);
    gate_reload(gate, again);
    for (unsigned i = 0; i < GATE_CLOSING_BYTES / sizeof(record) + 10; i++)
        assert_int_equal(gate_inject(gate, &c.device->addr, record, sizeof(record)),
                         CLIENT_cid_unknown);
    assert_int_equal(gate_closing_count(&gate->dp), 1);
}

int datapath_linger_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(overtaken_data_is_delivered_once),
        GATE_TEST(deregister_and_close_change_places),
        GATE_TEST(in_any_order_and_each_once),
        GATE_TEST(without_a_gap_all_is_over_at_once),
        GATE_TEST(newer_data_is_ignored),
        GATE_TEST(nothing_is_said_to_the_device),
        GATE_TEST(keys_have_changed_meanwhile),
        GATE_TEST(late_data_moves_nothing),
        GATE_TEST(device_returns_meanwhile),
        GATE_TEST(device_closes_twice),
        GATE_TEST(its_listener_is_another_one),
    };
    return cmocka_run_group_tests_name("datapath: lingering", tests, NULL, NULL);
}
