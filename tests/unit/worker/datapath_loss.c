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
    struct client_kind kind;
    bool resumes; /* a session that the device had before */
};

/* A device on its way, and the datagrams that there were before it. */
struct run {
    const struct way *way;
    struct device *device;
    uint32_t before[2];
};

#define PSK_12 .version = VERSION_1_2, .identity = IDENTITY, .key = KEY
#define PSK_13 \
    .version = VERSION_1_3, .suites = "TLS13-AES128-GCM-SHA256", .identity = IDENTITY, .key = KEY
#define ECDSA_12 .version = VERSION_1_2, .suites = "ECDHE-ECDSA-AES128-CCM-8", .ca = "ca"
#define CERT_13 .version = VERSION_1_3, .suites = "TLS13-AES128-GCM-SHA256", .ca = "ca"

/* Every kind of handshake, each with its own sequence of flights on the wire. */
static const struct way ways[] = {
    {.ini = USUAL, .kind = {.name = "1.2 psk ccm-8", PSK_12, .suites = "PSK-AES128-CCM-8"}},
    {.ini = USUAL,
     .kind = {.name = "1.2 psk, single records",
              PSK_12,
              .suites = "PSK-AES128-CCM-8",
              .has_single_records = true}},
    {.ini = USUAL, .kind = {.name = "1.2 psk gcm", PSK_12, .suites = "PSK-AES128-GCM-SHA256"}},
    {.ini = GATE LISTENER PSK,
     .kind = {.name = "1.2 psk, no certificate", PSK_12, .suites = "PSK-AES128-CCM-8"}},
    {.ini = USUAL,
     .kind = {.name = "1.2 ecdsa with client certificate", ECDSA_12, .certificate = "device"}},
    {.ini = USUAL "mtu = 256\n",
     .kind =
         {.name = "1.2 ecdsa in fragments", ECDSA_12, .certificate = "device", .mtu_bytes = 256}},
    {.ini = GATE LISTENER CERTIFICATE "client_auth = none\n",
     .kind = {.name = "1.2 ecdsa, anonymous", ECDSA_12}},
    {.ini = USUAL "client_auth = optional\n",
     .kind = {.name = "1.2 ecdsa, optional, without", ECDSA_12}},
    {.ini = USUAL, .kind = {.name = "1.3 psk", PSK_13, .has_small_hello = true}},
    {.ini = USUAL, .kind = {.name = "1.3 psk, large hello", PSK_13}},
    {.ini = USUAL,
     .kind =
         {.name = "1.3 certificate", CERT_13, .certificate = "device", .has_small_hello = true}},
    {.ini = USUAL "mtu = 256\n",
     .kind = {.name = "1.3 certificate in fragments",
              CERT_13,
              .certificate = "device",
              .has_small_hello = true,
              .mtu_bytes = 700}},
    {.ini = GATE LISTENER CERTIFICATE "client_auth = none\n",
     .kind = {.name = "1.3 anonymous", CERT_13, .has_small_hello = true}},
    {.ini = USUAL,
     .kind = {.name = "1.2 psk with ticket",
              PSK_12,
              .suites = "PSK-AES128-CCM-8",
              .wants_ticket = true}},
    {.ini = USUAL "mtu = 256\n",
     .kind = {.name = "1.2 ecdsa with ticket, in fragments",
              ECDSA_12,
              .certificate = "device",
              .wants_ticket = true}},
    {.ini = USUAL,
     .kind =
         {.name = "1.2 psk resumed", PSK_12, .suites = "PSK-AES128-CCM-8", .wants_ticket = true},
     .resumes = true},
    {.ini = USUAL,
     .kind = {.name = "1.2 ecdsa resumed", ECDSA_12, .certificate = "device", .wants_ticket = true},
     .resumes = true},
    {.ini = USUAL,
     .kind = {.name = "1.3 psk resumed", PSK_13, .has_small_hello = true},
     .resumes = true},
    {.ini = USUAL "mtu = 256\n",
     .kind = {.name = "1.3 certificate resumed, in fragments",
              CERT_13,
              .certificate = "device",
              .has_small_hello = true,
              .mtu_bytes = 700},
     .resumes = true},
    /* The second hello, with a share of X25519MLKEM768, comes in fragments, and so does ours. */
    {.ini = USUAL,
     .kind = {.name = "1.3 certificate, post-quantum", CERT_13, .certificate = "device"}},
    {.ini = USUAL,
     .kind = {.name = "1.2 psk, both cids",
              PSK_12,
              .suites = "PSK-AES128-CCM-8",
              .has_cid = true,
              .cid_bytes = 8}},
    {.ini = USUAL,
     .kind = {.name = "1.3 certificate, cid",
              CERT_13,
              .certificate = "device",
              .has_small_hello = true,
              .has_cid = true}},
};

enum { WAY_COUNT = sizeof(ways) / sizeof(ways[0]) };

static const char *const mishap_names[] = {"no mishap", "loss", "duplication", "overtaking",
                                           "delay"};
static const char *const direction_names[] = {"device to gate", "gate to device"};

/* Opens the gate. Mishaps can then be planned, and assert_completes lets the device connect. */
static struct run begin(struct gate *gate, const struct way *way)
{
    struct run run = {.way = way};
    gate_open(gate, way->ini);
    if (way->resumes) {
        struct device *earlier = gate_connected(gate, &way->kind);
        gate_run(gate, 1000);
        struct WOLFSSL_SESSION *session = memory_client_session(earlier->client);
        assert_non_null(session);
        device_close(earlier);
        gate_run(gate, 1000);
        run.device = gate_add(gate, &way->kind);
        memory_client_resume(run.device->client, session);
        memory_client_free_session(session);
    } else {
        run.device = gate_add(gate, &way->kind);
    }
    for (unsigned direction = CLIENT_TO_GATE; direction <= GATE_TO_CLIENT; direction++)
        run.before[direction] = fake_network_count(direction, NULL);
    return run;
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
    if (run->way->resumes && run->way->kind.version == VERSION_1_2)
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
    return mishap == DELAY && way->kind.version == VERSION_1_2 && direction == GATE_TO_CLIENT &&
           number == 0;
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
                gate_doing("%s: %s of datagram %u of %u, %s", ways[w].kind.name,
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
                gate_doing("%s: loss of datagrams %u and %u of %u + %u", ways[w].kind.name, i, j,
                           counts[0], counts[1]);
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
static struct way make_persistent(const struct way *way)
{
    struct way persistent = *way;
    persistent.kind.repeat_max_ms = 4000;
    return persistent;
}

static void whole_network_may_be_bad(void **state)
{
    struct gate *gate = *state;
    for (unsigned w = 0; w < WAY_COUNT; w++) {
        for (uint64_t seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
            gate_doing("%s: 30%% loss, seed %u", ways[w].kind.name, (unsigned)seed);
            const struct way way = make_persistent(&ways[w]);
            struct run run = begin(gate, &way);
            fake_network_plan_random(seed, 30, 0, 0);
            assert_completes(gate, &run);
            gate_doing("%s: loss, duplication, reordering, seed %u", ways[w].kind.name,
                       (unsigned)seed);
            run = begin(gate, &way);
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
