#include "creds/creds.h"

#include <wolfssl/options.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <wolfssl/ssl.h>

#include "base/bytes.h"
#include "config/config_print.h"
#include "creds/creds_crl.h"
#include "creds/creds_flight.h"
#include "creds/creds_pem.h"
#include "creds/creds_suites.h"

/* In order of preference; the last is for DTLS 1.3 only. */
const struct creds_psk13_suite creds_psk13_suites[CREDS_PSK13_SUITES] = {
    {0x01, "TLS13-AES128-GCM-SHA256"},
    {0x03, "TLS13-CHACHA20-POLY1305-SHA256"},
    {0x04, "TLS13-AES128-CCM-SHA256"},
    {0x05, "TLS13-AES128-CCM-8-SHA256"},
};

static const int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1,
                             WOLFSSL_X25519MLKEM768};
#define GROUP_COUNT (int)(sizeof(groups) / sizeof(groups[0]))
#define GROUP_COUNT_1_2 (GROUP_COUNT - 1)

/* A load in progress. */
struct loading {
    struct creds *creds;
    const struct config *config;
    const struct listener_config *listener;
    struct problems *problems;
};

/* A text of config_where, to be used in the same statement. */
struct where {
    char text[1024];
};

static struct where where_is(const struct loading *loading, const char *key)
{
    struct where where;
    config_where(loading->config, loading->listener, key, where.text, sizeof(where.text));
    return where;
}

static void wolfssl_refused(const struct loading *loading, const char *what)
{
    problems_passing(
        loading->problems,
        "%s:%u: [listener %s] wolfSSL refuses %s; is there memory left, and is this the "
        "wolfSSL that dtlsgate was built with?",
        loading->config->path, loading->listener->line, loading->listener->name, what);
}

enum {
    MASTER_BYTES = 32,
    /* What a device is told: the longest that a ticket can be good (see ticket.h). One that has
     * become too old costs the device nothing. */
    TICKET_HINT_S = 2 * 24 * 3600,
    /* Longer than any ticket: what is too old is decided in ticket.c. */
    TICKET_TIMEOUT_S = 30 * 24 * 3600,
    /* More than the library takes for a key of any kind. */
    STACK_BYTES = 128 * 1024,
};

/* No sessions are kept in memory: a device resumes with a ticket, or not at all. */
static bool load_resumption(const struct loading *loading, struct WOLFSSL_CTX *ctx, bool has_1_3)
{
    struct creds *creds = loading->creds;
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    /* The library's own callback would keep its own keys. */
    wolfSSL_CTX_set_TicketEncCb(ctx, NULL);
    uint32_t versions = loading->listener->ticket_versions;
    if ((versions & CONFIG_VERSION_1_2) == 0 && wolfSSL_CTX_NoTicketTLSv12(ctx) != WOLFSSL_SUCCESS)
        return false;
    if ((versions & CONFIG_VERSION_1_3) == 0 && has_1_3 && wolfSSL_CTX_no_ticket_TLSv13(ctx) != 0)
        return false;
    /* Also where no tickets are given: names of tickets come from it, and who knows one goes first
     * when a limit bites. */
    if (!secret_new(&creds->kept_master, MASTER_BYTES))
        return false;
    creds->ticket_master = creds->kept_master.bytes;
    return getrandom(creds->ticket_master, MASTER_BYTES, 0) == MASTER_BYTES &&
           wolfSSL_CTX_set_TicketHint(ctx, TICKET_HINT_S) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_timeout(ctx, TICKET_TIMEOUT_S) == WOLFSSL_SUCCESS;
}

static void load_context(const struct loading *loading)
{
    bool has_1_2 = loading->listener->versions & CONFIG_VERSION_1_2;
    bool has_1_3 = loading->listener->versions & CONFIG_VERSION_1_3;
    struct WOLFSSL_CTX *ctx =
        wolfSSL_CTX_new(has_1_3 ? wolfDTLS_server_method() : wolfDTLSv1_2_server_method());
    loading->creds->ctx = ctx;
    if (!ctx) {
        wolfssl_refused(loading, "a context");
        return;
    }
    if (wolfSSL_CTX_SetMinVersion(ctx, has_1_2 ? WOLFSSL_DTLSV1_2 : WOLFSSL_DTLSV1_3) !=
        WOLFSSL_SUCCESS)
        wolfssl_refused(loading, "the versions");
    int in_order[GROUP_COUNT];
    memcpy(in_order, groups, sizeof(groups));
    if (!load_resumption(loading, ctx, has_1_3))
        wolfssl_refused(loading, "the settings of tickets");
    /* A PSK in 1.3, external or of a ticket, goes with (EC)DHE: who learns a key later reads
     * nothing of what was sent before. A device without (EC)DHE has the PSK suites of 1.2. */
    if (has_1_3 && wolfSSL_CTX_only_dhe_psk(ctx) != 0)
        wolfssl_refused(loading, "to go without psk_ke");
    if (wolfSSL_CTX_set_groups(ctx, in_order, has_1_3 ? GROUP_COUNT : GROUP_COUNT_1_2) !=
        WOLFSSL_SUCCESS)
        wolfssl_refused(loading, "the groups");
}

