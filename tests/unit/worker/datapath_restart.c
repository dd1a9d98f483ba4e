/* A process that is killed, and the next one that goes on with its sessions. nonce_watch.h looks
 * over both: no key and nonce meets twice with other bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate/gate_restart.h"
#include "session/sessions_look.h"
#include "worker/datapath_tests.h"

enum { TOMBSTONE_MS = 247000 };

/* Each suite, each arrangement of connection IDs. */
static const char *const kinds[] = {
    "1.2 psk ccm-8",
    "1.2 psk ccm",
    "1.2 psk gcm",
    "1.2 certificate",
    "1.2 certificate gcm-256",
    "1.2 certificate chacha",
    "1.2 psk ccm-8, cid",
    "1.2 psk ccm-8, cid 8",
    "1.2 psk ccm-8, cid 32",
    "1.2 psk ccm-8, fragment 512",
    "1.2 anonymous",
    "1.3 psk",
    "1.3 psk ccm",
    "1.3 psk ccm-8",
    "1.3 psk chacha",
    "1.3 certificate",
    "1.3 psk, cid",
    "1.3 psk, cid 4",
    "1.3 psk, cid 32",
    "1.3 psk, fragment 512",
};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

#define ANONYMOUS_TOO USUAL "client_auth = optional\n"
#define LONG_CIDS "cid_length = 32\n"

/* A record that the device makes now, and that the network does not deliver. */
static struct packet held_back(struct device *device, const char *text)
{
    fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL));
    device_send(device, text, strlen(text));
    return *fake_network_last(CLIENT_TO_GATE, NULL);
}

static void assert_kept(struct gate *gate, uint32_t count)
{
    struct sessions_adopted adopted = gate_restart(gate);
    assert_int_equal(adopted.kept, count);
    assert_int_equal(adopted.torn + adopted.ended + adopted.removed, 0);
    assert_int_equal(gate_session_count(&gate->dp), count);
}

/* ---- each kind ------------------------------------------------------------------------------ */

/* Data, both ways, from the same address toward the server; a record from before is taken once, one
 * that was taken is not taken again. */
static void go_on_once(struct gate *gate, struct device *device, const struct addr *source)
{
    struct packet late = held_back(device, "late");
    gate_assert_echo(gate, device, "before");
    struct packet known = *fake_network_last(CLIENT_TO_GATE, NULL);
    assert_kept(gate, 1);
    assert_int_equal(gate_inject(gate, &device->addr, known.data, known.len),
                     CLIENT_record_discarded);
    assert_int_equal(gate_inject(gate, &device->addr, late.data, late.len), CLIENT_forwarded);
    assert_int_equal(gate_inject(gate, &device->addr, late.data, late.len),
                     CLIENT_record_discarded);
    /* The server speaks first. */
    uint32_t count = device->client->message_count;
    assert_int_equal(gate_inject_from_backend(gate, source, "observed", 8), BACKEND_forwarded);
    gate_run(gate, 10);
    assert_int_equal(device->client->message_count, count + 1);
    gate_assert_echo(gate, device, "after");
    struct addr now = gate_last_source();
    assert_int_equal(memcmp(now.ip, source->ip, sizeof(now.ip)), 0);
}

