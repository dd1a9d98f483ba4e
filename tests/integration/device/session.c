/* The DTLS session of the test device: wolfSSL as a client over one non-blocking socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

/*
 * Sends an alert with the session's own keys. The library has no public call for it: a real device
 * sends a fatal alert only after an error that no test can cause at will.
 */
int SendAlert(WOLFSSL *ssl, int severity, int type);

enum { ALERT_LEVEL_FATAL = 2 };

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static long long deadline_ms(const char *argument)
{
    return now_ms() + (*argument != '\0' ? strtoll(argument, NULL, 10) : 10000);
}

/* Waits until the socket is readable, at most until the deadline; true if it is. */
static bool wait_readable(const struct device *device, long long deadline)
{
    struct pollfd pollfd = {.fd = device->fd, .events = POLLIN};
    long long left = deadline - now_ms();

    return left > 0 && poll(&pollfd, 1, (int)left) > 0;
}

static int on_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct device *device = context;
    ssize_t length = recv(device->fd, buffer, (size_t)size, MSG_DONTWAIT);

    (void)ssl;
    /* An ICMP error (ECONNREFUSED) is no more than a lost datagram to a device. */
    return length < 0 ? WOLFSSL_CBIO_ERR_WANT_READ : (int)length;
}

static int on_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct device *device = context;

    (void)ssl;
    if (send(device->fd, buffer, (size_t)size, 0) < 0 && errno != ECONNREFUSED) {
        return WOLFSSL_CBIO_ERR_GENERAL;
    }
    return size;
}

static unsigned on_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_size,
                       unsigned char *key, unsigned key_size)
{
    const struct device *device = wolfSSL_GetIOReadCtx(ssl);
    const struct options *options = device->options;

    (void)hint;
    if (options->key_bytes > key_size) {
        return 0;
    }
    snprintf(identity, identity_size, "%s", options->identity);
    memcpy(key, options->key, options->key_bytes);
    return (unsigned)options->key_bytes;
}

/*
 * DTLS 1.3 ties a key to a suite's hash (RFC 8446 section 4.2.11); without this callback the
 * library offers the key with AES-128-GCM alone.
 */
static unsigned on_psk_13(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_size,
                          unsigned char *key, unsigned key_size, const char **suite)
{
    const struct device *device = wolfSSL_GetIOReadCtx(ssl);
    const char *ciphers = device->options->ciphers;

    *suite = ciphers != NULL ? ciphers : "TLS13-AES128-GCM-SHA256";
    return on_psk(ssl, hint, identity, identity_size, key, key_size);
}

static bool load_certificates(WOLFSSL_CTX *ctx, const struct options *options)
{
    if (options->certificate != NULL &&
        (wolfSSL_CTX_use_certificate_chain_file(ctx, options->certificate) != WOLFSSL_SUCCESS ||
         wolfSSL_CTX_use_PrivateKey_file(ctx, options->private_key, WOLFSSL_FILETYPE_PEM) !=
             WOLFSSL_SUCCESS)) {
        return false;
    }
    if (options->ca == NULL) {
        wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
        return true;
    }
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER, NULL);
    return wolfSSL_CTX_load_verify_locations(ctx, options->ca, NULL) == WOLFSSL_SUCCESS;
}

