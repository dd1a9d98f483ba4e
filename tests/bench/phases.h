/* The phases of a load run: handshakes, requests, close and storms. Between phases nothing is in
 * flight. */
#ifndef BENCH_PHASES_H
#define BENCH_PHASES_H

#include "crowd.h"
#include "device.h"
#include "held.h"
#include "latency.h"
#include "link.h"
#include "pace.h"

enum { PHASES_MAX_SESSIONS = 3000000, PHASES_PAYLOAD_MIN = 8, PHASES_PAYLOAD_MAX = 1152 };

struct first_flight;
struct member;
struct paced;

struct load {
    struct device_group group;
    struct link link;
    uint32_t sessions;
    uint32_t concurrent; /* handshakes at once */
    uint32_t in_flight;  /* requests at once */
    size_t payload_bytes;
    bool reads_stdin; /* phases come from there, one a line */
    struct member *members;
    struct crowd crowd; /* who makes requests */
    uint64_t now_ns;
    uint64_t next_scan_ns;

    /* The running phase. */
    uint64_t start_ns;
    struct pace pace;                   /* of requests or handshakes; or none */
    uint32_t next_at_pace;              /* handshakes: whose turn it is, over all phases */
    uint64_t skipped;                   /* at a pace: due, but every device was busy */
    uint64_t failed;                    /* at a pace: handshakes that came to nothing */
    uint32_t next;                      /* handshakes: next member to start */
    uint64_t handshakes_left;           /* handshakes: how many may still start */
    bool is_again;                      /* reconnect: members forget their session first */
    bool is_stalling;                   /* stall: members fall silent after the cookie */
    uint64_t spread_ns;                 /* storm: time in which all begin */
    struct first_flight *first_flights; /* storm, owned; NULL: no storm is running */
    struct held_queue held;             /* storm */
    struct paced *paced;                /* owned; NULL until there was such a phase */
    bool is_paced;                      /* it is running */
    uint64_t todo;                      /* requests: how many may still start */
    uint64_t stop_ns;                   /* requests: none starts after this; 0 = no limit */
    uint32_t active;                    /* members that wait for something */
    uint64_t done, lost, late, errors;
    uint64_t drops_before; /* of the kernel, at our sockets */
    struct latency latency;
};

/* Opens the sockets and makes the devices. The options and group stand in *l. Exits with a message
 * when something is missing. */
void phases_init(struct load *l);

/* Closes what is open, frees everything. */
void phases_deinit(struct load *l);

/* Runs a phase and prints its result as one JSON object. False, with a message on stderr, if the
 * phase is unknown or had an error. */
bool phases_run(struct load *l, const char *phase);

#endif
