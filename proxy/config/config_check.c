#include "config/config_check.h"

#include <string.h>

#include "config/config_print.h"
#include "config/config_table.h"

struct check {
    const struct config *config;
    const uint64_t *rejected;
    struct problems *problems;
};

/* Begin of a message, see config_where. */
struct where {
    char text[PROBLEM_TEXT_MAX];
};

static struct where where_of(const struct check *check, const struct listener_config *listener,
                             const char *key)
{
    struct where where = {""};
    config_where(check->config, listener, key, where.text, sizeof(where.text));
    return where;
}

static bool is_rejected(const struct check *check, const struct listener_config *listener,
                        enum listener_setting setting)
{
    return check->rejected[listener - check->config->listeners] >> setting & 1;
}

static void check_missing(const struct check *check, const struct listener_config *listener)
{
    for (size_t i = 0; i < config_listener_table.count; i++) {
        const struct setting *setting = &config_listener_table.settings[i];
        if (!setting->default_text && listener->lines[i] == 0)
            problems_error(check->problems,
                           "%s:%u: [listener %s] %s: missing; every listener needs this key",
                           check->config->path, listener->line, listener->name, setting->key);
    }
}

/* --- addresses --- */

static bool is_broadcast4(const struct addr *addr)
{
    static const uint8_t rest[4] = {255, 255, 255, 255};
    return addr->family == AF_INET && memcmp(addr->ip, rest, 4) == 0;
}

static bool is_multicast(const struct addr *addr)
{
    return addr->family == AF_INET ? addr->ip[0] >> 4 == 0xe : addr->ip[0] == 0xff;
}

static bool is_mapped4(const struct addr *addr)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return addr->family == AF_INET6 && memcmp(addr->ip, prefix, sizeof(prefix)) == 0;
}

static void check_listen_kinds(const struct check *check, const struct listener_config *listener)
{
    for (uint32_t i = 0; i < listener->listen.count; i++) {
        const struct addr *addr = &listener->listen.addrs[i];
        char text[ADDR_TEXT_MAX];
        const char *why = is_multicast(addr) || is_broadcast4(addr)
                              ? "is no address of one host, and DTLS needs one"
                          : is_mapped4(addr) ? "is an IPv4 address in IPv6 form; write it as IPv4"
                                             : NULL;
        if (why)
            problems_error(check->problems, "%s: %s %s", where_of(check, listener, "listen").text,
                           addr_format(addr, text), why);
    }
}

/* The kernel would accept it, and then give each datagram to only one of the two. */
static void report_overlap(const struct check *check, const struct listener_config *listener,
                           const struct addr *addr, const struct listener_config *other,
                           const struct addr *taken)
{
    char text[ADDR_TEXT_MAX], taken_text[ADDR_TEXT_MAX];
    const char *why = addr_equal(addr, taken)  ? "is already taken by"
                      : addr_is_wildcard(addr) ? "stands for every address and so covers"
                                               : "is already covered by";
    addr_format(addr, text);
    addr_format(taken, taken_text);
    if (other == listener)
        problems_error(check->problems,
                       "%s: %s %s %s in the same list; keep only the one that is meant",
                       where_of(check, listener, "listen").text, text, why, taken_text);
    else
        problems_error(check->problems,
                       "%s: %s %s %s of [listener %s] (line %u); give each listener an address or "
                       "a port of its own",
                       where_of(check, listener, "listen").text, text, why, taken_text, other->name,
                       other->lines[LISTENER_listen]);
}

/* The first listening address before `end` in the file that overlaps with addr, and its listener;
 * NULL if there is none. With end = NULL all are searched. */
static const struct addr *find_overlap(const struct config *config, const struct addr *addr,
                                       const struct addr *end,
                                       const struct listener_config **listener)
{
    for (uint32_t i = 0; i < config->listener_count; i++) {
        *listener = &config->listeners[i];
        for (uint32_t j = 0; j < (*listener)->listen.count; j++) {
            const struct addr *other = &(*listener)->listen.addrs[j];
            if (other == end)
                return NULL;
            if (addr_overlaps(addr, other))
                return other;
        }
    }
    return NULL;
}

static void check_listen_overlaps(const struct check *check, const struct listener_config *listener)
{
    for (uint32_t i = 0; i < listener->listen.count; i++) {
        const struct addr *addr = &listener->listen.addrs[i];
        const struct listener_config *other;
        const struct addr *taken = find_overlap(check->config, addr, addr, &other);
        if (taken)
            report_overlap(check, listener, addr, other, taken);
    }
}

