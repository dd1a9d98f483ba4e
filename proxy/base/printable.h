/* Bytes that a device has chosen, such as an identity, as text in printable ASCII and back: what is
 * something else stands there as \xHH, and a backslash as two. What stands between the quotes of a
 * log line is read back as well. */
#ifndef BASE_PRINTABLE_H
#define BASE_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for the text of so many bytes, NUL included. */
#define PRINTABLE_ROOM(bytes) (4 * (bytes) + 1)

/* Writes the text, PRINTABLE_ROOM(size) at most, and returns it. */
char *printable_format(const void *bytes, size_t size, char *text);

enum { PRINTABLE_ESCAPE_BYTES = 3 };

/* What stands behind a backslash: \ or ", n, r or t, xHH for a byte, uHHHH for a character in
 * UTF-8. Returns how many bytes of the text it takes, *size of `bytes` are set; 0: it means
 * nothing. */
size_t printable_parse_escape(const void *text, size_t len, uint8_t bytes[PRINTABLE_ESCAPE_BYTES],
                              size_t *size);

/* Reads the text back; bytes outside of printable ASCII stand for themselves, since people type
 * them. False: more than `room` bytes, or a backslash with which nothing begins. */
bool printable_parse(const char *text, void *bytes, size_t room, size_t *size);

#endif
