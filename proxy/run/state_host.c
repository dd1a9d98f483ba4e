#include "run/state_host.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define MACHINE_ID_FILE "/etc/machine-id"

/* 32 digits, with hyphens between them as in a UUID. */
static bool parse_id(const char *text, size_t size, uint8_t id[STATE_HOST_ID_BYTES])
{
    int digits = 0;
    uint8_t found[STATE_HOST_ID_BYTES] = {0};
    for (size_t i = 0; i < size && text[i] != '\n'; i++) {
        if (text[i] == '-')
            continue;
        int digit = bytes_hex_digit((uint8_t)text[i]);
        if (digit < 0 || digits == 2 * STATE_HOST_ID_BYTES)
            return false;
        found[digits / 2] = (uint8_t)(found[digits / 2] << 4 | digit);
        digits++;
    }
    if (digits != 2 * STATE_HOST_ID_BYTES)
        return false;
    memcpy(id, found, sizeof(found));
    return true;
}

static bool read_id(const char *path, uint8_t id[STATE_HOST_ID_BYTES])
{
    char text[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, text, sizeof(text));
    close(fd);
    return size > 0 && parse_id(text, (size_t)size, id);
}

bool state_host_read(struct state_host *host, struct err *err)
{
    *host = (struct state_host){.wall_ms = clock_ms(CLOCK_REALTIME),
                                .since_boot_ms = clock_ms(CLOCK_BOOTTIME)};
    (void)!read_id(MACHINE_ID_FILE, host->machine_id);
    return read_id(BOOT_ID_FILE, host->boot_id) ||
           err_set(err, "%s cannot be read: %s", BOOT_ID_FILE, strerror(errno));
}

bool state_host_is_same_boot(const struct state_host *a, const struct state_host *b)
{
    return memcmp(a->boot_id, b->boot_id, STATE_HOST_ID_BYTES) == 0;
}

bool state_host_is_same_machine(const struct state_host *a, const struct state_host *b)
{
    if (!state_host_has_machine_id(a) || !state_host_has_machine_id(b))
        return state_host_is_same_boot(a, b);
    return memcmp(a->machine_id, b->machine_id, STATE_HOST_ID_BYTES) == 0;
}

int64_t state_host_age_ms(const struct state_host *then, const struct state_host *now)
{
    if (state_host_is_same_boot(then, now))
        return (int64_t)(now->since_boot_ms - then->since_boot_ms);
    return (int64_t)(now->wall_ms - then->wall_ms);
}
