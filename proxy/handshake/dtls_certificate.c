#include "handshake/dtls_certificate.h"

#include <stdlib.h>
#include <time.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "handshake/dtls_ticket.h"

static void keep_refused(struct dtls_peer *peer, const struct certificate_verdict *verdict)
{
    peer->certificate_flaw = (uint8_t)verdict->flaw;
    if (!verdict->is_read)
        return;
    /* Without memory the line in the log is shorter. */
    peer->refused = calloc(1, sizeof(*peer->refused));
    if (peer->refused != NULL)
        certificate_summarise(&verdict->refused, peer->refused);
}

static void keep_accepted(struct dtls *dtls, const struct certificate_verdict *verdict)
{
    struct dtls_peer *peer = dtls->peer;
    peer->is_certificate_good = true;
    peer->identity_len =
        (uint8_t)certificate_identity(&verdict->own, peer->identity, sizeof(peer->identity));
    dtls_ticket_note_expiry(dtls, verdict->not_after);
}

/* A path that is good by itself: what is kept of it, and what CRLs and deny_file say. */
static enum certificate_flaw judge_path(const struct certificate_path *path, size_t *at,
                                        void *context)
{
    struct dtls *dtls = context;
    struct credential_digests *digests = &dtls->peer->digests;
    if (!credential_digests_of_path(path, digests))
        return FLAW_NO_MEMORY;
    enum certificate_flaw flaw =
        creds_check_path(dtls->listener->creds, path, digests, (int64_t)time(NULL), at);
    if (flaw != FLAW_NONE)
        digests->count = 0;
    return flaw;
}

int dtls_certificate_judge(WOLFSSL *ssl, const WOLFSSL_BUFFER_INFO *shown, int count, int *alert)
{
    struct dtls *dtls = wolfSSL_GetIOReadCtx(ssl);
    struct certificate_verdict verdict;
    struct der ders[CERTIFICATE_SHOWN_MAX];
    if (dtls->peer == NULL || dtls->peer->refused != NULL || count < 0 ||
        count > CERTIFICATE_SHOWN_MAX)
        return -1;
    /* A PSK that the client named has not been proved. */
    dtls->peer->identity_len = 0;
    dtls->peer->digests.count = 0;
    if (count == 0)
        return 0; /* whether it may go without was decided before */
    for (int i = 0; i < count; i++)
        ders[i] = (struct der){shown[i].buffer, shown[i].length};
    const struct certificate_request request = {
        .anchors = &dtls->listener->creds->anchors,
        .shown = ders,
        .shown_count = (size_t)count,
        .now = (int64_t)time(NULL),
        .also = judge_path,
        .also_context = dtls,
    };
    certificate_path_check(&request, &verdict);
    if (verdict.flaw == FLAW_NONE) {
        keep_accepted(dtls, &verdict);
        return 0;
    }
    keep_refused(dtls->peer, &verdict);
    *alert = certificate_flaw_alert(verdict.flaw);
    return -1;
}
