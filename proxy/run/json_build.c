#include "run/json_build.h"

#include "run/json_text.h"

void json_build_set(json_t **object, const char *key, json_t *value)
{
    if (*object == NULL || json_object_set_new(*object, key, value) != 0) {
        if (*object == NULL)
            json_decref(value);
        json_decref(*object);
        *object = NULL;
    }
}

void json_build_append(json_t **array, json_t *value)
{
    if (*array == NULL) {
        json_decref(value);
    } else if (json_array_append_new(*array, value) != 0) {
        json_decref(*array);
        *array = NULL;
    }
}

void json_build_set_text(json_t **object, const char *key, const char *text)
{
    json_build_set(object, key, json_text(text));
}

void json_build_set_number(json_t **object, const char *key, uint64_t number)
{
    json_build_set(object, key, json_integer((json_int_t)number));
}

void json_build_set_seconds(json_t **object, const char *key, uint64_t ms)
{
    json_build_set(object, key, json_real((double)ms / 1000.0));
}
