#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(uint16_t *port, const char *digits)
{
    size_t len = strspn(digits, "0123456789");
    if (len == 0 || len > 5 || digits[len] != '\0')
        return false;
    unsigned long value = strtoul(digits, NULL, 10);
    if (value == 0 || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

static bool is_link_local6(const uint8_t ip[16])
{
    return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

/* The interface of a link-local address by name or number; 0 if there is none of that name. */
static uint32_t parse_scope(const char *text)
{
    size_t len = strspn(text, "0123456789");
    if (len > 0 && len <= 9 && text[len] == '\0')
        return (uint32_t)strtoul(text, NULL, 10);
    return if_nametoindex(text);
}

/* `text` is what stands between the brackets; it is changed. */
static bool parse_ip6(struct addr *addr, char *text, struct err *err)
{
    char *scope = strchr(text, '%');
    if (scope)
        *scope++ = '\0';
    if (inet_pton(AF_INET6, text, addr->ip) != 1)
        return err_set(err, "'%s' is not an IPv6 address, such as 2001:db8::1", text);
    if (is_link_local6(addr->ip)) {
        if (!scope)
            return err_set(
                err, "the link-local address needs its interface, such as [%s%%eth0]:5684", text);
        addr->scope_id = parse_scope(scope);
        if (addr->scope_id == 0)
            return err_set_passing(err, "there is no network interface '%s' (ip link shows them)",
                                   scope);
    } else if (scope) {
        return err_set(err, "%%%s: only a link-local address (fe80::) takes an interface", scope);
    }
    addr->family = AF_INET6;
    return true;
}

static bool parse_ip4(struct addr *addr, const char *text, struct err *err)
{
    if (strchr(text, ':'))
        return err_set(err, "an IPv6 address stands in brackets, such as [2001:db8::1]:5684");
    if (inet_pton(AF_INET, text, addr->ip) != 1)
        return err_set(err,
                       "'%s' is not an IP address, and names are not resolved; write it like "
                       "192.0.2.1:5684 or [2001:db8::1]:5684",
                       text);
    addr->family = AF_INET;
    return true;
}

bool addr_parse(struct addr *addr, const char *text, struct err *err)
{
    *addr = (struct addr){0};
    struct addr parsed = {0};
    char ip[ADDR_TEXT_MAX];
    bool is_bracketed = text[0] == '[';
    const char *ip_begin = is_bracketed ? text + 1 : text;
    const char *ip_end = is_bracketed ? strchr(text, ']') : strrchr(text, ':');

    if (is_bracketed && !ip_end)
        return err_set(err, "the bracket is not closed; write it like [2001:db8::1]:5684");
    if (!ip_end && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0')
        return err_set(err, "a port without an address; write it like 0.0.0.0:%.20s", text);
    if (!ip_end || (is_bracketed && ip_end[1] != ':'))
        return err_set(err, "no port; write it like 192.0.2.1:5684 or [2001:db8::1]:5684");
    size_t ip_len = (size_t)(ip_end - ip_begin);
    if (ip_len >= sizeof(ip))
        return err_set(err, "too long for an IP address, and names are not resolved; write it like "
                            "192.0.2.1:5684 or [2001:db8::1]:5684");
    memcpy(ip, ip_begin, ip_len);
    ip[ip_len] = '\0';

    if (is_bracketed ? !parse_ip6(&parsed, ip, err) : !parse_ip4(&parsed, ip, err))
        return false;
    const char *port = is_bracketed ? ip_end + 2 : ip_end + 1;
    if (!parse_port(&parsed.port, port))
        return err_set(err, "'%.20s' is not a port; it is a number from 1 to 65535", port);
    *addr = parsed;
    return true;
}

const char *addr_format_ip(const struct addr *addr, char text[ADDR_TEXT_MAX])
{
    text[0] = '\0';
    if (addr->family == 0 || !inet_ntop(addr->family, addr->ip, text, ADDR_TEXT_MAX))
        return text;
    if (addr->scope_id != 0) {
        size_t len = strlen(text);
        snprintf(text + len, ADDR_TEXT_MAX - len, "%%%u", addr->scope_id);
    }
    return text;
}

const char *addr_format(const struct addr *addr, char text[ADDR_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX];
    addr_format_ip(addr, ip);
    if (addr->family == 0)
        text[0] = '\0';
    else if (addr->family == AF_INET)
        snprintf(text, ADDR_TEXT_MAX, "%.15s:%u", ip, addr->port);
    else
        snprintf(text, ADDR_TEXT_MAX, "[%.56s]:%u", ip, addr->port);
    return text;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool addr_is_wildcard(const struct addr *addr)
{
    static const uint8_t any[16];
    return addr->family != 0 && memcmp(addr->ip, any, sizeof(any)) == 0;
}

bool addr_overlaps(const struct addr *a, const struct addr *b)
{
    if (a->family != b->family || a->port != b->port)
        return false;
    return addr_equal(a, b) || addr_is_wildcard(a) || addr_is_wildcard(b);
}

bool addr_is_loopback4(const struct addr *addr)
{
    return addr->family == AF_INET && addr->ip[0] == 127;
}

bool addr_is_private(const struct addr *addr)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    const uint8_t *ip = addr->ip;
    if (addr->family == AF_INET6)
        return memcmp(ip, loopback6, sizeof(loopback6)) == 0 || is_link_local6(ip) ||
               (ip[0] & 0xfe) == 0xfc;
    return ip[0] == 127 || ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
           (ip[0] == 192 && ip[1] == 168) || (ip[0] == 169 && ip[1] == 254) ||
           (ip[0] == 100 && (ip[1] & 0xc0) == 64);
}

bool addr_from_sockaddr(struct addr *addr, const struct sockaddr *sa)
{
    *addr = (struct addr){0};
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        memcpy(addr->ip, &in.sin_addr, sizeof(in.sin_addr));
        addr->port = ntohs(in.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof(in6));
        memcpy(addr->ip, &in6.sin6_addr, sizeof(in6.sin6_addr));
        addr->port = ntohs(in6.sin6_port);
        /* The kernel names an interface for other scopes too; there it is no part of the peer's
         * identity. */
        addr->scope_id = is_link_local6(addr->ip) ? in6.sin6_scope_id : 0;
    } else {
        return false;
    }
    addr->family = sa->sa_family;
    return true;
}

socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *storage)
{
    if (addr->family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
        memcpy(&in.sin_addr, addr->ip, sizeof(in.sin_addr));
        memcpy(storage, &in, sizeof(in));
        return sizeof(in);
    }
    assert(addr->family == AF_INET6);
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(addr->port), .sin6_scope_id = addr->scope_id};
    memcpy(&in6.sin6_addr, addr->ip, sizeof(in6.sin6_addr));
    memcpy(storage, &in6, sizeof(in6));
    return sizeof(in6);
}
