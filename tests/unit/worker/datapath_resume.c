/* Resumption by tickets: who may resume what, for how long, and what everybody else gets instead: a
 * full handshake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "handshake/ticket.h"
#include "session/session.h"
#include "worker/datapath_tests.h"

enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS, TICKET_ROOM = 1024 };

#define OPTIONAL GATE LISTENER CERTIFICATE CLIENT_CA "client_auth = optional\n"
#define NONE GATE LISTENER CERTIFICATE "client_auth = none\n"
/* USUAL with addresses toward the backend that are free again soon. */
#define QUICK GATE "tombstone = 1s\n" LISTENER PSK CERTIFICATE CLIENT_CA

/* Every way to be someone, or nobody. */
static const struct way {
    const char *ini;
    enum credential credential;
    const char *kind;
} ways[] = {
    {USUAL, CREDENTIAL_PSK, "1.2 psk ccm-8, ticket"},
    {GATE LISTENER PSK, CREDENTIAL_PSK, "1.2 psk ccm-8, ticket"},
    {USUAL, CREDENTIAL_CERTIFICATE, "1.2 certificate, ticket"},
    {GATE LISTENER CERTIFICATE CLIENT_CA, CREDENTIAL_CERTIFICATE, "1.2 certificate, ticket"},
    {OPTIONAL, CREDENTIAL_CERTIFICATE, "1.2 certificate, ticket"},
    {OPTIONAL, CREDENTIAL_NONE, "1.2 anonymous, ticket"},
    {NONE, CREDENTIAL_NONE, "1.2 anonymous, ticket"},
    {USUAL, CREDENTIAL_PSK, "1.3 psk"},
    {GATE LISTENER PSK, CREDENTIAL_PSK, "1.3 psk"},
    {USUAL, CREDENTIAL_CERTIFICATE, "1.3 certificate"},
    {GATE LISTENER CERTIFICATE CLIENT_CA, CREDENTIAL_CERTIFICATE, "1.3 certificate"},
    {OPTIONAL, CREDENTIAL_CERTIFICATE, "1.3 certificate"},
    {OPTIONAL, CREDENTIAL_NONE, "1.3 anonymous"},
    {NONE, CREDENTIAL_NONE, "1.3 anonymous"},
};
enum { WAY_COUNT = sizeof(ways) / sizeof(ways[0]) };

/* The four that differ in what the library does. */
static const char *const kinds[] = {"1.2 psk ccm-8, ticket", "1.2 certificate, ticket", "1.3 psk",
                                    "1.3 certificate"};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

/* The session of a device that was connected and is gone. */
static struct WOLFSSL_SESSION *earn_session(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_connected(gate, kind);
    gate_run(gate, 100); /* the ticket arrives and is acknowledged */
    struct WOLFSSL_SESSION *session = memory_client_session(device->client);
    assert_non_null(session);
    device_close(device);
    gate_run(gate, 10);
    return session;
}

static void connect_well(struct gate *gate, struct device *device)
{
    device_connect(device);
    if (!gate_run_until_up(gate, device, 100))
        fail_msg("not connected: state %d, error %d", device->client->state, device->client->error);
    gate_run(gate, 100);
    assert_int_equal(device->client->state, CLIENT_UP);
}

/* A device that comes back with a session. True if it could resume. */
static bool resumes(struct gate *gate, const struct client_kind *kind,
                    struct WOLFSSL_SESSION *session)
{
    uint64_t resumed = gate_resumptions(gate), full = gate_handshakes(gate, HANDSHAKE_established);
    struct device *device = gate_add(gate, kind);
    memory_client_resume(device->client, session);
    connect_well(gate, device);
    bool is_resumed = gate_resumptions(gate) == resumed + 1;
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), full + !is_resumed);
    return is_resumed;
}

static uint32_t count_to(const struct device *device)
{
    return fake_network_count(GATE_TO_CLIENT, &device->addr);
}

static struct device *last_device(struct gate *gate)
{
    return &gate->devices[gate->device_count - 1];
}

