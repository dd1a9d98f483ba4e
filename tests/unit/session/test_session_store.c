/* session_store.c: how sessions are found, in which order they go, and what they take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/core_dump.h"
#include "gate/gate_wolfssl.h"
#include "session/session_scene.h"

enum { MANY = 200, LOOKED_AT = 64 }; /* LOOKED_AT is session_store.c's */

/* So many, each at an address of its own, all used at the same time. */
static void begin_many(struct session_scene *scene, struct session **sessions, unsigned count)
{
    scene->all.max = count;
    for (unsigned i = 0; i < count; i++) {
        struct scene_device device = scene_device_at(i);
        sessions[i] = scene_begin_well(scene, &device);
    }
}

/* The list has all of them, in both directions. */
static void check_order(const struct session_scene *scene)
{
    const struct sessions *all = &scene->all;
    uint32_t count = 0, last = CELLS_NONE;
    for (uint32_t at = all->oldest; at != CELLS_NONE; count++) {
        const struct session *s = cells_at(&all->cells, at);
        assert_int_equal(s->older, last);
        assert_true(count < all->count);
        last = at;
        at = s->newer;
    }
    assert_int_equal(all->newest, last);
    assert_int_equal(count, all->count);
}

/* ---- tables --------------------------------------------------------------------------------- */

static void sessions_are_found_while_they_are_in_a_table(void **state)
{
    struct session_scene *scene = *state;
    struct sessions *all = &scene->all;
    struct scene_device device = scene_device_at(0), elsewhere = device;
    device.has_cid = true;
    elsewhere.listener = SCENE_SECOND; /* the same address at another listener */
    struct session *s = scene_begin_well(scene, &device),
                   *other = scene_begin_well(scene, &elsewhere);
    const uint8_t *cid = device.taken.cid;
    assert_ptr_equal(session_store_find(all, SCENE_PLAIN, &device.addr), s);
    assert_ptr_equal(session_store_find(all, SCENE_SECOND, &device.addr), other);
    assert_null(session_store_find(all, SCENE_FEW, &device.addr));
    assert_ptr_equal(session_store_find_cid(all, SCENE_PLAIN, cid, SCENE_CID_BYTES), s);
    assert_null(session_store_find_cid(all, SCENE_SECOND, cid, SCENE_CID_BYTES));
    assert_null(session_store_find_cid(all, SCENE_PLAIN, cid, SCENE_CID_BYTES - 1));
    for (int round = 0; round < 2; round++) { /* leaving again is harmless */
        session_store_leave_address(all, s);
        assert_false(s->is_at_address);
        assert_null(session_store_find(all, SCENE_PLAIN, &device.addr));
        session_store_leave_cid(all, s);
        assert_null(session_store_find_cid(all, SCENE_PLAIN, cid, SCENE_CID_BYTES));
        session_store_leave_cid(all, other); /* has none */
    }
    assert_ptr_equal(session_store_find(all, SCENE_SECOND, &device.addr), other);
    assert_true(session_store_enter_cid(all, other));
    assert_int_equal(all->by_cid.count, 0);
    assert_true(session_store_enter_address(all, s));
    assert_true(session_store_enter_cid(all, s));
    assert_ptr_equal(session_store_find(all, SCENE_PLAIN, &device.addr), s);
    assert_ptr_equal(session_store_find_cid(all, SCENE_PLAIN, cid, SCENE_CID_BYTES), s);
    assert_int_equal(all->by_address.count, 2);
    assert_int_equal(all->by_cid.count, 1);
}

/* ---- order ---------------------------------------------------------------------------------- */

