/* A gate for fuzz targets: the real datapath, on sockets that only keep what was sent, with clock
 * and random numbers that are the same in each run. Ends the program if something does not hold
 * that must always hold. Takes the place of udp.c. */
#ifndef FUZZ_GATE_H
#define FUZZ_GATE_H

#include "fakes/fake_log.h"
#include "fakes/fake_system.h"
#include "gate/client_kinds.h"
#include "gate/gate_view.h"
#include "gate/memory_generation.h"
#include "worker/datapath.h"

#define FUZZ_GATE_INI                                                         \
    "[gate]\nmax_sessions = 100\n[listener coaps]\nlisten = 192.0.2.1:5684\n" \
    "backend = 127.0.0.1:5683\npsk_file = @psk\ncertificate = @certificate\n" \
    "private_key = @key\nclient_auth = none\n"

/* abort() that says where. */
#define MUST(condition)                                     \
    do {                                                    \
        if (!(condition))                                   \
            fuzz_gate_fail(__FILE__, __LINE__, #condition); \
    } while (0)
void fuzz_gate_fail(const char *file, int line, const char *condition) __attribute__((noreturn));

struct fuzz_sent {
    bool is_to_backend;
    struct addr from, to;
    uint8_t *data;
    size_t len;
};

struct fuzz_gate {
    struct generation *generation;
    struct state state;
    struct identities *identities;
    struct datapath dp;
    struct udp_socket listening, backend;
    struct udp_in in;
    uint64_t now_ms;
};

void fuzz_gate_open(struct fuzz_gate *gate);
void fuzz_gate_close(struct fuzz_gate *gate);

/* An address of a device; different numbers are different devices. */
struct addr fuzz_gate_client(uint32_t number);
struct addr fuzz_gate_listen(void);
struct addr fuzz_gate_backend(void);

/* Adds a datagram to the batch, in memory of exactly its size. The batch has room for UDP_BATCH. */
void fuzz_gate_add(struct fuzz_gate *gate, const struct addr *from, const struct addr *to,
                   const uint8_t *data, size_t len);
/* Gives the batch to the datapath. */
void fuzz_gate_run_from_client(struct fuzz_gate *gate);
void fuzz_gate_run_from_backend(struct fuzz_gate *gate);

/* What was sent since the last call of fuzz_gate_forget_sent(). */
uint32_t fuzz_gate_sent_count(void);
const struct fuzz_sent *fuzz_gate_sent(uint32_t index);
void fuzz_gate_forget_sent(void);

/* Received = sum of outcomes, the gauges, and no datagram that the role policy had to keep back. */
void fuzz_gate_check(const struct fuzz_gate *gate);

/* Blocks of memory that wolfSSL has in use. */
uint64_t fuzz_gate_library_blocks(void);

/* A session of a new device: its client, connected. context of the client's sender: a
 * struct fuzz_device. */
struct fuzz_device {
    struct fuzz_gate *gate;
    struct addr addr;
    struct memory_client *client;
};
void fuzz_device_connect(struct fuzz_device *device, struct fuzz_gate *gate, uint32_t number,
                         const struct client_kind *kind);
/* Gives the device what was sent to it, and the gate what it answers, until nothing is left. */
void fuzz_device_settle(struct fuzz_device *device);

#endif