static void load_psks(const struct loading *loading)
{
    const struct config_paths *paths = &loading->listener->psk_file;
    if (paths->count != 0)
        loading->creds->psks = psk_load(paths->at, paths->count, where_is(loading, "psk_file").text,
                                        loading->problems);
}

static void load_deny(const struct loading *loading)
{
    const char *path = loading->listener->deny_file;
    if (*path)
        loading->creds->deny =
            deny_load(path, where_is(loading, "deny_file").text, loading->problems);
}

/* The library reads a key, and what it makes of it, on the stack of whoever calls. */
static __attribute__((noinline)) void wipe_stack(void)
{
    uint8_t used[STACK_BYTES];
    bytes_wipe(used, sizeof(used));
}

/* Out of the heap, where the library has put it. */
static void keep_private_key(const struct loading *loading)
{
    struct creds *creds = loading->creds;
    unsigned size;
    if (wolfSSL_CTX_move_private_key(creds->ctx, NULL, &size) != WOLFSSL_SUCCESS)
        return; /* there is none: an error that was reported */
    if (!secret_new(&creds->private_key, size) ||
        wolfSSL_CTX_move_private_key(creds->ctx, creds->private_key.bytes, &size) !=
            WOLFSSL_SUCCESS)
        wolfssl_refused(loading, "a place of its own for the private key");
}

/* What would fail in every handshake is better told now. */
static void check_chain(const struct loading *loading, const struct creds_pem_chain *chain)
{
    const struct listener_config *listener = loading->listener;
    size_t max = creds_flight_certificates_max(listener->mtu_bytes, chain->signature_bytes);
    if ((listener->versions & CONFIG_VERSION_1_2) && chain->message_bytes > max)
        problems_error(loading->problems,
                       "%s: its certificates take %zu bytes, and a flight of DTLS 1.2 has room for "
                       "%zu; leave out the root and whatever else devices have, or use shorter "
                       "ones, or set versions = 1.3",
                       where_is(loading, "certificate").text, chain->message_bytes, max);
    loading->creds->certificate_key = chain->key_kind;
    loading->creds->certificate_not_after = chain->not_after;
}

/* Their digests, for tickets. */
static void note_anchors(const struct loading *loading)
{
    struct creds *creds = loading->creds;
    uint8_t digest[CREDENTIAL_DIGEST_BYTES];
    bool ok = digest_set_init(&creds->anchor_digests, creds->anchors.count);
    for (size_t i = 0; ok && i < creds->anchors.count; i++) {
        const struct certificate *anchor = &creds->anchors.certificates[i];
        ok = credential_digest_certificate(anchor->issuer, anchor->serial, digest);
        if (ok)
            digest_set_add(&creds->anchor_digests, digest);
    }
    if (!ok)
        problems_passing(loading->problems, "%s: out of memory",
                         where_is(loading, "client_ca").text);
}

static void load_crls(const struct loading *loading)
{
    struct creds *creds = loading->creds;
    const struct config_paths *paths = &loading->listener->crl_file;
    creds->has_crls = paths->count != 0 && creds->anchors.count != 0;
    if (creds->has_crls)
        creds_crl_load(&creds->crls, &creds->anchors, paths, where_is(loading, "crl_file").text,
                       loading->problems);
}

