/* session.c and its neighbours against a simple model: whatever happens in whatever order, each
 * address has at most one session, each session is found where the model says, the limit holds, the
 * least recently used goes first, each deadline is kept, and the books are right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "session/session_scene.h"

enum {
    ADDRESSES = 24,
    LISTENERS = 2,
    NAMES = 4,
    SESSION_MAX = 20, /* so few that all are looked at for the least used one */
    STEPS = 20000,
    SEEDS = 3,
};

static const char *const names[NAMES] = {"a", "b", "c", "d"};
static const uint8_t close_notify[] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
static const uint8_t fatal_alert[] = {ALERT_FATAL, 80};

/* What is believed of an established session. */
struct believed {
    struct session *session;
    struct scene_device device; /* address and listener are where it is now */
    uint64_t number, used_ms;
    uint32_t slot;
    bool is_at_address; /* found by it */
    bool is_unproved;   /* seen once only at its address */
};

struct model {
    struct session_scene *scene;
    struct believed at[SESSION_MAX]; /* in the order in which they began */
    unsigned count;
    uint64_t closed[CLOSE_REASON_COUNT];
    uint64_t moved, unproved, begun;
    uint64_t random;
};

static uint64_t draw(struct model *m, uint64_t below)
{
    return fake_system_random(&m->random) % below;
}

/* ---- what the model believes ---------------------------------------------------------------- */

static struct believed *believed_at(struct model *m, uint32_t listener, const struct addr *addr)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct believed *b = &m->at[i];
        if (b->is_at_address && b->device.listener == listener && addr_equal(&b->device.addr, addr))
            return b;
    }
    return NULL;
}

static struct believed *least_used(struct model *m)
{
    struct believed *least = &m->at[0];
    for (unsigned i = 1; i < m->count; i++)
        if (m->at[i].used_ms < least->used_ms)
            least = &m->at[i];
    return least;
}

static void note_end(struct model *m, struct believed *b, enum close_reason reason)
{
    m->closed[reason]++;
    m->count--;
    memmove(b, b + 1, (size_t)(&m->at[m->count] - b) * sizeof(*b));
}

static uint64_t idle_ms(const struct believed *b)
{
    return b->device.has_cid ? SCENE_IDLE_CID_MS : SCENE_IDLE_MS;
}

/* ---- what happens --------------------------------------------------------------------------- */

static void begin(struct model *m)
{
    struct scene_device device = {
        .addr = scene_address((unsigned)draw(m, ADDRESSES)),
        .listener = (uint32_t)draw(m, LISTENERS),
        .identity = names[draw(m, NAMES)],
        .has_cid = draw(m, 2) == 0,
        .is_1_3 = draw(m, 2) == 0,
    };
    struct believed *old = believed_at(m, device.listener, &device.addr);
    if (old != NULL && old->device.has_cid && strcmp(old->device.identity, device.identity) != 0)
        old->is_at_address = false;
    else if (old != NULL)
        note_end(m, old, CLOSE_replaced);
    if (m->count == SESSION_MAX)
        note_end(m, least_used(m), CLOSE_evicted);
    struct session *s = device.is_1_3 || draw(m, 2) == 0
                            ? scene_begin(m->scene, &device, NULL)
                            : scene_begin_with_flight(m->scene, &device, 80);
    assert_non_null(s);
    m->at[m->count++] = (struct believed){.session = s,
                                          .device = device,
                                          .number = s->number,
                                          .used_ms = m->scene->now_ms,
                                          .slot = s->slot,
                                          .is_at_address = true};
    m->begun++;
}

/* The device is at another address, as a NAT does it. One without a connection ID that is there
 * already keeps its place. */
static void move(struct model *m, struct believed *b)
{
    struct addr to = scene_address((unsigned)draw(m, ADDRESSES));
    if (addr_equal(&to, &b->device.addr))
        return;
    struct believed *other = believed_at(m, b->device.listener, &to);
    b->device.addr = to;
    b->is_at_address = other == NULL || other->device.has_cid;
    b->is_unproved = true;
    if (other != NULL && other->device.has_cid)
        other->is_at_address = false;
    m->moved++;
}

