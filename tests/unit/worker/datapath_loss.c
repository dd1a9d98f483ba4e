/* Handshakes on a network that loses, doubles and reorders datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum { HANDSHAKE_TIMEOUT_MS = 90000, FIRST_SEED = 1, SEEDS = 50 };

struct way {
    const char *ini;
    const char *kind;
    bool resumes; /* a session that the device had before */
};

/* A device on its way, and the datagrams that there were before it. */
struct run {
    const struct way *way;
    struct device *device;
    uint32_t before[2];
};

/* Every kind of handshake, each with its own sequence of flights on the wire. */
static const struct way ways[] = {
    {.ini = USUAL, .kind = "1.2 psk ccm-8"},
    {.ini = USUAL, .kind = "1.2 psk ccm-8, single records"},
    {.ini = USUAL, .kind = "1.2 psk gcm"},
    {.ini = GATE LISTENER PSK, .kind = "1.2 psk ccm-8"},
    {.ini = USUAL, .kind = "1.2 certificate"},
    {.ini = USUAL "mtu = 256\n", .kind = "1.2 certificate, mtu 256"},
    {.ini = GATE LISTENER CERTIFICATE "client_auth = none\n", .kind = "1.2 anonymous"},
    {.ini = USUAL "client_auth = optional\n", .kind = "1.2 anonymous"},
    {.ini = USUAL, .kind = "1.3 psk"},
    {.ini = USUAL, .kind = "1.3 psk, large hello"},
    {.ini = USUAL, .kind = "1.3 certificate"},
    {.ini = USUAL "mtu = 256\n", .kind = "1.3 certificate, mtu 700"},
    {.ini = GATE LISTENER CERTIFICATE "client_auth = none\n", .kind = "1.3 anonymous"},
    {.ini = USUAL, .kind = "1.2 psk ccm-8, ticket"},
    {.ini = USUAL "mtu = 256\n", .kind = "1.2 certificate, ticket"},
    {.ini = USUAL, .kind = "1.2 psk ccm-8, ticket", .resumes = true},
    {.ini = USUAL, .kind = "1.2 certificate, ticket", .resumes = true},
    {.ini = USUAL, .kind = "1.3 psk", .resumes = true},
    {.ini = USUAL "mtu = 256\n", .kind = "1.3 certificate, mtu 700", .resumes = true},
    /* The second hello, with a share of X25519MLKEM768, comes in fragments, and so does ours. */
    {.ini = USUAL, .kind = "1.3 certificate, large hello"},
    {.ini = USUAL, .kind = "1.2 psk ccm-8, cid 8"},
    {.ini = USUAL, .kind = "1.3 certificate, cid"},
};

enum { WAY_COUNT = sizeof(ways) / sizeof(ways[0]) };

static const char *const mishap_names[] = {"no mishap", "loss", "duplication", "overtaking",
                                           "delay"};
static const char *const direction_names[] = {"device to gate", "gate to device"};

/* Opens the gate. Mishaps can then be planned, and assert_completes lets the device connect. */
static struct run begin_as(struct gate *gate, const struct way *way, const struct client_kind *kind)
{
    struct run run = {.way = way};
    gate_open(gate, way->ini);
    if (way->resumes) {
        struct device *earlier = gate_connected(gate, kind);
        gate_run(gate, 1000);
        struct WOLFSSL_SESSION *session = memory_client_session(earlier->client);
        assert_non_null(session);
        device_close(earlier);
        gate_run(gate, 1000);
        run.device = gate_add(gate, kind);
        memory_client_resume(run.device->client, session);
        memory_client_free_session(session);
    } else {
        run.device = gate_add(gate, kind);
    }
    for (unsigned direction = CLIENT_TO_GATE; direction <= GATE_TO_CLIENT; direction++)
        run.before[direction] = fake_network_count(direction, NULL);
    return run;
}

static struct run begin(struct gate *gate, const struct way *way)
{
    return begin_as(gate, way, gate_kind(way->kind));
}

/* A resumed device of DTLS 1.2 has a session before the gate has: like any CoAP client it sends its
 * request, and repeats it. */
static void send_until_heard(struct gate *gate, struct device *device)
{
    uint32_t max_ms = device->client->kind->repeat_max_ms, wait_ms = 2000;
    uint64_t end_ms = gate->now_ms + HANDSHAKE_TIMEOUT_MS / 2;
    while (gate_resumptions(gate) == 0 && gate->now_ms < end_ms) {
        device_send(device, "early", 5);
        gate_run(gate, wait_ms);
        wait_ms = max_ms != 0 && wait_ms * 2 > max_ms ? max_ms : wait_ms * 2;
    }
}

