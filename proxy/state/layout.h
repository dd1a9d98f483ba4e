/* What lies where in the state: the memory of sessions and of all else that outlives a process. A
 * process that takes it over may be of another version, so nothing here moves, grows or is numbered
 * anew without another LAYOUT_NUMBER. No pointer, no index of an enum that is not given its values,
 * no padding that somebody relies on. Offsets are in bytes from the beginning of the mapping.
 *
 * Written by the main thread, but for what is said to be of workers. */
#ifndef STATE_LAYOUT_H
#define STATE_LAYOUT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/addr.h"

#define LAYOUT_NUMBER 1u
#define LAYOUT_MAGIC "DTLSGATE"

#define LAYOUT_MIB ((uint64_t)1 << 20)

/* The header is at 0. One u32 a chunk follows, see region.h. */
#define LAYOUT_DIRECTORY_AT LAYOUT_MIB
/* Of the two areas of counters one is in use, and the other is where a start puts the sums. */
#define LAYOUT_COUNTERS_AT(area) ((256 + 256 * (uint64_t)(area)) * LAYOUT_MIB)
#define LAYOUT_COUNTERS_BYTES (256 * LAYOUT_MIB)
/* See backend/slots.h. */
#define LAYOUT_SLOTS_AT (768 * LAYOUT_MIB)
#define LAYOUT_SLOTS_BYTES (256 * LAYOUT_MIB)
/* Sessions and what belongs to them, in cells. */
#define LAYOUT_CHUNKS_AT (1024 * LAYOUT_MIB)
#define LAYOUT_CHUNK_BYTES 65536u
#define LAYOUT_CHUNKS_MAX 262144u
#define LAYOUT_BYTES (LAYOUT_CHUNKS_AT + (uint64_t)LAYOUT_CHUNKS_MAX * LAYOUT_CHUNK_BYTES)

enum {
    LAYOUT_WORKERS_MAX = 256,
    LAYOUT_LISTENERS_MAX = 256, /* numbers: a session has a byte for its listener's */
    LAYOUT_NAME_MAX = 32,       /* bytes of a listener's name */
    LAYOUT_LISTEN_MAX = 8,      /* addresses of a listener */
    LAYOUT_ROUTES_MAX = 4096,
    LAYOUT_STARTS_MAX = 16,
    LAYOUT_BUILD_MAX = 63, /* bytes of a version's name */
    LAYOUT_MASTER_BYTES = 32,
};

/* The sizes of what lies in the areas, in this order. The file that owns a struct asserts that it
 * has the size that stands here. */
enum layout_size {
    LAYOUT_SIZE_HEADER = 0,
    LAYOUT_SIZE_SLOT = 1,
    LAYOUT_SIZE_COUNTERS_NAME = 2,
    LAYOUT_SIZE_SESSION = 3, /* with its association, without its keys */
    LAYOUT_SIZE_RARE = 4,
    LAYOUT_SIZE_WHO = 5, /* without the identity */
    LAYOUT_SIZES = 8,    /* the rest is 0 */
};
enum {
    LAYOUT_SLOT_BYTES = 16,
    LAYOUT_COUNTERS_NAME_BYTES = 64,
    LAYOUT_SESSION_BYTES = 168,
    LAYOUT_RARE_BYTES = 32,
    LAYOUT_WHO_BYTES = 7,
};

/* ---- the header ------------------------------------------------------------------------------ */

/* Of one worker; that worker writes. A cache line each. */
struct layout_worker {
    _Atomic uint64_t last_number;          /* of its handshakes, and so of its sessions */
    _Atomic uint64_t mark_sent, mark_seen; /* see backend.h */
    uint64_t unused[5];
};

enum layout_listener_use {
    LAYOUT_LISTENER_NEVER = 0,
    LAYOUT_LISTENER_IN_USE = 1,
    LAYOUT_LISTENER_REMOVED = 2, /* sessions and slots may still have its number */
};

/* Where a listener's plaintext goes. */
struct layout_server {
    struct addr now;
    struct addr before;       /* the one before the latest change */
    uint64_t before_until_ms; /* so long it may answer what it was asked */
};

struct layout_listener {
    uint8_t use; /* enum layout_listener_use */
    uint8_t addr_count;
    char name[LAYOUT_NAME_MAX + 1]; /* ends with a NUL */
    uint8_t unused[5];
    uint64_t removed; /* when: of layout_header.removals */
    struct addr addrs[LAYOUT_LISTEN_MAX];
    struct layout_server server;
    uint8_t ticket_master[LAYOUT_MASTER_BYTES];
};

/* By which socket, from which address of ours: see session/routes.h. */
struct layout_route {
    struct addr bound; /* the socket's */
    struct addr local; /* port 0; no family = the kernel's choice */
};

enum layout_progress {
    LAYOUT_START_BEGUN = 0,
    LAYOUT_START_READY = 1,
    LAYOUT_START_STOPPED = 2, /* orderly: it has ended, or gone over into the next */
};

struct layout_start {
    uint64_t begun_ms;            /* of the gate's clock */
    uint8_t progress;             /* enum layout_progress */
    char build[LAYOUT_BUILD_MAX]; /* zero behind it; may have no NUL */
};

/* Where the sessions came from, until all of them have been renewed (C10): whoever takes the state
 * over before that begins with it again. */
enum layout_origin {
    LAYOUT_ORIGIN_MEMORY = 0, /* of a process before on this machine: nobody else can have them */
    LAYOUT_ORIGIN_FILE = 1,   /* of which there may be a copy, written on this machine */
    LAYOUT_ORIGIN_OTHER = 2,  /* of a file that was written on another one */
};

struct layout_header {
    char magic[8]; /* written last */
    uint32_t layout, byte_order;
    uint32_t sizes[LAYOUT_SIZES];
    uint8_t boot_id[16];     /* all zero where there is no /proc */
    int64_t clock_offset_ms; /* the gate's clock less CLOCK_MONOTONIC */
    uint8_t cookie_master[LAYOUT_MASTER_BYTES];
    uint32_t worker_count;          /* of the process that has it, or had it last */
    _Atomic uint32_t counters_area; /* 0 or 1: the one in use */
    uint32_t slot_first;            /* see slots.h */
    _Atomic uint32_t slot_rows;     /* that are in use; workers write */
    _Atomic uint32_t route_count;   /* workers write, one at a time */
    uint32_t start_count;           /* since it was made; the latest are in `starts`, a ring */
    uint64_t removals;              /* of listeners */
    uint32_t origin;                /* enum layout_origin */
    uint32_t backend_port;          /* that servers know the sessions at; 0 = none yet */
    uint64_t unused[7];
    struct layout_start starts[LAYOUT_STARTS_MAX];
    struct layout_worker workers[LAYOUT_WORKERS_MAX];
    struct layout_listener listeners[LAYOUT_LISTENERS_MAX];
    struct layout_route routes[LAYOUT_ROUTES_MAX];
};

_Static_assert(sizeof(struct layout_worker) == 64, "a cache line");
_Static_assert(sizeof(struct layout_listener) == 328, "the same on all platforms");
_Static_assert(sizeof(struct layout_header) <= LAYOUT_DIRECTORY_AT, "there begins what follows");

#endif
