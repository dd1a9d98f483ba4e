#include "run/state_key.h"

#include <limits.h>
#include <stdlib.h>

#include "base/bytes.h"

#define CREDENTIAL "state_key"

/* In place: a byte is written where its second digit has been read already. */
static bool parse_hex(uint8_t *bytes)
{
    for (int i = 0; i < STATE_KEY_BYTES; i++) {
        int high = bytes_hex_digit(bytes[2 * i]), low = bytes_hex_digit(bytes[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* An editor leaves a line end behind digits; a key of plain bytes may end with one. */
static size_t size_without_line_end(const struct secret *file)
{
    size_t size = file->size;
    if (size <= STATE_KEY_BYTES)
        return size;
    if (file->bytes[size - 1] == '\n')
        size--;
    if (file->bytes[size - 1] == '\r')
        size--;
    return size;
}

static bool parse(struct secret *file, struct err *err)
{
    size_t size = size_without_line_end(file);
    if (size != STATE_KEY_BYTES && size != (size_t)2 * STATE_KEY_BYTES)
        return err_set(err, "has %zu bytes", file->size);
    if (size > STATE_KEY_BYTES && !parse_hex(file->bytes))
        return err_set(err, "has characters that are not hexadecimal digits");
    secret_shrink(file, STATE_KEY_BYTES);
    return true;
}

static bool name_of(const char *path, char name[PATH_MAX], struct err *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (path[0] == '\0' && folder == NULL)
        return err_set(err, "no state_key_file, and no credential " CREDENTIAL
                            " of systemd (LoadCredential=" CREDENTIAL ":FILE in the unit); a "
                            "state_file needs one of them");
    int len = path[0] != '\0' ? snprintf(name, PATH_MAX, "%s", path)
                              : snprintf(name, PATH_MAX, "%s/" CREDENTIAL, folder);
    return len < PATH_MAX || err_set(err, "the path of the key is too long");
}

bool state_key_read(struct secret *key, const char *path, uint32_t *wide_mode, struct err *err)
{
    char name[PATH_MAX];
    struct err why;
    if (!name_of(path, name, err))
        return false;
    if (secret_read(key, name, wide_mode, &why) && parse(key, &why))
        return true;
    secret_free(key);
    return err_set(err,
                   "%.200s %.140s; a key is %d random bytes or %d hexadecimal digits, as `openssl "
                   "rand -hex %d` writes them, in a file that the gate's user can read",
                   name, why.text, STATE_KEY_BYTES, 2 * STATE_KEY_BYTES, STATE_KEY_BYTES);
}
