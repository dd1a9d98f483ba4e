#include "handshake/ticket.h"

#include <string.h>
#include <sys/random.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include "base/bytes.h"

enum {
    TAG_BYTES = 16, /* of AES-GCM; the rest of the MAC field is 0 */
    /* Behind identity and digests: good_until_ms, credential, identity_len, count of digests. */
    TAIL_BYTES = 11,
    BODY_MAX_BYTES = 1024,
};

/* With the number of the holder's format: a ticket of another one is foreign. */
#define NAME_PURPOSE "ticket name 2"
#define KEY_PURPOSE "ticket key 2"

/* A name tells nothing about the gate's clock. It begins with a NUL byte: in DTLS 1.3 the library
 * offers a ticket that it cannot use to the PSK callback, as a string, and no identity is empty. */
static bool make_name(const uint8_t *master, uint64_t period, uint8_t name[TICKET_NAME_BYTES])
{
    uint8_t digest[PERIOD_SECRET_BYTES];
    bool ok = period_secret(master, NAME_PURPOSE, period, digest);
    memcpy(name, digest, TICKET_NAME_BYTES);
    name[0] = 0;
    return ok;
}

static bool set_key(Aes *aes, const uint8_t *master, uint64_t period)
{
    uint8_t key[PERIOD_SECRET_BYTES];
    bool ok = period_secret(master, KEY_PURPOSE, period, key) &&
              wc_AesGcmSetKey(aes, key, sizeof(key)) == 0;
    bytes_wipe(key, sizeof(key));
    return ok;
}

static size_t digest_bytes(const struct ticket_holder *holder)
{
    return (size_t)holder->digests.count * CREDENTIAL_DIGEST_BYTES;
}

static size_t holder_bytes(const struct ticket_holder *holder)
{
    return holder->identity_len + digest_bytes(holder) + TAIL_BYTES;
}

static void put_holder(uint8_t *out, const struct ticket_holder *holder)
{
    uint8_t *digests = out + holder->identity_len, *tail = digests + digest_bytes(holder);
    memcpy(out, holder->identity, holder->identity_len);
    memcpy(digests, holder->digests.at, digest_bytes(holder));
    for (int i = 0; i < 8; i++)
        tail[i] = (uint8_t)(holder->good_until_ms >> (8 * i));
    tail[8] = holder->credential;
    tail[9] = holder->identity_len;
    tail[10] = holder->digests.count;
}

/* The holder at the end of the body; its size, or 0 if there is none. */
static size_t get_holder(const uint8_t *body, size_t len, struct ticket_holder *holder)
{
    if (len < TAIL_BYTES)
        return 0;
    const uint8_t *tail = body + len - TAIL_BYTES;
    *holder = (struct ticket_holder){
        .credential = tail[8], .identity_len = tail[9], .digests.count = tail[10]};
    size_t holder_len = holder_bytes(holder);
    if (holder->identity_len > PSK_IDENTITY_MAX || holder->credential >= CREDENTIAL_COUNT ||
        holder->digests.count > CREDENTIAL_DIGESTS_MAX || holder_len > len)
        return 0;
    const uint8_t *from = body + (len - holder_len);
    memcpy(holder->identity, from, holder->identity_len);
    memcpy(holder->digests.at, from + holder->identity_len, digest_bytes(holder));
    for (int i = 0; i < 8; i++)
        holder->good_until_ms |= (uint64_t)tail[i] << (8 * i);
    return holder_len;
}

