#include "gate/client_kinds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUITE_12(suite) .version = VERSION_1_2, .suites = suite
#define CCM8_12 SUITE_12("PSK-AES128-CCM-8"), WITH_PSK
#define CERT_12 ECDSA_12, WITH_CERTIFICATE
#define PSK_13 GCM_13, WITH_PSK
#define CERT_13 GCM_13, WITH_CERTIFICATE
#define CID(bytes) .has_cid = true, .cid_bytes = bytes

const struct client_kind gate_kinds[] = {
    {.name = "1.2 psk ccm-8", CCM8_12},
    {.name = "1.2 psk gcm", SUITE_12("PSK-AES128-GCM-SHA256"), WITH_PSK},
    {.name = "1.2 certificate", CERT_12},
    {.name = "1.3 psk", PSK_13},
    {.name = "1.3 psk ccm-8", SUITE_13("TLS13-AES128-CCM-8-SHA256"), WITH_PSK},
    {.name = "1.3 psk, large hello", LARGE_13, WITH_PSK},
    {.name = "1.3 certificate", CERT_13},
    {.name = "1.3 certificate, large hello", LARGE_13, WITH_CERTIFICATE},
    {.name = NULL},
};

static const struct client_kind variants[] = {
    /* suites */
    {.name = "1.2 psk ccm", SUITE_12("PSK-AES128-CCM"), WITH_PSK},
    {.name = "1.2 certificate gcm", SUITE_12("ECDHE-ECDSA-AES128-GCM-SHA256"), WITH_CERTIFICATE},
    {.name = "1.2 certificate gcm-256",
     SUITE_12("ECDHE-ECDSA-AES256-GCM-SHA384"),
     WITH_CERTIFICATE},
    {.name = "1.2 certificate chacha", SUITE_12("ECDHE-ECDSA-CHACHA20-POLY1305"), WITH_CERTIFICATE},
    {.name = "1.3 psk ccm", SUITE_13("TLS13-AES128-CCM-SHA256"), WITH_PSK},
    {.name = "1.3 psk chacha", SUITE_13("TLS13-CHACHA20-POLY1305-SHA256"), WITH_PSK},
    {.name = "1.3 certificate chacha",
     SUITE_13("TLS13-CHACHA20-POLY1305-SHA256"),
     WITH_CERTIFICATE},

    /* connection IDs */
    {.name = "1.2 psk ccm-8, cid", CCM8_12, CID(0)},
    {.name = "1.2 psk ccm-8, cid 1", CCM8_12, CID(1)},
    {.name = "1.2 psk ccm-8, cid 4", CCM8_12, CID(4)},
    {.name = "1.2 psk ccm-8, cid 6", CCM8_12, CID(6)},
    {.name = "1.2 psk ccm-8, cid 8", CCM8_12, CID(8)},
    {.name = "1.2 psk ccm-8, cid 32", CCM8_12, CID(32)},
    {.name = "1.2 psk gcm, cid 8", SUITE_12("PSK-AES128-GCM-SHA256"), WITH_PSK, CID(8)},
    {.name = "1.2 certificate, cid", CERT_12, CID(0)},
    {.name = "1.2 certificate, cid 4", CERT_12, CID(4)},
    {.name = "1.2 certificate, cid 8", CERT_12, CID(8)},
    {.name = "1.2 certificate gcm, cid 4",
     SUITE_12("ECDHE-ECDSA-AES128-GCM-SHA256"),
     WITH_CERTIFICATE,
     CID(4)},
    {.name = "1.2 certificate any, cid 6", .version = VERSION_1_2, WITH_CERTIFICATE, CID(6)},
    {.name = "1.3 psk, cid", PSK_13, CID(0)},
    {.name = "1.3 psk, cid 3", PSK_13, CID(3)},
    {.name = "1.3 psk, cid 4", PSK_13, CID(4)},
    {.name = "1.3 psk, cid 6", PSK_13, CID(6)},
    {.name = "1.3 psk, cid 8", PSK_13, CID(8)},
    {.name = "1.3 psk, cid 32", PSK_13, CID(32)},
    {.name = "1.3 psk ccm, cid 6", SUITE_13("TLS13-AES128-CCM-SHA256"), WITH_PSK, CID(6)},
    {.name = "1.3 psk ccm-8, cid 1", SUITE_13("TLS13-AES128-CCM-8-SHA256"), WITH_PSK, CID(1)},
    {.name = "1.3 certificate, cid", CERT_13, CID(0)},
    {.name = "1.3 certificate, cid 4", CERT_13, CID(4)},
    {.name = "1.3 certificate any, cid 32",
     .version = VERSION_1_3,
     .has_small_hello = true,
     WITH_CERTIFICATE,
     CID(32)},
    {.name = "1.3 certificate, large hello, cid 4", LARGE_13, WITH_CERTIFICATE, CID(4)},

    /* whom nobody knows */
    {.name = "1.2 anonymous", ECDSA_12, .ca = "ca"},
    {.name = "1.3 anonymous", GCM_13, .ca = "ca"},

    /* a server with an RSA key */
    {.name = "1.2 certificate, rsa server",
     SUITE_12("ECDHE-RSA-AES128-GCM-SHA256"),
     .certificate = "device",
     .ca = "rsa-ca"},
    {.name = "1.3 certificate, rsa server, large hello, cid",
     LARGE_13,
     .certificate = "device",
     .ca = "rsa-ca",
     CID(0)},

    /* tickets and sizes */
    {.name = "1.2 psk ccm-8, ticket", CCM8_12, .wants_ticket = true},
    {.name = "1.2 certificate, ticket", CERT_12, .wants_ticket = true},
    {.name = "1.3 psk, ticket", PSK_13, .wants_ticket = true},
    {.name = "1.2 anonymous, ticket", ECDSA_12, .ca = "ca", .wants_ticket = true},
    {.name = "1.2 psk ccm-8, single records", CCM8_12, .has_single_records = true},
    {.name = "1.2 certificate, mtu 256", CERT_12, .mtu_bytes = 256},
    {.name = "1.3 certificate, mtu 700", CERT_13, .mtu_bytes = 700},
    {.name = "1.2 psk ccm-8, fragment 512", CCM8_12, .max_fragment = 1},
    {.name = "1.3 psk, fragment 512", PSK_13, .max_fragment = 1},
};

const struct client_kind *gate_kind(const char *name)
{
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        if (strcmp(kind->name, name) == 0)
            return kind;
    }
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        if (strcmp(variants[i].name, name) == 0)
            return &variants[i];
    }
    fprintf(stderr, "client_kinds.c knows no kind of device called %s\n", name);
    abort();
}
