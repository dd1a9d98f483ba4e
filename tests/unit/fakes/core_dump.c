#include "fakes/core_dump.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool core_dump_leaves_out(const void *address)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[4096];
    bool is_here = false, is_found = false, is_left_out = false;
    assert(maps != NULL);
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            is_here = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (is_here && strncmp(line, "VmFlags:", 8) == 0) {
            is_found = true;
            is_left_out = strstr(line, " dd") != NULL;
        }
    }
    fclose(maps);
    assert(is_found);
    return is_left_out;
}