bool ticket_seal(const uint8_t master[TICKET_MASTER_BYTES], const struct ticket_holder *holder,
                 uint64_t now_ms, struct ticket *ticket)
{
    uint64_t period = now_ms / TICKET_PERIOD_MS;
    Aes aes;
    if (ticket->body_len + holder_bytes(holder) > ticket->body_room ||
        getrandom(ticket->iv, TICKET_IV_BYTES, 0) != TICKET_IV_BYTES ||
        !make_name(master, period, ticket->name) || wc_AesInit(&aes, NULL, INVALID_DEVID) != 0)
        return false;
    put_holder(ticket->body + ticket->body_len, holder);
    ticket->body_len += holder_bytes(holder);
    memset(ticket->mac, 0, TICKET_MAC_BYTES);
    bool ok = set_key(&aes, master, period) &&
              wc_AesGcmEncrypt(&aes, ticket->body, ticket->body, (word32)ticket->body_len,
                               ticket->iv, TICKET_IV_BYTES, ticket->mac, TAG_BYTES, NULL, 0) == 0;
    wc_AesFree(&aes);
    bytes_wipe(&aes, sizeof(aes)); /* the library leaves its key schedule */
    return ok;
}

/* The period whose key of that name sealed a ticket: the current one or the one before. */
static bool find_period(const uint8_t *master, uint64_t now_ms, const uint8_t *sealed,
                        uint64_t *period)
{
    uint8_t name[TICKET_NAME_BYTES];
    uint64_t now = now_ms / TICKET_PERIOD_MS;
    for (uint64_t age = 0; age <= 1 && age <= now; age++) {
        *period = now - age;
        if (make_name(master, *period, name) && memcmp(name, sealed, sizeof(name)) == 0)
            return true;
    }
    return false;
}

/* Into `plain`, so that what is not authentic leaves nothing behind in the ticket. */
static bool decrypt(const uint8_t *master, uint64_t period, const struct ticket *ticket,
                    uint8_t plain[BODY_MAX_BYTES])
{
    static const uint8_t rest[TICKET_MAC_BYTES - TAG_BYTES];
    Aes aes;
    if (ticket->body_len > BODY_MAX_BYTES ||
        memcmp(ticket->mac + TAG_BYTES, rest, sizeof(rest)) != 0 ||
        wc_AesInit(&aes, NULL, INVALID_DEVID) != 0)
        return false;
    bool ok = set_key(&aes, master, period) &&
              wc_AesGcmDecrypt(&aes, plain, ticket->body, (word32)ticket->body_len, ticket->iv,
                               TICKET_IV_BYTES, ticket->mac, TAG_BYTES, NULL, 0) == 0;
    wc_AesFree(&aes);
    bytes_wipe(&aes, sizeof(aes)); /* the library leaves its key schedule */
    return ok;
}

enum ticket_verdict ticket_open(const uint8_t master[TICKET_MASTER_BYTES], uint64_t now_ms,
                                struct ticket *ticket, struct ticket_holder *holder)
{
    uint8_t plain[BODY_MAX_BYTES];
    uint64_t period;
    if (!find_period(master, now_ms, ticket->name, &period))
        return TICKET_FOREIGN;
    size_t holder_len = 0;
    if (decrypt(master, period, ticket, plain))
        holder_len = get_holder(plain, ticket->body_len, holder);
    bool is_good = holder_len != 0 && now_ms < holder->good_until_ms;
    if (is_good) {
        ticket->body_len -= holder_len;
        memcpy(ticket->body, plain, ticket->body_len);
    }
    bytes_wipe(plain, sizeof(plain));
    if (!is_good)
        return TICKET_FOREIGN;
    return period == now_ms / TICKET_PERIOD_MS ? TICKET_GOOD : TICKET_AGEING;
}

bool ticket_looks_ours(const uint8_t *ticket, size_t len)
{
    return len > TICKET_NAME_BYTES && ticket[0] == 0; /* see make_name() */
}

bool ticket_is_known(const uint8_t master[TICKET_MASTER_BYTES], uint64_t now_ms,
                     const uint8_t *ticket, size_t len)
{
    uint64_t period;
    /* Most that is none is not worth a digest. */
    return ticket_looks_ours(ticket, len) && find_period(master, now_ms, ticket, &period);
}
