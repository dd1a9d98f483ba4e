#include "gate/memory_generation.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gate/client_kinds.h"
#include "run/reload.h"

/* device1:0123456789abcdef */
static const char psks[] = IDENTITY ":30313233343536373839616263646566\n";

/* Made by scripts/make-test-keys; they protect nothing. */
static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBtjCCAVygAwIBAgIUA58xn6obsbsWnmtUWgGlUBev+nowCgYIKoZIzj0EAwIw\n"
    "DTELMAkGA1UEAwwCY2EwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEyMzU5NTla\n"
    "MBgxFjAUBgNVBAMMDWR0bHNnYXRlLXRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMB\n"
    "BwNCAAQVzGz//F7e//wdCK4ExKq+1H+jdL7yfDZ5Y6TuP9q1xDtOCG37Q8K/bKK0\n"
    "hMgKkLSm0xkNU/c6Y72wM4o+ngI5o4GMMIGJMAwGA1UdEwEB/wQCMAAwDgYDVR0P\n"
    "AQH/BAQDAgeAMCkGA1UdEQQiMCCCCWxvY2FsaG9zdIINZHRsc2dhdGUtdGVzdIcE\n"
    "fwAAATAdBgNVHQ4EFgQUPe3WKBhOcZG3Cqc3BxOhzgLJqoEwHwYDVR0jBBgwFoAU\n"
    "ydpI7E1ENY9oWnWgzhYblwZXynIwCgYIKoZIzj0EAwIDSAAwRQIgHaJf3ELUEBv8\n"
    "jOm06aNKrFP/UEtdcZHbQ0B1/PSQNVwCIQDCGLkBUixFR7cEkqXJBTEUyK3ksuvR\n"
    "LJ6mq+UJ6pf+mg==\n"
    "-----END CERTIFICATE-----\n";
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYUCT856FT8SU8NZa\n"
                          "S7m4tqDxqXk32HXUenRarCJUgNehRANCAAQVzGz//F7e//wdCK4ExKq+1H+jdL7y\n"
                          "fDZ5Y6TuP9q1xDtOCG37Q8K/bKK0hMgKkLSm0xkNU/c6Y72wM4o+ngI5\n"
                          "-----END PRIVATE KEY-----\n";

struct memory_file {
    const char *mark, *text;
    int fd;
};

static void give_up(const char *what, const char *detail)
{
    fprintf(stderr, "memory_generation: %s: %s\n", what, detail);
    abort();
}

static int make_file(const char *text)
{
    int fd = memfd_create("memory_generation", MFD_CLOEXEC);
    size_t len = strlen(text);
    if (fd < 0 || fchmod(fd, 0600) != 0 || write(fd, text, len) != (ssize_t)len)
        give_up("memfd", text);
    return fd;
}

/* Writes ini with the marks replaced by paths. */
static void expand(const char *ini, const struct memory_file *files, size_t count, FILE *out)
{
    while (*ini != '\0') {
        size_t i = 0;
        while (i < count && strncmp(ini, files[i].mark, strlen(files[i].mark)) != 0)
            i++;
        if (i == count) {
            fputc(*ini++, out);
            continue;
        }
        fprintf(out, "/proc/self/fd/%d", files[i].fd);
        ini += strlen(files[i].mark);
    }
}

struct generation *memory_generation(const char *ini)
{
    struct memory_file files[] = {
        {.mark = "@psk", .text = psks},
        {.mark = "@certificate", .text = certificate},
        {.mark = "@key", .text = key},
    };
    enum { COUNT = sizeof(files) / sizeof(files[0]) };
    char *text = NULL, path[64];
    size_t text_size = 0;
    FILE *out = open_memstream(&text, &text_size);
    if (out == NULL)
        give_up("open_memstream", "no memory");
    for (size_t i = 0; i < COUNT; i++)
        files[i].fd = make_file(files[i].text);
    expand(ini, files, COUNT, out);
    fclose(out);
    int fd = make_file(text);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    struct problems problems;
    problems_init(&problems);
    struct generation *generation = reload_build(path, &problems);
    if (generation == NULL)
        give_up("the configuration is refused", problems.count > 0 ? problems.texts[0] : "");
    problems_deinit(&problems);
    close(fd);
    for (size_t i = 0; i < COUNT; i++)
        close(files[i].fd);
    free(text);
    return generation;
}