/* The handshake completes on both sides in time, there is one session of it, and it works. */
static void assert_completes(struct gate *gate, const struct run *run)
{
    struct device *device = run->device;
    device_connect(device);
    if (!gate_run_until_up(gate, device, HANDSHAKE_TIMEOUT_MS))
        fail_msg("not connected: state %d, error %d", device->client->state, device->client->error);
    if (run->way->resumes && device->client->kind->version == VERSION_1_2)
        send_until_heard(gate, device);
    gate_run(gate, HANDSHAKE_TIMEOUT_MS);
    fake_network_plan_nothing();
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
    assert_int_equal(gate_resumptions(gate), run->way->resumes);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_failed), 0);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
    assert_int_equal(device->client->state, CLIENT_UP);
    gate->has_echo = true;
    device_send(device, "ping", 4);
    gate_run(gate, 1000);
    assert_int_equal(device->client->message_count, 1);
    /* Nothing is left to be repeated. */
    uint32_t captured = fake_network_captured();
    gate_run(gate, HANDSHAKE_TIMEOUT_MS);
    assert_int_equal(fake_network_captured(), captured);
}

/* Datagrams each way until both sides have nothing more to say. */
static void count_datagrams(struct gate *gate, const struct way *way, uint32_t counts[2])
{
    struct run run = begin(gate, way);
    device_connect(run.device);
    assert_true(gate_run_until_up(gate, run.device, 100));
    gate_run(gate, HANDSHAKE_TIMEOUT_MS);
    for (unsigned direction = CLIENT_TO_GATE; direction <= GATE_TO_CLIENT; direction++)
        counts[direction] = fake_network_count(direction, NULL) - run.before[direction];
}

/* A device with wolfSSL ends its session over a HelloVerifyRequest that is still under way when the
 * session stands. No gate can help that. */
static bool is_fatal_to_the_device(const struct way *way, enum mishap mishap, unsigned direction,
                                   uint32_t number)
{
    return mishap == DELAY && gate_kind(way->kind)->version == VERSION_1_2 &&
           direction == GATE_TO_CLIENT && number == 0;
}

static void each_datagram(void **state, enum mishap mishap)
{
    struct gate *gate = *state;
    for (unsigned w = 0; w < WAY_COUNT; w++) {
        uint32_t counts[2];
        count_datagrams(gate, &ways[w], counts);
        for (unsigned direction = CLIENT_TO_GATE; direction <= GATE_TO_CLIENT; direction++) {
            for (uint32_t k = 0; k < counts[direction]; k++) {
                if (is_fatal_to_the_device(&ways[w], mishap, direction, k))
                    continue;
                gate_doing("way %u, %s: %s of datagram %u of %u, %s", w, ways[w].kind,
                           mishap_names[mishap], k, counts[direction], direction_names[direction]);
                struct run run = begin(gate, &ways[w]);
                fake_network_plan(mishap, direction, run.before[direction] + k);
                assert_completes(gate, &run);
            }
        }
    }
    gate_doing(NULL);
}

static void any_datagram_may_be_lost(void **state)
{
    each_datagram(state, LOSE);
}

static void any_datagram_may_be_doubled(void **state)
{
    each_datagram(state, DUPLICATE);
}

static void any_datagram_may_be_overtaken(void **state)
{
    each_datagram(state, OVERTAKE);
}

static void any_datagram_may_be_late(void **state)
{
    each_datagram(state, DELAY);
}

/* The datagram at place i of a run in both directions. */
static void plan_loss(const struct run *run, uint32_t i, const uint32_t counts[2])
{
    if (i < counts[CLIENT_TO_GATE])
        fake_network_plan(LOSE, CLIENT_TO_GATE, run->before[CLIENT_TO_GATE] + i);
    else
        fake_network_plan(LOSE, GATE_TO_CLIENT,
                          run->before[GATE_TO_CLIENT] + i - counts[CLIENT_TO_GATE]);
}

static void any_two_datagrams_may_be_lost(void **state)
{
    struct gate *gate = *state;
    for (unsigned w = 0; w < WAY_COUNT; w++) {
        uint32_t counts[2];
        count_datagrams(gate, &ways[w], counts);
        uint32_t all = counts[0] + counts[1];
        for (uint32_t i = 0; i < all; i++) {
            for (uint32_t j = i + 1; j < all; j++) {
                gate_doing("way %u, %s: loss of datagrams %u and %u of %u + %u", w, ways[w].kind, i,
                           j, counts[0], counts[1]);
                struct run run = begin(gate, &ways[w]);
                plan_loss(&run, i, counts);
                plan_loss(&run, j, counts);
                assert_completes(gate, &run);
            }
        }
    }
    gate_doing(NULL);
}

