/* session.c and sessions.c against a simple model: whatever happens in whatever order, each address
 * has at most one session and one handshake, the least recently used goes first, each deadline is
 * kept, and the books are right. The objects of wolfSSL are real but have not seen a datagram. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/fake_log.h"
#include "fakes/fake_system.h"
#include "fakes/fake_udp.h"
#include "gate/gate_keys.h"
#include "gate/gate_wolfssl.h"
#include "run/reload.h"
#include "session/session.h"

enum {
    ADDRESSES = 12,
    LISTENERS = 2, /* of the model; one more is strict */
    STRICT = LISTENERS,
    SESSION_MAX = 10,
    IDLE_MS = 60000,
    HANDSHAKE_MS = 20000,
    TOMBSTONE_MS = 30000,
    SLOTS_MAX = 256, /* of a bucket */
    STEPS = 6000,
    SEEDS = 5,
};

/* Sessions without a credential, so that they need no real handshake. */
#define LISTENER(name, port)                                                       \
    "[listener " name "]\nlisten = 192.0.2.1:" port "\nbackend = 127.0.0.1:5683\n" \
    "certificate = server.pem\nprivate_key = server.key\nclient_auth = none\n"     \
    "idle_timeout = 60s\nhandshake_timeout = 20s\n"
/* And where one is required. */
#define STRICT_LISTENER                                                      \
    "[listener strict]\nlisten = 192.0.2.1:5686\nbackend = 127.0.0.1:5683\n" \
    "certificate = server.pem\nprivate_key = server.key\nclient_ca = ca.pem\n"
#define SETTINGS                                                                                \
    "[gate]\nmetrics =\ntombstone = 30s\n" LISTENER("first", "5684") LISTENER("second", "5685") \
        STRICT_LISTENER

struct believed {            /* of one address at one listener */
    struct session *session; /* established, or NULL */
    struct session *handshake;
    uint64_t used_ms, use_number; /* of the session; use_number orders those of one millisecond */
    uint64_t begun_ms;            /* of the handshake */
    uint32_t slot;
};

struct model {
    struct generation *generation;
    struct backend backend;
    struct udp_out to_client;
    struct udp_socket socket;
    struct worker_counters counters;
    struct counters by_listener[LISTENERS + 2];
    struct sessions all;
    struct believed at[LISTENERS][ADDRESSES];
    uint64_t use_number;
    uint64_t released_ms[STEERING_BUCKETS][SLOTS_MAX]; /* by slot; 0 = never */
    uint64_t closed[CLOSE_REASON_COUNT], superseded, timeouts, established, failed;
    uint64_t random;
};

static int set_up(void **state)
{
    struct model *m = calloc(1, sizeof(*m));
    struct problems problems;
    struct err err;
    char path[512];
    if (m == NULL)
        return -1;
    fake_system_seed(1);
    fake_udp_reset();
    fake_network_reset(0);
    gate_keys_write_ini(SETTINGS, path, sizeof(path));
    problems_init(&problems);
    m->generation = reload_build(path, &problems);
    problems_deinit(&problems);
    unlink(path);
    struct addr bound = {.ip = {192, 0, 2, 1}, .port = 5684, .family = AF_INET};
    if (m->generation == NULL || !udp_open_listener(&m->socket, &bound, &err) ||
        !backend_open(&m->backend, m->generation->config, 0, 1, 0, &m->counters, &err) ||
        !udp_out_init(&m->to_client))
        return -1;
    m->counters.listener_count = LISTENERS + 1;
    m->counters.by_listener = m->by_listener;
    m->backend.slots.share = SLOTS_MAX;
    m->backend.slots.extra_left = 0;
    m->backend.slots.first = 0;
    const struct sessions_limits limits = {.worker = 0,
                                           .worker_count = 1,
                                           .session_max = SESSION_MAX,
                                           .shared = {.identities = identities_new(&err)}};
    if (!sessions_init(&m->all, &limits, &m->backend, &m->to_client, &m->counters, &err))
        return -1;
    m->all.now_ms = 1000000;
    *state = m;
    return 0;
}

static int tear_down(void **state)
{
    struct model *m = *state;
    struct identities *identities = m->all.shared.identities;
    sessions_deinit(&m->all);
    identities_free(identities);
    backend_close(&m->backend);
    udp_out_deinit(&m->to_client);
    reload_release(m->generation);
    free(m);
    fake_log_reset();
    fake_udp_reset();
    fake_network_reset(0);
    return 0;
}