static WOLFSSL_CTX *new_context(const struct options *options)
{
    WOLFSSL_METHOD *method = options->version == VERSION_12   ? wolfDTLSv1_2_client_method()
                             : options->version == VERSION_13 ? wolfDTLSv1_3_client_method()
                                                              : wolfDTLS_client_method();
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(method);

    if (ctx == NULL) {
        return NULL;
    }
    if (options->version == VERSION_ANY) {
        wolfSSL_CTX_SetMinVersion(ctx, WOLFSSL_DTLSV1_2);
    }
    wolfSSL_CTX_SetIORecv(ctx, on_receive);
    wolfSSL_CTX_SetIOSend(ctx, on_send);
    if (options->key_bytes > 0) {
        wolfSSL_CTX_set_psk_client_callback(ctx, on_psk);
        if (options->version != VERSION_12) {
            wolfSSL_CTX_set_psk_client_tls13_callback(ctx, on_psk_13);
        }
    }
    if (!load_certificates(ctx, options) ||
        (options->ciphers != NULL &&
         wolfSSL_CTX_set_cipher_list(ctx, options->ciphers) != WOLFSSL_SUCCESS)) {
        wolfSSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

bool device_open(struct device *device, const struct options *options)
{
    memset(device, 0, sizeof *device);
    device->options = options;
    wolfSSL_Init();
    device->ctx = new_context(options);
    if (device->ctx == NULL) {
        fputs("device: certificate, key, CA or cipher list not usable\n", stderr);
        return false;
    }
    device->fd = device_socket(options, &options->local);
    return device->fd >= 0;
}

void device_close(struct device *device)
{
    wolfSSL_SESSION_free(device->kept);
    wolfSSL_free(device->ssl);
    wolfSSL_CTX_free(device->ctx);
    wolfSSL_Cleanup();
    close(device->fd);
}

/* The code of a max_fragment_length, RFC 6066 section 4: 1 is 512 bytes, each next one the double.
 */
static unsigned char fragment_code(unsigned bytes)
{
    unsigned char code = 1;

    while (bytes > 512) {
        bytes /= 2;
        code++;
    }
    return code;
}

static bool new_session(struct device *device)
{
    static int classic_groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1};
    const struct options *options = device->options;
    bool ok;

    wolfSSL_free(device->ssl);
    device->ssl = wolfSSL_new(device->ctx);
    if (device->ssl == NULL) {
        return false;
    }
    wolfSSL_SetIOReadCtx(device->ssl, device);
    wolfSSL_SetIOWriteCtx(device->ssl, device);
    wolfSSL_dtls_set_using_nonblock(device->ssl, 1);
    ok = options->mtu_bytes == 0 ||
         wolfSSL_dtls_set_mtu(device->ssl, (unsigned short)options->mtu_bytes) == WOLFSSL_SUCCESS;
    if (options->sni != NULL) {
        ok = ok && wolfSSL_UseSNI(device->ssl, WOLFSSL_SNI_HOST_NAME, options->sni,
                                  (unsigned short)strlen(options->sni)) == WOLFSSL_SUCCESS;
    }
    if (options->max_fragment_bytes > 0) {
        unsigned char code = fragment_code(options->max_fragment_bytes);

        ok = ok && wolfSSL_UseMaxFragment(device->ssl, code) == WOLFSSL_SUCCESS;
    }
    if (options->tickets) {
        ok = ok && wolfSSL_UseSessionTicket(device->ssl) == WOLFSSL_SUCCESS;
    }
    if (options->cid_use) {
        unsigned char cid[CID_MAX_BYTES];

        memcpy(cid, options->cid, options->cid_bytes);
        ok =
            ok && wolfSSL_dtls_cid_use(device->ssl) == WOLFSSL_SUCCESS &&
            wolfSSL_dtls_cid_set(device->ssl, cid, (unsigned)options->cid_bytes) == WOLFSSL_SUCCESS;
    }
    if (options->no_extended_master_secret) {
        ok = ok && wolfSSL_DisableExtendedMasterSecret(device->ssl) == WOLFSSL_SUCCESS;
    }
    if (options->classic_groups) {
        ok = ok && wolfSSL_set_groups(device->ssl, classic_groups, 2) == WOLFSSL_SUCCESS;
    }
    if (options->no_key_share) {
        ok = ok && wolfSSL_NoKeyShares(device->ssl) == WOLFSSL_SUCCESS;
    }
    return ok;
}

static void print_failure(struct device *device, int code)
{
    WOLFSSL_ALERT_HISTORY history;
    char text[WOLFSSL_MAX_ERROR_SZ];

    memset(&history, 0, sizeof history);
    wolfSSL_get_alert_history(device->ssl, &history);
    wolfSSL_ERR_error_string((unsigned long)code, text);
    printf("failed code=%d alert=%d text=%s\n", code,
           history.last_rx.level == 0 ? -1 : history.last_rx.code, text);
}

static void hex_encode(char *text, const uint8_t *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < length; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * length] = '\0';
}