/* A gate that sends to itself would answer its own plaintext with more of it. */
static void check_backend_loop(const struct check *check, const struct listener_config *listener)
{
    const struct listener_config *other;
    if (find_overlap(check->config, &listener->backend, NULL, &other))
        problems_error(check->problems,
                       "%s: the gate itself listens there ([listener %s], line %u); name the "
                       "address of the plaintext server",
                       where_of(check, listener, "backend").text, other->name,
                       other->lines[LISTENER_listen]);
}

static void check_backend(const struct check *check, const struct listener_config *listener)
{
    const struct addr *backend = &listener->backend;
    static const uint8_t first[4] = {127, 0, 0, 0}, last[4] = {127, 255, 255, 255};

    if (backend->family == 0)
        return;
    if (backend->family == AF_INET6)
        problems_error(check->problems,
                       "%s: an IPv6 address; a backend must have one of 127.0.0.0/8, because each "
                       "session gets a source address of its own, and IPv6 loopback has only ::1; "
                       "let the server listen on 127.0.0.1:%u too",
                       where_of(check, listener, "backend").text, backend->port);
    else if (!addr_is_loopback4(backend))
        problems_error(check->problems,
                       "%s: not in 127.0.0.0/8; for now a backend must be on this host, such as "
                       "127.0.0.1:5683",
                       where_of(check, listener, "backend").text);
    else if (memcmp(backend->ip, first, 4) == 0 || memcmp(backend->ip, last, 4) == 0)
        problems_error(check->problems,
                       "%s: the first and the last address of 127.0.0.0/8 are no hosts; write for "
                       "example 127.0.0.1:%u",
                       where_of(check, listener, "backend").text, backend->port);
    else
        check_backend_loop(check, listener);
}

/* The sockets toward the backends are bound to this port of every address, so nobody else can have
 * it: neither the server nor, with IPv4, the gate's own listener. */
static void check_backend_port(const struct check *check, const struct listener_config *listener)
{
    uint32_t port = check->config->gate.backend_port;
    if (port == 0)
        return;
    bool is_taken = listener->backend.port == port;
    for (uint32_t i = 0; i < listener->listen.count; i++) {
        const struct addr *listen = &listener->listen.addrs[i];
        is_taken |= listen->family == AF_INET && listen->port == port;
    }
    if (is_taken)
        problems_error(check->problems,
                       "%s:%u: [gate] backend_port = %u: [listener %s] has this port, as the "
                       "server's or its own; it must be another one, or 0",
                       check->config->path, check->config->gate.lines[GATE_backend_port], port,
                       listener->name);
}

/* --- credentials --- */

static void check_client_auth_required(const struct check *check,
                                       const struct listener_config *listener)
{
    if (listener->client_ca[0] != '\0')
        return;
    if (listener->psk_file.count != 0)
        problems_warning(check->problems,
                         "%s: no device can enter with a certificate, because client_ca is empty; "
                         "set client_ca, or leave certificate and private_key out",
                         where_of(check, listener, "client_auth").text);
    else
        problems_error(check->problems,
                       "%s: no device could enter, because client_ca and psk_file are empty; set "
                       "client_ca to the certificates that sign the devices' own, or set psk_file",
                       where_of(check, listener, "client_auth").text);
}

static void check_client_auth(const struct check *check, const struct listener_config *listener)
{
    struct where where = where_of(check, listener, "client_auth");
    switch (listener->client_auth) {
    case CLIENT_AUTH_REQUIRED: check_client_auth_required(check, listener); break;
    case CLIENT_AUTH_OPTIONAL:
        problems_warning(check->problems,
                         "%s: any device may enter, also one without PSK and certificate; only a "
                         "certificate that a device does send is checked%s; required admits only "
                         "devices that prove who they are",
                         where.text,
                         listener->client_ca[0] ? "" : ", and without client_ca none is accepted");
        break;
    case CLIENT_AUTH_NONE:
        problems_warning(check->problems,
                         "%s: any device may enter, without PSK and without certificate; required "
                         "admits only devices that prove who they are",
                         where.text);
        if (listener->client_ca[0] != '\0')
            problems_warning(check->problems,
                             "%s: not used, because client_auth = none asks for no certificate",
                             where_of(check, listener, "client_ca").text);
        break;
    }
}

/* A certificate and its key come together; what belongs to them needs them. */
static void check_certificate(const struct check *check, const struct listener_config *listener)
{
    bool has_certificate = listener->certificate[0] != '\0';
    bool has_key = listener->private_key[0] != '\0';

    if (has_certificate && !has_key)
        problems_error(check->problems,
                       "%s: no private_key; set it to the file with the key of this certificate",
                       where_of(check, listener, "certificate").text);
    else if (has_key && !has_certificate)
        problems_error(check->problems,
                       "%s: no certificate; set it to the file with the certificate of this key",
                       where_of(check, listener, "private_key").text);
    else if (has_certificate && !is_rejected(check, listener, LISTENER_client_auth) &&
             !is_rejected(check, listener, LISTENER_client_ca))
        check_client_auth(check, listener);
    else if (!has_certificate && listener->client_ca[0] != '\0')
        problems_warning(check->problems,
                         "%s: not used, because the listener has no certificate of its own",
                         where_of(check, listener, "client_ca").text);
}

