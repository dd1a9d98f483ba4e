#include "run/control_output.h"

#include <stdlib.h>
#include <string.h>

#include "run/json_text.h"

enum { CAPACITY_MIN = 4096 };

void control_output_deinit(struct control_output *output)
{
    free(output->at);
    *output = (struct control_output){0};
}

/* What has left makes room, if it is as much as what waits: so each byte is moved once or twice,
 * and the buffer grows with what waits, not with all that a client has ever read. */
static void forget_sent(struct control_output *output)
{
    size_t left = control_output_left(output);
    if (output->sent == 0 || output->sent < left)
        return;
    memmove(output->at, output->at + output->sent, left);
    output->sent = 0;
    output->len = left;
}

static bool make_room(struct control_output *output, size_t bytes)
{
    if (output->capacity - output->len < bytes)
        forget_sent(output);
    size_t capacity = output->capacity == 0 ? CAPACITY_MIN : output->capacity;
    while (capacity - output->len < bytes)
        capacity *= 2;
    if (capacity == output->capacity)
        return true;
    char *grown = realloc(output->at, capacity);
    if (grown == NULL)
        return false;
    output->at = grown;
    output->capacity = capacity;
    return true;
}

void control_output_add(struct control_output *output, json_t *object)
{
    char *line =
        object != NULL
            ? json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15))
            : NULL;
    size_t len = line != NULL ? strlen(line) : 0;
    json_decref(object);
    if (line == NULL || !make_room(output, len + 1)) {
        output->has_failed = true;
        free(line);
        return;
    }
    memcpy(output->at + output->len, line, len);
    output->at[output->len + len] = '\n';
    output->len += len + 1;
    free(line);
}

void control_output_end(struct control_output *output, json_t *more, bool ok, const char *text)
{
    json_t *object = more != NULL ? more : json_object();
    int failed = json_object_set_new(object, "done", json_true());
    failed |= json_object_set_new(object, "ok", json_boolean(ok));
    if (text[0] != '\0')
        failed |= json_object_set_new(object, ok ? "text" : "error", json_text(text));
    if (failed != 0) {
        json_decref(object);
        object = NULL;
    }
    control_output_add(output, object);
}

void control_output_took(struct control_output *output, size_t bytes)
{
    output->sent += bytes;
    if (output->sent < output->len)
        return;
    output->sent = output->len = 0;
}