static void each_kind_goes_on(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate,
                  strstr(kinds[i], "cid 32") != NULL ? ANONYMOUS_TOO LONG_CIDS : ANONYMOUS_TOO);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        size_t plaintext_max = gate_plaintext_max(&gate->dp, &device->addr);
        size_t cid_bytes = gate_cid_bytes(&gate->dp, &device->addr);
        struct credential_digests digests = gate_digests_of(&gate->dp, &device->addr);
        gate_assert_echo(gate, device, "first");
        struct addr source = gate_last_source();
        for (int round = 0; round < 5; round++)
            go_on_once(gate, device, &source);
        assert_int_equal(gate_plaintext_max(&gate->dp, &device->addr), plaintext_max);
        assert_int_equal(gate_cid_bytes(&gate->dp, &device->addr), cid_bytes);
        struct credential_digests after = gate_digests_of(&gate->dp, &device->addr);
        assert_memory_equal(&after, &digests, sizeof(after));
        device_close(device);
        gate_run(gate, 10);
        assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0); /* since it was killed */
        gate_run(gate, 10 * TOMBSTONE_MS);
        assert_true(gate_is_empty(&gate->dp));
        assert_int_equal(gate_bytes_kept(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* At the moment that it would have been, whether it was used before or after. */
static void sessions_become_idle_as_they_would(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "idle_timeout = 60s\n");
    gate->has_echo = false;
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    device_send(device, "x", 1);
    gate_run(gate, 40000);
    assert_kept(gate, 1);
    gate_run(gate, 19900);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    gate_run(gate, 1000);
    assert_int_equal(gate_session_count(&gate->dp), 0);
    assert_int_equal(gate_closed(gate, CLOSE_idle), 1);
}

/* ---- workers -------------------------------------------------------------------------------- */

static void on_worker(const struct datapath *dp, void *context)
{
    struct gate *gate = context;
    for (uint32_t i = 0; i < gate->device_count; i++) {
        struct addr source = gate_slot_addr_of(dp, &gate->devices[i].addr);
        if (source.family != 0)
            assert_int_equal(steering_worker_of_bucket(
                                 slots_bucket_of(slots_number_of_addr(&source)), dp->worker_count),
                             dp->worker);
    }
}

/* Whatever their number was and is. */
static void any_number_of_workers_goes_on(void **state)
{
    enum { DEVICES = 24 };
    static const uint32_t counts[] = {2, 3, 1, 8, 5};
    struct gate *gate = *state;
    gate_open(gate, ANONYMOUS_TOO);
    struct device *devices[DEVICES];
    struct addr sources[DEVICES];
    for (unsigned i = 0; i < DEVICES; i++) {
        const char *kind = kinds[i % KIND_COUNT];
        if (strstr(kind, "cid 32") != NULL)
            kind = "1.3 psk, cid 8";
        devices[i] = gate_connected(gate, gate_kind(kind));
        gate_assert_echo(gate, devices[i], "before");
        sources[i] = gate_last_source();
    }
    for (unsigned round = 0; round < sizeof(counts) / sizeof(counts[0]); round++) {
        gate_doing("%u workers", counts[round]);
        struct sessions_adopted adopted = gate_restart_with(gate, counts[round], on_worker, gate);
        assert_int_equal(adopted.kept, DEVICES);
        assert_int_equal(adopted.torn + adopted.ended + adopted.removed, 0);
        assert_kept(gate, DEVICES); /* and with sockets */
        for (unsigned i = 0; i < DEVICES; i++) {
            gate_assert_echo(gate, devices[i], "after");
            struct addr now = gate_last_source();
            assert_memory_equal(now.ip, sources[i].ip, sizeof(now.ip));
        }
    }
    gate_doing(NULL);
}

/* The oldest makes way, and it is known which one that is. */
static void identities_are_known_by_age(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "sessions_per_identity = 3\n");
    struct device *devices[4];
    for (int i = 0; i < 3; i++)
        devices[i] = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct sessions_adopted adopted = gate_restart_with(gate, 3, NULL, NULL);
    assert_int_equal(adopted.kept, 3);
    assert_kept(gate, 3);
    devices[3] = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    assert_int_equal(gate_closed(gate, CLOSE_replaced), 1);
    assert_false(gate_has_session_at(&gate->dp, &devices[0]->addr));
    for (int i = 1; i < 4; i++)
        gate_assert_echo(gate, devices[i], "still there");
}

/* ---- in the middle of something ------------------------------------------------------------- */

/* The device changes its keys, and has the gate change its own; the process ends at each
 * millisecond of that. Records of the epoch before are still read. */
static void a_change_of_keys_goes_on(void **state)
{
    struct gate *gate = *state;
    for (uint64_t wait_ms = 0; wait_ms < 6; wait_ms++) {
        for (int direction = CLIENT_TO_GATE; direction <= GATE_TO_CLIENT; direction++) {
            gate_doing("after %d ms, loss in direction %d", (int)wait_ms, direction);
            gate_open(gate, USUAL);
            struct device *device = gate_connected(gate, gate_kind("1.3 psk, cid 4"));
            gate_assert_echo(gate, device, "before");
            gate_run(gate, 10000);
            struct packet late = held_back(device, "late");
            fake_network_plan(LOSE, (enum direction)direction,
                              fake_network_count((enum direction)direction, NULL) + 1);
            memory_client_update_keys(device->client, gate->now_ms);
            gate_run(gate, wait_ms);
            assert_kept(gate, 1);
            gate_run(gate, 20000);
            assert_kept(gate, 1);
            gate_assert_echo(gate, device, "with new keys");
            assert_int_equal(gate_inject(gate, &device->addr, late.data, late.len),
                             CLIENT_forwarded);
            gate_run(gate, 300000);
            uint32_t captured = fake_network_captured();
            assert_kept(gate, 1);
            gate_run(gate, 300000);
            assert_int_equal(fake_network_captured(), captured);
            gate_assert_echo(gate, device, "and again");
        }
    }
    gate_doing(NULL);
}