/* What is checked of certificates needs some to be trusted. */
static void check_crls(const struct check *check, const struct listener_config *listener)
{
    bool has_cas = listener->client_ca[0] != '\0' && listener->certificate[0] != '\0' &&
                   listener->client_auth != CLIENT_AUTH_NONE;
    if (listener->crl_file.count != 0 && !has_cas)
        problems_warning(check->problems,
                         "%s: not used, because the listener checks no certificates of devices; "
                         "that takes certificate, client_ca, and client_auth other than none",
                         where_of(check, listener, "crl_file").text);
}

static void check_credentials(const struct check *check, const struct listener_config *listener)
{
    if (is_rejected(check, listener, LISTENER_psk_file) ||
        is_rejected(check, listener, LISTENER_certificate) ||
        is_rejected(check, listener, LISTENER_private_key))
        return;
    if (listener->psk_file.count == 0 && listener->certificate[0] == '\0' &&
        listener->private_key[0] == '\0')
        problems_error(check->problems,
                       "%s:%u: [listener %s]: no credentials, so no device could enter; set "
                       "psk_file, or certificate and private_key",
                       check->config->path, listener->line, listener->name);
    else
        check_certificate(check, listener);
    check_crls(check, listener);
}

static void check_cids(const struct check *check, const struct listener_config *listener)
{
    if (listener->cid_bytes == 0 || listener->cid_bytes >= CONFIG_CID_GOOD ||
        is_rejected(check, listener, LISTENER_cid_bytes))
        return;
    if (listener->cid_bytes < CONFIG_CID_MIN) {
        problems_error(check->problems,
                       "%s: too short: the first 12 bits of a connection ID say which worker has "
                       "the session, and the rest must tell its devices apart; make it at least "
                       "%d, or 0 for none",
                       where_of(check, listener, "cid_length").text, CONFIG_CID_GOOD);
        return;
    }
    problems_warning(check->problems,
                     "%s: too short to be unguessable: strangers could send forged records to "
                     "sessions, and there may not be enough for all devices; make it at least %d, "
                     "or 0 for none",
                     where_of(check, listener, "cid_length").text, CONFIG_CID_GOOD);
}

static void check_times(const struct check *check, const struct listener_config *listener)
{
    if (listener->retransmit_ms < listener->handshake_timeout_ms ||
        is_rejected(check, listener, LISTENER_retransmit_ms) ||
        is_rejected(check, listener, LISTENER_handshake_timeout_ms))
        return;
    problems_warning(check->problems,
                     "%s: nothing is ever sent again, because handshake_timeout is not longer, so "
                     "one lost datagram ends a handshake; make it several times as long",
                     where_of(check, listener, "retransmit").text);
}

static void check_tickets(const struct check *check, const struct listener_config *listener)
{
    if (listener->ticket_versions == 0 || (listener->ticket_versions & listener->versions) != 0 ||
        is_rejected(check, listener, LISTENER_ticket_versions) ||
        is_rejected(check, listener, LISTENER_versions))
        return;
    problems_warning(check->problems,
                     "%s: gives no device a ticket, because versions has none of these; name one "
                     "of them, or write off",
                     where_of(check, listener, "tickets").text);
}

static void check_metrics(const struct check *check)
{
    const struct gate_config *gate = &check->config->gate;
    char text[ADDR_TEXT_MAX];
    if (gate->metrics.family == 0 || addr_is_private(&gate->metrics))
        return;
    problems_warning(
        check->problems,
        "%s:%u: [gate] metrics = %s: %s, and there is no password on it; name an "
        "address that only your scraper reaches, or have the firewall keep others away",
        check->config->path, gate->lines[GATE_metrics], addr_format(&gate->metrics, text),
        addr_is_wildcard(&gate->metrics)
            ? "listens on every address of this machine, the public ones too"
            : "this is a public address");
}

void config_check(const struct config *config, const uint64_t *rejected, struct problems *problems)
{
    const struct check check = {config, rejected, problems};
    check_metrics(&check);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        check_missing(&check, listener);
        check_listen_kinds(&check, listener);
        check_listen_overlaps(&check, listener);
        check_backend(&check, listener);
        check_backend_port(&check, listener);
        check_credentials(&check, listener);
        check_cids(&check, listener);
        check_tickets(&check, listener);
        check_times(&check, listener);
    }
}
