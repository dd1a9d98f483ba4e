/* A device in memory: a wolfSSL DTLS client without a socket, on the test's clock. It retransmits
 * after 1 s and then ever more slowly. What it sends leaves through a function; what it gets is
 * kept. */
#ifndef MEMORY_CLIENT_H
#define MEMORY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "count/counters.h"

struct WOLFSSL;
struct WOLFSSL_CTX;
struct WOLFSSL_SESSION;

/* What kind of device it is. NULL = without. */
struct client_kind {
    const char *name;
    enum dtls_version version;   /* VERSION_UNKNOWN: offers both */
    const char *suites;          /* wolfSSL's names; NULL = its defaults */
    const char *identity, *key;  /* PSK, as text */
    const char *certificate;     /* of the client: NAME.pem and NAME.key in the keys' folder */
    const char *ca;              /* that the server is checked with: NAME.pem */
    bool has_small_hello;        /* only one small key share in DTLS 1.3 */
    bool is_post_quantum;        /* only the group X25519MLKEM768; DTLS 1.3 */
    bool has_renegotiation_info; /* RFC 5746, which other libraries send by default */
    bool wants_ticket;           /* DTLS 1.2: asks for one; in 1.3 it gets one in any case */
    bool has_no_ems;             /* no extended master secret */
    bool has_psk_ke_only;        /* DTLS 1.3: no (EC)DHE with a PSK */
    bool has_single_records;     /* each record in a datagram of its own; DTLS 1.2 */
    uint8_t max_fragment;   /* code of RFC 6066 section 4: 1 = 512 bytes ... 4 = 4096; 0 = none */
    bool has_cid;           /* offers connection IDs */
    uint8_t cid_bytes;      /* of its own one, 0 = empty */
    uint16_t mtu_bytes;     /* 0 = 1400 */
    uint32_t repeat_max_ms; /* cap of its retransmission interval, which begins at 1 s; 0 = 60 s */
};

enum client_state { CLIENT_NEW, CLIENT_CONNECTING, CLIENT_UP, CLIENT_CLOSED, CLIENT_BROKEN };

struct client_message {
    uint8_t *data;
    size_t len;
};

typedef void (*memory_client_send_fn)(void *context, const uint8_t *datagram, size_t len);

struct memory_client {
    const struct client_kind *kind;
    struct WOLFSSL_CTX *ctx;
    struct WOLFSSL *ssl;
    memory_client_send_fn send;
    void *context;
    enum client_state state;
    int error;               /* wolfSSL's, when CLIENT_BROKEN */
    int alert_received;      /* code of the last alert, warning or not; -1 = none */
    uint64_t now_ms, due_ms; /* due_ms: when it retransmits; UINT64_MAX = never */
    uint32_t repeat_ms;      /* interval of retransmission, doubling */
    bool is_deaf;            /* ignores what arrives, and its clock */
    bool has_sent;           /* since it was cleared */
    const uint8_t *in;       /* the datagram being read */
    size_t in_len;
    struct client_message *messages; /* plaintext received, oldest first */
    uint32_t message_count, message_capacity;
};

/* keys: folder made by scripts/make-test-keys. NULL if the kind cannot be had. */
struct memory_client *memory_client_new(const struct client_kind *kind, const char *keys,
                                        memory_client_send_fn send, void *context);
void memory_client_free(struct memory_client *client);

/* What the client can resume later, its ticket with it; NULL if it has no ticket. The caller owns
 * it. */
struct WOLFSSL_SESSION *memory_client_session(struct memory_client *client);
void memory_client_free_session(struct WOLFSSL_SESSION *session);
/* Before memory_client_connect: tries to resume. False if the session is too old for its library:
 * it connects without. */
bool memory_client_resume(struct memory_client *client, struct WOLFSSL_SESSION *session);
/* The same with another ticket in the place of the session's. */
void memory_client_resume_with(struct memory_client *client, struct WOLFSSL_SESSION *session,
                               const uint8_t *ticket, size_t len);
/* The ticket of the client; its size. */
size_t memory_client_ticket(const struct memory_client *client, uint8_t *ticket, size_t room);

/* Sends the first hello. */
void memory_client_connect(struct memory_client *client, uint64_t now_ms);
void memory_client_receive(struct memory_client *client, const uint8_t *data, size_t len,
                           uint64_t now_ms);
void memory_client_on_time(struct memory_client *client, uint64_t now_ms);

/* False if the library refuses. */
bool memory_client_send(struct memory_client *client, const void *data, size_t len);
/* Changes its keys for sending (DTLS 1.3). */
void memory_client_update_keys(struct memory_client *client, uint64_t now_ms);
/* Sends a close_notify. */
void memory_client_close(struct memory_client *client);

/* Makes an authentic record of the established session that the library itself would not send.
 * Returns its length. */
size_t memory_client_seal(struct memory_client *client, int content_type, const void *plaintext,
                          size_t len, uint8_t *record, size_t room);

/* The last message received; its len is SIZE_MAX if there is none. */
struct client_message memory_client_last(const struct memory_client *client);

#endif