/* ---- what the model believes ----------------------------------------------------------------- */

static struct addr address(int index)
{
    return (struct addr){
        .ip = {198, 51, 100, (uint8_t)(1 + index)}, .port = 5000, .family = AF_INET};
}

static uint64_t *released_ms_of(struct model *m, uint32_t slot)
{
    return &m->released_ms[slots_bucket_of(slot)][slot / STEERING_BUCKETS - SLOTS_FIRST_INDEX];
}

static void note_end(struct model *m, struct believed *b, enum close_reason reason)
{
    m->closed[reason]++;
    *released_ms_of(m, b->slot) = m->all.now_ms;
    b->session = NULL;
}

static void note_use(struct model *m, struct believed *b)
{
    b->used_ms = m->all.now_ms;
    b->use_number = ++m->use_number;
}

static struct believed *least_recent(struct model *m)
{
    struct believed *oldest = NULL;
    for (int l = 0; l < LISTENERS; l++) {
        for (int a = 0; a < ADDRESSES; a++) {
            struct believed *b = &m->at[l][a];
            if (b->session != NULL && (oldest == NULL || b->use_number < oldest->use_number))
                oldest = b;
        }
    }
    return oldest;
}

/* ---- what happens -----------------------------------------------------------------------------
 */

static void begin(struct model *m, int l, int a)
{
    struct believed *b = &m->at[l][a];
    struct addr client = address(a), local = m->socket.bound;
    struct dtls *dtls = dtls_new(&m->generation->listeners[l]);
    assert_non_null(dtls);
    if (b->handshake != NULL)
        m->superseded++;
    b->handshake = session_begin(&m->all, dtls, &m->socket, &client, &local, 1);
    assert_non_null(b->handshake);
    session_on_fed(b->handshake, false);
    b->begun_ms = m->all.now_ms;
}

static void establish(struct model *m, struct believed *b)
{
    if (b->session != NULL)
        note_end(m, b, CLOSE_replaced);
    else if (m->all.established_count == SESSION_MAX)
        note_end(m, least_recent(m), CLOSE_evicted);
    assert_true(session_on_established(b->handshake));
    session_on_fed(b->handshake, false);
    b->session = b->handshake;
    b->handshake = NULL;
    b->slot = b->session->slot;
    note_use(m, b);
    m->established++;
    assert_int_equal(slots_bucket_of(b->slot),
                     steering_bucket_of_addr(&b->session->entry.key.client));
    if (*released_ms_of(m, b->slot) != 0)
        assert_true(m->all.now_ms - *released_ms_of(m, b->slot) >= TOMBSTONE_MS);
}

static void use(struct model *m, struct believed *b, bool is_from_client)
{
    if (is_from_client)
        session_on_data_from_client(b->session);
    else
        session_on_data_from_backend(b->session);
    note_use(m, b);
}

/* Everything whose time has come by `now_ms`, in the model; then the same in truth. */
static void let_time_pass(struct model *m, uint64_t ms)
{
    m->all.now_ms += ms;
    for (int l = 0; l < LISTENERS; l++) {
        for (int a = 0; a < ADDRESSES; a++) {
            struct believed *b = &m->at[l][a];
            if (b->session != NULL && m->all.now_ms - b->used_ms >= IDLE_MS)
                note_end(m, b, CLOSE_idle);
            if (b->handshake != NULL && m->all.now_ms - b->begun_ms >= HANDSHAKE_MS) {
                b->handshake = NULL;
                m->timeouts++;
            }
        }
    }
    sessions_on_time(&m->all);
    sessions_reap(&m->all);
}

/* ---- what must hold ---------------------------------------------------------------------------
 */

static uint64_t results(const struct model *m, enum handshake_result result)
{
    uint64_t sum = 0;
    for (int l = 0; l < LISTENERS; l++) {
        for (unsigned v = 0; v < VERSION_COUNT; v++) {
            for (unsigned c = 0; c < CREDENTIAL_COUNT; c++)
                sum += counter_get(&m->by_listener[l].handshakes[v][c][result]);
        }
    }
    return sum;
}