static void load_certificates(const struct loading *loading)
{
    const struct listener_config *listener = loading->listener;
    struct WOLFSSL_CTX *ctx = loading->creds->ctx;
    if (*listener->certificate) {
        struct creds_pem_chain chain;
        bool is_good = creds_pem_use_certificate(ctx, listener->certificate,
                                                 where_is(loading, "certificate").text,
                                                 loading->problems, &chain);
        if (is_good)
            check_chain(loading, &chain);
        creds_pem_use_key(is_good ? ctx : NULL, listener->private_key,
                          where_is(loading, "private_key").text, loading->problems);
        keep_private_key(loading);
        wipe_stack();
    }
    if (*listener->client_ca)
        creds_pem_load_cas(&loading->creds->anchors, listener->client_ca,
                           where_is(loading, "client_ca").text, loading->problems);
    note_anchors(loading);
    load_crls(loading);
}

static void note_suites(struct creds *creds, const char *names)
{
    char name[64];
    for (size_t len; *names != '\0'; names += len + (names[len] != '\0')) {
        unsigned char first, second;
        int flags;
        len = strcspn(names, ":");
        snprintf(name, sizeof(name), "%.*s", (int)len, names);
        if (creds->suite_count < CREDS_SUITES_MAX &&
            wolfSSL_get_cipher_suite_from_name(name, &first, &second, &flags) == 0)
            creds->suites[creds->suite_count++] = (uint16_t)(first << 8 | second);
    }
}

/* A listener may have a certificate and offer PSK suites only; but not suites that are of no use.
 */
static bool check_key(const struct loading *loading, const char *suites)
{
    enum certificate_key key = loading->creds->certificate_key;
    bool has_suites = key == KEY_RSA_PSS || strstr(suites, "ECDHE-");
    if (key == KEY_UNKNOWN || !has_suites || creds_suites_serve(suites, key))
        return true;
    problems_error(loading->problems, "%s: no suite of this listener can use its key; %s",
                   where_is(loading, "certificate").text,
                   key == KEY_RSA_PSS
                       ? "an RSASSA-PSS key serves DTLS 1.3 only; use an EC or an RSA key, or add "
                         "1.3 to versions"
                       : "change ciphers or use another kind of key: ECDHE-ECDSA suites are for EC "
                         "and Ed25519 keys, ECDHE-RSA suites for RSA keys");
    return false;
}

/* The library chooses the version before the suite: with none of that version the handshake fails,
 * though the device offers suites of the other version that this listener has. */
static void check_versions(const struct loading *loading, const char *suites)
{
    uint32_t versions = loading->listener->versions;
    uint32_t without = versions & ~creds_suites_versions(suites);
    bool is_13 = without == CONFIG_VERSION_1_3;
    if (without == 0 || *loading->listener->ciphers == '\0')
        return;
    problems_warning(
        loading->problems,
        "%s: has no suite of DTLS %s, which versions has: a device that offers it%s is "
        "refused; name one, such as %s, or write versions = %s",
        where_is(loading, "ciphers").text, is_13 ? "1.3" : "1.2",
        is_13 ? ", be it beside 1.2," : " only",
        is_13                          ? "TLS13-AES128-CCM-SHA256"
        : loading->creds->psks != NULL ? "PSK-AES128-CCM-8"
                                       : "ECDHE-ECDSA-AES128-CCM-8",
        is_13 ? "1.2" : "1.3");
}

static void check_left_out(const struct loading *loading, const struct suite_means *means)
{
    char names[CREDS_SUITES_TEXT_MAX];
    if (*creds_suites_left_out(loading->listener->ciphers, means, names) != '\0')
        problems_warning(loading->problems,
                         "%s: %s: not offered, since the versions and credentials of this listener "
                         "have no use for it; leave it out, or add what it needs",
                         where_is(loading, "ciphers").text, names);
}

static void load_suites(const struct loading *loading)
{
    const struct listener_config *listener = loading->listener;
    /* Where a client certificate is required and none can be checked, a certificate suite would
     * only keep a device from its PSK. */
    bool is_certificate_useful =
        listener->client_auth != CLIENT_AUTH_REQUIRED || *listener->client_ca;
    const struct suite_means means = {
        .versions = listener->versions,
        .has_psk = listener->psk_file.count != 0,
        .has_certificate = *listener->certificate && is_certificate_useful,
        .key = loading->creds->certificate_key,
    };
    char suites[CREDS_SUITES_TEXT_MAX], all[CREDS_SUITES_TEXT_MAX];
    struct err err;
    if (!creds_suites_choose(listener->ciphers, &means, suites, &err))
        problems_error(loading->problems, "%s: %s; possible are %s",
                       where_is(loading, "ciphers").text, err.text, creds_suites_all(all));
    else if (wolfSSL_CTX_set_cipher_list(loading->creds->ctx, suites) != WOLFSSL_SUCCESS)
        wolfssl_refused(loading, "the cipher suites");
    else if (!means.has_certificate || check_key(loading, suites)) {
        check_versions(loading, suites);
        check_left_out(loading, &means);
    }
    for (int i = 0; i < CREDS_PSK13_SUITES; i++)
        loading->creds->has_psk13_suite[i] = strstr(suites, creds_psk13_suites[i].name) != NULL;
    note_suites(loading->creds, suites);
}

