#include "gate/raw_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

enum {
    RECORD_HEADER = 13,
    HANDSHAKE_HEADER = 12,
    BODY_AT = RECORD_HEADER + HANDSHAKE_HEADER,
    TYPE_HANDSHAKE = 22,
    CLIENT_HELLO = 1,
    SERVER_HELLO = 2,
    HELLO_VERIFY_REQUEST = 3,
    COOKIE = 44,
    SUPPORTED_VERSIONS = 43,
    FIRST_DEVICE = 50, /* addresses that gate_add does not use */
};

void raw_put(struct raw_bytes *b, const void *bytes, size_t len)
{
    assert_true(len <= sizeof(b->at) - b->len);
    if (len != 0)
        memcpy(b->at + b->len, bytes, len);
    b->len += len;
}

void raw_put_number(struct raw_bytes *b, uint64_t number, unsigned size)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(number >> (8 * (size - 1 - i)));
    raw_put(b, bytes, size);
}

void raw_put_times(struct raw_bytes *b, uint8_t byte, size_t times)
{
    assert_true(times <= sizeof(b->at) - b->len);
    memset(b->at + b->len, byte, times);
    b->len += times;
}

void raw_put_extension(struct raw_bytes *b, unsigned type, const void *bytes, size_t len)
{
    raw_put_number(b, type, 2);
    raw_put_number(b, len, 2);
    raw_put(b, bytes, len);
}

void raw_put_list(struct raw_bytes *b, unsigned type, unsigned length_bytes, const void *bytes,
                  size_t len)
{
    raw_put_number(b, type, 2);
    raw_put_number(b, length_bytes + len, 2);
    raw_put_number(b, len, length_bytes);
    raw_put(b, bytes, len);
}

void raw_hello_init_12(struct raw_hello *hello)
{
    memset(hello, 0, sizeof(*hello));
    hello->record_version[0] = 0xfeff;
    hello->record_version[1] = 0xfefd;
    hello->legacy_version = 0xfefd;
    raw_put(&hello->suites, "\xc0\xa8", 2); /* TLS_PSK_WITH_AES_128_CCM_8 */
}

void raw_hello_init_13(struct raw_hello *hello)
{
    raw_hello_init_12(hello);
    hello->is_1_3 = true;
    hello->suites.len = 0;
    raw_put(&hello->suites, "\x13\x01", 2);
    struct raw_bytes *e = &hello->extensions;
    raw_put_list(e, SUPPORTED_VERSIONS, 1, "\xfe\xfc", 2);
    raw_put_list(e, 10, 2, "\x00\x1d", 2); /* supported_groups: x25519 */
    /* key_share: any 32 bytes are a point of its */
    raw_put_list(e, 51, 2, "\x00\x1d\x00\x20-any 32 bytes are a good point-", 36);
    raw_put_list(e, 13, 2, "\x04\x03", 2); /* signature_algorithms: ecdsa_secp256r1_sha256 */
}

/* cookie: of the answer to the first hello, NULL = none yet. */
static void write_hello(const struct raw_hello *hello, const uint8_t *cookie, size_t cookie_len,
                        struct raw_bytes *out)
{
    static struct raw_bytes body, extensions;
    bool is_second = cookie != NULL;
    body.len = extensions.len = out->len = 0;
    raw_put_number(&body, hello->legacy_version, 2);
    raw_put_times(&body, 0x5a, 32);
    raw_put_number(&body, 0, 1); /* session ID */
    raw_put_number(&body, hello->is_1_3 ? 0 : cookie_len, 1);
    raw_put(&body, cookie, hello->is_1_3 ? 0 : cookie_len);
    raw_put_number(&body, hello->suites.len, 2);
    raw_put(&body, hello->suites.at, hello->suites.len);
    raw_put(&body, "\x01\x00", 2); /* compression: null */
    raw_put(&extensions, hello->extensions.at, hello->extensions.len);
    if (hello->is_1_3 && is_second)
        raw_put_extension(&extensions, COOKIE, cookie, cookie_len);
    raw_put(&extensions, hello->last.at, hello->last.len);
    if (extensions.len != 0 || hello->has_empty_block) {
        raw_put_number(&body, extensions.len, 2);
        raw_put(&body, extensions.at, extensions.len);
    }

    raw_put_number(out, TYPE_HANDSHAKE, 1);
    raw_put_number(out, hello->record_version[is_second], 2);
    raw_put_number(out, is_second, 8); /* epoch 0 and the number */
    raw_put_number(out, HANDSHAKE_HEADER + body.len, 2);
    raw_put_number(out, CLIENT_HELLO, 1);
    raw_put_number(out, body.len, 3);
    raw_put_number(out, is_second, 2);
    raw_put_number(out, 0, 3);
    raw_put_number(out, body.len, 3);
    raw_put(out, body.at, body.len);
}

/* In a HelloVerifyRequest, or among the extensions of a HelloRetryRequest; NULL = there is none. */
static const uint8_t *find_cookie(const struct packet *answer, size_t *len)
{
    const uint8_t *at = answer->data + BODY_AT, *end = answer->data + answer->len;
    if (answer->data[RECORD_HEADER] == HELLO_VERIFY_REQUEST) {
        *len = at[2];
        return at + 3;
    }
    for (at += 2 + 32 + 1 + 2 + 1 + 2; at + 4 <= end; at += 4 + bytes_get16(at + 2)) {
        *len = bytes_get16(at + 2);
        if (bytes_get16(at) == COOKIE)
            return at + 4;
    }
    return NULL;
}

static enum client_outcome give(struct gate *gate, const struct addr *from,
                                const struct raw_bytes *hello)
{
    return gate_inject(gate, from, hello->at, hello->len);
}

enum client_outcome raw_hello_exchange(struct gate *gate, const struct raw_hello *hello)
{
    static struct raw_bytes bytes;
    struct addr from = gate_device_addr(FIRST_DEVICE);
    write_hello(hello, NULL, 0, &bytes);
    enum client_outcome outcome = give(gate, &from, &bytes);
    if (outcome != CLIENT_cookie_sent)
        return outcome;
    size_t len = 0;
    const uint8_t *cookie = find_cookie(fake_network_last(GATE_TO_CLIENT, &from), &len);
    assert_non_null(cookie);
    write_hello(hello, cookie, len, &bytes);
    return give(gate, &from, &bytes);
}

void raw_hello_assert_served(struct gate *gate, const struct raw_hello *hello)
{
    assert_int_equal(raw_hello_exchange(gate, hello), CLIENT_handshake_begun);
    struct addr from = gate_device_addr(FIRST_DEVICE);
    uint32_t first = fake_network_count(GATE_TO_CLIENT, NULL);
    for (uint32_t i = 0; i < first; i++) {
        const struct packet *packet = gate_nth(GATE_TO_CLIENT, i);
        bool is_server_hello = packet->len > BODY_AT && addr_equal(&packet->to, &from) &&
                               packet->data[0] == TYPE_HANDSHAKE &&
                               packet->data[RECORD_HEADER] == SERVER_HELLO;
        /* The first may be a HelloRetryRequest, which has this random. */
        if (is_server_hello && memcmp(packet->data + BODY_AT + 2, "\xcf\x21\xad\x74", 4) != 0)
            return;
    }
    fail_msg("the gate began a handshake without a ServerHello");
}