/* A device that has not heard the end of the handshake: the last flight of DTLS 1.2, the ACK and
 * the ticket of 1.3 come again, whichever of the gate's datagrams is lost. */
static void the_end_of_a_handshake_is_repeated(void **state)
{
    static const char *const some[] = {"1.2 psk ccm-8", "1.2 certificate", "1.2 psk ccm-8, cid 32",
                                       "1.3 psk, ticket", "1.3 certificate"};
    struct gate *gate = *state;
    for (int i = 0; i < 5; i++) {
        for (uint32_t lost = 1; lost < 5; lost++) {
            gate_doing("%s, datagram %u is lost", some[i], lost);
            gate_open(gate, i == 2 ? USUAL LONG_CIDS : USUAL);
            struct device *device = gate_add(gate, gate_kind(some[i]));
            fake_network_plan(LOSE, GATE_TO_CLIENT, lost);
            device_connect(device);
            for (int ms = 0; ms < 10000 && gate_session_count(&gate->dp) == 0; ms++)
                gate_run(gate, 1);
            assert_kept(gate, 1);
            assert_true(gate_run_until_up(gate, device, 10000));
            gate_run(gate, 500);
            fake_network_plan_nothing();
            assert_kept(gate, 1);
            gate_assert_echo(gate, device, "it has begun");
            gate_run(gate, 60000);
            assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0);
        }
    }
    gate_doing(NULL);
}

/* Whoever was sent as much as he may have is not sent more because the gate has begun anew. */
static void an_unproved_address_stays_unproved(void **state)
{
    static const uint8_t data[40];
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8, cid"));
    gate_assert_echo(gate, device, "x");
    struct addr source = gate_last_source(), victim = gate_device_addr(40);
    struct packet stolen = held_back(device, "0123456789012345678901234567890123456789");
    assert_int_equal(gate_inject(gate, &victim, stolen.data, stolen.len), CLIENT_forwarded);
    gate->has_echo = false;
    uint64_t sent = 0;
    for (int i = 0; i < 20; i++) {
        assert_kept(gate, 1);
        assert_false(gate_is_proved_at(&gate->dp, &victim));
        uint32_t before = fake_network_count(GATE_TO_CLIENT, &victim);
        (void)gate_inject_from_backend(gate, &source, data, sizeof(data));
        if (fake_network_count(GATE_TO_CLIENT, &victim) != before)
            sent += fake_network_last(GATE_TO_CLIENT, &victim)->len;
    }
    assert_in_range(sent, 1, 3 * stolen.len);
    gate->has_echo = true;
    gate_assert_echo(gate, device, "here it is");
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void assert_late(struct gate *gate, const struct addr *source, unsigned reason)
{
    uint64_t before = gate_late(gate, reason);
    assert_int_equal(gate_inject_from_backend(gate, source, "late answer", 11), BACKEND_late);
    assert_int_equal(gate_late(gate, reason), before + 1);
}

/* What the server says to who has gone is discarded under its reason, after a restart, too; also if
 * records from before the close_notify were still awaited. */
static void who_has_closed_stays_closed(void **state)
{
    struct gate *gate = *state;
    for (int has_gap = 0; has_gap < 2; has_gap++) {
        for (int v = 0; v < 2; v++) {
            gate_doing("version %d, gap %d", v, has_gap);
            gate_open(gate, USUAL);
            struct device *device =
                gate_connected(gate, gate_kind(v == 0 ? "1.2 psk ccm-8" : "1.3 psk"));
            gate_assert_echo(gate, device, "x");
            gate->has_echo = false;
            struct addr source = gate_last_source();
            if (has_gap != 0)
                (void)held_back(device, "deregister");
            device_close(device);
            gate_run(gate, 5);
            assert_int_equal(gate_closing_count(&gate->dp), has_gap);
            uint32_t count = fake_network_count(GATE_TO_CLIENT, NULL);
            struct sessions_adopted adopted = gate_restart(gate);
            assert_int_equal(adopted.kept + adopted.torn + adopted.removed, 0);
            assert_int_equal(adopted.ended, has_gap);
            assert_late(gate, &source, CLOSE_closed_by_client);
            gate_run(gate, TOMBSTONE_MS + 5000);
            assert_int_equal(gate_inject_from_backend(gate, &source, "x", 1), BACKEND_late);
            assert_int_equal(gate_late(gate, LATE_UNKNOWN), 1);
            assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), count);
            assert_int_equal(gate_bytes_kept(&gate->dp), 0);
        }
    }
    gate_doing(NULL);
}