static void set_verify(struct creds *creds, enum client_auth client_auth)
{
    int mode = WOLFSSL_VERIFY_NONE;
    switch (client_auth) {
    case CLIENT_AUTH_REQUIRED:
        mode = WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        break;
    case CLIENT_AUTH_OPTIONAL: mode = WOLFSSL_VERIFY_PEER; break;
    case CLIENT_AUTH_NONE: break;
    }
    creds->is_open = client_auth != CLIENT_AUTH_REQUIRED;
    creds->has_mixed_auth = client_auth == CLIENT_AUTH_REQUIRED && creds->psks;
    wolfSSL_CTX_set_verify(creds->ctx, mode, NULL);
}

struct creds *creds_load(const struct config *config, const struct listener_config *listener,
                         struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    uint32_t lasting_before = problems->lasting_count;
    struct creds *creds = calloc(1, sizeof(*creds));
    const struct loading loading = {creds, config, listener, problems};
    if (!creds) {
        problems_passing(problems, "%s: out of memory", config->path);
        return NULL;
    }
    load_psks(&loading);
    load_deny(&loading);
    load_context(&loading);
    if (creds->ctx)
        load_certificates(&loading);
    /* A file that is not there, or not good, may be in the making: of a certificate that is being
     * renewed and its key one is written first. */
    problems->lasting_count = lasting_before;
    if (creds->ctx) {
        load_suites(&loading);
        set_verify(creds, listener->client_auth);
    }
    if (problems->error_count == errors_before)
        return creds;
    creds_free(creds);
    return NULL;
}

void creds_free(struct creds *creds)
{
    if (!creds)
        return;
    wolfSSL_CTX_free(creds->ctx);
    psk_free(creds->psks);
    deny_free(creds->deny);
    secret_free(&creds->private_key);
    secret_free(&creds->kept_master);
    certificate_anchors_deinit(&creds->anchors);
    digest_set_deinit(&creds->anchor_digests);
    crl_set_deinit(&creds->crls);
    free(creds);
}

static bool has_chosen_psk(WOLFSSL *ssl)
{
    if (wolfSSL_version(ssl) == DTLS1_3_VERSION)
        return wolfSSL_is_psk_negotiated(ssl);
    const char *suite = wolfSSL_get_cipher_name(ssl);
    return suite && strncmp(suite, "PSK-", 4) == 0;
}

void creds_settle_verify(const struct creds *creds, struct WOLFSSL *ssl)
{
    if (creds->has_mixed_auth)
        wolfSSL_set_verify(ssl,
                           has_chosen_psk(ssl)
                               ? WOLFSSL_VERIFY_NONE
                               : WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           NULL);
}

const uint8_t *creds_find_psk(const struct creds *creds, const void *identity, size_t identity_size,
                              size_t *key_size)
{
    return creds->psks ? psk_find(creds->psks, identity, identity_size, key_size) : NULL;
}

bool creds_has_suite(const struct creds *creds, uint16_t code)
{
    for (int i = 0; i < creds->suite_count; i++)
        if (creds->suites[i] == code)
            return true;
    return false;
}

bool creds_has_group(bool is_1_3, uint16_t code)
{
    /* In 1.2 the library takes whatever group of a device it was built with. */
    if (!is_1_3 && code == WOLFSSL_ECC_SECP521R1)
        return true;
    for (int i = 0; i < (is_1_3 ? GROUP_COUNT : GROUP_COUNT_1_2); i++)
        if (groups[i] == code)
            return true;
    return false;
}

size_t creds_psk_count(const struct creds *creds)
{
    return creds->psks ? psk_count(creds->psks) : 0;
}

int64_t creds_crl_next_update(const struct creds *creds)
{
    int64_t next = crl_set_next_update(&creds->crls);
    return next != CRL_NEVER ? next : 0;
}