/* A device that repeats every 4 s. Of 2,000 handshakes of each kind with 30 % loss none or a
 * handful were not complete after 90 s; of those of a device that doubles its interval up to a
 * minute 1 to 7 %, since it has only seven tries, and before it has shown a cookie the gate has
 * none. */
static struct client_kind make_persistent(const char *name)
{
    struct client_kind persistent = *gate_kind(name);
    persistent.repeat_max_ms = 4000;
    return persistent;
}

static void whole_network_may_be_bad(void **state)
{
    struct gate *gate = *state;
    for (unsigned w = 0; w < WAY_COUNT; w++) {
        for (uint64_t seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
            gate_doing("way %u, %s: 30%% loss, seed %u", w, ways[w].kind, (unsigned)seed);
            const struct client_kind kind = make_persistent(ways[w].kind);
            struct run run = begin_as(gate, &ways[w], &kind);
            fake_network_plan_random(seed, 30, 0, 0);
            assert_completes(gate, &run);
            gate_doing("way %u, %s: loss, duplication, reordering, seed %u", w, ways[w].kind,
                       (unsigned)seed);
            run = begin_as(gate, &ways[w], &kind);
            fake_network_set_delay_ms(150);
            fake_network_plan_random(seed, 15, 15, 15);
            assert_completes(gate, &run);
        }
    }
    gate_doing(NULL);
}

/* ---- a request that comes with the device's last flight, or before it ------------------------ */

static const char *const hasty_kinds[] = {"1.3 psk", "1.3 psk ccm-8"};

/* A device whose last flight, of one datagram, has been sent and lost. */
static struct device *without_last_flight(struct gate *gate, const char *kind)
{
    enum { LAST = 2 }; /* after two hellos */
    gate_doing("%s", kind);
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, gate_kind(kind));
    fake_network_plan(LOSE, CLIENT_TO_GATE, LAST);
    device_connect(device);
    while (fake_network_count(CLIENT_TO_GATE, NULL) <= LAST)
        gate_step(gate, gate_next_event_ms(gate));
    assert_int_equal(gate_session_count(&gate->dp), 0);
    return device;
}

static void assert_has_one_request(struct gate *gate)
{
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), 1);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), 1);
    const struct packet *request = gate_nth(GATE_TO_BACKEND, 0);
    assert_int_equal(request->len, 7);
    assert_memory_equal(request->data, "request", 7);
}

/* T2: the request comes, and what must come before it does not. Our own flight makes the device
 * repeat its own, and the request, which came once, reaches the backend. */
static void a_request_that_came_too_early_is_not_lost(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < 2; i++) {
        struct device *device = without_last_flight(gate, hasty_kinds[i]);
        device_send(device, "request", 7);
        gate_run(gate, HANDSHAKE_TIMEOUT_MS);
        assert_has_one_request(gate);
    }
    gate_doing(NULL);
}

/* T1: both in one datagram. The handshake leaves to the session what is the session's. */
static void a_request_behind_the_last_flight_is_the_sessions(void **state)
{
    enum { TYPE_APPLICATION_DATA = 23 };
    struct gate *gate = *state;
    for (int i = 0; i < 2; i++) {
        uint8_t datagram[2048];
        struct device *device = without_last_flight(gate, hasty_kinds[i]);
        const struct packet *flight = fake_network_last(CLIENT_TO_GATE, NULL);
        size_t len = flight->len;
        assert_in_range(len, 1, sizeof(datagram) / 2);
        memcpy(datagram, flight->data, len);
        len += memory_client_seal(device->client, TYPE_APPLICATION_DATA, "request", 7,
                                  datagram + len, sizeof(datagram) - len);
        assert_int_equal(gate_inject(gate, &device->addr, datagram, len), CLIENT_forwarded);
        assert_has_one_request(gate);
    }
    gate_doing(NULL);
}

int datapath_loss_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(any_datagram_may_be_lost),
        GATE_TEST(any_datagram_may_be_doubled),
        GATE_TEST(any_datagram_may_be_overtaken),
        GATE_TEST(any_datagram_may_be_late),
        GATE_TEST(any_two_datagrams_may_be_lost),
        GATE_TEST(whole_network_may_be_bad),
        GATE_TEST(a_request_that_came_too_early_is_not_lost),
        GATE_TEST(a_request_behind_the_last_flight_is_the_sessions),
    };
    return cmocka_run_group_tests_name("datapath: loss", tests, NULL, NULL);
}