static void print_hex(const char *word, const uint8_t *bytes, size_t length)
{
    static char text[2 * DATAGRAM_MAX_BYTES + 1];

    hex_encode(text, bytes, length);
    printf("%s %s\n", word, text);
}

/* cid: the one that the device's records carry, "-" if connection IDs were not agreed on. */
static void print_established(WOLFSSL *ssl)
{
    unsigned char cid[CID_MAX_BYTES];
    char text[2 * CID_MAX_BYTES + 1] = "-";
    unsigned bytes = 0;

    if (wolfSSL_dtls_cid_is_enabled(ssl) &&
        wolfSSL_dtls_cid_get_tx_size(ssl, &bytes) == WOLFSSL_SUCCESS &&
        wolfSSL_dtls_cid_get_tx(ssl, cid, sizeof cid) == WOLFSSL_SUCCESS) {
        hex_encode(text, cid, bytes);
    }
    printf("established version=%s suite=%s cid=%s\n", wolfSSL_get_version(ssl),
           wolfSSL_get_cipher_name(ssl), text);
}

/* Drives the handshake; prints "established ...", "failed ..." or "timeout". */
static void drive_handshake(struct device *device, long long deadline)
{
    for (;;) {
        int result = wolfSSL_connect(device->ssl);
        int code = result == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(device->ssl, result);
        long long timer = now_ms() + 1000LL * wolfSSL_dtls_get_current_timeout(device->ssl);

        if (result == WOLFSSL_SUCCESS) {
            print_established(device->ssl);
            return;
        }
        if (code != WOLFSSL_ERROR_WANT_READ && code != WOLFSSL_ERROR_WANT_WRITE) {
            print_failure(device, code);
            return;
        }
        if (!wait_readable(device, timer < deadline ? timer : deadline)) {
            if (now_ms() >= deadline) {
                puts("timeout");
                return;
            }
            wolfSSL_dtls_got_timeout(device->ssl);
        }
    }
}

void command_handshake(struct device *device, const char *argument)
{
    if (!new_session(device)) {
        puts("error no session object");
        return;
    }
    drive_handshake(device, deadline_ms(argument));
}

void command_keep(struct device *device, const char *argument)
{
    uint8_t ticket[1024];
    word32 bytes = sizeof ticket;

    (void)argument;
    if (device->ssl == NULL) {
        puts("error no session");
        return;
    }
    if (wolfSSL_get_SessionTicket(device->ssl, ticket, &bytes) != WOLFSSL_SUCCESS) {
        bytes = 0;
    }
    wolfSSL_SESSION_free(device->kept);
    /* A copy: the session itself goes on changing. */
    device->kept = bytes > 0 ? wolfSSL_SESSION_dup(wolfSSL_get_session(device->ssl)) : NULL;
    printf("kept %u\n", bytes);
}

void command_resume(struct device *device, const char *argument)
{
    WOLFSSL_SESSION *copy = device->kept != NULL ? wolfSSL_SESSION_dup(device->kept) : NULL;

    if (copy == NULL || !new_session(device) ||
        wolfSSL_set_session(device->ssl, copy) != WOLFSSL_SUCCESS) {
        puts("error nothing to resume");
    } else {
        drive_handshake(device, deadline_ms(argument));
    }
    wolfSSL_SESSION_free(copy);
}

void command_continue(struct device *device, const char *argument)
{
    if (device->ssl == NULL) {
        puts("error no session");
        return;
    }
    drive_handshake(device, deadline_ms(argument));
}

/* One record; the bytes in it, or negative and what is wrong printed. */
static int send_record(struct device *device, const uint8_t *bytes, size_t length)
{
    int result = wolfSSL_write(device->ssl, bytes, (int)length);

    if (result < 0) {
        print_failure(device, wolfSSL_get_error(device->ssl, result));
    }
    return result;
}

