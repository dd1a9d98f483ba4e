#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The beginning of a file of /proc as text; "" if it cannot be read. */
static void read_text(const char *path, char *text, size_t size)
{
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got;
        while (used < size - 1 && (got = read(fd, text + used, size - 1 - used)) > 0)
            used += (size_t)got;
        close(fd);
    }
    text[used] = '\0';
}

/* The boot time stands near the end of a file that grows with the number of CPUs. */
static uint64_t read_boot_time_s(void)
{
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return 0;
    unsigned long long boot_time_s = 0;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0)
        if (sscanf(line, "btime %llu", &boot_time_s) == 1)
            break;
    free(line);
    fclose(file);
    return boot_time_s;
}

static uint64_t read_start_time_ms(void)
{
    char text[1024];
    read_text("/proc/self/stat", text, sizeof(text));
    /* Field 2 is the program's name in parentheses and may hold anything; field 22 is the start
     * in clock ticks after boot. See proc(5). */
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    unsigned long long ticks;
    uint64_t boot_time_s = read_boot_time_s();
    long ticks_per_s = sysconf(_SC_CLK_TCK);
    if (at == NULL || sscanf(at, " %llu", &ticks) != 1 || boot_time_s == 0 || ticks_per_s <= 0)
        return 0;
    return boot_time_s * 1000 + ticks * 1000 / (uint64_t)ticks_per_s;
}

static uint64_t read_resident_bytes(void)
{
    char text[256];
    read_text("/proc/self/statm", text, sizeof(text));
    unsigned long long pages;
    long page_bytes = sysconf(_SC_PAGESIZE);
    if (sscanf(text, "%*s %llu", &pages) != 1 || page_bytes <= 0)
        return 0;
    return pages * (uint64_t)page_bytes;
}

static uint64_t count_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    uint64_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* without the one of dir */
}

static uint64_t to_us(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

void process_read_usage(struct process_usage *usage)
{
    struct rusage cpu;
    struct rlimit fds;
    *usage = (struct process_usage){
        .start_time_ms = read_start_time_ms(),
        .resident_bytes = read_resident_bytes(),
        .open_fds = count_open_fds(),
    };
    if (getrusage(RUSAGE_SELF, &cpu) == 0)
        usage->cpu_us = to_us(&cpu.ru_utime) + to_us(&cpu.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
        usage->max_fds = fds.rlim_cur;
}