static void check_address(struct model *m, int l, int a, uint32_t *sessions, uint32_t *handshakes)
{
    const struct believed *b = &m->at[l][a];
    struct addr client = address(a);
    struct session *found = sessions_find(&m->all, &m->generation->listeners[l], &client);
    assert_ptr_equal(found, b->session != NULL ? b->session : b->handshake);
    *sessions += b->session != NULL;
    *handshakes += b->handshake != NULL;
    uint64_t next_ms = sessions_next_due_ms(&m->all);
    if (b->session != NULL) {
        assert_int_equal(b->session->state, SESSION_ESTABLISHED);
        assert_ptr_equal(b->session->successor, b->handshake);
        struct addr source = backend_slot_addr(&m->backend, b->slot);
        assert_ptr_equal(backend_owner(&m->backend, slots_number_of_addr(&source)), b->session);
        assert_int_equal(slots_find(&m->backend.slots, b->slot)->listener, l);
        /* A timer may be early, never late. */
        assert_true(next_ms <= b->used_ms + IDLE_MS);
    }
    if (b->handshake != NULL) {
        assert_int_equal(b->handshake->state, SESSION_HANDSHAKE);
        assert_ptr_equal(b->handshake->predecessor, b->session);
        assert_true(next_ms <= b->begun_ms + HANDSHAKE_MS);
    }
}

static void check(struct model *m)
{
    uint64_t gauge_sessions = 0, gauge_handshakes = 0;
    uint32_t sessions = 0, handshakes = 0;
    for (int l = 0; l < LISTENERS; l++) {
        for (int a = 0; a < ADDRESSES; a++)
            check_address(m, l, a, &sessions, &handshakes);
        gauge_sessions += counter_get(&m->by_listener[l].sessions);
        gauge_handshakes += counter_get(&m->by_listener[l].handshakes_in_progress);
    }
    assert_int_equal(m->all.established_count, sessions);
    assert_int_equal(m->all.handshake_count, handshakes);
    assert_int_equal(gauge_sessions, sessions);
    assert_int_equal(gauge_handshakes, handshakes);
    for (unsigned r = 0; r < CLOSE_REASON_COUNT; r++) {
        uint64_t closed = 0;
        for (int l = 0; l < LISTENERS; l++)
            closed += counter_get(&m->by_listener[l].closed[r]);
        assert_int_equal(closed, m->closed[r]);
    }
    assert_int_equal(results(m, HANDSHAKE_established), m->established);
    assert_int_equal(results(m, HANDSHAKE_superseded), m->superseded);
    assert_int_equal(results(m, HANDSHAKE_timeout), m->timeouts + m->failed);
    if (sessions + handshakes == 0)
        assert_int_equal(sessions_next_due_ms(&m->all), TIMERS_NONE);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static uint64_t draw(struct model *m, uint64_t below)
{
    return fake_system_random(&m->random) % below;
}

static void happen(struct model *m)
{
    int l = (int)draw(m, LISTENERS), a = (int)draw(m, ADDRESSES);
    struct believed *b = &m->at[l][a];
    switch (draw(m, 8)) {
    case 0:
    case 1: begin(m, l, a); break;
    case 2:
    case 3:
        if (b->handshake != NULL)
            establish(m, b);
        break;
    case 4:
    case 5:
        if (b->session != NULL)
            use(m, b, draw(m, 2) == 0);
        break;
    case 6:
        if (b->session != NULL && draw(m, 3) == 0) {
            enum close_reason reason = draw(m, 2) == 0 ? CLOSE_closed_by_client : CLOSE_fatal_alert;
            session_end(b->session, reason, reason == CLOSE_closed_by_client);
            note_end(m, b, reason);
        } else if (b->handshake != NULL && draw(m, 3) == 0) {
            session_on_failed(b->handshake); /* nothing has gone wrong: counted as a timeout */
            b->handshake = NULL;
            m->failed++;
        }
        break;
    default: let_time_pass(m, draw(m, draw(m, 10) == 0 ? 40000 : 800)); break;
    }
    if (draw(m, 3) == 0)
        sessions_reap(&m->all);
}

static void agrees_with_the_model(void **state)
{
    struct model *m = *state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        m->random = seed;
        for (int step = 0; step < STEPS; step++) {
            happen(m);
            check(m);
        }
        fake_log_reset();
    }
    /* It got to see everything. */
    assert_true(m->closed[CLOSE_evicted] > 0 && m->closed[CLOSE_replaced] > 0);
    assert_true(m->closed[CLOSE_idle] > 0 && m->timeouts > 0 && m->superseded > 0);
}

