/* One simulated device: the client side of a DTLS session, or plain UDP, on memory. Knows nothing
 * of sockets: datagrams come in by device_connect() and device_read(), and leave by the
 * device_send_fn of the group. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;
struct saved;
struct WOLFSSL;
struct WOLFSSL_CTX;

typedef void device_send_fn(struct device *device, const void *data, size_t size);

/* What all devices of a run have in common. */
struct device_group {
    const char *suite;      /* a name of the table in device.c, or "plain" */
    const char *suite_name; /* the library's; set by device_group_init() */
    const char *psk_hex;
    const char *certificate, *private_key, *ca; /* PEM files; NULL: none */
    bool offers_cid;  /* an empty connection ID, so that the server may give one */
    bool is_saving;   /* devices with a session are kept as saved.h says */
    uint32_t devices; /* how many there are: their numbers are smaller */
    device_send_fn *send;
    struct WOLFSSL_CTX *ctx; /* owned; NULL: plain */
    struct saved *saved;     /* owned, by number of the device; NULL: not is_saving */
    struct WOLFSSL *puppet;  /* owned; NULL until a first device has a session */
    uint8_t psk[64];
    size_t psk_bytes;
};

struct device {
    struct device_group *group;
    struct WOLFSSL *ssl; /* owned, but for the puppet; NULL: closed, saved, or plain */
    uint32_t number;     /* also in the PSK identity */
    const uint8_t *in;   /* the datagram being read, borrowed; NULL: none */
    size_t in_bytes;
};

enum device_result { DEVICE_DONE, DEVICE_WAIT, DEVICE_FAILED };

/* Makes what the devices share. False, with a message on stderr, if an option is wrong. */
bool device_group_init(struct device_group *group);
void device_group_deinit(struct device_group *group);

/* A new, unconnected session. */
bool device_open(struct device *device);

/* Goes on with the handshake, with a datagram or without (NULL: the first flight). */
enum device_result device_connect(struct device *device, const void *data, size_t size);

/* Sends the last flight again. False if the library gave up. */
bool device_retransmit(struct device *device);

/* When the handshake wants device_retransmit(), counted from its last flight. */
uint64_t device_retransmit_ms(struct device *device);

/* Encrypts and sends one datagram. */
bool device_send(struct device *device, const void *data, size_t size);

/* Reads one datagram. DONE: *size bytes of application data are in buffer. WAIT: it held none. */
enum device_result device_read(struct device *device, const void *data, size_t data_bytes,
                               void *buffer, size_t *size);

/* Ends the session with a close_notify. */
void device_close(struct device *device);

/* Forgets the session, as a device that reboots; sends nothing. */
void device_forget(struct device *device);

#endif
