/* state_listeners.c: a listener keeps its number whatever else changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_state.h"
#include "state/state_listeners.h"

enum { TOMBSTONE_MS = 247000 };

static struct addr address(uint16_t port)
{
    return (struct addr){.ip = {192, 0, 2, 1}, .port = port, .family = AF_INET};
}

/* "a:1 b:2": names, and a port that each listens at. */
struct settings {
    struct state_listener listeners[8];
    struct addr addrs[8];
    char names[8][8];
    uint32_t count;
};

static void parse(struct settings *settings, const char *text)
{
    int used;
    unsigned port;
    *settings = (struct settings){0};
    for (; sscanf(text, " %7[a-z]:%u%n", settings->names[settings->count], &port, &used) == 2;
         text += used) {
        uint32_t i = settings->count++;
        settings->addrs[i] = address((uint16_t)port);
        settings->listeners[i] = (struct state_listener){
            .name = settings->names[i],
            .addrs = &settings->addrs[i],
            .addr_count = 1,
            .server = address((uint16_t)(10000 + port)),
        };
    }
}

static void plan(struct state *state, struct settings *settings, const char *text)
{
    struct err err = {0};
    parse(settings, text);
    if (!state_listeners_plan(state, settings->listeners, settings->count, &err))
        fail_msg("%s", err.text);
}

/* Numbers of the listeners, as in "0 1"; ! behind a number: it is new. */
static void assert_numbers(const struct settings *settings, const char *expected)
{
    char text[128];
    int len = 0;
    for (uint32_t i = 0; i < settings->count; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%u%s", i > 0 ? " " : "",
                        settings->listeners[i].number, settings->listeners[i].is_new ? "!" : "");
    assert_string_equal(text, expected);
}

static void load(struct state *state, const char *text, const char *expected)
{
    struct settings settings;
    struct err err;
    plan(state, &settings, text);
    assert_numbers(&settings, expected);
    assert_true(
        state_listeners_commit(state, settings.listeners, settings.count, TOMBSTONE_MS, &err));
}

static void names_keep_their_numbers(void **at)
{
    load(*at, "a:1 b:2 c:3", "0! 1! 2!");
    load(*at, "c:3 b:2 a:1", "2 1 0");
    load(*at, "b:2 d:4", "1 3!");
    load(*at, "a:1 b:2 c:3 d:4", "0 1 2 3"); /* one that comes back is the same */
    load(*at, "a:9 b:8", "0 1");             /* moved */
    load(*at, "a:8 b:9", "0 1");             /* a name says more than an address */
}

static void one_may_be_renamed(void **at)
{
    load(*at, "a:1 b:2", "0! 1!");
    load(*at, "x:1 b:2", "0 1");
    load(*at, "a:1 b:2", "0 1");
    /* It is gone by that name, but another one at its address is not new. */
    load(*at, "a:1 b:3", "0 1");
    load(*at, "b:1", "1");
    /* What was removed before was not renamed. */
    load(*at, "b:3 y:1", "1 2!");
}

static void settings_that_are_refused_change_nothing(void **at)
{
    struct state *state = *at;
    struct settings settings;
    load(state, "a:1 b:2", "0! 1!");
    plan(state, &settings, "c:7 d:8 e:9");
    assert_numbers(&settings, "2! 3! 4!");
    plan(state, &settings, "d:8 a:1");
    assert_numbers(&settings, "2! 0");
}

static void a_new_one_has_new_secrets(void **at)
{
    struct state *state = *at;
    uint8_t a[LAYOUT_MASTER_BYTES], b[LAYOUT_MASTER_BYTES];
    load(state, "a:1 b:2", "0! 1!");
    memcpy(a, state_ticket_master(state, 0), sizeof(a));
    memcpy(b, state_ticket_master(state, 1), sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    load(state, "x:1 b:9", "0 1");
    assert_memory_equal(state_ticket_master(state, 0), a, sizeof(a));
    assert_memory_equal(state_ticket_master(state, 1), b, sizeof(b));
}

/* More names than numbers, over time: the one that was removed longest ago gives up its number. */
static void numbers_are_used_again_at_last(void **at)
{
    struct state *state = *at;
    uint8_t secret[LAYOUT_MASTER_BYTES];
    char name[8];
    struct addr addr = address(1), other = address(2);
    struct err err;
    for (uint32_t i = 0; i < 3 * LAYOUT_LISTENERS_MAX; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        struct addr own = address((uint16_t)(100 + i));
        struct state_listener listeners[] = {
            {.name = "stays", .addrs = &addr, .addr_count = 1, .server = other},
            {.name = name, .addrs = &own, .addr_count = 1, .server = other},
        };
        assert_true(state_listeners_plan(state, listeners, 2, &err));
        assert_int_equal(listeners[0].number, 0);
        assert_int_equal(listeners[1].number, 1 + i % (LAYOUT_LISTENERS_MAX - 1));
        assert_true(listeners[1].is_new);
        memcpy(secret, state_ticket_master(state, listeners[1].number), sizeof(secret));
        assert_true(state_listeners_commit(state, listeners, 2, TOMBSTONE_MS, &err));
        assert_memory_not_equal(secret, state_ticket_master(state, listeners[1].number),
                                sizeof(secret));
    }
}

static void all_at_once_is_too_much(void **at)
{
    static char names[LAYOUT_LISTENERS_MAX][8];
    static struct state_listener listeners[LAYOUT_LISTENERS_MAX];
    struct err err;
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "n%u", i);
        listeners[i] = (struct state_listener){.name = names[i]};
    }
    assert_true(state_listeners_plan(*at, listeners, LAYOUT_LISTENERS_MAX, &err));
    assert_true(state_listeners_commit(*at, listeners, LAYOUT_LISTENERS_MAX, TOMBSTONE_MS, &err));
    struct state_listener one = {.name = "one"};
    assert_false(state_listeners_plan(*at, &one, 1, &err));
    assert_non_null(strstr(err.text, "no number left"));
    assert_true(state_listeners_commit(*at, NULL, 0, TOMBSTONE_MS, &err));
    assert_true(state_listeners_plan(*at, &one, 1, &err));
}

static void the_server_before_is_known_for_a_while(void **at)
{
    struct state *state = *at;
    const struct layout_server *server = &state->header->listeners[0].server;
    struct addr first = address(10001), second = address(10002);
    load(state, "a:1", "0!");
    assert_true(addr_equal(&server->now, &first));
    assert_int_equal(server->before.family, 0);
    load(state, "a:2", "0");
    assert_true(addr_equal(&server->now, &second));
    assert_true(addr_equal(&server->before, &first));
    uint64_t until_ms = server->before_until_ms;
    assert_in_range(until_ms, state_now_ms(state) + TOMBSTONE_MS - 10000,
                    state_now_ms(state) + TOMBSTONE_MS);
    load(state, "a:2 b:3", "0 1!"); /* no change of it */
    assert_true(addr_equal(&server->before, &first));
    assert_int_equal(server->before_until_ms, until_ms);
    load(state, "b:3", "1"); /* it is removed: what is late is still known to be */
    assert_true(addr_equal(&server->now, &second));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, gate_state_set_up, gate_state_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_keep_their_numbers),
        TEST(one_may_be_renamed),
        TEST(settings_that_are_refused_change_nothing),
        TEST(a_new_one_has_new_secrets),
        TEST(numbers_are_used_again_at_last),
        TEST(all_at_once_is_too_much),
        TEST(the_server_before_is_known_for_a_while),
    };
    return cmocka_run_group_tests_name("state_listeners", tests, NULL, NULL);
}
