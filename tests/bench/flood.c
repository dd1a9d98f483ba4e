/* Flood of ClientHellos: well-formed ones of DTLS 1.2 and 1.3 in turn, each with a random of its
 * own, from spoofed addresses, as fast as one thread can. Goes at the gate, or at a sink: a socket
 * of its own that nobody reads, which costs the generator and the kernel the same and the gate
 * nothing. */
#include "batch.h"
#include "device.h"
#include "random.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: flood ADDRESS:PORT [any]\n"
    "  Reads commands, one a line: gate or sink begins a flood, stop ends it and prints what\n"
    "  was sent as JSON. Sources are addresses in 127/8 with one port; with \"any\" they are any\n"
    "  addresses and ports, which needs CAP_NET_RAW, and a network namespace of its own, or the\n"
    "  answers would go out to strangers.\n";

enum {
    HELLO_MAX = 512,
    RANDOM_AT = 13 + 12 + 2, /* behind record header, handshake header and version */
    RANDOM_BYTES = 32,
    HEADERS_BYTES = sizeof(struct iphdr) + sizeof(struct udphdr),
    BATCHES_PER_LOOK = 16 /* at standard input */
};

struct hello {
    uint8_t bytes[HELLO_MAX];
    size_t size;
};

struct packet {
    struct iphdr ip;
    struct udphdr udp;
    uint8_t hello[HELLO_MAX];
};

struct flood {
    struct sockaddr_in gate;
    struct sockaddr_in sink;
    struct hello hellos[2]; /* 1.2, 1.3 */
    bool is_raw;
    struct batch_out out;
    struct packet packets[BATCH_SIZE];
    uint64_t state; /* of the random generator */
};

static struct hello *wanted_hello;

static void keep_hello(struct device *device, const void *data, size_t size)
{
    (void)device;
    if (size <= HELLO_MAX) {
        memcpy(wanted_hello->bytes, data, size);
        wanted_hello->size = size;
    }
}

/* The first flight of a device with the suite. */
static bool make_hello(struct hello *hello, const char *suite)
{
    struct device_group group = {.suite = suite, .psk_hex = "00", .send = keep_hello};
    struct device device = {.group = &group};
    wanted_hello = hello;
    bool ok = device_group_init(&group) && device_open(&device) &&
              device_connect(&device, NULL, 0) == DEVICE_WAIT &&
              hello->size > RANDOM_AT + RANDOM_BYTES;
    device_forget(&device);
    device_group_deinit(&group);
    return ok;
}

static void open_sockets(struct flood *f)
{
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    int sink = batch_open(loopback, 0, 0); /* open until the end, never read */
    f->sink = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr = loopback, .sin_port = htons(batch_port(sink))};
    int fd = f->is_raw ? socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)
                       : batch_open((struct in_addr){INADDR_ANY}, 0, 0);
    if (fd < 0) {
        perror("flood: raw socket");
        exit(1);
    }
    batch_out_init(&f->out, fd);
}

/* 1.0.0.0 to 126.255.255.255: no loopback, no multicast. */
static uint32_t random_address(uint64_t random)
{
    return (uint32_t)(1 + (random >> 56) % 126) << 24 | (uint32_t)(random >> 32 & 0xffffff);
}

static void add_hello(struct flood *f, unsigned i, const struct sockaddr_in *target)
{
    const struct hello *hello = &f->hellos[i % 2];
    struct packet *packet = &f->packets[i];
    for (size_t at = 0; at < RANDOM_BYTES; at += 8) {
        uint64_t random = random_next(&f->state);
        memcpy(packet->hello + RANDOM_AT + at, &random, 8);
    }
    uint64_t random = random_next(&f->state);
    if (!f->is_raw) {
        struct in_addr source = {htonl(0x7f020000 + (uint32_t)(random >> 32) % 0x00c00000)};
        batch_add(&f->out, target, source, packet->hello, hello->size);
        return;
    }
    packet->ip.saddr = htonl(random_address(random));
    packet->ip.daddr = target->sin_addr.s_addr;
    packet->udp.source = htons((uint16_t)(1024 + (random & 0xffff) % 64512));
    packet->udp.dest = target->sin_port;
    batch_add(&f->out, target, (struct in_addr){INADDR_ANY}, packet, HEADERS_BYTES + hello->size);
}

