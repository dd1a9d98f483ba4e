#include "device.h"

#include "saved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

struct suite {
    const char *name;
    const char *wolfssl_name;
    bool is_1_3;
    bool uses_psk;
};

static const struct suite suites[] = {
    {"psk-ccm8", "PSK-AES128-CCM-8", false, true},
    {"ecdhe-gcm", "ECDHE-ECDSA-AES128-GCM-SHA256", false, false},
    {"tls13-gcm", "TLS13-AES128-GCM-SHA256", true, false},
    /* For what a session takes of memory. A key of 1.3 that is bound to no hash is for those with
     * SHA-256 (RFC 8446 section 4.2.11), so AES-256 takes certificates. */
    {"psk-ccm8-256", "PSK-AES256-CCM-8", false, true},
    {"psk-chacha20", "PSK-CHACHA20-POLY1305", false, true},
    {"tls13-psk-gcm", "TLS13-AES128-GCM-SHA256", true, true},
    {"tls13-psk-chacha20", "TLS13-CHACHA20-POLY1305-SHA256", true, true},
    {"tls13-gcm-256", "TLS13-AES256-GCM-SHA384", true, false},
};

static const struct suite *find_suite(const char *name)
{
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        if (strcmp(suites[i].name, name) == 0) {
            return &suites[i];
        }
    }
    return NULL;
}

static void print_suites(const char *unknown)
{
    fprintf(stderr, "load: unknown suite %s; known: plain", unknown);
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        fprintf(stderr, ", %s", suites[i].name);
    }
    fputc('\n', stderr);
}

static int on_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct device *device = context;
    if (!device->in) {
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    size_t n = device->in_bytes < (size_t)size ? device->in_bytes : (size_t)size;
    memcpy(buffer, device->in, n);
    device->in = NULL;
    return (int)n;
}

static int on_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct device *device = context;
    device->group->send(device, buffer, (size_t)size);
    return size;
}

static unsigned int on_psk(WOLFSSL *ssl, const char *hint, char *identity,
                           unsigned int identity_size, unsigned char *key, unsigned int key_size)
{
    (void)hint;
    const struct device *device = wolfSSL_get_psk_callback_ctx(ssl);
    const struct device_group *group = device->group;
    if (group->psk_bytes > key_size) {
        return 0;
    }
    /* 24 bytes, as long as what LwM2M devices are named. */
    snprintf(identity, identity_size, "bench-%018u", device->number);
    memcpy(key, group->psk, group->psk_bytes);
    return (unsigned int)group->psk_bytes;
}

/* In 1.3 a key is for one suite, which the library takes for AES128-GCM if it is not told. */
static unsigned int on_psk_13(WOLFSSL *ssl, const char *hint, char *identity,
                              unsigned int identity_size, unsigned char *key, unsigned int key_size,
                              const char **suite_name)
{
    const struct device *device = wolfSSL_get_psk_callback_ctx(ssl);
    *suite_name = device->group->suite_name;
    return on_psk(ssl, hint, identity, identity_size, key, key_size);
}

static bool parse_psk(struct device_group *group)
{
    size_t digits = group->psk_hex ? strlen(group->psk_hex) : 0;
    if (digits == 0 || digits % 2 != 0 || digits / 2 > sizeof group->psk) {
        return false;
    }
    for (size_t i = 0; i < digits / 2; i++) {
        char pair[3] = {group->psk_hex[2 * i], group->psk_hex[2 * i + 1], 0};
        char *end;
        group->psk[i] = (uint8_t)strtoul(pair, &end, 16);
        if (end != pair + 2) {
            return false;
        }
    }
    group->psk_bytes = digits / 2;
    return true;
}

static bool load_files(const struct device_group *group)
{
    if (group->ca &&
        wolfSSL_CTX_load_verify_locations(group->ctx, group->ca, NULL) != WOLFSSL_SUCCESS) {
        fprintf(stderr, "load: cannot use CA certificate %s\n", group->ca);
        return false;
    }
    if (!group->ca) {
        wolfSSL_CTX_set_verify(group->ctx, WOLFSSL_VERIFY_NONE, NULL);
    }
    if (!group->certificate) {
        return true;
    }
    if (wolfSSL_CTX_use_certificate_chain_file(group->ctx, group->certificate) != WOLFSSL_SUCCESS ||
        !group->private_key ||
        wolfSSL_CTX_use_PrivateKey_file(group->ctx, group->private_key, WOLFSSL_FILETYPE_PEM) !=
            WOLFSSL_SUCCESS) {
        fprintf(stderr, "load: cannot use certificate %s with its key\n", group->certificate);
        return false;
    }
    return true;
}

