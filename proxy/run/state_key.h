/* The key of the state file: 32 random bytes that an administrator made. */
#ifndef RUN_STATE_KEY_H
#define RUN_STATE_KEY_H

#include <stdint.h>

#include "base/secret.h"

enum { STATE_KEY_BYTES = 32 };

/* Reads STATE_KEY_BYTES bytes, or twice as many hexadecimal digits, out of the file; path "": the
 * credential `state_key` that systemd gives the service (LoadCredential=). The error says which
 * file that is. wide_mode as that of secret_read(). */
bool state_key_read(struct secret *key, const char *path, uint32_t *wide_mode,
                    struct err *err) MUST_USE;

#endif
