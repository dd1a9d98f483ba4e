/* Descriptors that come from another process, and go to the next one: each has a name. */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdint.h>

enum { HANDOVER_NAME_MAX = 64 };

struct handover_entry {
    char name[HANDOVER_NAME_MAX];
    int fd; /* -1: it has been taken, and belongs to the taker */
};

struct handover {
    struct handover_entry *at; /* owned, and so are the descriptors */
    uint32_t count;
};

#endif
