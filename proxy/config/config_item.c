#include "config/config_item.h"

#include <ctype.h>
#include <string.h>

bool config_item_take(const char **rest, char *item, size_t size)
{
    const char *begin = *rest;
    const char *end = strchr(begin, ',');
    *rest = end ? end + 1 : NULL;
    if (!end)
        end = begin + strlen(begin);
    while (begin < end && isspace((unsigned char)*begin))
        begin++;
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    size_t len = (size_t)(end - begin);
    if (len >= size)
        return false;
    memcpy(item, begin, len);
    item[len] = '\0';
    return true;
}
