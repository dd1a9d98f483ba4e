/* UTF-8 as RFC 3629 has it: nothing overlong, no surrogates, nothing beyond U+10FFFF. Pure. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes the character at `at` has, of len that are there; 0: it is none, or not whole. */
size_t utf8_next(const uint8_t *at, size_t len, uint32_t *character);

/* Writes a character, up to U+FFFF and no surrogate; returns its bytes. */
size_t utf8_put(uint32_t character, uint8_t to[3]);

bool utf8_is_valid(const void *bytes, size_t size);

#endif