/* Those that were looked at have had their turn; the next look is at others. */
static void the_least_used_one_of_some(void **state)
{
    static struct session *sessions[MANY];
    struct session_scene *scene = *state;
    assert_null(session_store_least_used(&scene->all));
    begin_many(scene, sessions, MANY);
    assert_ptr_equal(session_store_newest(&scene->all), sessions[MANY - 1]);
    const unsigned least[] = {40, LOOKED_AT, LOOKED_AT + 63, 150, 199};
    for (unsigned i = 0; i < 5; i++)
        sessions[least[i]]->last_used_ms -= 1 + i;
    assert_ptr_equal(session_store_least_used(&scene->all), sessions[40]);
    assert_ptr_equal(session_store_least_used(&scene->all), sessions[LOOKED_AT + 63]);
    assert_ptr_equal(session_store_least_used(&scene->all), sessions[150]);
    assert_ptr_equal(session_store_least_used(&scene->all), sessions[199]);
    check_order(scene);
    assert_ptr_equal(session_store_newest(&scene->all),
                     sessions[MANY - 1]); /* it has not changed */
    /* Round and round: 56 of those from the beginning on have been looked at again. Among equals,
     * the first; and one that ends takes nobody's turn. */
    sessions[LOOKED_AT]->last_used_ms += 2;
    session_end(&scene->all, sessions[4 * LOOKED_AT - MANY], CLOSE_idle, false, scene->now_ms);
    assert_ptr_equal(session_store_least_used(&scene->all), sessions[4 * LOOKED_AT - MANY + 1]);
}

/* The order of use is not kept, but nobody that is among the latest ever goes. */
static void no_session_in_use_is_evicted(void **state)
{
    static struct session *sessions[MANY];
    struct session_scene *scene = *state;
    begin_many(scene, sessions, MANY);
    for (unsigned round = 0; round < 500; round++) {
        for (unsigned i = 0; i < 20; i++) {
            struct session *s = sessions[fake_system_random(&scene->random) % MANY];
            s->last_used_ms = SESSION_MS(++scene->now_ms);
        }
        struct session *least = session_store_least_used(&scene->all);
        unsigned newer = 0;
        for (unsigned i = 0; i < MANY; i++)
            newer += sessions[i]->last_used_ms >= least->last_used_ms && sessions[i] != least;
        assert_true(newer >= LOOKED_AT - 1);
        unsigned which = 0;
        while (sessions[which] != least)
            which++;
        session_end(&scene->all, least, CLOSE_evicted, false, scene->now_ms);
        sessions_reap(&scene->all);
        struct scene_device device = scene_device_at(MANY + round);
        sessions[which] = scene_begin_well(scene, &device);
        if (round % 50 == 0)
            check_order(scene);
    }
}

/* The one whose backend address was counted on, and no other one. */
static void who_was_looked_for_makes_way(void **state)
{
    static struct session *sessions[MANY];
    struct session_scene *scene = *state;
    begin_many(scene, sessions, MANY);
    struct scene_device least = scene_device_at(30), device = scene_device_at(MANY);
    uint64_t number = sessions[30]->number;
    sessions[30]->last_used_ms--;
    scene_begin_well(scene, &device);
    assert_int_equal(scene_closed(scene, CLOSE_evicted), 1);
    assert_int_equal(scene->all.count, MANY);
    assert_null(session_store_find(&scene->all, SCENE_PLAIN, &least.addr));
    assert_int_equal(sessions[30]->number, number); /* not freed yet */
    assert_int_equal(sessions[30]->state, SESSION_ENDED);
    assert_int_equal(scene_sent(), 1);
    assert_non_null(fake_network_last(GATE_TO_CLIENT, &least.addr)); /* it is told */
    check_order(scene);
}

/* ---- memory --------------------------------------------------------------------------------- */

static void what_is_rare_is_there_once(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    size_t before = cells_bytes_taken(&scene->all.cells);
    assert_null(session_rare(s));
    session_store_drop_rare(&scene->all, s);
    struct session_rare *rare = session_store_rare(&scene->all, s);
    assert_non_null(rare);
    assert_ptr_equal(session_rare(s), rare);
    assert_ptr_equal(session_store_rare(&scene->all, s), rare);
    struct session_flight *flight =
        cells_take(&scene->all.cells, CELLS_PIECES, sizeof(*flight) + 100);
    flight->len = 100;
    ref_set(&rare->flight, flight);
    session_store_drop_rare(&scene->all, s);
    assert_null(session_rare(s));
    assert_int_equal(cells_bytes_taken(&scene->all.cells), before);
}

/* Established ones, those that are closing, and some that have ended but were not reaped; with all
 * that belongs to them: nothing is left when they have ended. */