/* An export names the peer; ours has none. */
static int get_no_peer(WOLFSSL *ssl, char *ip, int *ip_bytes, unsigned short *port, int *family)
{
    (void)ssl;
    (void)ip;
    *ip_bytes = *family = *port = 0;
    return WOLFSSL_SUCCESS;
}

static int set_no_peer(WOLFSSL *ssl, char *ip, int ip_bytes, unsigned short port, int family)
{
    (void)ssl, (void)ip, (void)ip_bytes, (void)port, (void)family;
    return WOLFSSL_SUCCESS;
}

static bool prepare_saving(struct device_group *group, const struct suite *suite)
{
    if (!group->is_saving) {
        return true;
    }
    if (suite->is_1_3) {
        fprintf(stderr, "load: --save: the library exports sessions of DTLS 1.2 only\n");
        return false;
    }
    wolfSSL_CTX_SetIOGetPeer(group->ctx, get_no_peer);
    wolfSSL_CTX_SetIOSetPeer(group->ctx, set_no_peer);
    group->saved = calloc(group->devices, sizeof *group->saved);
    if (!group->saved) {
        perror("load: calloc");
    }
    return group->saved;
}

bool device_group_init(struct device_group *group)
{
    if (strcmp(group->suite, "plain") == 0) {
        return true;
    }
    const struct suite *suite = find_suite(group->suite);
    if (!suite) {
        print_suites(group->suite);
        return false;
    }
    if (suite->uses_psk && !parse_psk(group)) {
        fprintf(stderr, "load: --psk needs 1 to 64 bytes in hex\n");
        return false;
    }
    wolfSSL_Init();
    group->suite_name = suite->wolfssl_name;
    group->ctx = wolfSSL_CTX_new(suite->is_1_3 ? wolfDTLSv1_3_client_method()
                                               : wolfDTLSv1_2_client_method());
    /* A device with one curve: no guess at a key share that the server refuses. */
    int groups[] = {WOLFSSL_ECC_SECP256R1};
    if (!group->ctx ||
        wolfSSL_CTX_set_cipher_list(group->ctx, suite->wolfssl_name) != WOLFSSL_SUCCESS ||
        (!suite->uses_psk && wolfSSL_CTX_set_groups(group->ctx, groups, 1) != WOLFSSL_SUCCESS)) {
        fprintf(stderr, "load: this wolfSSL has no %s\n", suite->wolfssl_name);
        return false;
    }
    wolfSSL_CTX_SetIORecv(group->ctx, on_receive);
    wolfSSL_CTX_SetIOSend(group->ctx, on_send);
    if (!prepare_saving(group, suite)) {
        return false;
    }
    if (suite->uses_psk) {
        wolfSSL_CTX_set_psk_client_callback(group->ctx, on_psk);
        if (suite->is_1_3) {
            wolfSSL_CTX_set_psk_client_tls13_callback(group->ctx, on_psk_13);
        }
        return true;
    }
    return load_files(group);
}

void device_group_deinit(struct device_group *group)
{
    wolfSSL_free(group->puppet);
    group->puppet = NULL;
    free(group->saved);
    group->saved = NULL;
    if (group->ctx) {
        wolfSSL_CTX_free(group->ctx);
        wolfSSL_Cleanup();
    }
    group->ctx = NULL;
}

static enum device_result fail(const struct device *device, const char *what, int error)
{
    fprintf(stderr, "load: device %u: %s: %s (%d)\n", device->number, what,
            wolfSSL_ERR_reason_error_string((unsigned long)error), error);
    return DEVICE_FAILED;
}

bool device_open(struct device *device)
{
    if (!device->group->ctx) {
        return true;
    }
    device->ssl = wolfSSL_new(device->group->ctx);
    if (!device->ssl) {
        fprintf(stderr, "load: device %u: wolfSSL_new failed\n", device->number);
        return false;
    }
    wolfSSL_SetIOReadCtx(device->ssl, device);
    wolfSSL_SetIOWriteCtx(device->ssl, device);
    wolfSSL_set_psk_callback_ctx(device->ssl, device);
    wolfSSL_dtls_set_using_nonblock(device->ssl, 1);
    return !device->group->offers_cid || wolfSSL_dtls_cid_use(device->ssl) == WOLFSSL_SUCCESS;
}

