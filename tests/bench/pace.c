#include "pace.h"

#include <stdio.h>

static const uint64_t second_ns = 1000000000u;

bool pace_init(struct pace *pace, const char *text, uint64_t now_ns)
{
    unsigned rate, seconds;
    char end;
    if (sscanf(text, "%8u:%4u%c", &rate, &seconds, &end) != 2 || rate == 0 || seconds == 0) {
        fprintf(stderr, "load: '%s': want a rate and seconds, as 2000:3\n", text);
        return false;
    }
    *pace =
        (struct pace){.per_s = rate, .start_ns = now_ns, .stop_ns = now_ns + seconds * second_ns};
    return true;
}

static uint64_t due_ns_of(const struct pace *pace, uint64_t number)
{
    return pace->start_ns + number * second_ns / pace->per_s;
}

bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *due_ns)
{
    *due_ns = due_ns_of(pace, pace->taken);
    if (*due_ns > now_ns || *due_ns >= pace->stop_ns) {
        return false;
    }
    pace->taken++;
    return true;
}

bool pace_is_over(const struct pace *pace, uint64_t now_ns)
{
    return now_ns >= pace->stop_ns;
}

uint64_t pace_wait_ns(const struct pace *pace, uint64_t now_ns)
{
    uint64_t due_ns = due_ns_of(pace, pace->taken);
    due_ns = due_ns < pace->stop_ns ? due_ns : pace->stop_ns;
    return due_ns > now_ns ? due_ns - now_ns : 0;
}