static void nothing_is_left_at_the_end(void **state)
{
    static const uint8_t close_notify[] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
    struct session_scene *scene = *state;
    for (unsigned i = 0; i < 9; i++) {
        struct scene_device device = scene_device_at(i);
        device.is_1_3 = i % 2 != 0;
        struct session *s = device.is_1_3 ? scene_begin_well(scene, &device)
                                          : scene_begin_with_flight(scene, &device, 90);
        assert_non_null(s);
        device.next += 2;
        if (i % 3 == 1)
            (void)scene_say(scene, s, &device, RECORD_ALERT, close_notify, 2);
        if (i % 3 == 2)
            session_end(&scene->all, s, CLOSE_idle, false, scene->now_ms);
    }
    assert_int_equal(scene->all.count, 3);
    assert_int_equal(scene->all.closing_count, 3);
    assert_int_not_equal(cells_bytes_taken(&scene->all.cells), 0);
    sessions_end_all(&scene->all, scene->now_ms);
    sessions_reap(&scene->all);
    assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
}

static void core_dumps_do_not_have_keys(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    struct session *s = scene_begin_well(scene, &device);
    assert_true(core_dump_leaves_out(s));
    assert_true(core_dump_leaves_out(s->association.keys));
    assert_true(core_dump_leaves_out(scene->all.work)); /* has the schedule of the last key */
}

/* Who it is and by which key: with an identity of 24 bytes no more than that. */
static void who_it_is_takes_48_bytes(void **state)
{
    struct session_scene *scene = *state;
    struct scene_device device = scene_device_at(0);
    device.identity = "urn:imei:490154203237518";
    size_t before = cells_bytes_of(&scene->all.cells, CELLS_PIECES);
    const struct session *s = scene_begin_well(scene, &device);
    assert_int_equal(cells_bytes_of(&scene->all.cells, CELLS_PIECES) - before, 48);
    const struct session_who *who = session_who(s);
    assert_int_equal(s->backend, 0);
    assert_int_equal(who->credential, CREDENTIAL_PSK);
    assert_int_equal(who->identity_len, 24);
    assert_memory_equal(who->identity, device.identity, 24);
    assert_int_equal(who->digest_count, 1);
    for (int i = 0; i < CREDENTIAL_DIGEST_BYTES; i++)
        assert_int_equal(session_who_digests(who)[i], SCENE_DIGEST);
}

/* What a million of them cost: docs/performance.md has the figures. */
static void sizes_of_cells(void **state)
{
    static const struct {
        enum dtls_version version;
        enum aead aead;
        size_t bytes;
    } sizes[] = {
        {VERSION_1_2, AEAD_AES_128_CCM_8, 256},     {VERSION_1_2, AEAD_AES_128_GCM, 256},
        {VERSION_1_2, AEAD_AES_256_GCM, 256},       {VERSION_1_2, AEAD_AES_256_CCM, 256},
        {VERSION_1_2, AEAD_CHACHA20_POLY1305, 256}, {VERSION_1_3, AEAD_AES_128_GCM, 320},
        {VERSION_1_3, AEAD_AES_128_CCM_8, 320},     {VERSION_1_3, AEAD_CHACHA20_POLY1305, 384},
        {VERSION_1_3, AEAD_AES_256_GCM, 448},
    };
    struct session_scene *scene = *state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct taken taken = {.version = sizes[i].version, .aead = sizes[i].aead};
        size_t before = cells_bytes_of(&scene->all.cells, CELLS_SESSIONS);
        struct session *s = session_store_make(&scene->all, &taken);
        assert_non_null(s);
        size_t bytes = cells_bytes_of(&scene->all.cells, CELLS_SESSIONS) - before;
        if (bytes != sizes[i].bytes)
            fail_msg("row %zu: %zu bytes (%zu used)", i, bytes,
                     offsetof(struct session, association) + association_bytes(&taken));
        session_store_free(&scene->all, s);
        assert_int_equal(cells_bytes_taken(&scene->all.cells), 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_set_up, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sessions_are_found_while_they_are_in_a_table),
        TEST(the_least_used_one_of_some),
        TEST(no_session_in_use_is_evicted),
        TEST(who_was_looked_for_makes_way),
        TEST(what_is_rare_is_there_once),
        TEST(nothing_is_left_at_the_end),
        TEST(core_dumps_do_not_have_keys),
        TEST(who_it_is_takes_48_bytes),
        TEST(sizes_of_cells),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("session_store", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
