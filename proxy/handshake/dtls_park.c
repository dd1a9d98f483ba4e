#include "handshake/dtls_park.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "base/bytes.h"

/* Of the library's export: protocol and length, then parts with a length each, in this order:
 * options, keys and record numbers, suite, address (empty, by a flag of scripts/fetch-wolfssl). */
enum { PREFIX_LEN = 4, LENGTH_LEN = 2, REST_LENGTH_LEN = 1 };

struct layout {
    size_t head_len, keys_len, tail_len; /* tail: suite and address */
};

/* The length of the part that begins there, with its length; 0 if it goes beyond the end. */
static size_t part_len(const uint8_t *bytes, size_t begin, size_t end)
{
    if (begin + LENGTH_LEN > end)
        return 0;
    size_t len = LENGTH_LEN + bytes_get16(bytes + begin);
    return begin + len <= end ? len : 0;
}

static bool read_layout(const uint8_t *bytes, size_t len, struct layout *layout)
{
    size_t options = part_len(bytes, PREFIX_LEN, len);
    layout->head_len = PREFIX_LEN + options;
    layout->keys_len = part_len(bytes, layout->head_len, len);
    layout->tail_len = len - layout->head_len - layout->keys_len;
    return options != 0 && layout->keys_len != 0 &&
           layout->head_len + layout->tail_len <= DTLS_EXPORT_COMMON_MAX;
}

/* ---- out ------------------------------------------------------------------------------------ */

/* Ours: head, tail, keys, what the library's export leaves out. */
bool dtls_export(struct dtls *dtls, struct dtls_export *state)
{
    uint8_t own[DTLS_EXPORT_MAX], rest[WOLFSSL_DTLS_REST_MAX];
    struct layout at;
    unsigned size = sizeof(own);
    if (!dtls->is_established || wolfSSL_pending(dtls->ssl) != 0)
        return false;
    int exported = wolfSSL_dtls_export(dtls->ssl, own, &size);
    if (exported <= 0 || !read_layout(own, (size_t)exported, &at)) {
        bytes_wipe(own, sizeof(own));
        return false;
    }
    size_t rest_len = (size_t)wolfSSL_dtls_export_rest(dtls->ssl, rest);
    size_t len = (size_t)exported + REST_LENGTH_LEN + rest_len;
    bool has_room = len <= DTLS_EXPORT_MAX && rest_len <= UINT8_MAX;
    if (has_room) {
        uint8_t *out = state->bytes;
        memcpy(out, own, at.head_len);
        out += at.head_len;
        memcpy(out, own + at.head_len + at.keys_len, at.tail_len);
        out += at.tail_len;
        memcpy(out, own + at.head_len, at.keys_len);
        out += at.keys_len;
        *out = (uint8_t)rest_len;
        memcpy(out + REST_LENGTH_LEN, rest, rest_len);
        state->common_len = at.head_len + at.tail_len;
        state->len = len;
    }
    bytes_wipe(own, sizeof(own));
    return has_room;
}

/* ---- in ------------------------------------------------------------------------------------- */

/* Puts the library's export together again; returns its length, and where the rest begins. Trusts
 * its input, which never was out of our hands. */
static size_t reassemble(const struct dtls_export *state, uint8_t *own, const uint8_t **rest)
{
    const uint8_t *in = state->bytes;
    size_t head_len = PREFIX_LEN + part_len(in, PREFIX_LEN, state->len);
    size_t suite_len = part_len(in, head_len, state->len);
    size_t tail_len = suite_len + part_len(in, head_len + suite_len, state->len);
    size_t keys_len = part_len(in, head_len + tail_len, state->len);
    memcpy(own, in, head_len);
    memcpy(own + head_len, in + head_len + tail_len, keys_len);
    memcpy(own + head_len + keys_len, in + head_len, tail_len);
    *rest = in + head_len + tail_len + keys_len;
    return head_len + keys_len + tail_len;
}

static bool restore(WOLFSSL *ssl, const struct dtls_export *state, const uint8_t *cid,
                    size_t cid_len)
{
    uint8_t own[DTLS_EXPORT_MAX], own_cid[CONFIG_CID_MAX];
    const uint8_t *rest;
    size_t len = reassemble(state, own, &rest);
    bool is_good = wolfSSL_dtls_import(ssl, own, (unsigned)len) == (int)len;
    bytes_wipe(own, len);
    if (is_good && cid_len != 0) {
        memcpy(own_cid, cid, cid_len); /* the library's parameter is not const */
        is_good = wolfSSL_dtls_cid_use(ssl) == WOLFSSL_SUCCESS &&
                  wolfSSL_dtls_cid_set(ssl, own_cid, (unsigned)cid_len) == WOLFSSL_SUCCESS;
    }
    return is_good &&
           wolfSSL_dtls_import_rest(ssl, rest + REST_LENGTH_LEN, rest[0]) == WOLFSSL_SUCCESS;
}

/* No handshake follows in which it could be called. */
static unsigned no_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned key_max)
{
    (void)ssl;
    (void)identity;
    (void)key;
    (void)key_max;
    return 0;
}

struct dtls *dtls_import(const struct listener *listener, enum dtls_version version,
                         const uint8_t *cid, size_t cid_len, const struct dtls_export *state)
{
    struct WOLFSSL_CTX *ctx = listener->creds->park_ctx[version];
    struct dtls *dtls = ctx != NULL ? dtls_new_of(listener, ctx) : NULL;
    if (dtls == NULL)
        return NULL;
    bool is_good = restore(dtls->ssl, state, cid, cid_len);
    dtls->has_own_cid = cid_len != 0;
    /* It wants means to authenticate the gate, of a listener that has a certificate only too. */
    wolfSSL_set_psk_server_callback(dtls->ssl, no_psk);
    /* The library goes through the states of its handshake once more, without a word: only then it
     * gives back what is for handshakes only. */
    if (!is_good || wolfSSL_accept(dtls->ssl) != WOLFSSL_SUCCESS) {
        dtls_free(dtls);
        return NULL;
    }
    wolfSSL_dtls_forget_handshake(dtls->ssl);
    dtls_settle(dtls);
    return dtls;
}

enum dtls_can_park dtls_can_park(struct dtls *dtls, enum dtls_version version, const uint8_t *cid,
                                 size_t cid_len)
{
    struct dtls_export state;
    if (!dtls_export(dtls, &state))
        return DTLS_CAN_PARK_UNKNOWN;
    struct dtls *twin = dtls_import(dtls->listener, version, cid, cid_len, &state);
    bytes_wipe(&state, sizeof(state));
    if (twin == NULL)
        return DTLS_CAN_PARK_UNKNOWN;
    struct dtls_record_number own = dtls_newest(dtls), imported = dtls_newest(twin);
    dtls_free(twin);
    return own.epoch == imported.epoch && own.next == imported.next ? DTLS_CAN_PARK_YES
                                                                    : DTLS_CAN_PARK_NO;
}
