/* Text of any bytes as a JSON string. */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <jansson.h>

/* As it is if it is UTF-8, else as base/printable.h writes bytes. The caller owns it; NULL: out of
 * memory. */
json_t *json_text(const char *text);

#endif
