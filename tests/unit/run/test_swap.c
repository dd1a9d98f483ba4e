/* Other settings for a gate that runs: what is said of them, and that a reload which fails has
 * changed nothing. Without workers, which have nothing to do with either. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "count/counters_area.h"
#include "fakes/fake_log.h"
#include "fakes/fake_system.h"
#include "gate/gate_wolfssl.h"
#include "net/steering.h"
#include "net/udp_fixture.h"
#include "run/reload.h"
#include "run/swap.h"

enum { WORKERS = 2 };

struct scene {
    char folder[64], path[80], psk_path[80], key_path[80];
    uint16_t ports[2];
    struct state state;
    struct swap swap;
    struct problems problems;
    struct udp_in in;
};

static void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void choose_ports(struct scene *s)
{
    struct udp_socket probes[2];
    for (int i = 0; i < 2; i++) {
        udp_fixture_open_listener(&probes[i], "127.0.0.1:1");
        s->ports[i] = probes[i].bound.port;
    }
    for (int i = 0; i < 2; i++)
        udp_close(&probes[i]);
}

/* The listeners `long` and `short` at these ports; gate: lines of [gate]. */
static void put_settings(const struct scene *s, const char *gate, uint16_t long_port,
                         uint16_t short_port, const char *more)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "[gate]\n%s\n"
             "[listener long]\nlisten = 127.0.0.1:%u\nbackend = 127.0.0.1:5683\ncid_length = 8\n"
             "psk_file = psk\n"
             "[listener short]\nlisten = 127.0.0.1:%u\nbackend = 127.0.0.1:5683\ncid_length = 0\n"
             "psk_file = psk\n%s",
             gate, long_port, short_port, more);
    put_file(s->path, text);
}

static void start(struct scene *s, const char *gate)
{
    struct err err = {0};
    put_settings(s, gate, s->ports[0], s->ports[1], "");
    struct generation *generation = reload_build(s->path, &s->problems);
    if (generation == NULL)
        fail_msg("%s", s->problems.texts[0]);
    swap_init(&s->swap, generation);
    s->swap.path = s->path;
    s->swap.state = &s->state;
    if (!reload_enter_state(generation, &s->state, &err) ||
        !counters_area_adopt(&s->state, WORKERS, &err) ||
        !reload_begin_counters(generation, &s->state, &err))
        fail_msg("%s", err.text);
    s->swap.sockets = sockets_open(generation, &s->state, WORKERS, true, NULL, &err);
    if (s->swap.sockets == NULL)
        fail_msg("%s", err.text);
}

static int set_up(void **at)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct err err = {0};
    *at = s;
    assert_non_null(s);
    snprintf(s->folder, sizeof(s->folder), "/tmp/test_swap.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->path, sizeof(s->path), "%s/gate.ini", s->folder);
    snprintf(s->psk_path, sizeof(s->psk_path), "%s/psk", s->folder);
    snprintf(s->key_path, sizeof(s->key_path), "%s/key", s->folder);
    put_file(s->psk_path, "device1:30313233343536373839616263646566\n");
    put_file(s->key_path, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    choose_ports(s);
    problems_init(&s->problems);
    assert_true(state_create(&s->state, &err));
    assert_true(udp_in_init(&s->in));
    fake_log_reset();
    return 0;
}

static int tear_down(void **at)
{
    struct scene *s = *at;
    swap_deinit(&s->swap);
    problems_deinit(&s->problems);
    state_close(&s->state);
    udp_in_deinit(&s->in);
    unlink(s->path);
    unlink(s->psk_path);
    unlink(s->key_path);
    rmdir(s->folder);
    free(s);
    fake_log_reset();
    return 0;
}

/* ---- what waits for a restart ---------------------------------------------------------------- */

/* Reloads with these lines of [gate], and expects this list of keys; NULL: nothing is said. */
static void assert_waiting(struct scene *s, const char *gate, const char *keys)
{
    struct problems problems;
    char text[256];
    snprintf(text, sizeof(text), "[gate] %s: changed, and in force after a restart only", keys);
    put_settings(s, gate, s->ports[0], s->ports[1], "");
    problems_init(&problems);
    bool has_begun = swap_begin(&s->swap, &problems);
    if (!has_begun)
        fail_msg("%s", problems.texts[0]);
    uint32_t said = 0;
    for (uint32_t i = 0; i < problems.count; i++)
        said += strstr(problems.texts[i], keys != NULL ? text : "after a restart") != NULL;
    assert_int_equal(said, keys != NULL);
    problems_deinit(&problems);
    assert_true(swap_go_on(&s->swap));
}

/* It is the start that counts, however many reloads have been since. */
static void a_change_waits_until_it_is_taken_back(void **state)
{
    struct scene *s = *state;
    start(s, "workers = 2");
    assert_waiting(s, "workers = 2", NULL);
    assert_waiting(s, "workers = 3", "workers");
    assert_waiting(s, "workers = 3", "workers");
    assert_waiting(s, "workers = 3\nbackend_port = 5000", "workers, backend_port");
    assert_waiting(s, "workers = 2", NULL);
    assert_waiting(s, "workers = 2\nbackend_port = 5000", "backend_port");
}

static void each_setting_that_waits_is_named(void **state)
{
    static const char *const settings[][2] = {
        {"workers", "3"},       {"metrics", ""},       {"user", "nobody"},
        {"backend_port", "99"}, {"control", "socket"}, {"control_mode", "0600"},
        {"control_group", "0"},
    };
    struct scene *s = *state;
    start(s, "workers = 2");
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "%s%s = %s", i > 0 ? "workers = 2\n" : "", settings[i][0],
                 settings[i][1]);
        assert_waiting(s, line, settings[i][0]);
    }
}