static void resumes_as_who_it_was(void **state)
{
    struct gate *gate = *state;
    for (unsigned w = 0; w < WAY_COUNT; w++) {
        const struct way *way = &ways[w];
        const struct client_kind *kind = gate_kind(way->kind);
        gate_doing("way %u, %s", w, kind->name);
        gate_open(gate, way->ini);
        struct WOLFSSL_SESSION *session = earn_session(gate, kind);
        assert_true(resumes(gate, kind, session));
        memory_client_free_session(session);
        gate_assert_echo(gate, last_device(gate), "I am back");
        const struct counters *counters = gate_counters(gate, 0);
        assert_int_equal(counter_get(&counters->resumptions[kind->version][way->credential]), 1);
        assert_int_equal(gate_resumptions(gate), 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        const char *identity =
            way->credential != CREDENTIAL_NONE ? "identity=device1 " : "credential=none ";
        assert_int_equal(fake_log_count("event=session_established", identity, "resumed=yes", NULL),
                         1);
        assert_int_equal(fake_log_count("event=session_established", identity, "resumed=no", NULL),
                         1);
    }
    gate_doing(NULL);
}

/* What a CRL or a changed psk_file is to be compared with. */
static void resumes_with_the_credential_that_it_had(void **state)
{
    static const unsigned counts[CREDENTIAL_COUNT] = {[CREDENTIAL_PSK] = 1,
                                                      /* its key, itself, its CA */
                                                      [CREDENTIAL_CERTIFICATE] = 3};
    struct gate *gate = *state;
    for (unsigned w = 0; w < WAY_COUNT; w++) {
        const struct way *way = &ways[w];
        const struct client_kind *kind = gate_kind(way->kind);
        gate_doing("way %u, %s", w, kind->name);
        gate_open(gate, way->ini);
        struct device *device = gate_connected(gate, kind);
        gate_run(gate, 100);
        struct WOLFSSL_SESSION *session = memory_client_session(device->client);
        const struct credential_digests first = gate_digests_of(&gate->dp, &device->addr);
        assert_int_equal(first.count, counts[way->credential]);
        for (int i = 0; i < 2; i++) { /* by the first ticket; by the one that this has brought */
            assert_true(resumes(gate, kind, session));
            memory_client_free_session(session);
            session = memory_client_session(last_device(gate)->client);
            assert_non_null(session);
            const struct credential_digests again =
                gate_digests_of(&gate->dp, &last_device(gate)->addr);
            assert_memory_equal(&again, &first, sizeof(first));
        }
        memory_client_free_session(session);
    }
    gate_doing(NULL);
}

/* No certificates are sent; but the ticket, in two hellos and anew. */
static void resuming_is_cheap(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        if (gate_kind(kinds[k])->certificate == NULL)
            continue;
        gate_open(gate, USUAL);
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        uint32_t first = fake_network_captured(), bytes[2] = {0};
        assert_true(resumes(gate, gate_kind(kinds[k]), session));
        memory_client_free_session(session);
        for (uint32_t i = 0; i < fake_network_captured(); i++)
            bytes[i < first ? 0 : 1] += fake_network_packet(i)->len;
        assert_in_range(bytes[1], 1, bytes[0] - 2 * 350);
    }
    gate_doing(NULL);
}

static void tickets_can_be_off(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, USUAL);
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        gate_open(gate, USUAL "tickets = off\n");
        struct device *device = gate_connected(gate, gate_kind(kinds[k]));
        gate_run(gate, 100);
        assert_null(memory_client_session(device->client));
        assert_false(resumes(gate, gate_kind(kinds[k]), session));
        memory_client_free_session(session);
    }
    gate_doing(NULL);
}

/* No ticket of the other version is given, nor one taken that was given before: the listener's
 * settings change under a device, and with them nothing else. */
