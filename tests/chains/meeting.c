#include "meeting.h"

#include <wolfssl/options.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>

#include "handshake/cookie.h"
#include "wire/classify.h"

enum {
    QUEUE_MAX = 256,
    TURNS_MAX = 64,
    HANDSHAKE_MTU = 1400,
    MESSAGE_MAX = 1 << 17,
    RECORD_HEADER = 13,
    FRAGMENT_HEADER = 12,
    RECORD_HANDSHAKE = 22,
    MESSAGE_CERTIFICATE = 11,
};

static const struct addr home = {.ip = {198, 51, 100, 1}, .port = 5000, .family = AF_INET};

struct datagram {
    uint8_t *data;
    size_t len;
};

struct queue {
    struct datagram at[QUEUE_MAX];
    uint32_t count;
};

struct meeting {
    const struct generation *generation;
    const struct meeting_device *device;
    enum dtls_version version;
    struct meeting_result *result;
    struct cookie_front front;
    struct dtls *dtls;
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;
    struct queue to_gate, to_device;
    struct datagram reading; /* by the device; borrowed */
    bool is_established, is_over;
    uint8_t *message; /* the Certificate that the device sends, in DTLS 1.2 */
    size_t message_len;
};

static void put(struct queue *queue, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL || queue->count == QUEUE_MAX)
        abort();
    memcpy(copy, data, len);
    queue->at[queue->count++] = (struct datagram){copy, len};
}

static void empty(struct queue *queue)
{
    for (uint32_t i = 0; i < queue->count; i++)
        free(queue->at[i].data);
    queue->count = 0;
}

static uint32_t read24(const uint8_t *at)
{
    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

/* Keeps the parts of a Certificate message in the plain records of a datagram. */
static void look_for_certificate(struct meeting *m, const uint8_t *data, size_t len)
{
    while (len > RECORD_HEADER + FRAGMENT_HEADER) {
        size_t record = RECORD_HEADER + ((size_t)data[11] << 8 | data[12]);
        const uint8_t *fragment = data + RECORD_HEADER;
        bool is_plain = data[0] == RECORD_HANDSHAKE && data[3] == 0 && data[4] == 0;
        if (record > len)
            abort();
        if (is_plain && fragment[0] == MESSAGE_CERTIFICATE) {
            size_t at = read24(fragment + 6), size = read24(fragment + 9);
            if (at + size > MESSAGE_MAX || size > record - RECORD_HEADER - FRAGMENT_HEADER)
                abort();
            memcpy(m->message + at, fragment + FRAGMENT_HEADER, size);
            m->message_len = read24(fragment + 1);
        }
        data += record;
        len -= record;
    }
}

static int on_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct meeting *m = context;
    (void)ssl;
    if (m->version == VERSION_1_2)
        look_for_certificate(m, (const uint8_t *)buffer, (size_t)size);
    put(&m->to_gate, (const uint8_t *)buffer, (size_t)size);
    return size;
}

static int on_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct meeting *m = context;
    size_t len = m->reading.len < (size_t)size ? m->reading.len : (size_t)size;
    (void)ssl;
    if (m->reading.data == NULL)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    memcpy(buffer, m->reading.data, len);
    m->reading.data = NULL;
    return (int)len;
}

static void gate_sends(void *owner, const uint8_t *record, size_t len)
{
    struct meeting *m = owner;
    put(&m->to_device, record, len);
}

