/* base/addr_prefix.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr_prefix.h"

static bool has(const char *prefix_text, const char *addr_text)
{
    struct addr_prefix prefix;
    struct addr addr;
    struct err err;
    assert_true(addr_prefix_parse(&prefix, prefix_text, &err));
    assert_true(addr_parse(&addr, addr_text, &err));
    return addr_prefix_has(&prefix, &addr);
}

static void one_address(void **state)
{
    (void)state;
    assert_true(has("192.0.2.1", "192.0.2.1:1"));
    assert_true(has("192.0.2.1", "192.0.2.1:65535"));
    assert_false(has("192.0.2.1", "192.0.2.2:1"));
    assert_true(has("192.0.2.1:7", "192.0.2.1:7"));
    assert_false(has("192.0.2.1:7", "192.0.2.1:8"));
    assert_true(has("2001:db8::1", "[2001:db8::1]:1"));
    assert_true(has("[2001:db8::1]:7", "[2001:db8::1]:7"));
    assert_false(has("[2001:db8::1]:7", "[2001:db8::1]:8"));
}

static void networks(void **state)
{
    (void)state;
    assert_true(has("192.0.2.0/24", "192.0.2.255:1"));
    assert_false(has("192.0.2.0/24", "192.0.3.0:1"));
    assert_true(has("10.0.0.0/9", "10.127.0.1:1"));
    assert_false(has("10.0.0.0/9", "10.128.0.1:1"));
    assert_true(has("10.0.0.0/0", "1.2.3.4:5"));
    assert_false(has("10.0.0.0/0", "[::1]:5"));
    assert_false(has("::/0", "1.2.3.4:5"));
    assert_true(has("2001:db8::/33", "[2001:db8:7fff::1]:5"));
    assert_false(has("2001:db8::/33", "[2001:db8:8000::1]:5"));
}

static void what_is_none(void **state)
{
    static const char *const texts[] = {
        "",
        "/",
        "/24",
        "x",
        "192.0.2",
        "192.0.2.1/",
        "192.0.2.1/33",
        "192.0.2.1/-1",
        "192.0.2.1/x",
        "192.0.2.1/8x",
        "192.0.2.1/99999999999999999999",
        "2001:db8::/129",
        "192.0.2.1:5/24",
        "192.0.2.1/ 8",
    };
    char longer[300];
    struct addr_prefix prefix;
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(addr_prefix_parse(&prefix, texts[i], &err));
    memset(longer, '1', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_false(addr_prefix_parse(&prefix, longer, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address),
        cmocka_unit_test(networks),
        cmocka_unit_test(what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
