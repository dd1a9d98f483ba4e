#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/addr.h"

static struct addr parsed(const char *text)
{
    struct addr addr;
    struct err err = {0};
    if (!addr_parse(&addr, text, &err))
        fail_msg("%s: %s", text, err.text);
    return addr;
}

static void test_parse_and_format(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out, *ip;
        uint16_t family, port;
    } cases[] = {
        {"192.0.2.1:5684", "192.0.2.1:5684", "192.0.2.1", AF_INET, 5684},
        {"0.0.0.0:1", "0.0.0.0:1", "0.0.0.0", AF_INET, 1},
        {"255.255.255.255:65535", "255.255.255.255:65535", "255.255.255.255", AF_INET, 65535},
        {"127.0.0.1:05684", "127.0.0.1:5684", "127.0.0.1", AF_INET, 5684},
        {"[::]:5684", "[::]:5684", "::", AF_INET6, 5684},
        {"[2001:DB8:0:0::1]:5684", "[2001:db8::1]:5684", "2001:db8::1", AF_INET6, 5684},
        {"[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.1]:7", "::ffff:192.0.2.1", AF_INET6, 7},
        {"[fe80::1%7]:5684", "[fe80::1%7]:5684", "fe80::1%7", AF_INET6, 5684},
        {"[fe80::1%lo]:5684", "[fe80::1%1]:5684", "fe80::1%1", AF_INET6, 5684},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[ADDR_TEXT_MAX];
        struct addr addr = parsed(cases[i].in);
        assert_int_equal(addr.family, cases[i].family);
        assert_int_equal(addr.port, cases[i].port);
        assert_string_equal(addr_format(&addr, text), cases[i].out);
        assert_string_equal(addr_format_ip(&addr, text), cases[i].ip);
    }
}