static void tickets_can_be_of_one_version(void **state)
{
    static const char *const texts[] = {"1.2", "1.3"};
    static const uint32_t bits[] = {CONFIG_VERSION_1_2, CONFIG_VERSION_1_3};
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2 * KIND_COUNT; i++) {
        const struct client_kind *kind = gate_kind(kinds[i / 2]);
        char ini[1024];
        gate_doing("%s, tickets = %s", kind->name, texts[i % 2]);
        bool is_named = (kind->version == VERSION_1_2) == (i % 2 == 0);
        snprintf(ini, sizeof(ini), "%stickets = %s\n", USUAL, texts[i % 2]);
        gate_open(gate, ini);
        struct device *device = gate_connected(gate, kind);
        gate_run(gate, 100);
        struct WOLFSSL_SESSION *session = memory_client_session(device->client);
        assert_int_equal(session != NULL, is_named);
        if (session != NULL) {
            assert_true(resumes(gate, kind, session));
            memory_client_free_session(session);
        }
        gate_open(gate, USUAL);
        session = earn_session(gate, kind);
        gate->generation->config->listeners[0].ticket_versions = bits[i % 2];
        assert_int_equal(resumes(gate, kind, session), is_named);
        memory_client_free_session(session);
    }
    gate_doing(NULL);
}

static void not_at_another_listener(void **state)
{
    static const char two[] = USUAL LISTENER_AT("other", "5685") PSK CERTIFICATE CLIENT_CA;
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, two);
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        struct device *device = gate_add(gate, gate_kind(kinds[k]));
        device->to = gate_listener_addr(gate, 1);
        memory_client_resume(device->client, session);
        memory_client_free_session(session);
        connect_well(gate, device);
        assert_int_equal(gate_resumptions(gate), 0);
        assert_int_equal(counter_get(&gate_counters(gate, 1)->sessions), 1);
    }
    gate_doing(NULL);
}

/* A ticket of the previous key is good, an older one is not. */
static void keys_rotate(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, USUAL);
        uint64_t key_ends_ms = (gate->now_ms / TICKET_PERIOD_MS + 1) * TICKET_PERIOD_MS;
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        gate_run(gate, key_ends_ms - gate->now_ms + TICKET_PERIOD_MS - 1000);
        assert_true(resumes(gate, gate_kind(kinds[k]), session));
        /* It was given a new one, of the current key. */
        struct WOLFSSL_SESSION *next = memory_client_session(last_device(gate)->client);
        gate_run(gate, 2000);
        assert_false(resumes(gate, gate_kind(kinds[k]), session));
        assert_true(resumes(gate, gate_kind(kinds[k]), next));
        memory_client_free_session(session);
        memory_client_free_session(next);
    }
    gate_doing(NULL);
}

/* However often a ticket is renewed, in the end the device proves again who it is. */
static void no_endless_chain(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, USUAL);
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        for (int day = 1; day <= 8; day++) {
            gate_run(gate, DAY_MS - 1000);
            assert_int_equal(resumes(gate, gate_kind(kinds[k]), session), day <= 7);
            memory_client_free_session(session);
            session = memory_client_session(last_device(gate)->client);
            if (session == NULL)
                break; /* DTLS 1.2 gives no ticket for one that it refuses */
        }
        assert_int_equal(gate_resumptions(gate), 7);
        if (session != NULL)
            memory_client_free_session(session);
    }
    gate_doing(NULL);
}

/* The device's certificate is good until the end of 2099, and so is what rests on it. */
static void not_beyond_the_certificate(void **state)
{
    static const int64_t expiry_s = 4102444799;
    struct client_kind careless[] = {*gate_kind("1.2 certificate, ticket"),
                                     *gate_kind("1.3 certificate")};
    struct gate *gate = *state;
    for (unsigned k = 0; k < 2; k++) {
        careless[k].ca = NULL; /* it does not mind that the server's has ended as well */
        gate_doing("%s", careless[k].name);
        gate_open(gate, USUAL);
        fake_system_set_epoch_s(expiry_s - 7200 - (int64_t)gate->now_ms / 1000);
        struct WOLFSSL_SESSION *session = earn_session(gate, &careless[k]);
        gate_run(gate, HOUR_MS);
        assert_true(resumes(gate, &careless[k], session));
        gate_run(gate, HOUR_MS + 10000);
        struct device *device = gate_add(gate, &careless[k]);
        memory_client_resume(device->client, session);
        memory_client_free_session(session);
        device_connect(device);
        assert_false(gate_run_until_up(gate, device, 1000));
        fake_system_set_epoch_s(0);
        assert_int_equal(gate_resumptions(gate), 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_certificate_rejected), 1);
    }
    gate_doing(NULL);
}