/* Data; of a device with a connection ID now and then from elsewhere. */
static void say(struct model *m, struct believed *b)
{
    b->is_unproved = false; /* unless it moves */
    if (b->device.has_cid && draw(m, 3) == 0)
        move(m, b);
    assert_int_equal(
        scene_say(m->scene, b->session, &b->device, RECORD_APPLICATION_DATA, "data", 4),
        CLIENT_forwarded);
    b->used_ms = m->scene->now_ms;
}

/* A record that was overtaken, from elsewhere: it is data, but does not say where the device is
 * (R38). */
static void say_late(struct model *m, struct believed *b)
{
    uint8_t record[64];
    struct scene_device elsewhere = b->device;
    uint64_t number = b->device.next++;
    say(m, b);
    size_t len =
        scene_seal(m->scene, &b->device, number, RECORD_APPLICATION_DATA, "late", 4, record);
    elsewhere.addr = scene_address(ADDRESSES); /* where nobody is */
    assert_int_equal(scene_receive(m->scene, b->session, &elsewhere, record, len, false),
                     CLIENT_forwarded);
}

static void answer(struct model *m, struct believed *b)
{
    static const uint8_t data[200];
    enum backend_outcome outcome = scene_answer(m->scene, b->session, data, draw(m, 200));
    if (outcome == BACKEND_forwarded) {
        b->used_ms = m->scene->now_ms;
        return;
    }
    assert_int_equal(outcome, BACKEND_address_unproved);
    assert_true(b->is_unproved);
    m->unproved++;
}

static void close_session(struct model *m, struct believed *b)
{
    uint64_t how = draw(m, 4);
    if (how == 0) /* something is missing before it */
        b->device.next += draw(m, 3);
    switch (how) {
    case 0:
    case 1:
        assert_int_equal(scene_say(m->scene, b->session, &b->device, RECORD_ALERT, close_notify, 2),
                         CLIENT_session_closed);
        note_end(m, b, CLOSE_closed_by_client);
        break;
    case 2:
        assert_int_equal(scene_say(m->scene, b->session, &b->device, RECORD_ALERT, fatal_alert, 2),
                         CLIENT_session_closed);
        note_end(m, b, CLOSE_fatal_alert);
        break;
    default:
        session_end(&m->scene->all, b->session, CLOSE_idle, true, m->scene->now_ms);
        note_end(m, b, CLOSE_idle);
        break;
    }
}

static void let_time_pass(struct model *m, uint64_t ms)
{
    scene_wait(m->scene, ms);
    for (unsigned i = m->count; i > 0; i--) {
        struct believed *b = &m->at[i - 1];
        if (m->scene->now_ms - b->used_ms >= idle_ms(b))
            note_end(m, b, CLOSE_idle);
    }
}

static void happen(struct model *m)
{
    struct believed *b = m->count != 0 ? &m->at[draw(m, m->count)] : NULL;
    uint64_t what = draw(m, 16);
    if (what < 4 || b == NULL)
        begin(m);
    else if (what < 7)
        say(m, b);
    else if (what < 8)
        say_late(m, b);
    else if (what < 12)
        answer(m, b);
    else if (what < 13 && draw(m, 3) == 0)
        close_session(m, b);
    else
        let_time_pass(m, draw(m, draw(m, 40) == 0 ? 50000 : 500));
    if (draw(m, 3) == 0)
        sessions_reap(&m->scene->all);
}

/* ---- what must hold ------------------------------------------------------------------------- */

