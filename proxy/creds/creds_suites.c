#include "creds/creds_suites.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"

enum need { NEEDS_ANY, NEEDS_PSK, NEEDS_CERTIFICATE };

struct suite {
    const char *name; /* wolfSSL's */
    const char *iana;
    uint32_t version;
    enum need need;
    uint16_t code; /* IANA's */
    bool is_default;
};

#define TLS13 CONFIG_VERSION_1_3, NEEDS_ANY
#define PSK12 CONFIG_VERSION_1_2, NEEDS_PSK
#define CERT12 CONFIG_VERSION_1_2, NEEDS_CERTIFICATE

/* In order of preference. Only AEAD ciphers; certificates only with an ephemeral key exchange.
 * PSK stands before certificates: stacks offer PSK suites only if they have a key, but certificate
 * suites also without a certificate of their own, and would then be refused. */
static const struct suite suites[] = {
    {"TLS13-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256", TLS13, 0x1301, true},
    {"TLS13-CHACHA20-POLY1305-SHA256", "TLS_CHACHA20_POLY1305_SHA256", TLS13, 0x1303, true},
    {"TLS13-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384", TLS13, 0x1302, false},
    {"TLS13-AES128-CCM-SHA256", "TLS_AES_128_CCM_SHA256", TLS13, 0x1304, true},
    {"TLS13-AES128-CCM-8-SHA256", "TLS_AES_128_CCM_8_SHA256", TLS13, 0x1305, true},
    {"PSK-AES128-GCM-SHA256", "TLS_PSK_WITH_AES_128_GCM_SHA256", PSK12, 0x00a8, true},
    {"PSK-AES256-GCM-SHA384", "TLS_PSK_WITH_AES_256_GCM_SHA384", PSK12, 0x00a9, false},
    {"PSK-CHACHA20-POLY1305", "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256", PSK12, 0xccab, false},
    {"PSK-AES128-CCM", "TLS_PSK_WITH_AES_128_CCM", PSK12, 0xc0a4, true},
    {"PSK-AES256-CCM", "TLS_PSK_WITH_AES_256_CCM", PSK12, 0xc0a5, false},
    {"PSK-AES128-CCM-8", "TLS_PSK_WITH_AES_128_CCM_8", PSK12, 0xc0a8, true},
    {"PSK-AES256-CCM-8", "TLS_PSK_WITH_AES_256_CCM_8", PSK12, 0xc0a9, false},
    {"ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CERT12, 0xc02b,
     true},
    {"ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CERT12, 0xc02c,
     true},
    {"ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CERT12,
     0xcca9, true},
    {"ECDHE-ECDSA-AES128-CCM", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", CERT12, 0xc0ac, true},
    {"ECDHE-ECDSA-AES128-CCM-8", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", CERT12, 0xc0ae, true},
    {"ECDHE-ECDSA-AES256-CCM-8", "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8", CERT12, 0xc0af, false},
    {"ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CERT12, 0xc02f, true},
    {"ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CERT12, 0xc030, true},
    {"ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CERT12, 0xcca8,
     false},
};

#define SUITE_COUNT (sizeof(suites) / sizeof(suites[0]))

static const struct suite *find(const char *name, size_t size)
{
    for (size_t i = 0; i < SUITE_COUNT; i++) {
        const struct suite *suite = &suites[i];
        if ((strlen(suite->name) == size && strncasecmp(suite->name, name, size) == 0) ||
            (strlen(suite->iana) == size && strncasecmp(suite->iana, name, size) == 0))
            return suite;
    }
    return NULL;
}

/* In DTLS 1.3 suites do not depend on the key. In 1.2 the library has no signature for an
 * RSASSA-PSS key that clients take. */
static bool serves(const struct suite *suite, enum certificate_key key)
{
    if (suite->version == CONFIG_VERSION_1_3)
        return true;
    bool is_for_rsa = strncmp(suite->name, "ECDHE-RSA-", 10) == 0;
    return suite->need == NEEDS_CERTIFICATE &&
           (is_for_rsa ? key == KEY_RSA : key == KEY_EC || key == KEY_ED25519);
}

static bool works(const struct suite *suite, const struct suite_means *means)
{
    if (suite->need == NEEDS_CERTIFICATE && means->key == KEY_RSA_PSS)
        return false;
    return (suite->version & means->versions) && (suite->need != NEEDS_PSK || means->has_psk) &&
           (suite->need != NEEDS_CERTIFICATE || means->has_certificate);
}

static void append(char text[CREDS_SUITES_TEXT_MAX], const struct suite *suite)
{
    size_t used = strlen(text);
    int size =
        snprintf(text + used, CREDS_SUITES_TEXT_MAX - used, "%s%s", used ? ":" : "", suite->name);
    assert(size > 0 && (size_t)size < CREDS_SUITES_TEXT_MAX - used);
    (void)size;
}

/* wolfSSL and OpenSSL also write CCM8 for what the table calls CCM-8. */
static const struct suite *find_any_form(const char *name, size_t size)
{
    static const char ending[] = "-CCM8";
    const size_t ending_size = sizeof(ending) - 1;
    if (size <= ending_size || strncasecmp(name + size - ending_size, ending, ending_size) != 0)
        return find(name, size);
    char usual[64];
    int usual_size = snprintf(usual, sizeof(usual), "%.*s-8", (int)size - 1, name);
    return usual_size < (int)sizeof(usual) ? find(usual, (size_t)usual_size) : NULL;
}

/* What `ciphers` says. */
struct names {
    const struct suite *suites[SUITE_COUNT]; /* in its order, each once */
    size_t count;
    bool is_without; /* they are taken from the default list */
};

static bool has_suite(const struct names *names, const struct suite *suite)
{
    for (size_t i = 0; i < names->count; i++)
        if (names->suites[i] == suite)
            return true;
    return false;
}

static bool read_name(struct names *names, const char *name, size_t size, bool is_first,
                      struct err *err)
{
    bool has_minus = name[0] == '-' && size > 1;
    if (is_first)
        names->is_without = has_minus;
    if (name[0] == '!' || names->is_without != has_minus)
        return err_set(err,
                       "%.*s: write the suites to offer, or only such as the default list is to go "
                       "without, each with a - before it",
                       (int)(size < 80 ? size : 80), name);
    const struct suite *suite = find_any_form(name + has_minus, size - has_minus);
    if (!suite)
        return err_set(err,
                       "%.*s is unknown or refused (CBC, NULL, static RSA, static ECDH, anonymous)",
                       (int)(size < 80 ? size : 80), name);
    if (!has_suite(names, suite))
        names->suites[names->count++] = suite;
    return true;
}

static bool read_names(struct names *names, const char *ciphers, struct err *err)
{
    static const char separators[] = ":, \t";
    const char *first = ciphers + strspn(ciphers, separators);
    for (const char *at = first; *at; at += strspn(at, separators)) {
        size_t size = strcspn(at, separators);
        if (!read_name(names, at, size, at == first, err))
            return false;
        at += size;
    }
    return true;
}

bool creds_suites_choose(const char *ciphers, const struct suite_means *means,
                         char text[CREDS_SUITES_TEXT_MAX], struct err *err)
{
    struct names names = {.is_without = *ciphers == '\0'};
    text[0] = '\0';
    if (!read_names(&names, ciphers, err))
        return false;
    for (size_t i = 0; i < names.count && !names.is_without; i++)
        if (works(names.suites[i], means))
            append(text, names.suites[i]);
    for (size_t i = 0; i < SUITE_COUNT && names.is_without; i++)
        if (suites[i].is_default && works(&suites[i], means) && !has_suite(&names, &suites[i]))
            append(text, &suites[i]);
    if (text[0])
        return true;
    return err_set(err, "%s with the versions and credentials of this listener",
                   *ciphers == '\0'   ? "no suite works"
                   : names.is_without ? "no suite is left of the default list that works"
                                      : "none of these works");
}

const char *creds_suites_left_out(const char *ciphers, const struct suite_means *means,
                                  char text[CREDS_SUITES_TEXT_MAX])
{
    struct names names = {.is_without = true};
    struct err err;
    text[0] = '\0';
    if (!read_names(&names, ciphers, &err) || names.is_without)
        return text;
    for (size_t i = 0; i < names.count; i++)
        if (!works(names.suites[i], means))
            append(text, names.suites[i]);
    return text;
}

uint32_t creds_suites_versions(const char *text)
{
    uint32_t versions = 0;
    for (const char *at = text; *at != '\0';) {
        size_t size = strcspn(at, ":");
        const struct suite *suite = find(at, size);
        versions |= suite != NULL ? suite->version : 0;
        at += size + (at[size] == ':');
    }
    return versions;
}

bool creds_suites_serve(const char *text, enum certificate_key key)
{
    for (const char *at = text; *at != '\0';) {
        size_t size = strcspn(at, ":");
        const struct suite *suite = find(at, size);
        if (suite && serves(suite, key))
            return true;
        at += size + (at[size] == ':');
    }
    return false;
}

const char *creds_suites_text(const uint16_t *codes, size_t count, char text[CREDS_SUITES_TEXT_MAX])
{
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < SUITE_COUNT; j++)
            if (suites[j].code == codes[i])
                append(text, &suites[j]);
    return text;
}

const char *creds_suites_name(uint16_t code)
{
    for (size_t i = 0; i < SUITE_COUNT; i++) {
        if (suites[i].code == code)
            return suites[i].iana;
    }
    return "unknown";
}

const char *creds_suites_all(char text[CREDS_SUITES_TEXT_MAX])
{
    text[0] = '\0';
    for (size_t i = 0; i < SUITE_COUNT; i++)
        append(text, &suites[i]);
    return text;
}
