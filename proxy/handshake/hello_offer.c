#include "handshake/hello_offer.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/message.h"

enum {
    /* Extensions. */
    SUPPORTED_GROUPS = 10,
    SIGNATURE_ALGORITHMS = 13,
    PRE_SHARED_KEY = 41,
    SUPPORTED_VERSIONS = 43,
    COOKIE = 44,
    PSK_KEY_EXCHANGE_MODES = 45,
    KEY_SHARE = 51,
    PSK_DHE_KE = 1,
};

/* ---- reading -------------------------------------------------------------------------------- */

/* Bytes that are still to be read; len 0 = no more, whether there should be or not. */
struct rest {
    const uint8_t *at;
    size_t len;
    bool is_cut; /* more was asked for than there is */
};

static struct rest take(struct rest *from, size_t len)
{
    struct rest part = {.at = from->at, .len = len};
    if (len > from->len) {
        from->is_cut = part.is_cut = true;
        part.len = from->len;
    }
    from->at += part.len;
    from->len -= part.len;
    return part;
}

static uint32_t take_number(struct rest *from, size_t bytes)
{
    struct rest number = take(from, bytes);
    uint32_t value = 0;
    for (size_t i = 0; i < number.len && !number.is_cut; i++)
        value = value << 8 | number.at[i];
    return value;
}

/* A vector with its length before it. */
static struct rest take_vector(struct rest *from, size_t length_bytes)
{
    return take(from, take_number(from, length_bytes));
}

static uint16_t read_list(struct rest list, uint16_t *at, size_t max)
{
    uint16_t total = (uint16_t)(list.len / 2);
    for (size_t i = 0; i < total && i < max; i++)
        at[i] = bytes_get16(list.at + 2 * i);
    return total;
}

static void read_extension(struct hello_offer *offer, uint32_t type, struct rest body)
{
    struct hello_offer_list *list = NULL;
    size_t length_bytes = 2;
    switch (type) {
    case SUPPORTED_GROUPS: list = &offer->groups; break;
    case SIGNATURE_ALGORITHMS: list = &offer->signatures; break;
    case SUPPORTED_VERSIONS:
        list = &offer->versions;
        length_bytes = 1;
        break;
    case PRE_SHARED_KEY: offer->has_psk = true; return;
    case COOKIE: offer->has_cookie = true; return;
    case KEY_SHARE: offer->has_key_share = true; return;
    case PSK_KEY_EXCHANGE_MODES:
        offer->has_psk_modes = true;
        for (struct rest modes = take_vector(&body, 1); modes.len != 0;)
            offer->has_psk_dhe |= take_number(&modes, 1) == PSK_DHE_KE;
        return;
    default: return;
    }
    list->total = read_list(take_vector(&body, length_bytes), list->at, HELLO_OFFER_OTHERS);
}

/* What is in the first record of the hello, which may be a fragment. */
static bool find_hello(const uint8_t *datagram, size_t len, struct rest *hello)
{
    struct rest rest = {.at = datagram, .len = len};
    struct rest header = take(&rest, RECORD_HEADER_BYTES);
    if (header.is_cut || header.at[0] != RECORD_HANDSHAKE || record_epoch(header.at) != 0)
        return false;
    rest = take(&rest, record_body_len(header.at, RECORD_HEADER_BYTES));
    struct rest message = take(&rest, HANDSHAKE_HEADER_BYTES);
    if (message.is_cut || message.at[0] != HANDSHAKE_CLIENT_HELLO ||
        bytes_get24(message.at + 6) != 0)
        return false;
    *hello = take(&rest, bytes_get24(message.at + 1));
    return true;
}