/* ---- tickets that are none ------------------------------------------------------------------ */

/* A device that shows these bytes as its ticket gets a full handshake. It is gone afterwards. */
static void assert_refused(struct gate *gate, const struct client_kind *kind,
                           struct WOLFSSL_SESSION *session, const uint8_t *ticket, size_t len)
{
    uint64_t full_before = gate_handshakes(gate, HANDSHAKE_established);
    struct device *device = gate_add(gate, kind);
    memory_client_resume_with(device->client, session, ticket, len);
    connect_well(gate, device);
    assert_int_equal(gate_resumptions(gate), 0);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), full_before + 1);
    device_close(device);
    gate_run(gate, 10);
    memory_client_free(device->client);
    gate->device_count--; /* its place is used again */
}

static void forged_tickets_are_refused(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        uint8_t ticket[TICKET_ROOM];
        gate_open(gate, QUICK);
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        size_t len = memory_client_ticket(gate->devices[0].client, ticket, sizeof(ticket));
        for (size_t i = 0; i < len; i++) {
            gate_doing("%s: byte %u of %u", kinds[k], (unsigned)i, (unsigned)len);
            ticket[i] ^= (uint8_t)(1 + i % 255);
            assert_refused(gate, gate_kind(kinds[k]), session, ticket, len);
            ticket[i] ^= (uint8_t)(1 + i % 255);
        }
        for (size_t i = 1; i < len; i++) {
            gate_doing("%s: %u bytes of %u", kinds[k], (unsigned)i, (unsigned)len);
            assert_refused(gate, gate_kind(kinds[k]), session, ticket, i);
        }
        memory_client_free_session(session);
    }
    gate_doing(NULL);
}

/* Of another server, for example the one that stood here before; such tickets may hold a device's
 * certificate. */
static void foreign_tickets_are_refused(void **state)
{
    static const size_t sizes[] = {1,   16,  32,  33,  48,  173,  174,
                                   192, 240, 256, 512, 700, 1023, 1024};
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        struct client_kind kind = *gate_kind(kinds[k]);
        kind.mtu_bytes = 2000; /* its first hello is not in fragments */
        gate_open(gate, QUICK);
        struct WOLFSSL_SESSION *session = earn_session(gate, &kind);
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            uint8_t ticket[TICKET_ROOM];
            for (size_t at = 0; at < sizes[i]; at++)
                ticket[at] = (uint8_t)(at * 7 + 1);
            gate_doing("%s: %u bytes", kind.name, (unsigned)sizes[i]);
            assert_refused(gate, &kind, session, ticket, sizes[i]);
        }
        memory_client_free_session(session);
    }
    gate_doing(NULL);
}

/* ---- what must be the same ------------------------------------------------------------------ */

/* RFC 7627 section 5.3: a session with it cannot go on without, which ends the handshake, and one
 * without it is not resumed by a device that offers it. */
static void extended_master_secret_must_match(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 0; k < 2; k++) {
        gate_doing("%s", kinds[k]);
        struct client_kind without = *gate_kind(kinds[k]);
        without.has_no_ems = true;
        gate_open(gate, QUICK);
        uint8_t ticket[TICKET_ROOM];
        struct WOLFSSL_SESSION *weak = earn_session(gate, &without);
        size_t len = memory_client_ticket(last_device(gate)->client, ticket, sizeof(ticket));
        struct WOLFSSL_SESSION *strong = earn_session(gate, gate_kind(kinds[k]));
        assert_refused(gate, gate_kind(kinds[k]), strong, ticket, len);

        struct device *device = gate_add(gate, &without);
        memory_client_resume(device->client, strong);
        device_connect(device);
        assert_false(gate_run_until_up(gate, device, 1000));
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_protocol_error), 1);
        assert_int_equal(gate_resumptions(gate), 0);

        assert_true(resumes(gate, gate_kind(kinds[k]), strong));
        assert_true(resumes(gate, &without, weak));
        memory_client_free_session(strong);
        memory_client_free_session(weak);
    }
    gate_doing(NULL);
}