void command_send(struct device *device, const char *argument)
{
    static uint8_t bytes[DATAGRAM_MAX_BYTES];
    long length = hex_decode(argument, bytes, sizeof bytes);
    int sent;

    if (device->ssl == NULL || length < 0) {
        puts(length < 0 ? "error bad hex" : "error no session");
        return;
    }
    sent = send_record(device, bytes, (size_t)length);
    if (sent >= 0) {
        printf("sent %d\n", sent);
    }
}

void command_burst(struct device *device, const char *argument)
{
    uint8_t bytes[512];
    char *hex;
    unsigned long count = strtoul(argument, &hex, 10);
    long length =
        hex_decode(hex + strspn(hex, " "), bytes, sizeof bytes - sizeof "18446744073709551615");

    if (device->ssl == NULL || length < 0) {
        puts(length < 0 ? "error bad hex" : "error no session");
        return;
    }
    for (unsigned long i = 0; i < count; i++) {
        int digits = snprintf((char *)bytes + length, sizeof bytes - (size_t)length, "%lu", i);

        if (send_record(device, bytes, (size_t)length + (size_t)digits) < 0) {
            return;
        }
    }
    printf("sent %lu\n", count);
}

void command_update(struct device *device, const char *argument)
{
    (void)argument;
    if (device->ssl == NULL) {
        puts("error no session");
        return;
    }
    puts(wolfSSL_update_keys(device->ssl) == WOLFSSL_SUCCESS ? "updated" : "error not possible");
}

void command_recv(struct device *device, const char *argument)
{
    static uint8_t bytes[DATAGRAM_MAX_BYTES];
    long long deadline = deadline_ms(argument);

    if (device->ssl == NULL) {
        puts("error no session");
        return;
    }
    for (;;) {
        int result = wolfSSL_read(device->ssl, bytes, sizeof bytes);
        int code = result > 0 ? 0 : wolfSSL_get_error(device->ssl, result);

        if (result > 0) {
            print_hex("data", bytes, (size_t)result);
            return;
        }
        if (code == WOLFSSL_ERROR_ZERO_RETURN) {
            puts("closed");
            return;
        }
        if (code != WOLFSSL_ERROR_WANT_READ && code != WOLFSSL_ERROR_WANT_WRITE) {
            print_failure(device, code);
            return;
        }
        if (!wait_readable(device, deadline)) {
            puts("timeout");
            return;
        }
    }
}

void command_close(struct device *device, const char *argument)
{
    (void)argument;
    if (device->ssl == NULL) {
        puts("error no session");
        return;
    }
    wolfSSL_shutdown(device->ssl);
    puts("closing");
}

void command_alert(struct device *device, const char *argument)
{
    if (device->ssl == NULL) {
        puts("error no session");
        return;
    }
    printf("alerted %d\n",
           SendAlert(device->ssl, ALERT_LEVEL_FATAL, (int)strtol(argument, NULL, 10)));
}

void command_forget(struct device *device, const char *argument)
{
    (void)argument;
    wolfSSL_free(device->ssl);
    device->ssl = NULL;
    puts("forgotten");
}

void command_raw(struct device *device, const char *argument)
{
    static uint8_t bytes[DATAGRAM_MAX_BYTES];
    long length = hex_decode(argument, bytes, sizeof bytes);

    if (length < 0) {
        puts("error bad hex");
        return;
    }
    printf("sent %zd\n", send(device->fd, bytes, (size_t)length, 0));
}

void command_rawrecv(struct device *device, const char *argument)
{
    static uint8_t bytes[DATAGRAM_MAX_BYTES];
    long long deadline = deadline_ms(argument);
    ssize_t length;

    while (wait_readable(device, deadline)) {
        length = recv(device->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (length >= 0) {
            print_hex("data", bytes, (size_t)length);
            return;
        }
    }
    puts("timeout");
}
