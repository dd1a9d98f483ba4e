/* PSK files of any content: what a plain reading of the text finds must be found in the store, and
 * nothing else may be accepted. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "creds/psk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int digit(uint8_t c)
{
    const char *digits = "0123456789abcdefABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    if (!at)
        return -1;
    return (int)(at - digits) < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

static void check_line(const struct psk_store *store, const uint8_t *line, size_t size)
{
    size_t colon = size, key_size = 0;
    while (colon > 0 && line[colon - 1] != ':')
        colon--;
    const uint8_t *hex = line + colon;
    size_t digits = size - colon;
    const uint8_t *key = colon ? psk_find(store, line, colon - 1, &key_size) : NULL;
    if (!key || key_size * 2 != digits)
        abort();
    for (size_t i = 0; i < key_size; i++)
        if (digit(hex[2 * i]) < 0 || digit(hex[2 * i + 1]) < 0 ||
            key[i] != digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]))
            abort();
}

static void check(const struct psk_store *store, const uint8_t *data, size_t size)
{
    size_t keys = 0;
    while (size) {
        size_t line = 0;
        while (line < size && data[line] != '\n')
            line++;
        size_t text = line && data[line - 1] == '\r' ? line - 1 : line;
        if (text && data[0] != '#') {
            check_line(store, data, text);
            keys++;
        }
        size_t step = line < size ? line + 1 : line;
        data += step;
        size -= step;
    }
    if (keys == 0 || keys != psk_count(store))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("psk", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    struct problems problems;
    problems_init(&problems);
    struct psk_store *store = psk_load(&(const char *){path}, 1, "fuzz", &problems);
    if (store)
        check(store, data, size);
    else if (problems.error_count == 0)
        abort();
    psk_free(store);
    problems_deinit(&problems);
    close(fd);
    return 0;
}
