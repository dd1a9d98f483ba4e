/* The phases of a load run: handshakes, requests, close. Between phases nothing is in flight. */
#ifndef BENCH_PHASES_H
#define BENCH_PHASES_H

#include "batch.h"
#include "device.h"
#include "latency.h"

enum { PHASES_MAX_SESSIONS = 60000, PHASES_PAYLOAD_MIN = 8, PHASES_PAYLOAD_MAX = 1152 };
enum { PHASES_OUT_BYTES = 2048 }; /* one outgoing datagram; a flight's are below the MTU */

struct member;

struct load {
    struct device_group group;
    struct sockaddr_in target;
    uint32_t sessions;
    uint32_t concurrent; /* handshakes at once */
    size_t payload_bytes;
    struct member *members;
    int fd;
    struct batch_in in;
    struct batch_out out;
    uint8_t out_bytes[BATCH_SIZE][PHASES_OUT_BYTES];
    uint64_t now_ns;
    uint64_t next_scan_ns;

    /* The running phase. */
    uint32_t next;    /* handshakes: next member to start */
    uint64_t todo;    /* requests: how many may still start */
    uint64_t stop_ns; /* requests: none starts after this; 0 = no limit */
    uint32_t active;  /* members that wait for something */
    uint64_t done, lost, late, errors;
    struct latency latency;
};

/* Opens the socket and makes the devices. The options and group stand in *l. Exits with a message
 * when something is missing. */
void phases_init(struct load *l);

/* Closes what is open, frees everything. */
void phases_deinit(struct load *l);

/* Runs handshakes, requests:COUNT, requests:SECONDSs or close, and prints its result as one JSON
 * object. False, with a message on stderr, if the phase is unknown or had an error. */
bool phases_run(struct load *l, const char *phase);

#endif