/* A PSK in 1.3 goes with (EC)DHE. */
static void psk_without_ecdhe_is_refused(void **state)
{
    struct gate *gate = *state;
    struct client_kind kind = *gate_kind(kinds[2]);
    kind.has_psk_ke_only = true;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &kind);
    device_connect(device);
    assert_false(gate_run_until_up(gate, device, 60000));
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0);
    assert_true(gate_client_outcomes(gate, CLIENT_hello_ignored) > 0);
    assert_true(fake_log_count("event=hello_ignored", "reason=no_common_suite", NULL) > 0);
}

/* RFC 9146 section 3: connection IDs are agreed on anew. */
static void connection_ids_are_new(void **state)
{
    enum { CID_LEN = 8 };
    struct gate *gate = *state;
    for (unsigned k = 0; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        struct client_kind kind = *gate_kind(kinds[k]);
        kind.has_cid = true;
        kind.cid_bytes = 4;
        gate_open(gate, USUAL);
        struct WOLFSSL_SESSION *session = earn_session(gate, &kind);
        uint8_t cids[2][GATE_CID_MAX];
        for (int i = 0; i < 2; i++) {
            assert_true(resumes(gate, &kind, session));
            struct device *device = last_device(gate);
            assert_int_equal(gate_copy_cid(&gate->dp, &device->addr, cids[i]), CID_LEN);
            device->addr = gate_device_addr(GATE_DEVICES_MAX + i);
            gate_assert_echo(gate, device, "from elsewhere");
        }
        assert_memory_not_equal(cids[0], cids[1], CID_LEN);
        /* And without, by a device that no longer asks for one. */
        assert_true(resumes(gate, gate_kind(kinds[k]), session));
        gate_assert_echo(gate, last_device(gate), "without");
        memory_client_free_session(session);
    }
    gate_doing(NULL);
}

/* In a short handshake of DTLS 1.2 the device has the last word and believes that it has a session.
 * If that word is lost, its first request makes the gate ask for it, though not as often as a
 * stranger may like. */
static void lost_last_word_is_asked_for(void **state)
{
    static const uint8_t junk[40] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 27};
    struct gate *gate = *state;
    for (unsigned k = 0; k < 2; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, USUAL "retransmit = 60s\n");
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        struct device *device = gate_add(gate, gate_kind(kinds[k]));
        memory_client_resume(device->client, session);
        memory_client_free_session(session);
        /* After its two hellos. */
        fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL) + 2);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        gate_run(gate, 1000);
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        uint32_t before = count_to(device);
        device->client->is_deaf = true;
        for (int i = 0; i < 10; i++)
            assert_int_equal(gate_inject(gate, &device->addr, junk, sizeof(junk)),
                             CLIENT_handshake);
        gate_run(gate, 10);
        assert_int_equal(count_to(device), before + 1);
        device->client->is_deaf = false;
        gate_run(gate, 300);
        device_send(device, "early", 5);
        gate_run(gate, 10);
        assert_int_equal(gate_resumptions(gate), 1);
        gate_assert_echo(gate, device, "request");
    }
    gate_doing(NULL);
}

/* ---- DTLS 1.3: the ticket after the handshake ----------------------------------------------- */

/* It is repeated until it is acknowledged, but not for ever; the session does not depend on it. */
static void ticket_is_repeated_in_moderation(void **state)
{
    struct gate *gate = *state;
    for (unsigned k = 2; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, USUAL "retransmit = 2s\n");
        struct device *device = gate_add(gate, gate_kind(kinds[k]));
        device_connect(device);
        while (gate_client_outcomes(gate, CLIENT_established) == 0)
            gate_run(gate, 1);
        fake_network_plan_random(1, 100, 0, 0); /* but what is on its way arrives */
        gate_run(gate, 100);
        assert_int_equal(device->client->state, CLIENT_UP);
        uint32_t before = count_to(device);
        gate_run(gate, 63000);
        assert_int_equal(count_to(device), before + 5); /* after 2, 6, 14, 30, 62 s */
        gate_run(gate, HOUR_MS - 100000);
        assert_int_equal(count_to(device), before + 5);
        fake_network_plan_nothing();
        gate_assert_echo(gate, device, "still here");
    }
    gate_doing(NULL);
}

