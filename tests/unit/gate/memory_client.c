#include "gate/memory_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>

enum {
    HANDSHAKE_MTU = 1400,
    RECORD_HEADER = 13,
    TICKET_MAX = 1024,
    DATAGRAM_MAX = 16384, /* the largest MTU that wolfSSL takes */
    REPEAT_FIRST_MS = 1000,
    REPEAT_MAX_MS = 60000,
};

/* wolfSSL's own maker of records. Its header is not among those that are installed, but nothing
 * else can make an authentic record of any type and content. */
int BuildMessage(WOLFSSL *ssl, byte *output, int outSz, const byte *input, int inSz, int type,
                 int hashOutput, int sizeOnly, int asyncOkay, int epochOrder);
int BuildTls13Message(WOLFSSL *ssl, byte *output, int outSz, const byte *input, int inSz, int type,
                      int hashOutput, int sizeOnly, int asyncOkay);

static int on_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct memory_client *client = context;
    (void)ssl;
    if (client->in == NULL)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    int len = client->in_len < (size_t)size ? (int)client->in_len : size;
    memcpy(buffer, client->in, (size_t)len);
    client->in = NULL;
    return len;
}

static int on_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct memory_client *client = context;
    const uint8_t *datagram = (const uint8_t *)buffer;
    size_t len = (size_t)size, record_len = len;
    (void)ssl;
    client->has_sent = true;
    for (size_t at = 0; at < len; at += record_len) {
        if (client->kind->has_single_records)
            record_len = RECORD_HEADER + (size_t)(datagram[at + 11] << 8 | datagram[at + 12]);
        client->send(client->context, datagram + at, record_len);
    }
    return size;
}

static unsigned give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max,
                         unsigned char *key, unsigned key_max)
{
    const struct memory_client *client = wolfSSL_GetIOReadCtx(ssl);
    const struct client_kind *kind = client->kind;
    size_t key_len = strlen(kind->key);
    (void)hint;
    if (key_len > key_max || strlen(kind->identity) >= identity_max)
        return 0;
    snprintf(identity, identity_max, "%s", kind->identity);
    memcpy(key, kind->key, key_len);
    return (unsigned)key_len;
}

/* The same, bound to the one suite that this kind offers. */
static unsigned give_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max,
                           unsigned char *key, unsigned key_max, const char **suite)
{
    const struct memory_client *client = wolfSSL_GetIOReadCtx(ssl);
    *suite = client->kind->suites;
    return give_psk(ssl, hint, identity, identity_max, key, key_max);
}

static WOLFSSL_METHOD *method_of(enum dtls_version version)
{
    switch (version) {
    case VERSION_1_2: return wolfDTLSv1_2_client_method();
    case VERSION_1_3: return wolfDTLSv1_3_client_method();
    default: return wolfDTLS_client_method();
    }
}