static void check_session(struct model *m, const struct believed *b)
{
    const struct session *s = b->session;
    struct sessions *all = &m->scene->all;
    const struct listener *listener = &m->scene->generation->listeners[b->device.listener];
    assert_int_equal(s->number, b->number);
    assert_int_equal(s->state, SESSION_ESTABLISHED);
    assert_int_equal(s->listener, b->device.listener);
    assert_true(addr_equal(&s->client, &b->device.addr));
    assert_int_equal(s->is_at_address, b->is_at_address);
    assert_int_equal(s->slot, b->slot);
    assert_ptr_equal(session_store_find_slot(&m->scene->all, s->slot), s);
    if (b->device.has_cid)
        assert_ptr_equal(sessions_find_cid(all, listener, b->device.taken.cid), s);
    /* A timer may be early, never late. */
    assert_true(sessions_due_ms(all) <= b->used_ms + idle_ms(b));
}

static void check_books(struct model *m, uint32_t at_address, uint32_t with_cid)
{
    const struct sessions *all = &m->scene->all;
    uint64_t gauge = 0, kinds = 0, with_cid_gauge = 0;
    for (int l = 0; l < SCENE_LISTENERS; l++) {
        const struct counters *c = &m->scene->counters.by_listener[l];
        gauge += counter_get(&c->sessions);
        for (unsigned v = 0; v < VERSION_COUNT; v++) {
            for (unsigned k = 0; k < CREDENTIAL_COUNT; k++) {
                kinds += counter_get(&c->sessions_by[v][k][0]);
                with_cid_gauge += counter_get(&c->sessions_by[v][k][1]);
            }
        }
    }
    assert_int_equal(gauge, m->count);
    assert_int_equal(kinds + with_cid_gauge, m->count);
    assert_int_equal(with_cid_gauge, with_cid);
    assert_int_equal(all->count, m->count);
    assert_int_equal(all->by_address.count, at_address);
    assert_int_equal(all->by_cid.count, with_cid);
    for (unsigned r = 0; r < CLOSE_REASON_COUNT; r++)
        assert_int_equal(scene_closed(m->scene, r), m->closed[r]);
}

static void check(struct model *m)
{
    uint32_t at_address = 0, with_cid = 0;
    for (unsigned i = 0; i < m->count; i++) {
        check_session(m, &m->at[i]);
        at_address += m->at[i].is_at_address;
        with_cid += m->at[i].device.has_cid;
    }
    for (uint32_t l = 0; l < LISTENERS; l++) {
        for (unsigned a = 0; a < ADDRESSES; a++) {
            struct addr addr = scene_address(a);
            const struct believed *b = believed_at(m, l, &addr);
            assert_ptr_equal(
                sessions_find(&m->scene->all, &m->scene->generation->listeners[l], &addr),
                b != NULL ? b->session : NULL);
        }
    }
    check_books(m, at_address, with_cid);
}

/* When all have ended nothing is left. */
static void check_end(struct model *m)
{
    m->closed[CLOSE_shutdown] += m->count;
    m->count = 0;
    sessions_end_all(&m->scene->all, m->scene->now_ms);
    udp_out_flush(&m->scene->to_client);
    sessions_reap(&m->scene->all);
    check_books(m, 0, 0);
    assert_int_equal(cells_bytes_taken(&m->scene->all.cells), 0);
}

static void sessions_agree_with_the_model(void **state)
{
    static struct model model;
    struct model *m = &model;
    m->scene = *state;
    m->scene->all.max = SESSION_MAX;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        m->random = seed;
        for (int step = 0; step < STEPS; step++) {
            happen(m);
            check(m);
            fake_network_reset(0);
        }
        check_end(m);
        fake_log_reset();
    }
    /* It got to see everything. */
    assert_true(m->begun > 1000 && m->moved > 1000 && m->unproved > 100);
    for (unsigned r = 0; r < CLOSE_REASON_COUNT; r++) {
        bool is_seen = r == CLOSE_evicted || r == CLOSE_replaced || r == CLOSE_idle ||
                       r == CLOSE_closed_by_client || r == CLOSE_fatal_alert;
        assert_true(!is_seen || m->closed[r] > 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sessions_agree_with_the_model, scene_set_up,
                                        scene_tear_down),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("session_model", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