static bool open_device(struct meeting *m)
{
    const struct meeting_device *device = m->device;
    m->ctx = wolfSSL_CTX_new(m->version == VERSION_1_2 ? wolfDTLSv1_2_client_method()
                                                       : wolfDTLSv1_3_client_method());
    if (m->ctx == NULL ||
        wolfSSL_CTX_use_certificate_chain_buffer(m->ctx, device->chain, (long)device->chain_len) !=
            WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_buffer(m->ctx, device->key, (long)device->key_len,
                                          WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
        return false;
    wolfSSL_CTX_set_verify(m->ctx, WOLFSSL_VERIFY_NONE, NULL);
    wolfSSL_CTX_SetIORecv(m->ctx, on_receive);
    wolfSSL_CTX_SetIOSend(m->ctx, on_send);
    m->ssl = wolfSSL_new(m->ctx);
    if (m->ssl == NULL)
        return false;
    wolfSSL_SetIOReadCtx(m->ssl, m);
    wolfSSL_SetIOWriteCtx(m->ssl, m);
    wolfSSL_dtls_set_using_nonblock(m->ssl, 1);
    wolfSSL_dtls_set_mtu(m->ssl, HANDSHAKE_MTU);
    return true;
}

static void device_goes_on(struct meeting *m)
{
    if (wolfSSL_is_init_finished(m->ssl)) {
        char room[64];
        (void)wolfSSL_read(m->ssl, room, sizeof(room));
    } else {
        (void)wolfSSL_connect(m->ssl);
    }
}

static void gate_goes_on(struct meeting *m)
{
    enum dtls_event event = dtls_accept(m->dtls);
    m->is_established = event == DTLS_ESTABLISHED;
    m->is_over = event != DTLS_GOES_ON;
}

/* Before there is an object: by way of the cookie. */
static void to_front(struct meeting *m, const struct datagram *datagram)
{
    struct classified kind = classify(datagram->data, datagram->len, 0);
    struct cookie_result found =
        cookie_check(&m->front, &home, datagram->data, kind.usable_len, kind.has_cookie, 0);
    if (found.verdict == COOKIE_ANSWER)
        put(&m->to_device, found.reply, found.reply_len);
    if (found.verdict != COOKIE_GOOD)
        return;
    m->dtls = found.dtls;
    dtls_set_sender(m->dtls, gate_sends, m);
    gate_goes_on(m);
}

static void to_gate(struct meeting *m, const struct datagram *datagram)
{
    if (m->is_over)
        return;
    if (m->dtls == NULL) {
        to_front(m, datagram);
    } else {
        dtls_feed(m->dtls, datagram->data, datagram->len, 0);
        gate_goes_on(m);
    }
}

/* Both talk until neither has more to say. */
static void talk(struct meeting *m)
{
    (void)wolfSSL_connect(m->ssl);
    for (int turn = 0; turn < TURNS_MAX && m->to_gate.count + m->to_device.count > 0; turn++) {
        struct queue from_device = m->to_gate, from_gate = m->to_device;
        m->to_gate.count = m->to_device.count = 0;
        for (uint32_t i = 0; i < from_device.count; i++)
            to_gate(m, &from_device.at[i]);
        for (uint32_t i = 0; i < from_gate.count; i++) {
            m->reading = from_gate.at[i];
            device_goes_on(m);
        }
        empty(&from_device);
        empty(&from_gate);
    }
}

/* True if the message is the chain of the device: certificates with three bytes of length each. */
static bool has_shown_the_chain(const struct meeting *m)
{
    static const char end_mark[] = "-----END CERTIFICATE-----";
    const uint8_t *pem = m->device->chain, *end = pem + m->device->chain_len;
    size_t at = 3;
    bool ok = m->message_len > at && read24(m->message) == m->message_len - 3;
    uint8_t *der = malloc(m->device->chain_len);
    while (ok && der != NULL) {
        const uint8_t *last = memmem(pem, (size_t)(end - pem), end_mark, strlen(end_mark));
        if (last == NULL)
            break;
        last += strlen(end_mark);
        int len =
            wc_CertPemToDer(pem, (int)(last - pem), der, (int)m->device->chain_len, CERT_TYPE);
        ok = len > 0 && at + 3 + (size_t)len <= m->message_len &&
             read24(m->message + at) == (uint32_t)len &&
             memcmp(m->message + at + 3, der, (size_t)len) == 0;
        at += 3 + (size_t)(len > 0 ? len : 0);
        pem = last;
    }
    free(der);
    return ok && at == m->message_len;
}

static void break_off(struct meeting_result *result, const char *why)
{
    result->end = MEETING_BROKEN;
    snprintf(result->detail, sizeof(result->detail), "%s", why);
}

static void keep_identity(struct meeting_result *result, const struct dtls_peer *peer)
{
    for (size_t i = 0; i < peer->identity_len; i++)
        snprintf(result->identity + 2 * i, 3, "%02x", peer->identity[i]);
}

static void conclude(struct meeting *m)
{
    struct meeting_result *result = m->result;
    WOLFSSL_ALERT_HISTORY alerts;
    const char *detail = "";
    memset(&alerts, 0, sizeof(alerts));
    if (wolfSSL_get_alert_history(m->ssl, &alerts) == WOLFSSL_SUCCESS &&
        alerts.last_rx.level == alert_fatal)
        result->alert = alerts.last_rx.code;
    if (m->dtls == NULL || (!m->is_established && !m->is_over)) {
        char why[MEETING_TEXT_MAX];
        int error = wolfSSL_get_error(m->ssl, WOLFSSL_FATAL_ERROR);
        snprintf(why, sizeof(why), "the device fell silent: %s",
                 wolfSSL_ERR_reason_error_string((unsigned long)error));
        break_off(result, why);
        return;
    }
    if (m->version == VERSION_1_2 && !has_shown_the_chain(m)) {
        break_off(result, "the device's library has shown another chain");
        return;
    }
    if (m->is_established && m->dtls->peer->is_certificate_good) {
        result->end = MEETING_ACCEPTED;
        keep_identity(result, m->dtls->peer);
        return;
    }
    result->end = MEETING_REFUSED;
    result->reason = dtls_failure(m->dtls, &detail);
    snprintf(result->detail, sizeof(result->detail), "%s", detail);
}

void meeting_hold(const struct generation *generation, const struct meeting_device *device,
                  enum dtls_version version, struct meeting_result *result)
{
    struct meeting *m = calloc(1, sizeof(*m));
    *result = (struct meeting_result){.alert = -1};
    if (m == NULL || (m->message = malloc(MESSAGE_MAX)) == NULL)
        abort();
    m->generation = generation;
    m->device = device;
    m->version = version;
    m->result = result;
    cookie_init(&m->front, &generation->listeners[0], generation->cookie_master);
    if (open_device(m)) {
        talk(m);
        conclude(m);
    } else {
        break_off(result, "the device's library does not take the certificate or its key");
    }
    wolfSSL_free(m->ssl);
    wolfSSL_CTX_free(m->ctx);
    dtls_free(m->dtls);
    cookie_deinit(&m->front);
    empty(&m->to_gate);
    empty(&m->to_device);
    free(m->message);
    free(m);
}
