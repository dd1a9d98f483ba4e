/* Deny lists of any content: what a plain reading of the text finds must be denied, and nothing is
 * taken of a file that has an error. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "creds/deny.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static bool begins_with(const uint8_t *text, size_t size, const char *begin)
{
    return size >= strlen(begin) && memcmp(text, begin, strlen(begin)) == 0;
}

/* What is in quotes is counted only. */
static void check(const struct deny_list *list, const uint8_t *data, size_t size)
{
    size_t identities = 0, keys = 0;
    while (size != 0) {
        const uint8_t *newline = memchr(data, '\n', size);
        must(newline != NULL);
        size_t whole = (size_t)(newline - data) + 1, len = whole - 1;
        if (len != 0 && data[len - 1] == '\r')
            len--;
        bool is_key = begins_with(data, len, "sha256:");
        bool is_identity = len != 0 && data[0] != '#' && !is_key;
        if (is_identity && data[0] != '"')
            must(deny_has_identity(list, data, len));
        identities += is_identity;
        keys += is_key;
        must(!is_key || len == strlen("sha256:") + 64);
        data += whole;
        size -= whole;
    }
    must(deny_identity_count(list) <= identities && deny_key_count(list) <= keys);
    must((deny_identity_count(list) != 0) == (identities != 0));
    must((deny_key_count(list) != 0) == (keys != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("deny", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    struct problems problems;
    problems_init(&problems);
    struct deny_list *list = deny_load(path, "fuzz", &problems);
    must((list == NULL) == (problems.error_count > 0));
    if (list != NULL)
        check(list, data, size);
    deny_free(list);
    problems_deinit(&problems);
    close(fd);
    return 0;
}
