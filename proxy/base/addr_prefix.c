#include "base/addr_prefix.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { V4_BITS = 32, V6_BITS = 128 };

static uint32_t bits_max(const struct addr *addr)
{
    return addr->family == AF_INET ? V4_BITS : V6_BITS;
}

/* Without a port. */
static bool parse_ip(struct addr *addr, const char *text)
{
    *addr = (struct addr){.family = AF_INET};
    if (inet_pton(AF_INET, text, addr->ip) == 1)
        return true;
    addr->family = AF_INET6;
    return inet_pton(AF_INET6, text, addr->ip) == 1;
}

static bool parse_bits(const char *text, uint32_t max, uint32_t *bits)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *bits = (uint32_t)value;
    return *end == '\0' && value <= max;
}

bool addr_prefix_parse(struct addr_prefix *prefix, const char *text, struct err *err)
{
    struct err ignored;
    char ip[ADDR_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    *prefix = (struct addr_prefix){0};
    if (slash == NULL && addr_parse(&prefix->addr, text, &ignored)) {
        prefix->bits = bits_max(&prefix->addr);
        return true;
    }
    if (len < sizeof(ip)) {
        memcpy(ip, text, len);
        ip[len] = '\0';
    }
    if (len >= sizeof(ip) || !parse_ip(&prefix->addr, ip))
        return err_set(err,
                       "'%.80s' is no address; write 192.0.2.1, 192.0.2.0/24, 2001:db8::/32 "
                       "or, with a port, 192.0.2.1:5684",
                       text);
    prefix->bits = bits_max(&prefix->addr);
    if (slash != NULL && !parse_bits(slash + 1, prefix->bits, &prefix->bits))
        return err_set(err, "'%.80s': behind the / must be a number of bits, 0 to %u", text,
                       bits_max(&prefix->addr));
    return true;
}

bool addr_prefix_has(const struct addr_prefix *prefix, const struct addr *addr)
{
    uint32_t whole = prefix->bits / 8, rest = prefix->bits % 8;
    if (addr->family != prefix->addr.family ||
        (prefix->addr.port != 0 && addr->port != prefix->addr.port) ||
        memcmp(addr->ip, prefix->addr.ip, whole) != 0)
        return false;
    return rest == 0 || (addr->ip[whole] ^ prefix->addr.ip[whole]) >> (8 - rest) == 0;
}
