/* What wolfSSL alone needs for the server's side of a handshake, in memory: no socket, no table, no
 * timer. With its cookie, from the new object on. The client's side is a device of the load
 * generator and is not timed. Prints one JSON object. */
#include "device.h"
#include "rounds.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static const char usage[] =
    "usage: library --suite NAME [options]\n"
    "  --psk HEX                for psk-ccm8\n"
    "  --server-cert FILE --server-key FILE --ca FILE --cert FILE --key FILE   for the others\n"
    "  --cid BYTES     length of the connection ID that the server gives; 0: none (8)\n"
    "  --rounds N      of which the median is told (40)\n";

enum { QUEUE_SLOTS = 16, DATAGRAM_BYTES = 2048, HANDSHAKES_PER_ROUND = 25, CID_MAX = 32 };

struct queue {
    unsigned count;
    size_t bytes[QUEUE_SLOTS];
    uint8_t data[QUEUE_SLOTS][DATAGRAM_BYTES];
};

struct bench {
    struct device_group group;
    struct device device;
    WOLFSSL_CTX *ctx;
    WOLFSSL *server;
    const char *certificate, *private_key;
    unsigned cid_bytes;
    unsigned rounds;
    struct queue to_server, to_client;
    const uint8_t *in; /* the datagram that the server reads; NULL: none */
    size_t in_bytes;
    uint64_t begin_ns, server_ns;
    uint64_t clock_ns; /* from one reading of the clock to the next */
};

static struct bench bench; /* too large for the stack */

static void fail(const char *what, int error)
{
    fprintf(stderr, "library: %s: %s (%d)\n", what,
            wolfSSL_ERR_reason_error_string((unsigned long)error), error);
    exit(1);
}

/* The server's part begins and ends. Reading the clock is a system call: what it costs is known and
 * taken away. */
static void begin(struct bench *b)
{
    b->begin_ns = rounds_cpu_ns();
}

static void end(struct bench *b)
{
    uint64_t passed_ns = rounds_cpu_ns() - b->begin_ns;
    b->server_ns += passed_ns > b->clock_ns ? passed_ns - b->clock_ns : 0;
}

/* What reading the clock costs. */
static double clock_ns(void *context)
{
    (void)context;
    uint64_t before_ns = rounds_cpu_ns();
    return (double)(rounds_cpu_ns() - before_ns);
}

static void queue_add(struct queue *queue, const void *data, size_t size)
{
    if (queue->count == QUEUE_SLOTS || size > DATAGRAM_BYTES) {
        fail("too many or too long datagrams", 0);
    }
    memcpy(queue->data[queue->count], data, size);
    queue->bytes[queue->count++] = size;
}

static void on_client_send(struct device *device, const void *data, size_t size)
{
    (void)device;
    queue_add(&bench.to_server, data, size);
}

static int on_server_send(WOLFSSL *ssl, char *data, int size, void *context)
{
    (void)ssl;
    (void)context;
    queue_add(&bench.to_client, data, (size_t)size);
    return size;
}

static int on_server_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    (void)context;
    if (!bench.in) {
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    size_t n = bench.in_bytes < (size_t)size ? bench.in_bytes : (size_t)size;
    memcpy(buffer, bench.in, n);
    bench.in = NULL;
    return (int)n;
}

static unsigned int on_psk(WOLFSSL *ssl, const char *identity, unsigned char *key,
                           unsigned int key_size)
{
    (void)ssl;
    if (!identity || bench.group.psk_bytes > key_size) {
        return 0;
    }
    memcpy(key, bench.group.psk, bench.group.psk_bytes);
    return (unsigned int)bench.group.psk_bytes;
}