/* A process that was killed while the session changed, or whose end was not complete. */
static void what_is_torn_is_dropped(void **state)
{
    struct gate *gate = *state;
    for (int is_ending = 0; is_ending < 2; is_ending++) {
        gate_doing("ending %d", is_ending);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind("1.3 psk, cid 4")),
                      *other = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
        gate_assert_echo(gate, device, "x");
        struct addr source = gate_last_source();
        gate_tear(&gate->dp, &device->addr, is_ending != 0);
        uint32_t count = fake_network_count(GATE_TO_CLIENT, &device->addr);
        struct sessions_adopted adopted = gate_restart(gate);
        assert_int_equal(adopted.kept, 1);
        assert_int_equal(adopted.torn, !is_ending);
        assert_int_equal(adopted.ended, is_ending);
        assert_int_equal(gate_closed(gate, CLOSE_torn), !is_ending);
        assert_late(gate, &source, is_ending != 0 ? CLOSE_evicted : CLOSE_torn);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, &device->addr), count);
        gate_assert_echo(gate, other, "goes on");
        assert_kept(gate, 1);
        assert_late(gate, &source, is_ending != 0 ? CLOSE_evicted : CLOSE_torn);
    }
    gate_doing(NULL);
}

/* What somebody sees who looks at the sessions before. */
static uint32_t lost_with(struct gate *gate, size_t cid_bytes)
{
    uint32_t by_listener[LAYOUT_LISTENERS_MAX] = {(uint32_t)cid_bytes}, lost[LAYOUT_LISTENERS_MAX];
    struct region look;
    struct err err = {0};
    int fd = dup(gate->state.region.fd);
    assert_true(fd >= 0 && region_map_read_only(&look, fd, &err));
    sessions_look_at_cids(&look, by_listener, lost);
    region_close(&look);
    return lost[0];
}

/* What devices send to the connection IDs that they have is of another length than those that are
 * looked for. Those that have none are found as before. */
static void another_length_of_connection_ids(void **state)
{
    static const char *const with_cid[] = {"1.2 psk ccm-8, cid", "1.3 psk, cid 4"};
    static const char *const lengths[] = {"cid_length = 0\n", "cid_length = 4\n",
                                          "cid_length = 32\n"};
    struct gate *gate = *state;
    for (int v = 0; v < 2; v++) {
        for (int i = 0; i < 3; i++) {
            char settings[1024];
            snprintf(settings, sizeof(settings), USUAL "%s", lengths[i]);
            gate_doing("%s, %s", with_cid[v], lengths[i]);
            gate_open(gate, USUAL);
            struct device *gone = gate_connected(gate, gate_kind(with_cid[v])),
                          *stays = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
            gate_assert_echo(gate, gone, "before");
            struct addr source = gate_last_source();
            assert_int_equal(lost_with(gate, gate_cid_bytes(&gate->dp, &gone->addr)), 0);
            assert_int_equal(lost_with(gate, 3), 1);
            struct sessions_adopted adopted = gate_restart_as(gate, settings);
            assert_int_equal(adopted.kept, 1);
            assert_int_equal(lost_with(gate, 3), 0);
            assert_int_equal(adopted.cid_length_changed, 1);
            assert_int_equal(gate_closed(gate, CLOSE_cid_length_changed), 1);
            assert_late(gate, &source, CLOSE_cid_length_changed);
            gate_assert_echo(gate, stays, "has none");
            /* That it was so is known once and for all. */
            adopted = gate_restart_as(gate, USUAL);
            assert_int_equal(adopted.kept, 1);
            assert_int_equal(adopted.cid_length_changed, 0);
            gate_assert_echo(gate, stays, "and once more");
        }
    }
    gate_doing(NULL);
}

/* ---- copies --------------------------------------------------------------------------------- */

/* Somebody else may have gone on from the same: DTLS 1.2 takes other nonces, as the watch of them
 * sees; the device notices nothing. 1.3 goes on where it was only. */
