/* Limits on what strangers may cost, and who goes first when one bites. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

static const char usual[] = "1.2 psk ccm-8";

/* Devices that all begin at once, each at an address of its own. */
static void connect_many(struct gate *gate, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        device_connect(gate_add(gate, gate_kind(usual)));
    gate_run(gate, 100);
}

static void handshakes_per_s_bites(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "handshakes_per_s = 8\n");
    connect_many(gate, 20);
    /* The last quarter is for those who lose something. */
    assert_int_equal(gate_client_outcomes(gate, CLIENT_established), 6);
    assert_true(fake_log_count("event=limit_reached", "limit=limit_handshakes_per_s", NULL) > 0);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_limit_handshakes_per_s), 14);
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
    /* They come again by themselves. */
    gate_run(gate, 60000);
    assert_int_equal(gate_session_count(&gate->dp), 20);
}

static void hellos_per_prefix_bites(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "hellos_per_prefix_per_s = 20\n");
    connect_many(gate, 40);
    assert_true(fake_log_count("event=limit_reached", "limit=limit_hellos_per_prefix", NULL) > 0);
    assert_true(gate_client_outcomes(gate, CLIENT_limit_hellos_per_prefix) >= 20);
    uint64_t first = gate_client_outcomes(gate, CLIENT_limit_hellos_per_prefix);
    /* Another network is not concerned. */
    struct device *other = gate_add(gate, gate_kind(usual));
    other->addr.ip[1] = 18;
    device_connect(other);
    assert_true(gate_run_until_up(gate, other, 500));
    gate_run(gate, 60000);
    assert_int_equal(gate_session_count(&gate->dp), 41);
    assert_true(gate_client_outcomes(gate, CLIENT_limit_hellos_per_prefix) >= first);
}

/* Begins a handshake, and falls silent. */
static struct device *begin_and_vanish(struct gate *gate)
{
    struct device *device = gate_add(gate, gate_kind(usual));
    device_connect(device);
    gate_run(gate, 3);
    device->client->is_deaf = true;
    return device;
}

/* Each limit, as low that six strangers use up what they may. */
static const char *const tight[] = {"handshakes_per_s = 8\n", "hellos_per_prefix_per_s = 16\n",
                                    "max_handshakes = 8\n"};
enum { TIGHT = sizeof(tight) / sizeof(tight[0]) };

static uint64_t refused(const struct gate *gate)
{
    return gate_client_outcomes(gate, CLIENT_limit_handshakes) +
           gate_client_outcomes(gate, CLIENT_limit_handshakes_per_s) +
           gate_client_outcomes(gate, CLIENT_limit_hellos_per_prefix);
}

/* Up to where only those with priority go on. */
static void use_up(struct gate *gate)
{
    for (uint64_t before = refused(gate); refused(gate) == before;)
        begin_and_vanish(gate);
}

/* A device with a session is served while strangers are refused. */
static void known_addresses_go_first(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < TIGHT; i++) {
        char ini[1024];
        gate_doing("%s", tight[i]);
        snprintf(ini, sizeof(ini), USUAL "%s", tight[i]);
        gate_open(gate, ini);
        struct device *device = gate_connected(gate, gate_kind(usual));
        gate_run(gate, 5000);
        use_up(gate);
        struct device *reborn = gate_add_reborn(gate, gate_kind(usual), device);
        device_connect(reborn);
        assert_true(gate_run_until_up(gate, reborn, 100));
    }
    gate_doing(NULL);
}

/* A device that resumes is served while strangers are refused, wherever it comes from. A device
 * that names a session which nobody keeps, or a PSK, is a stranger like others. */
static void resumptions_go_first(void **state)
{
    static const char *const kinds[] = {"1.2 psk ccm-8, ticket", "1.3 psk", "1.3 certificate"};
    struct gate *gate = *state;
    for (unsigned i = 0; i < TIGHT * 3; i++) {
        char ini[1024];
        gate_doing("%s, %s", kinds[i / TIGHT], tight[i % TIGHT]);
        snprintf(ini, sizeof(ini), USUAL "%s", tight[i % TIGHT]);
        gate_open(gate, ini);
        struct device *earlier = gate_connected(gate, gate_kind(kinds[i / TIGHT]));
        gate_run(gate, 5000);
        struct WOLFSSL_SESSION *session = memory_client_session(earlier->client);
        assert_non_null(session);
        device_close(earlier);
        gate_run(gate, 5000);
        use_up(gate);
        struct device *stranger = gate_add(gate, gate_kind(kinds[i / TIGHT]));
        device_connect(stranger);
        assert_false(gate_run_until_up(gate, stranger, 100));
        stranger->client->is_deaf = true;
        struct device *again = gate_add(gate, gate_kind(kinds[i / TIGHT]));
        memory_client_resume(again->client, session);
        memory_client_free_session(session);
        device_connect(again);
        assert_true(gate_run_until_up(gate, again, 100));
        gate_run(gate, 10);
        assert_int_equal(gate_resumptions(gate), 1);
    }
    gate_doing(NULL);
}