static void test_longest_text_fits(void **state)
{
    (void)state;
    char text[ADDR_TEXT_MAX];
    struct addr addr = parsed("[fe80:ffff:ffff:ffff:ffff:ffff:255.255.255.255%999999999]:65535");
    addr.scope_id = UINT32_MAX;
    assert_string_equal(addr_format(&addr, text),
                        "[fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

static void test_parse_errors(void **state)
{
    (void)state;
    static const struct {
        const char *in, *why;
    } cases[] = {
        {"", "no port"},
        {"5684", "a port without an address; write it like 0.0.0.0:5684"},
        {"192.0.2.1", "no port"},
        {"192.0.2.1", "no port"},
        {"[::1]", "no port"},
        {"[::1]5684", "no port"},
        {":5684", "'' is not an IP address"},
        {"192.0.2.1:", "not a port"},
        {"192.0.2.1:0", "not a port"},
        {"192.0.2.1:65536", "not a port"},
        {"192.0.2.1:99999999999999999999", "not a port"},
        {"192.0.2.1:56x", "not a port"},
        {"192.0.2.1:+5684", "not a port"},
        {"192.0.2.1: 5684", "not a port"},
        {"192.0.2.256:5684", "'192.0.2.256' is not an IP address"},
        {"192.0.2:5684", "not an IP address"},
        {"010.0.0.1:5684", "not an IP address"},
        {"localhost:5684", "names are not resolved"},
        {"a-name-that-is-longer-than-any-address-in-any-form-that-there-is-in-the-world:1",
         "names are not resolved"},
        {"::1:5684", "stands in brackets"},
        {"[::1:5684", "not closed"},
        {"[192.0.2.1]:5684", "not an IPv6 address"},
        {"[]:5684", "not an IPv6 address"},
        {"[fe80::1]:5684", "needs its interface"},
        {"[fe80::1%]:5684", "no network interface"},
        {"[fe80::1%0]:5684", "no network interface"},
        {"[fe80::1%no-such-if]:5684", "no network interface 'no-such-if'"},
        {"[2001:db8::1%lo]:5684", "only a link-local address"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr addr = parsed("192.0.2.9:9");
        struct err err = {0};
        if (addr_parse(&addr, cases[i].in, &err))
            fail_msg("%s was accepted", cases[i].in);
        if (!strstr(err.text, cases[i].why))
            fail_msg("%s: the message is: %s", cases[i].in, err.text);
        assert_int_equal(addr.family, 0);
    }
}

static void test_equal(void **state)
{
    (void)state;
    struct addr a = parsed("192.0.2.1:5684");
    struct addr same = parsed("192.0.2.1:5684");
    struct addr port = parsed("192.0.2.1:5685");
    struct addr ip = parsed("192.0.2.2:5684");
    struct addr link1 = parsed("[fe80::1%1]:5684"), link2 = parsed("[fe80::1%2]:5684");
    struct addr any4 = parsed("0.0.0.0:5684"), any6 = parsed("[::]:5684");
    assert_true(addr_equal(&a, &same));
    assert_false(addr_equal(&a, &port));
    assert_false(addr_equal(&a, &ip));
    assert_false(addr_equal(&link1, &link2));
    assert_false(addr_equal(&any4, &any6));
}

static void test_kinds(void **state)
{
    (void)state;
    struct addr any4 = parsed("0.0.0.0:1"), any6 = parsed("[::]:1"), unset = {0};
    struct addr loop4 = parsed("127.255.1.2:1"), loop6 = parsed("[::1]:1");
    struct addr host = parsed("126.0.0.1:1"), v6_127 = parsed("[7f00::1]:1");
    assert_true(addr_is_wildcard(&any4));
    assert_true(addr_is_wildcard(&any6));
    assert_false(addr_is_wildcard(&loop4));
    assert_false(addr_is_wildcard(&loop6));
    assert_false(addr_is_wildcard(&unset));
    assert_true(addr_is_loopback4(&loop4));
    assert_false(addr_is_loopback4(&loop6));
    assert_false(addr_is_loopback4(&host));
    assert_false(addr_is_loopback4(&v6_127));
    assert_false(addr_is_loopback4(&unset));
}

static void test_overlap(void **state)
{
    static const struct {
        const char *a, *b;
        bool does;
    } cases[] = {
        {"127.0.0.1:1", "127.0.0.1:1", true},  {"127.0.0.1:1", "127.0.0.2:1", false},
        {"127.0.0.1:1", "0.0.0.0:1", true},    {"127.0.0.1:1", "0.0.0.0:2", false},
        {"127.0.0.1:1", "127.0.0.1:2", false}, {"0.0.0.0:1", "0.0.0.0:1", true},
        {"[::1]:1", "[::]:1", true},           {"[::1]:1", "[::2]:1", false},
        {"[::]:1", "0.0.0.0:1", false},        {"[::]:1", "127.0.0.1:1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr a = parsed(cases[i].a), b = parsed(cases[i].b);
        assert_int_equal(addr_overlaps(&a, &b), cases[i].does);
        assert_int_equal(addr_overlaps(&b, &a), cases[i].does);
    }
}

static void test_unset_formats_empty(void **state)
{
    (void)state;
    struct addr unset = {0};
    char text[ADDR_TEXT_MAX] = "x";
    assert_string_equal(addr_format(&unset, text), "");
    assert_string_equal(addr_format_ip(&unset, text), "");
}

static void test_sockaddr_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        socklen_t len;
    } cases[] = {
        {"192.0.2.1:5684", sizeof(struct sockaddr_in)},
        {"[2001:db8::1]:5684", sizeof(struct sockaddr_in6)},
        {"[::ffff:192.0.2.1]:5684", sizeof(struct sockaddr_in6)},
        {"[fe80::1%3]:5684", sizeof(struct sockaddr_in6)},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr addr = parsed(cases[i].text), back;
        struct sockaddr_storage storage;
        memset(&storage, 0xa5, sizeof(storage));
        memset(&back, 0xa5, sizeof(back));
        assert_int_equal(addr_to_sockaddr(&addr, &storage), cases[i].len);
        assert_true(addr_from_sockaddr(&back, (const struct sockaddr *)&storage));
        assert_true(addr_equal(&addr, &back));
    }
}

static void test_sockaddr_fields(void **state)
{
    (void)state;
    struct addr addr = parsed("192.0.2.1:5684");
    struct sockaddr_storage storage;
    addr_to_sockaddr(&addr, &storage);
    const struct sockaddr_in *in = (const struct sockaddr_in *)&storage;
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(in->sin_port, htons(5684));
    assert_int_equal(in->sin_addr.s_addr, htonl(0xc0000201));
}

static void test_scope_of_global_address_is_ignored(void **state)
{
    (void)state;
    struct addr expected = parsed("[2001:db8::1]:5684"), addr;
    struct sockaddr_storage storage;
    addr_to_sockaddr(&expected, &storage);
    ((struct sockaddr_in6 *)&storage)->sin6_scope_id = 2;
    assert_true(addr_from_sockaddr(&addr, (const struct sockaddr *)&storage));
    assert_true(addr_equal(&addr, &expected));
}

static void test_other_family_is_refused(void **state)
{
    (void)state;
    struct sockaddr sa = {.sa_family = AF_UNIX};
    struct addr addr = parsed("192.0.2.1:5684");
    assert_false(addr_from_sockaddr(&addr, &sa));
    assert_int_equal(addr.family, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format),
        cmocka_unit_test(test_longest_text_fits),
        cmocka_unit_test(test_parse_errors),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_unset_formats_empty),
        cmocka_unit_test(test_sockaddr_and_back),
        cmocka_unit_test(test_sockaddr_fields),
        cmocka_unit_test(test_scope_of_global_address_is_ignored),
        cmocka_unit_test(test_other_family_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