/* The stop uses what was read last. */
static void a_state_file_is_in_force_at_once(void **state)
{
    struct scene *s = *state;
    start(s, "workers = 2");
    assert_waiting(s, "workers = 2\nstate_file = state\nstate_key_file = key", NULL);
    assert_int_equal(s->swap.generation->state_key.size, 32);
}

/* ---- a reload that fails --------------------------------------------------------------------- */

enum { CID_AT = 11, CID_BYTES = 8 };

/* A record with a connection ID (RFC 9146 section 4) arrives at the worker that the ID names, where
 * the listener has them; else at that of the device's address, which is another one. */
static void assert_steered(struct scene *s, uint16_t port, bool has_cids)
{
    uint8_t record[CID_AT + CID_BYTES + 10] = {25, 0xfe, 0xfd};
    struct addr to = udp_fixture_parse("127.0.0.1:1"), from = to;
    to.port = port;
    int device = udp_fixture_open_plain(from);
    struct addr source = udp_fixture_name_of(device);
    uint32_t of_addr = steering_worker_of_bucket(steering_bucket_of_addr(&source), WORKERS);
    uint32_t of_cid = 1 - of_addr;
    steering_put_bucket(record + CID_AT, of_cid);
    udp_fixture_send_plain(device, &to, record, sizeof(record));
    for (uint32_t i = 0; i < s->swap.sockets->entry_count; i++) {
        struct sockets_address *address = s->swap.sockets->entries[i].address;
        if (address->addr.port != port)
            continue;
        udp_fixture_receive(&address->pairs[has_cids ? of_cid : of_addr].sessions, &s->in);
        assert_int_equal(s->in.count, 1);
        assert_true(addr_equal(&s->in.at[0].from, &source));
    }
    close(device);
}

static uint32_t listeners_in_use(const struct scene *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        count += s->state.header->listeners[i].use == LAYOUT_LISTENER_IN_USE;
    return count;
}

/* The listeners change places, so that the kernel must steer otherwise, and a third one comes,
 * whose number counted something once. Random numbers fail at each place where they are needed. */
static void a_reload_that_fails_has_changed_nothing(void **state)
{
    struct scene *s = *state;
    uint32_t failed = 0;
    bool has_begun = false;
    start(s, "workers = 2");
    struct worker_counters inherited = counters_area_of(&s->state, COUNTERS_INHERITED);
    assert_true(counters_area_need(&s->state, 2));
    counter_add(&inherited.by_listener[2].address_changes, 7);
    put_settings(s, "", s->ports[1], s->ports[0],
                 "[listener third]\nlisten = 127.0.0.2:9\nbackend = 127.0.0.1:5683\n"
                 "psk_file = psk\n");
    while (!has_begun) {
        assert_steered(s, s->ports[0], true);
        assert_steered(s, s->ports[1], false);
        assert_int_equal(counter_get(&inherited.by_listener[2].address_changes), 7);
        assert_int_equal(listeners_in_use(s), 2);
        fake_system_fail_random_after(failed, EAGAIN, 1);
        has_begun = swap_begin(&s->swap, &s->problems);
        failed += !has_begun;
        assert_in_range(failed, 0, 20);
    }
    fake_system_fail_random(0, 0);
    assert_in_range(failed, 4, 20); /* the cookie secret, and a ticket secret of each listener */
    assert_true(swap_go_on(&s->swap));
    assert_steered(s, s->ports[0], false);
    assert_steered(s, s->ports[1], true);
    assert_int_equal(counter_get(&inherited.by_listener[2].address_changes), 0);
    assert_int_equal(listeners_in_use(s), 3);
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(a_change_waits_until_it_is_taken_back),
        ONE(each_setting_that_waits_is_named),
        ONE(a_state_file_is_in_force_at_once),
        ONE(a_reload_that_fails_has_changed_nothing),
    };
    return cmocka_run_group_tests_name("swap", tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
