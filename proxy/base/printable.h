/* Bytes that a device has chosen, such as an identity, as text in printable ASCII and back: what is
 * something else stands there as \xHH, and a backslash as two. It is what stands in log lines, but
 * for the quotes around it. */
#ifndef BASE_PRINTABLE_H
#define BASE_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for the text of so many bytes, NUL included. */
#define PRINTABLE_ROOM(bytes) (4 * (bytes) + 1)

/* Writes the text, PRINTABLE_ROOM(size) at most, and returns it. */
char *printable_format(const void *bytes, size_t size, char *text);

/* What stands behind a backslash: \\, \" or \xHH. Returns how many bytes of the text it takes; 0:
 * it means nothing. */
size_t printable_parse_escape(const void *text, size_t len, uint8_t *byte);

/* Reads the text back; bytes outside of printable ASCII stand for themselves, since people type
 * them. False: more than `room` bytes, or a backslash that begins none of \\ \" \xHH. */
bool printable_parse(const char *text, void *bytes, size_t room, size_t *size);

#endif
