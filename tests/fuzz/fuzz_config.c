/* Configuration files of any content: what is accepted must print as a file that is accepted too
 * and prints the same; what is refused must come with a reason. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_load.h"
#include "config/config_print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *load(void *text, size_t size)
{
    FILE *in = fmemopen(text, size, "r");
    if (!in)
        abort();
    struct problems problems;
    problems_init(&problems);
    struct config *config = config_load_stream(in, "/etc/dtlsgate/fuzz.ini", &problems);
    if ((config != NULL) != (problems.error_count == 0) || problems.count < problems.error_count)
        abort();
    problems_deinit(&problems);
    fclose(in);
    return config;
}

static char *print(const struct config *config, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    if (!out)
        abort();
    config_print(config, NULL, out);
    fclose(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    /* A copy of the exact size, so that reading beyond it is seen. */
    void *copy = malloc(size);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    struct config *config = load(copy, size);
    free(copy);
    if (!config)
        return 0;

    size_t first_size, second_size;
    char *first = print(config, &first_size);
    config_free(config);
    if (!strstr(first, "cannot be read back")) {
        config = load(first, first_size);
        if (!config)
            abort();
        char *second = print(config, &second_size);
        config_free(config);
        if (strcmp(first, second) != 0)
            abort();
        free(second);
    }
    free(first);
    return 0;
}
