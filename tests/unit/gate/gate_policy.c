#include "gate/gate_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    RECORD_HEADER = 13,
    HANDSHAKE_HEADER = 12,
    TYPE_HANDSHAKE = 22,
    TYPE_CID = 25,
    HELLO_REQUEST = 0,
    CLIENT_HELLO = 1,
    SERVER_HELLO = 2,
    HELLO_VERIFY_REQUEST = 3,
};

/* RFC 8446 section 4.1.3: the first bytes of the random that makes a ServerHello a
 * HelloRetryRequest. */
static const uint8_t retry_random[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11};

void gate_policy_forget(struct gate_policy *policy)
{
    free(policy->strangers);
    *policy = (struct gate_policy){0};
}

static struct gate_stranger *get(struct gate_policy *policy, const struct addr *addr)
{
    for (uint32_t i = 0; i < policy->count; i++) {
        if (addr_equal(&policy->strangers[i].addr, addr))
            return &policy->strangers[i];
    }
    if (policy->count == policy->capacity) {
        policy->capacity = policy->capacity == 0 ? 64 : policy->capacity * 2;
        policy->strangers =
            realloc(policy->strangers, policy->capacity * sizeof(*policy->strangers));
        assert_non_null(policy->strangers);
    }
    struct gate_stranger *stranger = &policy->strangers[policy->count++];
    *stranger = (struct gate_stranger){.addr = *addr};
    return stranger;
}

/* Body of the record, 0 if there is no whole plaintext record. */
static size_t plaintext_body_len(const uint8_t *record, size_t len)
{
    if (len < RECORD_HEADER || record[0] < 20 || record[0] > 26 || record[3] != 0 || record[4] != 0)
        return 0;
    size_t body = (size_t)(record[11] << 8 | record[12]);
    return body <= len - RECORD_HEADER ? body : 0;
}

static bool is_message(const uint8_t *record, size_t len, uint8_t type)
{
    return plaintext_body_len(record, len) >= HANDSHAKE_HEADER && record[0] == TYPE_HANDSHAKE &&
           record[RECORD_HEADER] == type;
}

bool gate_policy_is_cookie(const uint8_t *datagram, size_t len)
{
    if (is_message(datagram, len, HELLO_VERIFY_REQUEST))
        return true;
    const size_t random_at = RECORD_HEADER + HANDSHAKE_HEADER + 2;
    return is_message(datagram, len, SERVER_HELLO) && len >= random_at + sizeof(retry_random) &&
           memcmp(datagram + random_at, retry_random, sizeof(retry_random)) == 0;
}

/* A record of DTLS 1.2 or 1.3 with a connection ID. */
static bool has_cid(const uint8_t *datagram, size_t len)
{
    return len > 0 && (datagram[0] == TYPE_CID || (datagram[0] & 0xf0) == 0x30);
}

static bool is_protected(const uint8_t *datagram, size_t len)
{
    return (datagram[0] & 0xe0) == 0x20 || (len > 5 && (datagram[3] != 0 || datagram[4] != 0));
}

void gate_policy_on_received(struct gate_policy *policy, const struct udp_datagram *datagram)
{
    struct gate_stranger *stranger = get(policy, &datagram->from);
    stranger->received_bytes += datagram->len;
    stranger->cid_datagrams += has_cid(datagram->data, datagram->len);
    if (!is_message(datagram->data, datagram->len, CLIENT_HELLO))
        return;
    stranger->hellos++;
    if (stranger->cookies > 0)
        stranger->has_shown_cookie = true;
}

void gate_policy_on_sent(struct gate_policy *policy, const struct packet *packet)
{
    struct gate_stranger *stranger = get(policy, &packet->to);
    for (size_t at = 0; at < packet->len;) {
        const uint8_t *record = packet->data + at;
        size_t body = plaintext_body_len(record, packet->len - at);
        if (body == 0)
            break;
        assert_false(is_message(record, packet->len - at, HELLO_REQUEST));
        assert_false(is_message(record, packet->len - at, CLIENT_HELLO));
        at += RECORD_HEADER + body;
    }
    if (gate_policy_is_cookie(packet->data, packet->len)) {
        stranger->cookies++;
        stranger->sent_bytes += packet->len;
        assert_true(stranger->cookies <= stranger->hellos);
        assert_true(stranger->sent_bytes <= 3 * stranger->received_bytes);
        return;
    }
    if (stranger->has_shown_cookie)
        return;
    /* Else only to where a record with a connection ID came from, and before a second one has come
     * only what is protected, and little of it (RFC 9146 section 6). */
    assert_true(stranger->cid_datagrams > 0);
    if (stranger->cid_datagrams >= 2)
        return;
    stranger->sent_bytes += packet->len;
    assert_true(is_protected(packet->data, packet->len));
    assert_true(stranger->sent_bytes <= 3 * stranger->received_bytes);
}
