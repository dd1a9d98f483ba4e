/* IPv4 and IPv6 socket addresses as compact values: comparable with addr_equal(), usable as keys.
 * Knows nothing of sockets. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

/* Longest text of addr_format: "[" 45 bytes "%" 10 digits "]:65535" and NUL. */
#define ADDR_TEXT_MAX 72

/* All bytes are defined (no padding), so the struct can be hashed and compared as bytes. */
struct addr {
    uint8_t ip[16];    /* network order; IPv4 uses the first four bytes, the rest is zero */
    uint32_t scope_id; /* IPv6 link-local only, else 0 */
    uint16_t port;     /* host order */
    uint16_t family;   /* AF_INET, AF_INET6, or 0 = unset */
};

/* Parses "192.0.2.1:5684" or "[2001:db8::1]:5684" ("[fe80::1%eth0]:5684" too). Names are not
 * resolved. Port 0 is an error. */
bool addr_parse(struct addr *addr, const char *text, struct err *err) MUST_USE;

/* Writes "192.0.2.1:5684" or "[2001:db8::1]:5684" into text and returns text. */
const char *addr_format(const struct addr *addr, char text[ADDR_TEXT_MAX]);

/* As addr_format, without the port and brackets. */
const char *addr_format_ip(const struct addr *addr, char text[ADDR_TEXT_MAX]);

bool addr_equal(const struct addr *a, const struct addr *b);

bool addr_is_wildcard(const struct addr *addr);

/* True if datagrams to one of them could arrive at the other. IPv6 sockets take no IPv4. */
bool addr_overlaps(const struct addr *a, const struct addr *b);

/* True if it is of this machine or of a network that is not part of the Internet: loopback,
 * link-local, private and shared addresses (RFC 1918, 3927, 4193, 4291, 6598). */
bool addr_is_private(const struct addr *addr);
/* True for 127.0.0.0/8. */
bool addr_is_loopback4(const struct addr *addr);

/* False (addr unset) if sa is of another family. An IPv4-mapped IPv6 address stays IPv6. */
bool addr_from_sockaddr(struct addr *addr, const struct sockaddr *sa);

/* Returns the length to pass to the kernel. */
socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *storage);

#endif