static bool use_certificates(WOLFSSL_CTX *ctx, const struct client_kind *kind, const char *keys)
{
    char path[512];
    wolfSSL_CTX_set_verify(ctx, kind->ca != NULL ? WOLFSSL_VERIFY_PEER : WOLFSSL_VERIFY_NONE, NULL);
    if (kind->ca != NULL) {
        snprintf(path, sizeof(path), "%s/%s.pem", keys, kind->ca);
        if (wolfSSL_CTX_load_verify_locations(ctx, path, NULL) != WOLFSSL_SUCCESS)
            return false;
    }
    if (kind->certificate == NULL)
        return true;
    snprintf(path, sizeof(path), "%s/%s.pem", keys, kind->certificate);
    if (wolfSSL_CTX_use_certificate_chain_file(ctx, path) != WOLFSSL_SUCCESS)
        return false;
    snprintf(path, sizeof(path), "%s/%s.key", keys, kind->certificate);
    return wolfSSL_CTX_use_PrivateKey_file(ctx, path, WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS;
}

static bool use_cid(WOLFSSL *ssl, const struct client_kind *kind)
{
    uint8_t cid[32];
    for (size_t i = 0; i < sizeof(cid); i++)
        cid[i] = (uint8_t)(0xc0 + i);
    return wolfSSL_dtls_cid_use(ssl) == WOLFSSL_SUCCESS &&
           wolfSSL_dtls_cid_set(ssl, cid, kind->cid_bytes) == WOLFSSL_SUCCESS;
}

static bool make_ssl(struct memory_client *client, const char *keys)
{
    const struct client_kind *kind = client->kind;
    client->ctx = wolfSSL_CTX_new(method_of(kind->version));
    if (client->ctx == NULL || !use_certificates(client->ctx, kind, keys))
        return false;
    if (kind->suites != NULL &&
        wolfSSL_CTX_set_cipher_list(client->ctx, kind->suites) != WOLFSSL_SUCCESS)
        return false;
    if (kind->identity != NULL && kind->version == VERSION_1_3)
        wolfSSL_CTX_set_psk_client_tls13_callback(client->ctx, give_psk13);
    else if (kind->identity != NULL)
        wolfSSL_CTX_set_psk_client_callback(client->ctx, give_psk);
    if (kind->has_renegotiation_info)
        wolfSSL_CTX_UseSecureRenegotiation(client->ctx);
    wolfSSL_CTX_SetIORecv(client->ctx, on_receive);
    wolfSSL_CTX_SetIOSend(client->ctx, on_send);
    client->ssl = wolfSSL_new(client->ctx);
    if (client->ssl == NULL)
        return false;
    wolfSSL_SetIOReadCtx(client->ssl, client);
    wolfSSL_SetIOWriteCtx(client->ssl, client);
    wolfSSL_dtls_set_using_nonblock(client->ssl, 1);
    /* The library's own count of seconds stays at 0; repeat_ms is what counts. */
    wolfSSL_dtls_set_timeout_init(client->ssl, 0);
    wolfSSL_dtls_set_mtu(client->ssl, kind->mtu_bytes != 0 ? kind->mtu_bytes : HANDSHAKE_MTU);
    int group = WOLFSSL_X25519MLKEM768;
    if (kind->is_post_quantum && wolfSSL_set_groups(client->ssl, &group, 1) != WOLFSSL_SUCCESS)
        return false;
    if (kind->has_cid && !use_cid(client->ssl, kind))
        return false;
    if (kind->wants_ticket && wolfSSL_UseSessionTicket(client->ssl) != WOLFSSL_SUCCESS)
        return false;
    if (kind->has_no_ems && wolfSSL_DisableExtendedMasterSecret(client->ssl) != WOLFSSL_SUCCESS)
        return false;
    if (kind->has_psk_ke_only && wolfSSL_no_dhe_psk(client->ssl) != 0)
        return false;
    if (kind->max_fragment != 0 &&
        wolfSSL_UseMaxFragment(client->ssl, kind->max_fragment) != WOLFSSL_SUCCESS)
        return false;
    return !kind->has_small_hello ||
           wolfSSL_UseKeyShare(client->ssl, WOLFSSL_ECC_SECP256R1) == WOLFSSL_SUCCESS;
}

struct memory_client *memory_client_new(const struct client_kind *kind, const char *keys,
                                        memory_client_send_fn send, void *context)
{
    struct memory_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    client->kind = kind;
    client->send = send;
    client->context = context;
    client->alert_received = -1;
    client->due_ms = UINT64_MAX;
    if (!make_ssl(client, keys)) {
        memory_client_free(client);
        return NULL;
    }
    return client;
}

void memory_client_free(struct memory_client *client)
{
    if (client == NULL)
        return;
    for (uint32_t i = 0; i < client->message_count; i++)
        free(client->messages[i].data);
    free(client->messages);
    wolfSSL_free(client->ssl);
    wolfSSL_CTX_free(client->ctx);
    free(client);
}

/* A client's session goes on changing with it, so it is copied. Not out of the library's cache,
 * which all clients share and which may be full. */
static struct WOLFSSL_SESSION *copy_session(struct WOLFSSL_SESSION *session)
{
    struct WOLFSSL_SESSION *copy = wolfSSL_SESSION_dup(session);
    if (copy == NULL)
        abort();
    return copy;
}

struct WOLFSSL_SESSION *memory_client_session(struct memory_client *client)
{
    uint8_t ticket[TICKET_MAX];
    if (memory_client_ticket(client, ticket, sizeof(ticket)) == 0)
        return NULL;
    struct WOLFSSL_SESSION *session = wolfSSL_get1_session(client->ssl);
    struct WOLFSSL_SESSION *copy = copy_session(session);
    wolfSSL_SESSION_free(session);
    return copy;
}

void memory_client_free_session(struct WOLFSSL_SESSION *session)
{
    wolfSSL_SESSION_free(session);
}

bool memory_client_resume(struct memory_client *client, struct WOLFSSL_SESSION *session)
{
    struct WOLFSSL_SESSION *copy = copy_session(session);
    bool is_taken = wolfSSL_set_session(client->ssl, copy) == WOLFSSL_SUCCESS;
    wolfSSL_SESSION_free(copy);
    if (client->kind->has_no_ems) /* what the session had counts otherwise */
        wolfSSL_DisableExtendedMasterSecret(client->ssl);
    return is_taken;
}

void memory_client_resume_with(struct memory_client *client, struct WOLFSSL_SESSION *session,
                               const uint8_t *ticket, size_t len)
{
    if (!memory_client_resume(client, session))
        abort();
    if (wolfSSL_set_SessionTicket(client->ssl, ticket, (word32)len) != WOLFSSL_SUCCESS)
        abort();
}

size_t memory_client_ticket(const struct memory_client *client, uint8_t *ticket, size_t room)
{
    word32 len = (word32)room;
    return wolfSSL_get_SessionTicket(client->ssl, ticket, &len) == WOLFSSL_SUCCESS ? len : 0;
}

static void keep_message(struct memory_client *client, const uint8_t *data, size_t len)
{
    if (client->message_count == client->message_capacity) {
        uint32_t capacity = client->message_capacity == 0 ? 16 : client->message_capacity * 2;
        struct client_message *grown = realloc(client->messages, capacity * sizeof(*grown));
        if (grown == NULL)
            abort();
        client->messages = grown;
        client->message_capacity = capacity;
    }
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    client->messages[client->message_count++] = (struct client_message){copy, len};
}

/* An early ACK is due after a quarter of the interval, if wolfSSL asks for one. After a DTLS 1.3
 * handshake the last flight waits for its ACK. */
static void set_timer(struct memory_client *client)
{
    client->due_ms = UINT64_MAX;
    bool waits_for_ack = client->state == CLIENT_UP && client->has_sent &&
                         wolfSSL_version(client->ssl) == DTLS1_3_VERSION;
    bool is_quick = wolfSSL_dtls13_use_quick_timeout(client->ssl) != 0;
    if (client->state == CLIENT_CONNECTING || waits_for_ack || is_quick)
        client->due_ms = client->now_ms + client->repeat_ms / (is_quick ? 4 : 1);
}

static bool wants_more(struct memory_client *client, int result)
{
    int error = wolfSSL_get_error(client->ssl, result);
    WOLFSSL_ALERT_HISTORY alerts;

    if (wolfSSL_get_alert_history(client->ssl, &alerts) == WOLFSSL_SUCCESS)
        client->alert_received = alerts.last_rx.code;
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return true;
    client->state = error == WOLFSSL_ERROR_ZERO_RETURN ? CLIENT_CLOSED : CLIENT_BROKEN;
    client->error = error;
    return false;
}

static void go_on(struct memory_client *client)
{
    static uint8_t plaintext[DATAGRAM_MAX];
    if (client->state == CLIENT_CONNECTING) {
        int result = wolfSSL_connect(client->ssl);
        if (result != WOLFSSL_SUCCESS) {
            wants_more(client, result);
            return;
        }
        client->state = CLIENT_UP;
        wolfSSL_dtls_set_mtu(client->ssl, DATAGRAM_MAX);
    }
    while (client->state == CLIENT_UP) {
        int result = wolfSSL_read(client->ssl, plaintext, sizeof(plaintext));
        if (result > 0)
            keep_message(client, plaintext, (size_t)result);
        else if (wants_more(client, result))
            break;
    }
}

void memory_client_connect(struct memory_client *client, uint64_t now_ms)
{
    client->now_ms = now_ms;
    client->repeat_ms = REPEAT_FIRST_MS;
    client->state = CLIENT_CONNECTING;
    go_on(client);
    set_timer(client);
}

/* In a resumed handshake of DTLS 1.2 the client has the last word, and the gate repeats its flight
 * until it has heard it. This library is built not to answer by itself, see session_flight.h. */
static bool asks_for_last_flight(const struct memory_client *client, const uint8_t *data,
                                 size_t len)
{
    enum { TYPE_CHANGE_CIPHER_SPEC = 20, TYPE_HANDSHAKE = 22 };
    return client->state == CLIENT_UP && wolfSSL_version(client->ssl) == DTLS1_2_VERSION &&
           wolfSSL_session_reused(client->ssl) && len > RECORD_HEADER &&
           (data[0] == TYPE_CHANGE_CIPHER_SPEC || data[0] == TYPE_HANDSHAKE);
}

void memory_client_receive(struct memory_client *client, const uint8_t *data, size_t len,
                           uint64_t now_ms)
{
    client->now_ms = now_ms;
    if (client->is_deaf || (client->state != CLIENT_CONNECTING && client->state != CLIENT_UP))
        return;
    if (asks_for_last_flight(client, data, len))
        wolfSSL_dtls_got_timeout(client->ssl);
    bool was_up = client->state == CLIENT_UP;
    client->has_sent = false;
    client->in = data;
    client->in_len = len;
    go_on(client);
    client->in = NULL;
    if (client->has_sent)
        client->repeat_ms = REPEAT_FIRST_MS;
    if (!was_up || client->has_sent || wolfSSL_dtls13_use_quick_timeout(client->ssl) != 0)
        set_timer(client);
}

void memory_client_on_time(struct memory_client *client, uint64_t now_ms)
{
    if (now_ms < client->due_ms)
        return;
    client->due_ms = UINT64_MAX;
    if (client->is_deaf)
        return;
    client->now_ms = now_ms;
    bool was_quick = wolfSSL_dtls13_use_quick_timeout(client->ssl) != 0;
    client->has_sent = false;
    if (wolfSSL_dtls_got_timeout(client->ssl) != WOLFSSL_SUCCESS) {
        client->state = CLIENT_BROKEN;
        client->error = wolfSSL_get_error(client->ssl, WOLFSSL_FATAL_ERROR);
        return;
    }
    client->has_sent = client->has_sent || was_quick;
    uint32_t repeat_max_ms =
        client->kind->repeat_max_ms != 0 ? client->kind->repeat_max_ms : REPEAT_MAX_MS;
    if (!was_quick)
        client->repeat_ms *= 2;
    if (client->repeat_ms > repeat_max_ms)
        client->repeat_ms = repeat_max_ms;
    set_timer(client);
}

bool memory_client_send(struct memory_client *client, const void *data, size_t len)
{
    return wolfSSL_write(client->ssl, data, (int)len) == (int)len;
}

void memory_client_update_keys(struct memory_client *client, uint64_t now_ms)
{
    client->now_ms = now_ms;
    if (wolfSSL_update_keys(client->ssl) != WOLFSSL_SUCCESS)
        abort();
    client->has_sent = true;
    client->repeat_ms = REPEAT_FIRST_MS;
    set_timer(client);
}

void memory_client_close(struct memory_client *client)
{
    wolfSSL_shutdown(client->ssl);
    client->state = CLIENT_CLOSED;
    client->due_ms = UINT64_MAX;
}

size_t memory_client_seal(struct memory_client *client, int content_type, const void *plaintext,
                          size_t len, uint8_t *record, size_t room)
{
    int made = wolfSSL_version(client->ssl) == DTLS1_3_VERSION
                   ? BuildTls13Message(client->ssl, record, (int)room, plaintext, (int)len,
                                       content_type, 0, 0, 0)
                   : BuildMessage(client->ssl, record, (int)room, plaintext, (int)len, content_type,
                                  0, 0, 0, 0);
    if (made <= 0)
        abort();
    return (size_t)made;
}

struct client_message memory_client_last(const struct memory_client *client)
{
    if (client->message_count == 0)
        return (struct client_message){.len = SIZE_MAX};
    return client->messages[client->message_count - 1];
}
