/* Captures a session of a foreign client with its keys, for record vectors: a DTLS server that
 * answers every datagram with its own bytes, and prints all that it knows.
 *
 *   capture PORT VERSION SUITE CID_BYTES DIRECTORY
 *
 * VERSION is 12 or 13, SUITE a name of wolfSSL's, DIRECTORY has server.pem and server.key. The PSK
 * is the text "0123456789abcdef" for every identity. Lines on stdout: `client HEX` and `server HEX`
 * for each datagram, `cid OF-CLIENT OF-SERVER` in hex or `-`, `secret` (1.3) or `keys` (1.2), each
 * for the client's direction and the server's, then `end`. To build it, behind `make`:
 *
 *   gcc -D_GNU_SOURCE -I PREFIX/include tests/vectors/capture.c PREFIX/lib/libwolfssl.a -lm
 *
 * with the PREFIX that scripts/fetch-wolfssl prints. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

static int fd;
static struct sockaddr_in peer;
static bool has_peer;

static void print_hex(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
    if (len == 0)
        printf("-");
}

static void print_line(const char *what, const void *data, size_t len)
{
    printf("%s ", what);
    print_hex(data, len);
    printf("\n");
}

static int on_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    struct pollfd in = {.fd = fd, .events = POLLIN};
    (void)context;
    if (poll(&in, 1, 2000) <= 0) {
        wolfSSL_dtls_got_timeout(ssl);
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    ssize_t len = recvfrom(fd, buffer, (size_t)size, 0, (struct sockaddr *)&from, &from_len);
    if (len <= 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    peer = from;
    has_peer = true;
    print_line("client", buffer, (size_t)len);
    return (int)len;
}

static int on_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    (void)context;
    print_line("server", buffer, (size_t)size);
    if (has_peer)
        sendto(fd, buffer, (size_t)size, 0, (struct sockaddr *)&peer, sizeof(peer));
    return size;
}

static unsigned find_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned key_max)
{
    (void)ssl;
    (void)identity;
    (void)key_max;
    memcpy(key, "0123456789abcdef", 16);
    return 16;
}

static void print_keys(const char *direction, const unsigned char *key, const unsigned char *iv)
{
    printf("keys %s ", direction);
    print_hex(key, 32);
    printf(" ");
    print_hex(iv, 12);
    printf("\n");
}

static void print_session(WOLFSSL *ssl)
{
    unsigned char *of_client = NULL, *of_server = NULL;
    unsigned client_len = 0, server_len = 0;
    if (wolfSSL_dtls_cid_is_enabled(ssl)) {
        wolfSSL_dtls_cid_get_rx_size(ssl, &server_len);
        wolfSSL_dtls_cid_get_tx_size(ssl, &client_len);
        if (server_len != 0)
            wolfSSL_dtls_cid_get0_rx(ssl, &of_server);
        if (client_len != 0)
            wolfSSL_dtls_cid_get0_tx(ssl, &of_client);
    }
    printf("cid ");
    print_hex(of_client, client_len);
    printf(" ");
    print_hex(of_server, server_len);
    printf("\nsuite %s\n", wolfSSL_get_cipher(ssl));
    WOLFSSL_DTLS_TAKEN taken;
    if (wolfSSL_dtls_take_over(ssl, &taken) != WOLFSSL_SUCCESS)
        exit(1);
    if (taken.is_1_3) {
        print_line("secret client", taken.read_secret, sizeof(taken.read_secret));
        print_line("secret server", taken.write_secret, sizeof(taken.write_secret));
        return;
    }
    print_keys("client", taken.read_key, taken.read_iv);
    print_keys("server", taken.write_key, taken.write_iv);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    bool is_1_3 = strcmp(argv[2], "13") == 0;
    char path[512], plaintext[16384];
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    wolfSSL_Init();
    WOLFSSL_CTX *ctx =
        wolfSSL_CTX_new(is_1_3 ? wolfDTLSv1_3_server_method() : wolfDTLSv1_2_server_method());
    snprintf(path, sizeof(path), "%s/server.pem", argv[5]);
    if (wolfSSL_CTX_use_certificate_chain_file(ctx, path) != WOLFSSL_SUCCESS)
        return 1;
    snprintf(path, sizeof(path), "%s/server.key", argv[5]);
    if (wolfSSL_CTX_use_PrivateKey_file(ctx, path, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_cipher_list(ctx, argv[3]) != WOLFSSL_SUCCESS)
        return 1;
    wolfSSL_CTX_set_psk_server_callback(ctx, find_psk);
    wolfSSL_CTX_SetIORecv(ctx, on_receive);
    wolfSSL_CTX_SetIOSend(ctx, on_send);
    WOLFSSL *ssl = wolfSSL_new(ctx);
    unsigned cid_len = (unsigned)atoi(argv[4]);
    unsigned char cid[32];
    for (unsigned i = 0; i < sizeof(cid); i++)
        cid[i] = (unsigned char)(0xc0 + i);
    if (cid_len != 0 && (wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS ||
                         wolfSSL_dtls_cid_set(ssl, cid, cid_len) != WOLFSSL_SUCCESS))
        return 1;
    if (is_1_3)
        wolfSSL_dtls13_allow_ch_frag(ssl, 1);
    wolfSSL_dtls_set_using_nonblock(ssl, 1);
    puts("ready");
    int result = 0;
    for (int tries = 0; tries < 20 && (result = wolfSSL_accept(ssl)) != WOLFSSL_SUCCESS; tries++) {
        int error = wolfSSL_get_error(ssl, result);
        if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE) {
            printf("failed %d\n", error);
            return 1;
        }
    }
    if (result != WOLFSSL_SUCCESS)
        return 1;
    print_session(ssl);
    for (int turns = 0; turns < 6; turns++) {
        result = wolfSSL_read(ssl, plaintext, sizeof(plaintext));
        if (result > 0)
            wolfSSL_write(ssl, plaintext, result);
        else if (wolfSSL_get_error(ssl, result) != WOLFSSL_ERROR_WANT_READ)
            break;
    }
    wolfSSL_shutdown(ssl);
    puts("end");
    return 0;
}
