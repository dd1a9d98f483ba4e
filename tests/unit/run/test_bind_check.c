/* What this user may listen on. The kernel's answers are of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/config_load.h"
#include "fakes/fake_root.h"
#include "run/bind_check.h"

static const char status_file[] = "/proc/self/status";
static const char port_file[] = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/* part == NULL: no warning. */
static void assert_warning_of(const char *gate, const char *listen, const char *where,
                              const char *part)
{
    char text[512];
    struct problems problems;
    snprintf(text, sizeof(text),
             "[listener a]\nlisten = %s\nbackend = 127.0.0.1:5683\npsk_file = x\n[gate]\n%s\n",
             listen, gate);
    FILE *in = fmemopen(text, strlen(text), "r");
    problems_init(&problems);
    struct config *config = config_load_stream(in, "/gate.ini", &problems);
    fclose(in);
    assert_non_null(config);
    assert_int_equal(problems.count, 0);
    bind_check(config, fake_root(), &problems);
    assert_int_equal(problems.error_count, 0);
    assert_int_equal(problems.count, part != NULL ? 1 : 0);
    if (part != NULL) {
        assert_non_null(strstr(problems.texts[0], where));
        assert_non_null(strstr(problems.texts[0], part));
    }
    problems_deinit(&problems);
    config_free(config);
}

static void assert_warning(const char *listen, const char *part)
{
    assert_warning_of("", listen, "/gate.ini:2: [listener a] listen = ", part);
}

static void assert_control(const char *gate, const char *part)
{
    assert_warning_of(gate, "127.0.0.1:5684", "/gate.ini:6: [gate] control = /", part);
}

#define WITHOUT "Name:\tdtlsgate\nCapInh:\t0000000000000000\nCapEff:\t0000000000000000\n"
#define WITH "Name:\tdtlsgate\nCapInh:\t0000000000000000\nCapEff:\t0000000000000400\n"

static void a_low_port_needs_a_capability(void **state)
{
    (void)state;
    fake_root_put(status_file, WITHOUT);
    fake_root_put(port_file, "1024\n");
    assert_warning("127.0.0.1:1024", NULL);
    assert_warning("127.0.0.1:1023", "not listen on 127.0.0.1:1023: ports below 1024 need");
    assert_warning("127.0.0.1:5684, 127.0.0.1:443", "not listen on 127.0.0.1:443");
    fake_root_put(port_file, "400\n");
    assert_warning("127.0.0.1:443", NULL);
    fake_root_put(port_file, "1024\n");
    fake_root_put(status_file, WITH);
    assert_warning("127.0.0.1:443", NULL);
}

static void without_proc_it_is_as_usual(void **state)
{
    (void)state;
    assert_warning("127.0.0.1:443", "ports below 1024 need");
    assert_warning("127.0.0.1:5684", NULL);
}

static void an_address_that_is_not_here(void **state)
{
    (void)state;
    fake_root_put(status_file, WITH);
    assert_warning("192.0.2.1:5684", "has not got the address of 192.0.2.1:5684 now");
    assert_warning("0.0.0.0:5684", NULL);
}

static void a_control_socket_that_could_not_be_made(void **state)
{
    char gate[256];
    (void)state;
    assert_control("control = /nowhere/control.sock",
                   "control = /nowhere/control.sock: its folder: No such file or directory");
    snprintf(gate, sizeof(gate), "control = %s/control.sock", fake_root());
    assert_control(gate, NULL);
    snprintf(gate, sizeof(gate), "control = %s/control.sock\ncontrol_group = no-such-group",
             fake_root());
    assert_control(gate, "control_group = no-such-group: there is no such group");
    fake_root_put("/proc/x", "");
    snprintf(gate, sizeof(gate), "control = %s/proc", fake_root());
    assert_control(gate, "there is something else than a socket");
    snprintf(gate, sizeof(gate), "control = %s/%0108d", fake_root(), 0);
    assert_control(gate, "a path of a Unix socket has at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_low_port_needs_a_capability, fake_root_set_up,
                                        fake_root_tear_down),
        cmocka_unit_test_setup_teardown(without_proc_it_is_as_usual, fake_root_set_up,
                                        fake_root_tear_down),
        cmocka_unit_test_setup_teardown(an_address_that_is_not_here, fake_root_set_up,
                                        fake_root_tear_down),
        cmocka_unit_test_setup_teardown(a_control_socket_that_could_not_be_made, fake_root_set_up,
                                        fake_root_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
