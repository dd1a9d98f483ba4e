/* Keys and certificates for tests, made once by scripts/make-test-keys into build/test-keys. The
 * working directory of a test program is the top of the source. */
#ifndef GATE_KEYS_H
#define GATE_KEYS_H

#include <stddef.h>

/* The folder. Fails the test if it cannot be made. */
const char *gate_keys(void);

/* Writes the text to a file in that folder with a name that no other test uses. */
void gate_keys_write_ini(const char *text, char *path, size_t path_size);

#endif
