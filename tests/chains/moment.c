#include "moment.h"

#include <stddef.h>

static _Thread_local time_t moment;

void moment_set(time_t now)
{
    moment = now;
}

/* In the place of the C library's, since both libraries are linked in statically. */
time_t time(time_t *result)
{
    if (result != NULL)
        *result = moment;
    return moment;
}
