/* A generation is built from files completely or not at all, and every problem of every listener is
 * told in one run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <malloc.h>

#include "base/process.h"
#include "fakes/core_dump.h"
#include "gate/creds_fixture.h"
#include "run/reload.h"

#define LISTENER(name, port) \
    "[listener " name "]\nlisten = 127.0.0.1:" port "\nbackend = 127.0.0.1:5683\n"

static const char good[] = "[gate]\nmax_sessions = 77\n" LISTENER("coaps", "5684")
    PSK LISTENER("both", "5685") PSK PAIR CA LISTENER("open", "5686") PAIR "client_auth = none\n";

/* The generation of that file, and its problems, which the caller frees. */
static struct generation *build(const char *ini, struct problems *problems)
{
    char path[128];
    creds_fixture_put_file("gate.ini", ini, 0600);
    snprintf(path, sizeof(path), "%s/gate.ini", creds_fixture_folder());
    problems_init(problems);
    return reload_build(path, problems);
}

static void print_problems(const struct problems *problems)
{
    for (uint32_t i = 0; i < problems->count; i++)
        print_message("%s\n", problems->texts[i]);
}

static uint32_t count_problems(const struct problems *problems, bool is_warning, const char *part)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < problems->count; i++)
        count += problems->is_warning[i] == is_warning && strstr(problems->texts[i], part) != NULL;
    return count;
}

/* Refused, with an error for each part, and no other. */
static void assert_refused(const char *ini, const char *const *parts)
{
    struct problems problems;
    struct generation *generation = build(ini, &problems);
    uint32_t count = 0;
    assert_null(generation);
    for (; parts[count] != NULL; count++) {
        if (count_problems(&problems, false, parts[count]) == 1)
            continue;
        print_problems(&problems);
        fail_msg("expected one error with: %s", parts[count]);
    }
    if (problems.error_count != count) {
        print_problems(&problems);
        fail_msg("expected %u errors", count);
    }
    problems_deinit(&problems);
}

static void test_good(void **state)
{
    (void)state;
    struct problems problems;
    struct generation *generation = build(good, &problems);
    if (generation == NULL || problems.error_count != 0) {
        print_problems(&problems);
        fail();
    }
    assert_int_equal(atomic_load(&generation->references), 1);
    assert_int_equal(generation->config->gate.max_sessions, 77);
    assert_int_equal(generation->config->listener_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct listener *listener = &generation->listeners[i];
        assert_int_equal(listener->number, i);
        assert_ptr_equal(listener->config, &generation->config->listeners[i]);
        assert_non_null(listener->creds);
        assert_non_null(listener->creds->ctx);
    }
    assert_string_equal(generation->listeners[1].config->name, "both");
    assert_int_equal(creds_psk_count(generation->listeners[0].creds), 2);
    assert_int_equal(creds_psk_count(generation->listeners[2].creds), 0);
    reload_release(generation);
    problems_deinit(&problems);
}

static void test_warnings_do_not_refuse(void **state)
{
    (void)state;
    struct problems problems;
    creds_fixture_put_file("open.psk", IDENTITY ":" KEY "\n", 0644);
    struct generation *generation =
        build(LISTENER("coaps", "5684") "psk_file = open.psk\n" LISTENER("old", "5685") PSK CA
              "certificate = expired.pem\nprivate_key = expired.key\n",
              &problems);
    assert_non_null(generation);
    assert_int_equal(problems.error_count, 0);
    assert_int_equal(count_problems(&problems, true, "open.psk"), 1);
    assert_int_equal(count_problems(&problems, true, "certificate = "), 1);
    reload_release(generation);
    problems_deinit(&problems);
}

static void test_every_problem_in_one_run(void **state)
{
    (void)state;
    creds_fixture_put_file("bad.psk", "no colon\n" IDENTITY ":" KEY "\nx:12345\n", 0600);
    static const char *const parts[] = {
        "bad.psk:1: ", "bad.psk:3: ", "missing.pem", "the key is not that of the first certificate",
        "mtu = 7",     NULL,
    };
    assert_refused(LISTENER("one", "5684") "psk_file = bad.psk\n"               /* 1 */
                   LISTENER("two", "5685") PSK PAIR "client_ca = missing.pem\n" /* 5 */
                   LISTENER("fine", "5686") PSK                                 /* 12 */
                       LISTENER("four", "5687") CA "certificate = server.pem\n" /* 16 */
                                                   "private_key = mismatched.key\nmtu = 7\n",
                   parts);
}