static void a_copy_goes_another_way(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KIND_COUNT; i++) {
        for (int is_elsewhere = 0; is_elsewhere < 2; is_elsewhere++) {
            gate_doing("%s, elsewhere %d", kinds[i], is_elsewhere);
            gate_open(gate,
                      strstr(kinds[i], "cid 32") != NULL ? ANONYMOUS_TOO LONG_CIDS : ANONYMOUS_TOO);
            bool is_1_3 = kinds[i][2] == '3';
            struct device *device = gate_connected(gate, gate_kind(kinds[i]));
            gate_assert_echo(gate, device, "before");
            struct addr source = gate_last_source();
            uint64_t nonce = gate_next_nonce(&gate->dp, &device->addr);
            struct sessions_adopted adopted = gate_restart_from(
                gate, is_elsewhere != 0 ? LAYOUT_ORIGIN_OTHER : LAYOUT_ORIGIN_FILE);
            assert_int_equal(adopted.kept, !is_1_3 || is_elsewhere == 0);
            if (is_1_3 && is_elsewhere != 0) {
                assert_int_equal(adopted.other_machine, 1);
                assert_int_equal(adopted.torn, 0);
                assert_int_equal(gate_closed(gate, CLOSE_other_machine), 1);
                assert_late(gate, &source, CLOSE_other_machine);
                continue;
            }
            assert_int_equal(gate_next_nonce(&gate->dp, &device->addr) == nonce, is_1_3);
            gate_assert_echo(gate, device, "after");
            assert_kept(gate, 1);
            gate_assert_echo(gate, device, "and after that");
        }
    }
    gate_doing(NULL);
}

/* The process that read the file is killed when only some of its workers have renewed theirs: the
 * next one does that again, and with all. */
static void a_copy_is_renewed_after_a_kill(void **state)
{
    enum { DEVICES = 12, WORKERS = 4 };
    static const char *const some[] = {"1.2 psk ccm-8", "1.2 certificate chacha", "1.3 psk"};
    struct gate *gate = *state;
    for (uint32_t done = 0; done < WORKERS; done++) {
        for (int is_elsewhere = 0; is_elsewhere < 2; is_elsewhere++) {
            gate_doing("killed after %u workers, elsewhere %d", done, is_elsewhere);
            gate_open(gate, USUAL);
            struct device *devices[DEVICES];
            uint64_t nonces[DEVICES];
            for (int i = 0; i < DEVICES; i++) {
                devices[i] = gate_connected(gate, gate_kind(some[i % 3]));
                gate_assert_echo(gate, devices[i], "before");
                nonces[i] = gate_next_nonce(&gate->dp, &devices[i]->addr);
            }
            struct sessions_adopted lost = gate_restart_killed(
                gate, is_elsewhere != 0 ? LAYOUT_ORIGIN_OTHER : LAYOUT_ORIGIN_FILE, WORKERS, done);
            struct sessions_adopted adopted = gate_restart(gate);
            assert_int_equal(adopted.kept, is_elsewhere != 0 ? DEVICES / 3 * 2 : DEVICES);
            assert_int_equal(lost.other_machine + adopted.other_machine,
                             is_elsewhere != 0 ? DEVICES / 3 : 0);
            assert_int_equal(lost.torn + adopted.torn, 0);
            assert_int_equal(adopted.ended, lost.other_machine); /* counted once */
            for (int i = 0; i < DEVICES; i++) {
                bool is_1_3 = i % 3 == 2;
                if (is_1_3 && is_elsewhere != 0)
                    continue;
                assert_int_equal(gate_next_nonce(&gate->dp, &devices[i]->addr) == nonces[i],
                                 is_1_3);
                gate_assert_echo(gate, devices[i], "after");
            }
            assert_kept(gate, adopted.kept);
        }
    }
    gate_doing(NULL);
}

int datapath_restart_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(each_kind_goes_on),
        GATE_TEST(sessions_become_idle_as_they_would),
        GATE_TEST(any_number_of_workers_goes_on),
        GATE_TEST(identities_are_known_by_age),
        GATE_TEST(a_change_of_keys_goes_on),
        GATE_TEST(the_end_of_a_handshake_is_repeated),
        GATE_TEST(an_unproved_address_stays_unproved),
        GATE_TEST(who_has_closed_stays_closed),
        GATE_TEST(what_is_torn_is_dropped),
        GATE_TEST(another_length_of_connection_ids),
        GATE_TEST(a_copy_goes_another_way),
        GATE_TEST(a_copy_is_renewed_after_a_kill),
    };
    return cmocka_run_group_tests_name("datapath: restart", tests, NULL, NULL);
}