/* What does not change from one datagram to the next. The kernel fills in the IP checksum, total
 * length and identification. */
static void init_packets(struct flood *f)
{
    for (unsigned i = 0; i < BATCH_SIZE; i++) {
        const struct hello *hello = &f->hellos[i % 2];
        struct packet *packet = &f->packets[i];
        packet->ip.version = 4;
        packet->ip.ihl = sizeof packet->ip / 4;
        packet->ip.ttl = 64;
        packet->ip.protocol = IPPROTO_UDP;
        packet->udp.len = htons((uint16_t)(sizeof packet->udp + hello->size));
        memcpy(packet->hello, hello->bytes, hello->size);
    }
}

static double clock_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* True if a line came; false if none has yet. Ends the program with standard input. */
static bool read_command(char *line, int size, int timeout_ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, timeout_ms) <= 0) {
        return false;
    }
    if (!fgets(line, size, stdin)) {
        exit(0);
    }
    line[strcspn(line, "\n")] = 0;
    return true;
}

static void run_flood(struct flood *f, const char *name, const struct sockaddr_in *target)
{
    char line[16];
    double begin_s = clock_s(CLOCK_MONOTONIC);
    double begin_cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    f->out.datagrams = f->out.errors = 0;
    do {
        for (unsigned batch = 0; batch < BATCHES_PER_LOOK; batch++) {
            for (unsigned i = 0; i < BATCH_SIZE; i++) {
                add_hello(f, i, target);
            }
            batch_flush(&f->out);
        }
    } while (!read_command(line, sizeof line, 0));
    double seconds = clock_s(CLOCK_MONOTONIC) - begin_s;
    double cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID) - begin_cpu_s;
    printf("{\"target\": \"%s\", \"sources\": \"%s\", \"sent\": %llu, \"errors\": %llu, "
           "\"seconds\": %.3f, \"per_s\": %.0f, \"busy\": %.3f}\n",
           name, f->is_raw ? "any" : "127/8", (unsigned long long)f->out.datagrams,
           (unsigned long long)f->out.errors, seconds, (double)f->out.datagrams / seconds,
           cpu_s / seconds);
    fflush(stdout);
}

static bool parse_address(struct sockaddr_in *address, const char *text)
{
    char host[INET_ADDRSTRLEN];
    unsigned port;
    if (sscanf(text, "%15[0-9.]:%u", host, &port) != 2 || port == 0 || port > 65535) {
        return false;
    }
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

int main(int argc, char **argv)
{
    static struct flood flood; /* too large for the stack */
    struct flood *f = &flood;
    char line[16];
    f->is_raw = argc == 3 && strcmp(argv[2], "any") == 0;
    if (argc != (f->is_raw ? 3 : 2) || !parse_address(&f->gate, argv[1])) {
        fputs(usage, stderr);
        return 2;
    }
    if (!make_hello(&f->hellos[0], "psk-ccm8") || !make_hello(&f->hellos[1], "tls13-gcm")) {
        fprintf(stderr, "flood: cannot make a ClientHello\n");
        return 1;
    }
    if (getrandom(&f->state, sizeof f->state, 0) != sizeof f->state) {
        perror("flood: getrandom");
        return 1;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* what poll() sees is all there is */
    open_sockets(f);
    init_packets(f);
    for (;;) {
        if (!read_command(line, sizeof line, -1)) {
            continue;
        }
        if (strcmp(line, "gate") == 0) {
            run_flood(f, line, &f->gate);
        } else if (strcmp(line, "sink") == 0) {
            run_flood(f, line, &f->sink);
        } else {
            fprintf(stderr, "flood: unknown command %s\n", line);
            return 2;
        }
    }
}
