/* What a client of the control socket is still to be sent: JSON, one object a line. */
#ifndef CONTROL_OUTPUT_H
#define CONTROL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct control_output {
    char *at; /* owned */
    size_t sent, len, capacity;
    bool has_failed; /* out of memory: a line is missing, and the client must go */
};

/* Zeroed is empty; this makes it so again. */
void control_output_deinit(struct control_output *output);

/* Adds a line. Takes the object; NULL, as jansson's functions return it, is out of memory. */
void control_output_add(struct control_output *output, json_t *object);
/* The last line of an answer; `more` joins it, and is taken; NULL = nothing does. text: what is
 * wrong, or how it went; "" = nothing. */
void control_output_end(struct control_output *output, json_t *more, bool ok, const char *text);

/* Bytes that wait, and where they are; how many of them have left. */
static inline size_t control_output_left(const struct control_output *output)
{
    return output->len - output->sent;
}
static inline const char *control_output_first(const struct control_output *output)
{
    return output->at + output->sent;
}
void control_output_took(struct control_output *output, size_t bytes);

#endif