/* As the gate's: both versions, client certificates required, nothing kept for a resumption. */
static void make_context(struct bench *b)
{
    b->ctx = wolfSSL_CTX_new(wolfDTLS_server_method());
    if (!b->ctx || wolfSSL_CTX_SetMinVersion(b->ctx, WOLFSSL_DTLSV1_2) != WOLFSSL_SUCCESS) {
        fail("a context", 0);
    }
    wolfSSL_CTX_SetIORecv(b->ctx, on_server_receive);
    wolfSSL_CTX_SetIOSend(b->ctx, on_server_send);
    wolfSSL_CTX_set_session_cache_mode(b->ctx, WOLFSSL_SESS_CACHE_OFF);
    if (b->group.psk_bytes > 0) {
        wolfSSL_CTX_set_psk_server_callback(b->ctx, on_psk);
        return;
    }
    if (!b->certificate || !b->private_key || !b->group.ca ||
        wolfSSL_CTX_use_certificate_chain_file(b->ctx, b->certificate) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_file(b->ctx, b->private_key, WOLFSSL_FILETYPE_PEM) !=
            WOLFSSL_SUCCESS ||
        wolfSSL_CTX_load_verify_locations(b->ctx, b->group.ca, NULL) != WOLFSSL_SUCCESS) {
        fail("cannot use the server's certificate, its key or the CA's certificate", 0);
    }
    wolfSSL_CTX_set_verify(b->ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void make_server(struct bench *b)
{
    static uint8_t secret[32] = {1}, cid[CID_MAX] = {2};
    struct sockaddr_in peer = {.sin_family = AF_INET}; /* the cookie is bound to it */
    b->server = wolfSSL_new(b->ctx);
    if (!b->server || wolfSSL_DTLS_SetCookieSecret(b->server, secret, sizeof secret) != 0 ||
        wolfSSL_send_hrr_cookie(b->server, secret, sizeof secret) != WOLFSSL_SUCCESS ||
        wolfSSL_dtls_set_peer(b->server, &peer, sizeof peer) != WOLFSSL_SUCCESS) {
        fail("a server", 0);
    }
    wolfSSL_dtls_set_using_nonblock(b->server, 1);
    if (b->cid_bytes > 0 &&
        (wolfSSL_dtls_cid_use(b->server) != WOLFSSL_SUCCESS ||
         wolfSSL_dtls_cid_set(b->server, cid, b->cid_bytes) != WOLFSSL_SUCCESS)) {
        fail("a connection ID", 0);
    }
}

/* Gives the server what the device has sent. True once it is done. */
static bool step_server(struct bench *b)
{
    bool is_done = false;
    for (unsigned i = 0; i < b->to_server.count; i++) {
        b->in = b->to_server.data[i];
        b->in_bytes = b->to_server.bytes[i];
        begin(b);
        int result = wolfSSL_accept(b->server);
        end(b);
        int error = result == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(b->server, result);
        if (error != 0 && error != WOLFSSL_ERROR_WANT_READ) {
            fail("handshake", error);
        }
        is_done = is_done || error == 0;
    }
    b->to_server.count = 0;
    return is_done;
}

static bool step_client(struct bench *b, bool is_done)
{
    for (unsigned i = 0; i < b->to_client.count; i++) {
        uint8_t ignored[DATAGRAM_BYTES];
        size_t size = sizeof ignored;
        enum device_result result =
            is_done ? device_read(&b->device, b->to_client.data[i], b->to_client.bytes[i], ignored,
                                  &size)
                    : device_connect(&b->device, b->to_client.data[i], b->to_client.bytes[i]);
        if (result == DEVICE_FAILED) {
            exit(1); /* it has said why */
        }
        is_done = is_done || result == DEVICE_DONE;
    }
    b->to_client.count = 0;
    return is_done;
}

static void shake_hands(struct bench *b)
{
    enum { MAX_FLIGHTS = 10 };
    bool client_done = false, server_done = false;
    if (!device_open(&b->device) || device_connect(&b->device, NULL, 0) == DEVICE_FAILED) {
        exit(1);
    }
    begin(b);
    make_server(b);
    end(b);
    for (int i = 0; i < MAX_FLIGHTS && !(client_done && server_done); i++) {
        server_done = step_server(b) || server_done;
        client_done = step_client(b, client_done) || client_done;
    }
    if (!client_done || !server_done) {
        fail("the handshake does not end", 0);
    }
    step_client(b, true); /* a ticket */
    b->to_server.count = 0;
}

static void forget(struct bench *b)
{
    wolfSSL_free(b->server);
    b->server = NULL;
    device_forget(&b->device);
    b->to_client.count = b->to_server.count = 0;
}

static double handshake_us(void *context)
{
    struct bench *b = context;
    b->server_ns = 0;
    for (int i = 0; i < HANDSHAKES_PER_ROUND; i++) {
        shake_hands(b);
        forget(b);
    }
    return (double)b->server_ns / 1e3 / HANDSHAKES_PER_ROUND;
}

static bool set_option(struct bench *b, int option, const char *value)
{
    switch (option) {
    case 's': b->group.suite = value; return true;
    case 'k': b->group.psk_hex = value; return true;
    case 'a': b->group.ca = value; return true;
    case 'c': b->group.certificate = value; return true;
    case 'y': b->group.private_key = value; return true;
    case 'C': b->certificate = value; return true;
    case 'Y': b->private_key = value; return true;
    case 'd':
        b->cid_bytes = (unsigned)strtoul(value, NULL, 10);
        b->group.offers_cid = b->cid_bytes > 0;
        return b->cid_bytes <= CID_MAX;
    case 'r': b->rounds = (unsigned)strtoul(value, NULL, 10); return b->rounds >= 1;
    default: return false;
    }
}

static bool parse_options(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        {"suite", required_argument, NULL, 's'},      {"psk", required_argument, NULL, 'k'},
        {"ca", required_argument, NULL, 'a'},         {"cert", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'y'},        {"server-cert", required_argument, NULL, 'C'},
        {"server-key", required_argument, NULL, 'Y'}, {"cid", required_argument, NULL, 'd'},
        {"rounds", required_argument, NULL, 'r'},     {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!set_option(b, option, optarg)) {
            return false;
        }
    }
    return b->group.suite && optind == argc;
}

int main(int argc, char **argv)
{
    struct bench *b = &bench;
    b->group.send = on_client_send;
    b->group.offers_cid = true;
    b->group.devices = 1;
    b->device.group = &b->group;
    b->cid_bytes = 8;
    b->rounds = 40;
    if (!parse_options(b, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (!device_group_init(&b->group) || !b->group.ctx) {
        return 2;
    }
    make_context(b);
    b->clock_ns = (uint64_t)rounds_median(1001, clock_ns, NULL);
    printf("{\"suite\": \"%s\", \"handshake_us\": %.2f}\n", b->group.suite,
           rounds_median(b->rounds, handshake_us, b));
    wolfSSL_CTX_free(b->ctx);
    device_group_deinit(&b->group);
    return 0;
}
