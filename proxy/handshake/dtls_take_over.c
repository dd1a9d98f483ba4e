#include "handshake/dtls_take_over.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "base/bytes.h"
#include "base/registers.h"

/* Those of creds_suites.c; IANA's numbers. */
static const struct {
    uint16_t suite;
    enum aead aead;
} aeads[] = {
    {0x1301, AEAD_AES_128_GCM},       {0x1302, AEAD_AES_256_GCM},
    {0x1303, AEAD_CHACHA20_POLY1305}, {0x1304, AEAD_AES_128_CCM},
    {0x1305, AEAD_AES_128_CCM_8},     {0x00a8, AEAD_AES_128_GCM},
    {0x00a9, AEAD_AES_256_GCM},       {0xc0a4, AEAD_AES_128_CCM},
    {0xc0a5, AEAD_AES_256_CCM},       {0xc0a8, AEAD_AES_128_CCM_8},
    {0xc0a9, AEAD_AES_256_CCM_8},     {0xccab, AEAD_CHACHA20_POLY1305},
    {0xc02b, AEAD_AES_128_GCM},       {0xc02c, AEAD_AES_256_GCM},
    {0xc02f, AEAD_AES_128_GCM},       {0xc030, AEAD_AES_256_GCM},
    {0xc0ac, AEAD_AES_128_CCM},       {0xc0ad, AEAD_AES_256_CCM},
    {0xc0ae, AEAD_AES_128_CCM_8},     {0xc0af, AEAD_AES_256_CCM_8},
    {0xcca8, AEAD_CHACHA20_POLY1305}, {0xcca9, AEAD_CHACHA20_POLY1305},
};

static enum aead aead_of(uint16_t suite)
{
    for (size_t i = 0; i < sizeof(aeads) / sizeof(aeads[0]); i++) {
        if (aeads[i].suite == suite)
            return aeads[i].aead;
    }
    return AEAD_NONE;
}

static bool take_cids(const struct dtls *dtls, struct taken *taken)
{
    unsigned own = 0, client = 0;
    if (!dtls_has_cid(dtls))
        return true;
    if (wolfSSL_dtls_cid_get_rx_size(dtls->ssl, &own) != WOLFSSL_SUCCESS ||
        wolfSSL_dtls_cid_get_tx_size(dtls->ssl, &client) != WOLFSSL_SUCCESS ||
        own > RECORD_CID_MAX || client > RECORD_CID_MAX)
        return false;
    taken->cid_len = (uint8_t)own;
    taken->client_cid_len = (uint8_t)client;
    return (own == 0 || wolfSSL_dtls_cid_get_rx(dtls->ssl, taken->cid, own) == WOLFSSL_SUCCESS) &&
           (client == 0 ||
            wolfSSL_dtls_cid_get_tx(dtls->ssl, taken->client_cid, client) == WOLFSSL_SUCCESS);
}

/* A window that knows no more than the newest number: what is below it may have been read. */
static struct record_window all_before(uint64_t next)
{
    return (struct record_window){.next = next, .seen = next != 0 ? UINT64_MAX : 0};
}

static void take_12(const WOLFSSL_DTLS_TAKEN *from, struct taken *taken)
{
    memcpy(taken->v12.read_key, from->read_key, sizeof(taken->v12.read_key));
    memcpy(taken->v12.write_key, from->write_key, sizeof(taken->v12.write_key));
    memcpy(taken->v12.read_iv, from->read_iv, sizeof(taken->v12.read_iv));
    memcpy(taken->v12.write_iv, from->write_iv, sizeof(taken->v12.write_iv));
    uint64_t nonce_next =
        (uint64_t)bytes_get32(from->nonce_next) << 32 | bytes_get32(from->nonce_next + 4);
    taken->v12.nonce_base = nonce_next - from->write_next;
    taken->v12.window = all_before(from->read_next);
}

static void take_13(const WOLFSSL_DTLS_TAKEN *from, struct taken *taken)
{
    memcpy(taken->v13.read_secret, from->read_secret, sizeof(taken->v13.read_secret));
    memcpy(taken->v13.write_secret, from->write_secret, sizeof(taken->v13.write_secret));
    size_t key_bytes = aead_key_bytes(taken->aead);
    uint8_t *keys = taken->v13.handshake_keys;
    memcpy(keys, from->read_key, key_bytes);
    memcpy(keys + key_bytes, from->read_sn_key, key_bytes);
    memcpy(keys + 2 * key_bytes, from->read_iv, AEAD_NONCE_BYTES);
    taken->v13.handshake_window = all_before(from->read_next);
    taken->v13.message_seq_next = from->message_seq_next;
    taken->v13.message_seq_expected = from->message_seq_expected;
}

static bool take_fragment(const WOLFSSL_DTLS13_UNACKNOWLEDGED *from, struct taken_ticket *ticket)
{
    if (ticket->count == TAKEN_FRAGMENTS_MAX || from->length > TAKEN_BYTES_MAX - ticket->bytes_len)
        return false;
    struct taken_fragment *fragment = &ticket->fragments[ticket->count++];
    fragment->at = ticket->bytes_len;
    fragment->len = from->length;
    memcpy(ticket->bytes + ticket->bytes_len, from->data, from->length);
    ticket->bytes_len += from->length;
    while (fragment->number_count < from->numbers && fragment->number_count < TAKEN_NUMBERS_MAX) {
        fragment->numbers[fragment->number_count] = from->number[fragment->number_count];
        fragment->number_count++;
    }
    return true;
}

/* T6: the library's list of what it would repeat holds nothing else. */
static void take_ticket(const struct dtls *dtls, struct taken_ticket *ticket)
{
    WOLFSSL_DTLS13_UNACKNOWLEDGED from;
    for (int i = 0; wolfSSL_dtls13_get_unacknowledged(dtls->ssl, i, &from) == WOLFSSL_SUCCESS;
         i++) {
        if (!take_fragment(&from, ticket)) {
            bytes_wipe(ticket, sizeof(*ticket));
            return;
        }
    }
}

bool dtls_take_over(const struct dtls *dtls, struct taken *taken)
{
    WOLFSSL_DTLS_TAKEN from;
    memset(taken, 0, sizeof(*taken));
    bool ok = wolfSSL_dtls_take_over(dtls->ssl, &from) == WOLFSSL_SUCCESS &&
              (from.is_1_3 || from.epoch == 1) && take_cids(dtls, taken);
    if (ok) {
        taken->version = from.is_1_3 ? VERSION_1_3 : VERSION_1_2;
        taken->suite = bytes_get16(from.suite);
        taken->aead = aead_of(taken->suite);
        taken->plaintext_max =
            from.max_fragment < RECORD_PLAINTEXT_MAX ? from.max_fragment : RECORD_PLAINTEXT_MAX;
        taken->write_next = from.write_next;
        if (from.is_1_3) {
            take_13(&from, taken);
            take_ticket(dtls, &taken->v13.ticket);
        } else {
            take_12(&from, taken);
        }
    }
    bytes_wipe(&from, sizeof(from));
    registers_wipe(); /* the library has sealed and opened records with these keys */
    return ok && taken->aead != AEAD_NONE;
}
