/* How a text stands in a log line, in logfmt and in JSON alike: within double quotes what cannot
 * stand there is escaped as JSON does it (RFC 8259 section 7), which readers of logfmt take over.
 * Pure. */
#ifndef BASE_LOG_VALUE_H
#define BASE_LOG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

/* It needs no quotes in logfmt: printable ASCII, but for space " ' = and backslash. */
bool log_value_is_plain(const void *value, size_t size);

/* Writes what stands between the quotes; returns how many bytes that takes, `room` at most. *is_cut
 * is set if it did not fit; no character is cut in the middle.
 *
 * Characters stay as they are. Escaped are those that would end a line or hide how it goes on: what
 * controls (C0, DEL, C1), U+2028 and U+2029, what changes the direction of the text behind it, and
 * U+FEFF. What is not UTF-8 becomes U+FFFD, byte by byte. */
size_t log_value_quote(const void *value, size_t size, char *to, size_t room, bool *is_cut);

/* Two digits a byte. */
size_t log_value_hex(const void *value, size_t size, char *to, size_t room, bool *is_cut);

#endif
