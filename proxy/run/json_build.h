/* Objects and arrays of JSON, built step by step without a look at each: when one step fails, for
 * want of memory, the whole becomes NULL and stays so. */
#ifndef JSON_BUILD_H
#define JSON_BUILD_H

#include <jansson.h>
#include <stdint.h>

/* Take the value; NULL is one that failed. */
void json_build_set(json_t **object, const char *key, json_t *value);
void json_build_append(json_t **array, json_t *value);

void json_build_set_text(json_t **object, const char *key, const char *text);
void json_build_set_number(json_t **object, const char *key, uint64_t number);
/* With three digits, as the log has it. */
void json_build_set_seconds(json_t **object, const char *key, uint64_t ms);

#endif