/* ---- DTLS 1.3: early data ------------------------------------------------------------------- */

static void add_to(uint8_t *at, size_t bytes, uint32_t more)
{
    uint32_t value = more;
    for (size_t i = 0; i < bytes; i++)
        value += (uint32_t)at[i] << (8 * (bytes - 1 - i));
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

/* The hello with the extension early_data as its first one. */
static size_t offer_early_data(const struct packet *hello, uint8_t *out)
{
    static const uint8_t extension[] = {0, 42, 0, 0};
    const uint8_t *at = hello->data + 13 + 12 + 2 + 32;
    at += 1 + at[0];                /* legacy_session_id */
    at += 1 + at[0];                /* cookie */
    at += 2 + (at[0] << 8) + at[1]; /* cipher_suites */
    at += 1 + at[0];                /* legacy_compression_methods */
    size_t begin = (size_t)(at - hello->data);
    memcpy(out, hello->data, begin + 2);
    memcpy(out + begin + 2, extension, sizeof(extension));
    memcpy(out + begin + 2 + sizeof(extension), at + 2, hello->len - begin - 2);
    add_to(out + begin, 2, sizeof(extension));
    add_to(out + 11, 2, sizeof(extension));     /* record */
    add_to(out + 13 + 1, 3, sizeof(extension)); /* message */
    add_to(out + 13 + 9, 3, sizeof(extension)); /* fragment */
    return hello->len + sizeof(extension);
}

/* The offer is passed over, and what may be early data is no session's. */
static void early_data_is_not_taken(void **state)
{
    static const uint8_t epoch_1[40] = {0x2d, 0, 0, 0, 35};
    struct gate *gate = *state;
    for (unsigned k = 2; k < KIND_COUNT; k++) {
        gate_doing("%s", kinds[k]);
        gate_open(gate, USUAL);
        struct WOLFSSL_SESSION *session = earn_session(gate, gate_kind(kinds[k]));
        struct device *device = gate_add(gate, gate_kind(kinds[k]));
        memory_client_resume(device->client, session);
        memory_client_free_session(session);
        device_connect(device);
        uint8_t hello[2000];
        size_t len = offer_early_data(fake_network_last(CLIENT_TO_GATE, &device->addr), hello);
        const struct addr from = gate_device_addr(GATE_DEVICES_MAX);
        assert_int_equal(gate_inject(gate, &from, hello, len), CLIENT_cookie_sent);
        assert_int_equal(gate_inject(gate, &from, epoch_1, sizeof(epoch_1)), CLIENT_no_session);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), 0);
    }
    gate_doing(NULL);
}

int datapath_resume_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(resumes_as_who_it_was),
        GATE_TEST(resumes_with_the_credential_that_it_had),
        GATE_TEST(resuming_is_cheap),
        GATE_TEST(tickets_can_be_off),
        GATE_TEST(tickets_can_be_of_one_version),
        GATE_TEST(not_at_another_listener),
        GATE_TEST(keys_rotate),
        GATE_TEST(no_endless_chain),
        GATE_TEST(not_beyond_the_certificate),
        GATE_TEST(forged_tickets_are_refused),
        GATE_TEST(foreign_tickets_are_refused),
        GATE_TEST(extended_master_secret_must_match),
        GATE_TEST(psk_without_ecdhe_is_refused),
        GATE_TEST(connection_ids_are_new),
        GATE_TEST(lost_last_word_is_asked_for),
        GATE_TEST(ticket_is_repeated_in_moderation),
        GATE_TEST(early_data_is_not_taken),
    };
    return cmocka_run_group_tests_name("datapath: resumption", tests, NULL, NULL);
}
