/*
 * The device of the integration tests: one UDP socket and at most one DTLS session as a client,
 * driven by commands on stdin. One thread; nothing here is shared.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

enum {
    DATAGRAM_MAX_BYTES = 65535,
    IDENTITY_MAX_BYTES = 128,
    KEY_MAX_BYTES = 64,
    CID_MAX_BYTES = 255,
};

enum device_version { VERSION_12, VERSION_13, VERSION_ANY };

struct options {
    enum device_version version;
    char identity[IDENTITY_MAX_BYTES + 1]; /* NUL-terminated: all that wolfSSL can send */
    uint8_t key[KEY_MAX_BYTES];
    size_t key_bytes; /* 0: no PSK */
    const char *certificate;
    const char *private_key;
    const char *ca; /* NULL: the gate's certificate is not checked */
    const char *ciphers;
    const char *sni;
    unsigned mtu_bytes;          /* 0: the library's default */
    unsigned max_fragment_bytes; /* 0: no such extension; 512, 1024, 2048 or 4096 */
    bool tickets;                /* 1.2: asks for one; in 1.3 it gets one in any case */
    bool cid_use; /* asks for connection IDs; its own are the bytes below, none of them: empty */
    uint8_t cid[CID_MAX_BYTES];
    size_t cid_bytes;
    bool no_extended_master_secret;
    bool no_key_share;   /* 1.3: a small first hello, the share follows after the retry */
    bool classic_groups; /* P-256 and X25519 only, so that every hello is small */
    struct sockaddr_storage gate;
    struct sockaddr_storage local; /* ss_family 0: the kernel chooses */
    unsigned long flood_count;     /* not 0: flood mode instead of commands */
    unsigned flood_sources;
};

struct device {
    const struct options *options;
    int fd; /* connected to the gate */
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;          /* NULL: no session */
    WOLFSSL_SESSION *kept; /* to resume; NULL: none */
};

/* Reads the command line; prints what is wrong and returns false. */
bool options_read(struct options *options, int argc, char **argv);

/* Hex digits to at most size bytes; returns the number of bytes, or -1. */
long hex_decode(const char *text, uint8_t *out, size_t size);

/* "127.0.0.1:5684" or "[::1]:5684" */
bool address_read(struct sockaddr_storage *out, const char *text);

/* A socket from local (ss_family 0: the kernel chooses), connected to the gate; -1 and a message on
 * failure. */
int device_socket(const struct options *options, const struct sockaddr_storage *local);

bool device_open(struct device *device, const struct options *options);
void device_close(struct device *device);

/* One function for each command: argument is the rest of the line. Each prints one line. */
void command_handshake(struct device *device, const char *argument);
void command_keep(struct device *device, const char *argument);
void command_resume(struct device *device, const char *argument);
void command_continue(struct device *device, const char *argument);
void command_send(struct device *device, const char *argument);
void command_recv(struct device *device, const char *argument);
void command_burst(struct device *device, const char *argument);
void command_update(struct device *device, const char *argument);
void command_rebind(struct device *device, const char *argument);
void command_close(struct device *device, const char *argument);
void command_alert(struct device *device, const char *argument);
void command_forget(struct device *device, const char *argument);
void command_raw(struct device *device, const char *argument);
void command_rawrecv(struct device *device, const char *argument);

/* Sends the datagrams given as hex lines on stdin, round and round, from many ports. */
int flood_run(const struct options *options);

#endif
