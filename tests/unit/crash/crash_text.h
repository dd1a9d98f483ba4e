/* What devices and servers say to each other in these tests: no two texts are alike, so that it
 * shows if one arrives twice. */
#ifndef CRASH_TEXT_H
#define CRASH_TEXT_H

#include <stddef.h>

/* A text that nobody has sent before, at most CRASH_TEXT_BYTES with its end; good until the next
 * one. */
enum { CRASH_TEXT_BYTES = 32 };
const char *crash_text_new(void);

/* The server has got it. Fails the test if it had it before. */
void crash_text_note_delivered(const void *data, size_t len);

#endif
