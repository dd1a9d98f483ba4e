/* For tests of creds.c: keys made anew by scripts/make-test-keys, and listeners made of them. */
#ifndef CREDS_FIXTURE_H
#define CREDS_FIXTURE_H

#include <stdbool.h>
#include <sys/types.h>

#include "creds/creds.h"

#define IDENTITY "urn:imei:867000000000001"
#define IDENTITY32 "identity-of-exactly-32-bytes-len"
#define KEY "000102030405060708090a0b0c0d0e0f"

/* Lines of a listener's section. */
#define PAIR "certificate = server.pem\nprivate_key = server.key\n"
#define CA "client_ca = ca.pem\n"
#define PSK "psk_file = devices.psk\n"

/* The default suites, by what they need. */
#define SUITES_13                                                                     \
    "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-CCM-SHA256:" \
    "TLS13-AES128-CCM-8-SHA256"
#define SUITES_PSK "PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-AES128-CCM-8"
#define SUITES_CERTIFICATE                                                                       \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:" \
    "ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM-8:ECDHE-RSA-AES128-GCM-SHA256:"               \
    "ECDHE-RSA-AES256-GCM-SHA384"

struct creds_fixture {
    struct problems problems;
    struct config *config;
    struct creds *creds;
};

/* cmocka's set-up and tear-down of the group: the folder of keys. */
int creds_fixture_make_keys(void **state);
int creds_fixture_remove_keys(void **state);
const char *creds_fixture_folder(void);

/* Of one test: *state is a struct creds_fixture. */
int creds_fixture_set_up(void **state);
int creds_fixture_tear_down(void **state);

/* Into the folder of keys. */
void creds_fixture_put_file(const char *name, const char *text, mode_t mode);

/* Loads the credentials of a listener with these settings; problems of the config itself, which
 * test_config covers, are left out. */
void creds_fixture_load(struct creds_fixture *f, const char *settings);

bool creds_fixture_has_problem(const struct creds_fixture *f, bool is_warning, const char *part);

#endif
