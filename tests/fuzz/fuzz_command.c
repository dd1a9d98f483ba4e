/* Lines of any bytes at the control socket: what is taken is within its bounds, and words that were
 * found make a line in which the same words are found. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "run/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const struct command_request *request)
{
    if (request->command >= COMMAND_COUNT || request->identity_len > sizeof(request->identity) ||
        strnlen(request->listener, sizeof(request->listener)) == sizeof(request->listener) ||
        request->seconds > COMMAND_SECONDS_MAX || request->client.bits > 128 ||
        request->level > LOG_DEBUG)
        abort();
}

static void check_join(const char *const *words, size_t count)
{
    char line[COMMAND_LINE_MAX + 2];
    const char *again[COMMAND_WORDS_MAX];
    size_t again_count;
    struct err err;
    if (!command_join(words, count, line, &err))
        return;
    line[strlen(line) - 1] = '\0';
    if (!command_split(line, again, &again_count, &err) || again_count != count)
        abort();
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i], again[i]) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *words[COMMAND_WORDS_MAX];
    struct command_request request;
    size_t count;
    struct err err;
    char *line = malloc(size + 1); /* just as long, so that a sanitizer sees what is beyond */
    if (line == NULL)
        abort();
    memcpy(line, data, size);
    line[size] = '\0';
    if (command_split(line, words, &count, &err)) {
        if (count > COMMAND_WORDS_MAX)
            abort();
        check_join(words, count);
        if (command_parse(&request, words, count, &err))
            check_request(&request);
    }
    free(line);
    return 0;
}
