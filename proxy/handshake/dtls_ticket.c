#include "handshake/dtls_ticket.h"

#include <string.h>
#include <time.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

static struct ticket_holder make_holder(const struct dtls *dtls)
{
    const struct dtls_peer *peer = dtls->peer;
    if (dtls_is_resumed(dtls))
        return peer->holder; /* the credential was proved when the first ticket was made */
    struct ticket_holder holder = {
        .credential = (uint8_t)dtls_credential(dtls),
        .good_until_ms = dtls->now_ms + TICKET_CHAIN_MS,
    };
    if (peer->good_until_ms != 0 && peer->good_until_ms < holder.good_until_ms)
        holder.good_until_ms = peer->good_until_ms;
    if (holder.credential != CREDENTIAL_NONE) {
        holder.identity_len = peer->identity_len;
        memcpy(holder.identity, peer->identity, peer->identity_len);
        holder.digests = peer->digests;
    }
    return holder;
}

static int seal(struct dtls *dtls, struct ticket *ticket, int *len)
{
    struct ticket_holder holder = make_holder(dtls);
    if (!ticket_seal(dtls->listener->creds->ticket_master, &holder, dtls->now_ms, ticket))
        return WOLFSSL_TICKET_RET_FATAL;
    *len = (int)ticket->body_len;
    return WOLFSSL_TICKET_RET_OK;
}

/* A hello of DTLS 1.3 may bring several tickets, and the library does not tell which of them it has
 * chosen. So the first one that can be opened is the only one: a stolen ticket beside a device's
 * own cannot lend its name to that device. The library opens a ticket more than once. */
static bool is_only_ticket(const struct dtls_peer *peer, const struct ticket *ticket)
{
    return peer->holder.good_until_ms == 0 ||
           memcmp(peer->ticket_tag, ticket->mac, sizeof(peer->ticket_tag)) == 0;
}

/* Whether the holder could begin a session now: settings and credentials may have changed since. */
static bool may_resume(const struct dtls *dtls, const struct ticket_holder *holder)
{
    const struct credential_record record = {
        .kind = (enum credential)holder->credential,
        .identity = holder->identity,
        .identity_size = holder->identity_len,
        .digests = holder->digests.at[0],
        .digest_count = holder->digests.count,
    };
    return creds_may_resume(dtls->listener->creds, &record, (int64_t)time(NULL));
}

static int open_ticket(struct dtls *dtls, struct ticket *ticket, int *len)
{
    struct ticket_holder holder;
    bool is_1_2 = wolfSSL_version(dtls->ssl) == DTLS1_2_VERSION;
    uint32_t version = is_1_2 ? CONFIG_VERSION_1_2 : CONFIG_VERSION_1_3;
    if ((dtls->listener->config->ticket_versions & version) == 0 ||
        !is_only_ticket(dtls->peer, ticket))
        return WOLFSSL_TICKET_RET_REJECT;
    enum ticket_verdict verdict =
        ticket_open(dtls->listener->creds->ticket_master, dtls->now_ms, ticket, &holder);
    if (verdict == TICKET_FOREIGN || !may_resume(dtls, &holder))
        return WOLFSSL_TICKET_RET_REJECT;
    dtls->peer->holder = holder;
    memcpy(dtls->peer->ticket_tag, ticket->mac, sizeof(dtls->peer->ticket_tag));
    *len = (int)ticket->body_len;
    /* To the library, CREATE in 1.3 means not to resume; there each resumption brings a ticket. */
    return verdict == TICKET_AGEING && is_1_2 ? WOLFSSL_TICKET_RET_CREATE : WOLFSSL_TICKET_RET_OK;
}

int dtls_ticket_seal_or_open(WOLFSSL *ssl, unsigned char *name, unsigned char *iv,
                             unsigned char *mac, int is_sealing, unsigned char *body, int body_len,
                             int *len, void *context)
{
    struct dtls *dtls = wolfSSL_GetIOReadCtx(ssl);
    (void)context;
    if (dtls->peer == NULL || body_len < 0)
        return WOLFSSL_TICKET_RET_REJECT;
    struct ticket ticket = {
        .name = name,
        .iv = iv,
        .mac = mac,
        .body = body,
        .body_len = (size_t)body_len,
        .body_room = (size_t)*len,
    };
    return is_sealing ? seal(dtls, &ticket, len) : open_ticket(dtls, &ticket, len);
}

void dtls_ticket_prepare(struct creds *creds)
{
    wolfSSL_CTX_set_TicketEncCb(creds->ctx, dtls_ticket_seal_or_open);
}

void dtls_ticket_note_expiry(struct dtls *dtls, int64_t expiry_s)
{
    struct dtls_peer *peer = dtls->peer;
    int64_t now_s = (int64_t)time(NULL);
    uint64_t left_ms = 1; /* 0 means no certificate */
    if (expiry_s > now_s + (int64_t)(TICKET_CHAIN_MS / 1000))
        left_ms = TICKET_CHAIN_MS;
    else if (expiry_s > now_s)
        left_ms = (uint64_t)(expiry_s - now_s) * 1000;
    if (peer->good_until_ms == 0 || dtls->now_ms + left_ms < peer->good_until_ms)
        peer->good_until_ms = dtls->now_ms + left_ms;
}

void dtls_ticket_adopt_holder(struct dtls *dtls)
{
    struct dtls_peer *peer = dtls->peer;
    if (!dtls_is_resumed(dtls))
        return;
    peer->identity_len = peer->holder.identity_len;
    memcpy(peer->identity, peer->holder.identity, peer->identity_len);
    peer->digests = peer->holder.digests;
}
