#include "handshake/dtls_prepare.h"

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "handshake/dtls_certificate.h"
#include "handshake/dtls_io.h"
#include "handshake/dtls_psk.h"
#include "handshake/dtls_ticket.h"

static void set_io(WOLFSSL_CTX *ctx)
{
    wolfSSL_CTX_SetIORecv(ctx, dtls_io_receive);
    wolfSSL_CTX_SetIOSend(ctx, dtls_io_send);
}

void dtls_prepare(struct creds *creds, const struct listener_config *config)
{
    WOLFSSL_CTX *ctx = creds->ctx;
    set_io(ctx);
    if (creds->psks != NULL) {
        if ((config->versions & CONFIG_VERSION_1_2) != 0)
            wolfSSL_CTX_set_psk_server_callback(ctx, dtls_psk_find);
        wolfSSL_CTX_set_psk_server_tls13_callback(ctx, dtls_psk13_find);
    }
    wolfSSL_CTX_set_peer_certs_cb(ctx, dtls_certificate_judge);
    if (config->ticket_versions != 0)
        dtls_ticket_prepare(creds);
}