/* --- saved devices --- */

/* The device has its session: only the export is kept of it. The first becomes the puppet. */
static bool save_first_time(struct device *device)
{
    struct device_group *group = device->group;
    if (!saved_export(&group->saved[device->number], device->ssl)) {
        return false;
    }
    if (group->puppet) {
        wolfSSL_free(device->ssl);
    } else {
        group->puppet = device->ssl;
    }
    device->ssl = NULL;
    return true;
}

static bool is_saved(const struct device *device)
{
    return device->group->saved && device->group->saved[device->number].state_bytes > 0;
}

/* From here to let_go() the device has an object, its own or the puppet. */
static bool take_up(struct device *device)
{
    struct device_group *group = device->group;
    if (!is_saved(device)) {
        return true;
    }
    if (!saved_import(&group->saved[device->number], group->puppet)) {
        return false;
    }
    wolfSSL_SetIOReadCtx(group->puppet, device);
    wolfSSL_SetIOWriteCtx(group->puppet, device);
    device->ssl = group->puppet;
    return true;
}

static bool let_go(struct device *device)
{
    if (!is_saved(device)) {
        return true;
    }
    bool ok = saved_export(&device->group->saved[device->number], device->ssl);
    device->ssl = NULL;
    return ok;
}

/* --- handshake --- */

static void offer(struct device *device, const void *data, size_t size)
{
    device->in = data;
    device->in_bytes = size;
}

enum device_result device_connect(struct device *device, const void *data, size_t size)
{
    if (!device->group->ctx) {
        return DEVICE_DONE;
    }
    offer(device, data, size);
    int result = wolfSSL_connect(device->ssl);
    device->in = NULL;
    if (result == WOLFSSL_SUCCESS) {
        return !device->group->is_saving || save_first_time(device) ? DEVICE_DONE : DEVICE_FAILED;
    }
    int error = wolfSSL_get_error(device->ssl, result);
    return error == WOLFSSL_ERROR_WANT_READ ? DEVICE_WAIT : fail(device, "handshake", error);
}

bool device_retransmit(struct device *device)
{
    return wolfSSL_dtls_got_timeout(device->ssl) == WOLFSSL_SUCCESS;
}

uint64_t device_retransmit_ms(struct device *device)
{
    return device->ssl ? 1000 * (uint64_t)wolfSSL_dtls_get_current_timeout(device->ssl) : 1000;
}

bool device_send(struct device *device, const void *data, size_t size)
{
    if (!device->group->ctx) {
        device->group->send(device, data, size);
        return true;
    }
    if (!take_up(device)) {
        return false;
    }
    int result = wolfSSL_write(device->ssl, data, (int)size);
    if (result != (int)size) {
        fail(device, "write", wolfSSL_get_error(device->ssl, result));
    }
    return let_go(device) && result == (int)size;
}

enum device_result device_read(struct device *device, const void *data, size_t data_bytes,
                               void *buffer, size_t *size)
{
    if (!device->group->ctx) {
        size_t n = data_bytes < *size ? data_bytes : *size;
        memcpy(buffer, data, n);
        *size = n;
        return DEVICE_DONE;
    }
    if (!take_up(device)) {
        return DEVICE_FAILED;
    }
    offer(device, data, data_bytes);
    int result = wolfSSL_read(device->ssl, buffer, (int)*size);
    int error = result > 0 ? 0 : wolfSSL_get_error(device->ssl, result);
    device->in = NULL;
    if (!let_go(device)) {
        return DEVICE_FAILED;
    }
    if (result > 0) {
        *size = (size_t)result;
        return DEVICE_DONE;
    }
    return error == WOLFSSL_ERROR_WANT_READ ? DEVICE_WAIT : fail(device, "read", error);
}

void device_close(struct device *device)
{
    if (take_up(device) && device->ssl) {
        wolfSSL_shutdown(device->ssl);
    }
    device_forget(device);
}

void device_forget(struct device *device)
{
    if (is_saved(device)) {
        device->group->saved[device->number].state_bytes = 0;
    } else {
        wolfSSL_free(device->ssl);
    }
    device->ssl = NULL;
}