static void end_of_all(void **state)
{
    struct model *m = *state;
    for (int a = 0; a < 6; a++) {
        begin(m, 0, a);
        if (a % 2 == 0) {
            establish(m, &m->at[0][a]);
            begin(m, 0, a); /* a successor */
        }
    }
    check(m);
    sessions_end_all(&m->all);
    sessions_reap(&m->all);
    assert_int_equal(m->all.established_count + m->all.handshake_count, 0);
    assert_int_equal(session_table_count(&m->all.table), 0);
    assert_int_equal(results(m, HANDSHAKE_shutdown), 6);
    assert_int_equal(counter_get(&m->by_listener[0].closed[CLOSE_shutdown]), 3);
    assert_int_equal(sessions_next_due_ms(&m->all), TIMERS_NONE);
}

/* What a successor leaves behind when it fails is the session as it was. */
static void failed_successor_leaves_the_session(void **state)
{
    struct model *m = *state;
    struct believed *b = &m->at[0][0];
    begin(m, 0, 0);
    establish(m, b);
    begin(m, 0, 0);
    session_on_failed(b->handshake);
    b->handshake = NULL;
    m->failed++;
    check(m);
    /* And when the session ends first, the handshake is found at its address. */
    begin(m, 0, 0);
    session_end(b->session, CLOSE_closed_by_client, true);
    note_end(m, b, CLOSE_closed_by_client);
    check(m);
    establish(m, b);
    check(m);
    assert_int_equal(m->closed[CLOSE_replaced], 0);
}

/* Whatever the library thinks of it, nobody who proved nothing gets a session where a proof is
 * required. */
static void no_session_without_a_credential(void **state)
{
    struct model *m = *state;
    struct addr client = address(0), local = m->socket.bound;
    struct dtls *dtls = dtls_new(&m->generation->listeners[STRICT]);
    assert_non_null(dtls);
    struct session *s = session_begin(&m->all, dtls, &m->socket, &client, &local, 1);
    assert_non_null(s);
    assert_false(session_on_established(s));
    assert_int_equal(s->state, SESSION_ENDED);
    assert_int_equal(
        counter_get(&m->by_listener[STRICT]
                         .handshakes[VERSION_UNKNOWN][CREDENTIAL_NONE][HANDSHAKE_no_certificate]),
        1);
    assert_int_equal(counter_get(&m->by_listener[STRICT].sessions), 0);
    assert_null(sessions_find(&m->all, &m->generation->listeners[STRICT], &client));
}

/* Thousands of timers: room for them is made ahead, and all of them are kept. */
static void many_handshakes_time_out(void **state)
{
    enum { MANY = 3000 };
    struct model *m = *state;
    struct addr local = m->socket.bound;
    for (uint32_t i = 0; i < MANY; i++) {
        struct addr client = {
            .ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}, .port = 5000, .family = AF_INET};
        struct dtls *dtls = dtls_new(&m->generation->listeners[0]);
        assert_non_null(dtls);
        struct session *s = session_begin(&m->all, dtls, &m->socket, &client, &local, 1);
        assert_non_null(s);
        session_on_fed(s, false);
        m->all.now_ms++;
    }
    uint64_t due_ms = sessions_next_due_ms(&m->all);
    assert_int_equal(due_ms, m->all.now_ms - MANY + HANDSHAKE_MS);
    for (uint32_t i = 0; i < MANY; i++) {
        m->all.now_ms = due_ms + i - 1;
        sessions_on_time(&m->all);
        assert_int_equal(m->all.handshake_count, MANY - i);
        sessions_reap(&m->all);
    }
    m->all.now_ms++;
    sessions_on_time(&m->all);
    assert_int_equal(m->all.handshake_count, 0);
}

#define MODEL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MODEL_TEST(agrees_with_the_model),
        MODEL_TEST(end_of_all),
        MODEL_TEST(failed_successor_leaves_the_session),
        MODEL_TEST(no_session_without_a_credential),
        MODEL_TEST(many_handshakes_time_out),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("session", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