/* Only where there is a state file. */
static void test_state_key(void **state)
{
    (void)state;
    struct problems problems;
    creds_fixture_put_file("state.key", KEY KEY "\n", 0600);
    struct generation *generation =
        build("[gate]\nstate_file = state\nstate_key_file = state.key\n" LISTENER("x", "5684") PSK,
              &problems);
    assert_non_null(generation);
    assert_int_equal(generation->state_key.size, 32);
    assert_true(core_dump_leaves_out(generation->state_key.bytes));
    reload_release(generation);
    problems_deinit(&problems);
    static const char *const none[] = {"[gate] state_key_file: ", NULL};
    assert_refused("[gate]\nstate_file = state\n" LISTENER("x", "5684") PSK, none);
}

static void test_no_file(void **state)
{
    (void)state;
    struct problems problems;
    problems_init(&problems);
    assert_null(reload_build("/nonexistent/gate.ini", &problems));
    assert_int_equal(problems.error_count, 1);
    assert_int_equal(count_problems(&problems, false, "/nonexistent/gate.ini"), 1);
    problems_deinit(&problems);
}

static void test_no_listener(void **state)
{
    (void)state;
    static const char *const none[] = {"no listener", NULL};
    assert_refused("[gate]\n", none);
    static const char *const empty_role[] = {"role = client", NULL};
    assert_refused(LISTENER("x", "5684") PSK "role = client\n", empty_role);
}

static void test_secrets_differ(void **state)
{
    (void)state;
    struct problems first_problems, second_problems;
    struct generation *first = build(good, &first_problems);
    struct generation *second = build(good, &second_problems);
    assert_non_null(first);
    assert_non_null(second);
    assert_memory_not_equal(first->cookie_master, second->cookie_master, 32);
    assert_true(core_dump_leaves_out(first->cookie_master));
    /* Tickets are of one listener and of one generation. */
    const uint8_t *master = first->listeners[0].creds->ticket_master;
    assert_memory_not_equal(master, second->listeners[0].creds->ticket_master, 32);
    assert_memory_not_equal(master, first->listeners[1].creds->ticket_master, 32);
    reload_release(first);
    reload_release(second);
    problems_deinit(&first_problems);
    problems_deinit(&second_problems);
}

static void test_references(void **state)
{
    (void)state;
    struct problems problems;
    struct generation *generation = build(good, &problems);
    assert_non_null(generation);
    atomic_fetch_add(&generation->references, 1);
    reload_release(generation);
    assert_int_equal(atomic_load(&generation->references), 1);
    assert_int_equal(generation->config->listener_count, 3); /* still whole */
    reload_release(generation);
    reload_release(NULL);
    problems_deinit(&problems);
}

/* Without caches, see main(): the allocator would count what is in them as used. */
static void test_no_leak(void **state)
{
    (void)state;
    enum { TURNS = 100, WARM_UP = 20 };
    static const char bad[] = LISTENER("one", "5684") PSK LISTENER("two", "5685") PSK PAIR CA
        "mtu = 7\n" LISTENER("three", "5686") PAIR "client_ca = text-file-that-is-missing.pem\n";
    size_t used_before = 0;
    uint64_t fds_before = 0;
    for (int i = 0; i < TURNS; i++) {
        struct problems problems;
        struct generation *generation = build(i % 2 == 0 ? good : bad, &problems);
        assert_int_equal(generation != NULL, i % 2 == 0);
        reload_release(generation);
        problems_deinit(&problems);
        struct process_usage usage;
        process_read_usage(&usage);
        size_t used = mallinfo2().uordblks;
        if (i == WARM_UP) { /* what the libraries keep, they have by now */
            used_before = used;
            fds_before = usage.open_fds;
        }
        if (i > WARM_UP) {
            assert_int_equal(usage.open_fds, fds_before);
            assert_in_range(used, 0, used_before);
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    if (getenv("GLIBC_TUNABLES") == NULL) {
        setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
        execv("/proc/self/exe", argv);
    }
    mallopt(M_MXFAST, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_warnings_do_not_refuse),
        cmocka_unit_test(test_every_problem_in_one_run),
        cmocka_unit_test(test_state_key),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_no_listener),
        cmocka_unit_test(test_secrets_differ),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_no_leak),
    };
    return cmocka_run_group_tests(tests, creds_fixture_make_keys, creds_fixture_remove_keys);
}
