#include "run/json_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/printable.h"

json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    if (string != NULL)
        return string;
    size_t len = strlen(text);
    char *printable = malloc(PRINTABLE_ROOM(len));
    if (printable == NULL)
        return NULL;
    string = json_string(printable_format(text, len, printable));
    free(printable);
    return string;
}
