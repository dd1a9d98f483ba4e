/* run/metrics_host.c: Host headers that a page of another site can have, and those that it cannot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "run/metrics_host.h"

static const struct {
    const char *host;
    bool is_safe;
} hosts[] = {
    {NULL, true},
    {"127.0.0.1", true},
    {"127.0.0.1:9684", true},
    {"127.0.0.1:", true}, /* RFC 3986 allows a port of no digits */
    {"192.0.2.1:80", true},
    {"[::1]", true},
    {"[::1]:9684", true},
    {"[2001:db8::1]:9684", true},
    {"[::ffff:192.0.2.1]:9684", true},
    {"[fe80::1%eth0]:9684", true},
    {"localhost", true},
    {"localhost:9684", true},
    {"LocalHost:1", true},

    {"", false},
    {":9684", false},
    {"attacker.example", false},
    {"attacker.example:9684", false},
    {"gate", false},
    {"localhost.attacker.example", false},
    {"attacker.localhost", false},
    {"localhost.", false},
    {"127.0.0.1.attacker.example", false},
    {"127.0.0.1.", false},
    {"127.0.0.1:9684.attacker.example", false},
    {"127.0.0.1@attacker.example", false},
    {"127.0.0.1:x", false},
    {"127.0.0.1:9684:1", false},
    {"127.0.0.1 attacker.example", false},
    {" 127.0.0.1", false},
    {"127.0.0", false},
    {"256.0.0.1", false},
    {"2130706433", false},
    {"::1", false},
    {"[::1", false},
    {"[::1]x", false},
    {"[::1]x:9684", false},
    {"[]", false},
    {"[", false},
    {"[127.0.0.1]", false},
    {"[localhost]", false},
    {"[attacker.example]", false},
    {"[%eth0]", false},
};

static bool is_told(const char *host)
{
    return metrics_host_refusal("/status", host) == NULL;
}

static void a_name_may_be_that_of_a_page(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        if (is_told(hosts[i].host) != hosts[i].is_safe)
            fail_msg("'%s' is taken for %s", hosts[i].host != NULL ? hosts[i].host : "(none)",
                     hosts[i].is_safe ? "a name" : "an address");
}

static void a_very_long_name(void **state)
{
    char host[4096];
    (void)state;
    for (size_t len = 1; len < sizeof(host); len++) {
        memset(host, '1', len);
        host[len] = '\0';
        assert_false(is_told(host));
        host[0] = '[';
        host[len - 1] = ']';
        assert_false(is_told(host));
    }
}

static void scrapers_and_probes_may_use_names(void **state)
{
    static const char *const others[] = {"/",
                                         "/status",
                                         "/history",
                                         "/sessions",
                                         "/sessions/127.1.2.3",
                                         "/metrics/x",
                                         "/healthz/../status",
                                         "/metrics/",
                                         "//metrics",
                                         ""};
    (void)state;
    assert_null(metrics_host_refusal("/metrics", "gate:9684"));
    assert_null(metrics_host_refusal("/healthz", "gate:9684"));
    assert_null(metrics_host_refusal("/readyz", "gate:9684"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_non_null(metrics_host_refusal(others[i], "gate:9684"));
        assert_null(metrics_host_refusal(others[i], "127.0.0.1:9684"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_may_be_that_of_a_page),
        cmocka_unit_test(a_very_long_name),
        cmocka_unit_test(scrapers_and_probes_may_use_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
