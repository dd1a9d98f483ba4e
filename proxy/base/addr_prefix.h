/* Addresses that begin alike, as people write them: 192.0.2.0/24, 2001:db8::/32, one address, or
 * one with its port as log lines have it. */
#ifndef BASE_ADDR_PREFIX_H
#define BASE_ADDR_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct addr_prefix {
    struct addr addr; /* port 0 = any */
    uint32_t bits;
};

bool addr_prefix_parse(struct addr_prefix *prefix, const char *text, struct err *err) MUST_USE;

bool addr_prefix_has(const struct addr_prefix *prefix, const struct addr *addr);

#endif
