#include "fakes/fake_system.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

static uint64_t now_ms;
static uint64_t random_state = 1;
static int random_error;
static uint32_t random_failures, random_calls_before;
static time_t epoch_s;

void fake_system_set_ms(uint64_t ms)
{
    now_ms = ms;
}

void fake_system_set_epoch_s(int64_t s)
{
    epoch_s = (time_t)s;
}

void fake_system_seed(uint64_t seed)
{
    random_state = seed;
}

void fake_system_fail_random(int error, uint32_t times)
{
    fake_system_fail_random_after(0, error, times);
}

void fake_system_fail_random_after(uint32_t calls, int error, uint32_t times)
{
    random_calls_before = calls;
    random_error = error;
    random_failures = times;
}

/* splitmix64: every seed is good. */
uint64_t fake_system_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static time_t now_s(void)
{
    if (epoch_s == 0) {
        struct timespec real;
        clock_gettime(CLOCK_REALTIME, &real);
        epoch_s = real.tv_sec;
    }
    return epoch_s + (time_t)(now_ms / 1000);
}

time_t time(time_t *result)
{
    time_t now = now_s();
    if (result != NULL)
        *result = now;
    return now;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
    (void)zone;
    result->tv_sec = now_s();
    result->tv_usec = (suseconds_t)(now_ms % 1000) * 1000;
    return 0;
}

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
    uint8_t *out = buffer;
    (void)flags;
    if (random_calls_before > 0) {
        random_calls_before--;
    } else if (random_failures > 0) {
        random_failures--;
        errno = random_error;
        return random_error != 0 ? -1 : (ssize_t)size - 1;
    }
    for (size_t done = 0; done < size; done += 8) {
        uint64_t value = fake_system_random(&random_state);
        memcpy(out + done, &value, size - done < 8 ? size - done : 8);
    }
    return (ssize_t)size;
}