/* Who has only begun a handshake has nothing to lose. */
static void handshake_in_progress_is_no_priority(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < TIGHT; i++) {
        char ini[1024];
        gate_doing("%s", tight[i]);
        snprintf(ini, sizeof(ini), USUAL "%s", tight[i]);
        gate_open(gate, ini);
        struct device *first = begin_and_vanish(gate);
        use_up(gate);
        struct device *again = gate_add_reborn(gate, gate_kind(usual), first);
        device_connect(again);
        assert_false(gate_run_until_up(gate, again, 100));
    }
    gate_doing(NULL);
}

/* Who is refused for the rate takes nobody's place among the handshakes in progress. */
static void refused_handshake_displaces_nobody(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "max_handshakes = 3\nhandshakes_per_s = 2\n");
    for (int i = 0; i < 3; i++) {
        begin_and_vanish(gate);
        gate_run(gate, 1000);
    }
    assert_int_equal(gate_handshake_count(&gate->dp), 3);
    gate_run(gate, 10000); /* now each of them has had time enough */
    for (int i = 0; i < 3; i++)
        begin_and_vanish(gate);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_limit_handshakes_per_s), 1);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_superseded), 2);
    assert_int_equal(gate_handshake_count(&gate->dp), 3);
}

/* What is refused is dropped without a word, and established sessions notice nothing. */
static void refused_hellos_are_not_answered(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "hellos_per_prefix_per_s = 4\n");
    struct device *device = gate_connected(gate, gate_kind(usual));
    connect_many(gate, 30);
    uint64_t answers = gate_client_outcomes(gate, CLIENT_cookie_sent);
    assert_in_range(answers, 1, 5);
    gate_assert_echo(gate, device, "undisturbed");
}

/* A worker's part of each limit: the parts of all workers are at least the whole. */
static void limits_are_divided_among_the_workers(void **state)
{
    struct gate *gate = *state;
    struct datapath share;
    struct err err;
    gate_open(gate,
              GATE "max_sessions = 9\n" LISTENER PSK
                   "max_handshakes = 10\nhandshakes_per_s = 7\nhellos_per_prefix_per_s = 21\n");
    const struct datapath_shared shared = {.state = &gate->state, .identities = gate->identities};
    assert_true(datapath_init(&share, gate->generation, &shared, 3, 4, &gate->backend, &err));
    struct gate_limits limits = gate_limits_of(&share);
    assert_int_equal(limits.session_max, 3);
    assert_int_equal(limits.handshake_max, 3);
    assert_int_equal(limits.handshakes_per_s, 2);
    assert_int_equal(limits.hellos_per_s, 6);
    datapath_deinit(&share);
    /* Of a small limit on hellos each has 4 all the same; and none of none is none. */
    gate_open(gate, GATE LISTENER PSK "hellos_per_prefix_per_s = 1\n");
    const struct datapath_shared again = {.state = &gate->state, .identities = gate->identities};
    assert_true(datapath_init(&share, gate->generation, &again, 0, 4, &gate->backend, &err));
    limits = gate_limits_of(&share);
    assert_int_equal(limits.hellos_per_s, 4);
    assert_int_equal(limits.handshakes_per_s, 0);
    datapath_deinit(&share);
}

int datapath_limits_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(handshakes_per_s_bites),
        GATE_TEST(hellos_per_prefix_bites),
        GATE_TEST(known_addresses_go_first),
        GATE_TEST(resumptions_go_first),
        GATE_TEST(handshake_in_progress_is_no_priority),
        GATE_TEST(refused_handshake_displaces_nobody),
        GATE_TEST(refused_hellos_are_not_answered),
        GATE_TEST(limits_are_divided_among_the_workers),
    };
    return cmocka_run_group_tests_name("datapath: limits", tests, NULL, NULL);
}