bool hello_offer_read(struct hello_offer *offer, const uint8_t *datagram, size_t len)
{
    struct rest hello;
    if (!find_hello(datagram, len, &hello))
        return false;
    *offer = (struct hello_offer){.is_read = true, .is_cut = hello.is_cut};
    hello.is_cut = false;
    offer->legacy_version = (uint16_t)take_number(&hello, 2);
    take(&hello, HELLO_RANDOM_BYTES);
    take_vector(&hello, 1); /* legacy_session_id */
    take_vector(&hello, 1); /* cookie */
    offer->suite_total = read_list(take_vector(&hello, 2), offer->suites, HELLO_OFFER_SUITES);
    take_vector(&hello, 1); /* legacy_compression_methods */
    bool has_extensions = hello.len != 0;
    struct rest extensions = {0};
    if (has_extensions)
        extensions = take_vector(&hello, 2);
    extensions.is_cut = false; /* those that are there are read */
    while (extensions.len != 0 && !extensions.is_cut) {
        uint32_t type = take_number(&extensions, 2);
        struct rest body = take_vector(&extensions, 2);
        read_extension(offer, type, body);
    }
    offer->is_cut |= hello.is_cut || extensions.is_cut;
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

struct name {
    uint16_t value;
    const char *text;
};

/* In the registries of IANA; what devices offer, whether the gate can do it or not. */
static const struct name version_names[] = {
    {0xfefc, "1.3"}, {0xfefd, "1.2"}, {0xfeff, "1.0"}, {0, NULL}};

static const struct name group_names[] = {{21, "secp224r1"},
                                          {22, "secp256k1"},
                                          {23, "secp256r1"},
                                          {24, "secp384r1"},
                                          {25, "secp521r1"},
                                          {26, "brainpoolP256r1"},
                                          {27, "brainpoolP384r1"},
                                          {28, "brainpoolP512r1"},
                                          {29, "x25519"},
                                          {30, "x448"},
                                          {256, "ffdhe2048"},
                                          {257, "ffdhe3072"},
                                          {258, "ffdhe4096"},
                                          {512, "MLKEM512"},
                                          {513, "MLKEM768"},
                                          {514, "MLKEM1024"},
                                          {4587, "SecP256r1MLKEM768"},
                                          {4588, "X25519MLKEM768"},
                                          {4589, "SecP384r1MLKEM1024"},
                                          {0, NULL}};

static const struct name signature_names[] = {{0x0201, "rsa_pkcs1_sha1"},
                                              {0x0203, "ecdsa_sha1"},
                                              {0x0401, "rsa_pkcs1_sha256"},
                                              {0x0403, "ecdsa_secp256r1_sha256"},
                                              {0x0501, "rsa_pkcs1_sha384"},
                                              {0x0503, "ecdsa_secp384r1_sha384"},
                                              {0x0601, "rsa_pkcs1_sha512"},
                                              {0x0603, "ecdsa_secp521r1_sha512"},
                                              {0x0804, "rsa_pss_rsae_sha256"},
                                              {0x0805, "rsa_pss_rsae_sha384"},
                                              {0x0806, "rsa_pss_rsae_sha512"},
                                              {0x0807, "ed25519"},
                                              {0x0808, "ed448"},
                                              {0x0809, "rsa_pss_pss_sha256"},
                                              {0x080a, "rsa_pss_pss_sha384"},
                                              {0x080b, "rsa_pss_pss_sha512"},
                                              {0, NULL}};

static const struct name suite_names[] = {{0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"},
                                          {0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"},
                                          {0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"},
                                          {0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"},
                                          {0x008c, "TLS_PSK_WITH_AES_128_CBC_SHA"},
                                          {0x008d, "TLS_PSK_WITH_AES_256_CBC_SHA"},
                                          {0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"},
                                          {0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"},
                                          {0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
                                          {0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"},
                                          {0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256"},
                                          {0x00a9, "TLS_PSK_WITH_AES_256_GCM_SHA384"},
                                          {0x00aa, "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256"},
                                          {0x00ab, "TLS_DHE_PSK_WITH_AES_256_GCM_SHA384"},
                                          {0x00ae, "TLS_PSK_WITH_AES_128_CBC_SHA256"},
                                          {0x00af, "TLS_PSK_WITH_AES_256_CBC_SHA384"},
                                          {0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"},
                                          {0x1301, "TLS_AES_128_GCM_SHA256"},
                                          {0x1302, "TLS_AES_256_GCM_SHA384"},
                                          {0x1303, "TLS_CHACHA20_POLY1305_SHA256"},
                                          {0x1304, "TLS_AES_128_CCM_SHA256"},
                                          {0x1305, "TLS_AES_128_CCM_8_SHA256"},
                                          {0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
                                          {0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
                                          {0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
                                          {0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"},
                                          {0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"},
                                          {0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"},
                                          {0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"},
                                          {0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"},
                                          {0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
                                          {0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
                                          {0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
                                          {0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
                                          {0xc035, "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA"},
                                          {0xc036, "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA"},
                                          {0xc037, "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"},
                                          {0xc038, "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA384"},
                                          {0xc0a4, "TLS_PSK_WITH_AES_128_CCM"},
                                          {0xc0a5, "TLS_PSK_WITH_AES_256_CCM"},
                                          {0xc0a8, "TLS_PSK_WITH_AES_128_CCM_8"},
                                          {0xc0a9, "TLS_PSK_WITH_AES_256_CCM_8"},
                                          {0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM"},
                                          {0xc0ad, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM"},
                                          {0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"},
                                          {0xc0af, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8"},
                                          {0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
                                          {0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
                                          {0xccab, "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256"},
                                          {0xccac, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"},
                                          {0xd001, "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256"},
                                          {0xd003, "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256"},
                                          {0xd005, "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256"},
                                          {0, NULL}};

/* A text that grows up to a bound. */
struct writer {
    char *text;
    size_t len, size;
};

/* Adds all of it or nothing: false if there is no room for it and for `reserved` bytes more. */
static bool put(struct writer *writer, const char *text, size_t reserved)
{
    size_t len = strlen(text);
    if (writer->len + len + reserved >= writer->size)
        return false;
    memcpy(writer->text + writer->len, text, len + 1);
    writer->len += len;
    return true;
}

static const char *name_of(const struct name *names, uint16_t value, char hex[8])
{
    for (; names->text != NULL; names++) {
        if (names->value == value)
            return names->text;
    }
    snprintf(hex, 8, "0x%04x", value);
    return hex;
}

/* The list in at most so many bytes, so that those behind it have room too. */
static void put_list(struct writer *writer, size_t bytes_max, const char *title,
                     const struct name *names, const uint16_t *at, size_t kept, size_t total)
{
    enum { COUNT_BYTES = 7 }; /* ",+32767" */
    struct writer list = {
        .text = writer->text, .len = writer->len, .size = writer->len + bytes_max};
    char item[64], hex[8];
    size_t i = 0;
    put(&list, title, COUNT_BYTES);
    for (; i < kept && i < total; i++) {
        snprintf(item, sizeof(item), "%s%s", i != 0 ? "," : "", name_of(names, at[i], hex));
        if (!put(&list, item, COUNT_BYTES))
            break;
    }
    if (total == 0)
        put(&list, "none", 0);
    if (i < total) {
        snprintf(item, sizeof(item), "%s+%u", i != 0 ? "," : "", (unsigned)(total - i));
        put(&list, item, 0);
    }
    writer->len = list.len;
}

const char *hello_offer_format(const struct hello_offer *offer, char text[HELLO_OFFER_TEXT_MAX])
{
    /* Together with the short ones in between they are less than the whole. */
    enum { VERSIONS_MAX = 60, GROUPS_MAX = 90, SIGNATURES_MAX = 120, SUITES_MAX = 220 };
    struct writer writer = {.text = text, .size = HELLO_OFFER_TEXT_MAX};
    const struct hello_offer_list legacy = {.total = 1, .at = {offer->legacy_version}};
    const struct hello_offer_list *versions =
        offer->versions.total != 0 ? &offer->versions : &legacy;
    text[0] = '\0';
    put_list(&writer, VERSIONS_MAX, "versions:", version_names, versions->at, HELLO_OFFER_OTHERS,
             versions->total);
    put_list(&writer, GROUPS_MAX, " groups:", group_names, offer->groups.at, HELLO_OFFER_OTHERS,
             offer->groups.total);
    put_list(&writer, SIGNATURES_MAX, " signatures:", signature_names, offer->signatures.at,
             HELLO_OFFER_OTHERS, offer->signatures.total);
    if (offer->has_psk_modes)
        put(&writer, offer->has_psk_dhe ? " psk:dhe_ke" : " psk:ke", 0);
    put_list(&writer, SUITES_MAX, " suites:", suite_names, offer->suites, HELLO_OFFER_SUITES,
             offer->suite_total);
    if (offer->is_cut)
        put(&writer, "...", 0);
    return text;
}
