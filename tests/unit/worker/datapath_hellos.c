/* Hellos that the RFCs allow and that no client library here would send: they are served. And what
 * looks like them and is none is refused. tests/integration/test_hellos.py has many more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "gate/raw_hello.h"
#include "worker/datapath_tests.h"

enum {
    SERVER_NAME = 0,
    SUPPORTED_GROUPS = 10,
    POINT_FORMATS = 11,
    SIGNATURE_ALGORITHMS = 13,
    SESSION_TICKET = 35,
    PRE_SHARED_KEY = 41,
    PSK_MODES = 45,
    KEY_SHARE = 51,
    RENEGOTIATION_INFO = 0xff01,
    UNKNOWN_VALUE = 0xeaea, /* RFC 8701 keeps it free */
    BINDER = 32,
};

static struct raw_hello hello; /* too large for a stack */
static struct raw_bytes bytes;

static void fresh_gate(struct gate *gate, const char *what)
{
    gate_doing("%s", what);
    gate_open(gate, USUAL);
    bytes.len = 0;
}

static void served(struct gate *gate, const char *what)
{
    fresh_gate(gate, what);
    raw_hello_assert_served(gate, &hello);
}

static void refused(struct gate *gate, const char *what)
{
    fresh_gate(gate, what);
    enum client_outcome outcome = raw_hello_exchange(gate, &hello);
    assert_true(outcome == CLIENT_handshake_failed || outcome == CLIENT_hello_ignored);
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
}

/* What the hellos here are made of is served, so that it is not the reason if one is not. */
static void plain_hellos_are_served(void **state)
{
    raw_hello_init_12(&hello);
    served(*state, "1.2");
    raw_hello_init_13(&hello);
    served(*state, "1.3");
    gate_doing(NULL);
}

/* RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2: up to 32,767; a record holds a quarter. What
 * the gate has is the last. */
static void long_lists_are_read(void **state)
{
    static const size_t lengths[] = {149, 150, 151, 1000, 7900};
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t unknown = 2 * (lengths[i] - 1);
        raw_hello_init_12(&hello);
        hello.suites.len = 0;
        raw_put_times(&hello.suites, 0xea, unknown);
        raw_put(&hello.suites, "\xc0\xa8", 2);
        served(*state, "1.2, suites");
        hello.suites.len = 0;
        raw_put_times(&hello.suites, 0xea, unknown + 2);
        refused(*state, "1.2, unknown suites");
        assert_int_equal(fake_log_count("detail=no cipher suite in common", NULL), 1);

        raw_hello_init_13(&hello);
        hello.suites.len = 0;
        raw_put_times(&hello.suites, 0xea, unknown);
        raw_put(&hello.suites, "\x13\x01", 2);
        served(*state, "1.3, suites");

        bytes.len = 0;
        raw_put_times(&bytes, 0xea, unknown);
        raw_put(&bytes, "\x04\x03", 2);
        raw_hello_init_12(&hello);
        hello.suites.len = 0;
        raw_put(&hello.suites, "\xc0\xae", 2); /* TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 */
        raw_put_list(&hello.extensions, SUPPORTED_GROUPS, 2, "\x00\x17", 2);
        raw_put_list(&hello.extensions, SIGNATURE_ALGORITHMS, 2, bytes.at, bytes.len);
        served(*state, "1.2, signature algorithms");
        bytes.len = 0;
        raw_put_times(&bytes, 0xea, unknown);
        raw_put(&bytes, "\x04\x03", 2);
        raw_hello_init_13(&hello);
        hello.extensions.len -= 8;
        raw_put_list(&hello.extensions, SIGNATURE_ALGORITHMS, 2, bytes.at, bytes.len);
        served(*state, "1.3, signature algorithms");
        bytes.len = 0;
        raw_put_times(&bytes, 0xea, unknown + 2);
        raw_hello_init_13(&hello);
        hello.extensions.len -= 8;
        raw_put_list(&hello.extensions, SIGNATURE_ALGORITHMS, 2, bytes.at, bytes.len);
        refused(*state, "1.3, unknown signature algorithms");
    }
    gate_doing(NULL);
}

/* RFC 8446 section 4.2.8 has no bound on key shares; groups are many, but not more than 64. */
static void many_key_shares_are_read(void **state)
{
    raw_hello_init_13(&hello);
    hello.extensions.len = 0;
    raw_put_list(&hello.extensions, 43, 1, "\xfe\xfc", 2);
    raw_put_list(&hello.extensions, SIGNATURE_ALGORITHMS, 2, "\x04\x03", 2);
    bytes.len = 0;
    for (unsigned i = 0; i < 50; i++)
        raw_put_number(&bytes, 0x4000 + i, 2);
    raw_put(&bytes, "\x00\x1d", 2);
    raw_put_list(&hello.extensions, SUPPORTED_GROUPS, 2, bytes.at, bytes.len);
    bytes.len = 0;
    for (unsigned i = 0; i < 50; i++) {
        raw_put_number(&bytes, 0x4000 + i, 2);
        raw_put_number(&bytes, 0x000155, 3); /* one byte */
    }
    raw_put(&bytes, "\x00\x1d\x00\x20-any 32 bytes are a good point-", 36);
    raw_put_list(&hello.extensions, KEY_SHARE, 2, bytes.at, bytes.len);
    served(*state, "51 key shares");
    gate_doing(NULL);
}

/* RFC 5246 section 7.4.1.2. */
static void empty_extension_block_is_none(void **state)
{
    raw_hello_init_12(&hello);
    served(*state, "no block");
    hello.has_empty_block = true;
    served(*state, "an empty block");
    gate_doing(NULL);
}

/* RFC 8422 section 5.1: no ECC then, but what is left. */
static void unknown_groups_leave_the_psk(void **state)
{
    static const char ecdhe_only[] = "\xc0\x37"; /* TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256 */
    raw_hello_init_12(&hello);
    raw_put_list(&hello.extensions, SUPPORTED_GROUPS, 2, "\xea\xea\x00\x0f", 4);
    served(*state, "a PSK without ECDHE");
    raw_put_list(&hello.extensions, POINT_FORMATS, 1, "\x01\x02", 2);
    served(*state, "and no uncompressed points");
    hello.suites.len = 0;
    raw_put(&hello.suites, "\xc0\xae", 2);
    refused(*state, "a certificate with ECDHE");
    hello.suites.len = 0;
    raw_put(&hello.suites, ecdhe_only, 2);
    refused(*state, "a PSK with ECDHE");
    gate_doing(NULL);
}

/* RFC 5746 sections 3.4 and 3.6. */
static void renegotiation_info_and_the_suite(void **state)
{
    static const uint8_t zeros[13];
    for (int has_suite = 0; has_suite < 2; has_suite++) {
        raw_hello_init_12(&hello);
        if (has_suite)
            raw_put(&hello.suites, "\x00\xff", 2);
        served(*state, "no extension");
        raw_put_list(&hello.extensions, RENEGOTIATION_INFO, 1, NULL, 0);
        served(*state, "an empty extension");
        hello.extensions.len = 0;
        raw_put_list(&hello.extensions, RENEGOTIATION_INFO, 1, zeros, 12);
        refused(*state, "verify_data before there is any");
        hello.extensions.len = 0;
        raw_put_extension(&hello.extensions, RENEGOTIATION_INFO, zeros, 13);
        refused(*state, "bytes behind an empty one");
    }
    gate_doing(NULL);
}

/* RFC 5077 section 3.1. */
static void ticket_of_any_length_is_passed_over(void **state)
{
    static const size_t lengths[] = {0, 1, 32, 300, 1024, 1025, 5000};
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        raw_hello_init_12(&hello);
        bytes.len = 0;
        raw_put_times(&bytes, 0x77, lengths[i]);
        raw_put_extension(&hello.extensions, SESSION_TICKET, bytes.at, bytes.len);
        served(*state, "a foreign ticket");
    }
    gate_doing(NULL);
}

/* RFC 5246 appendix E.1. */
static void higher_version_is_answered_with_ours(void **state)
{
    static const uint16_t versions[] = {0xfefc, 0xfefb, 0xfe80, 0xfe00};
    for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        raw_hello_init_12(&hello);
        hello.legacy_version = versions[i];
        served(*state, "a version to come");
    }
    hello.legacy_version = 0xfeff;
    refused(*state, "1.0");
    hello.legacy_version = 0x0303;
    refused(*state, "TLS");
    gate_doing(NULL);
}

/* RFC 9147 section 4: ignored. */
static void record_version_of_a_hello_is_ignored(void **state)
{
    static const uint16_t versions[] = {0xfeff, 0xfefd, 0xfefc, 0xfefe, 0xfe00,
                                        0x0000, 0x0303, 0xffff, 0x1234};
    enum { VERSIONS = sizeof(versions) / sizeof(versions[0]) };
    for (unsigned i = 0; i < VERSIONS * VERSIONS; i++) {
        for (int is_1_3 = 0; is_1_3 < 2; is_1_3++) {
            is_1_3 ? raw_hello_init_13(&hello) : raw_hello_init_12(&hello);
            hello.record_version[0] = versions[i / VERSIONS];
            hello.record_version[1] = versions[i % VERSIONS];
            served(*state, "an odd version");
        }
    }
    gate_doing(NULL);
}

/* An entry of pre_shared_key: an identity of that many bytes. */
static void put_identity(const char *identity, size_t len, uint32_t age)
{
    raw_put_number(&bytes, len, 2);
    raw_put(&bytes, identity, len);
    raw_put_number(&bytes, age, 4);
}

/* The extension of what is in `bytes`, with binders of these lengths. */
static void put_psks(const unsigned *binders, size_t count)
{
    struct raw_bytes *out = &hello.last;
    size_t binders_len = 0;
    for (size_t i = 0; i < count; i++)
        binders_len += 1 + binders[i];
    raw_put_list(out, PSK_MODES, 1, "\x01", 1);
    raw_put_number(out, PRE_SHARED_KEY, 2);
    raw_put_number(out, 2 + bytes.len + 2 + binders_len, 2);
    raw_put_number(out, bytes.len, 2);
    raw_put(out, bytes.at, bytes.len);
    raw_put_number(out, binders_len, 2);
    for (size_t i = 0; i < count; i++) {
        raw_put_number(out, binders[i], 1);
        raw_put_times(out, 0x66, binders[i]);
    }
    bytes.len = 0;
}

/* RFC 8446 section 4.2.11: the other identities count, or the certificate. */
static void foreign_identities_are_passed_over(void **state)
{
    static char long_identity[5000];
    static const size_t lengths[] = {1, 128, 129, 1024, 1025, 5000};
    static const unsigned binders[] = {BINDER, 48, 64, 65, 255};
    memset(long_identity, 'x', sizeof(long_identity));
    bytes.len = 0;
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (unsigned n = 0; n < sizeof(binders) / sizeof(binders[0]); n++) {
            raw_hello_init_13(&hello);
            put_identity(long_identity, lengths[i], 77);
            put_psks(&binders[n], 1);
            served(*state, "a foreign identity");
        }
    }
    raw_hello_init_13(&hello);
    put_identity(IDENTITY "\0x", strlen(IDENTITY) + 2, 0);
    put_psks(binders, 1);
    served(*state, "one that begins like one of ours");
    gate_doing(NULL);
}

/* Without what a certificate needs the identity is the reason, and not what it lacks. */
static void unknown_identity_is_the_reason(void **state)
{
    static const unsigned binder = BINDER;
    bytes.len = 0;
    raw_hello_init_13(&hello);
    hello.extensions.len -= 8; /* signature_algorithms */
    put_identity("nobody", 6, 0);
    put_psks(&binder, 1);
    refused(*state, "no signature algorithms");
    assert_int_equal(fake_log_count("event=hello_ignored", "reason=unknown_identity", NULL), 1);
    gate_doing(NULL);
}

/* That its binder is wrong, of all reasons, says that the identity was found: behind another one,
 * and whatever its age (RFC 8446 section 4.2.11: to be ignored). */
static void identity_is_found_behind_any_other(void **state)
{
    static const unsigned binders[] = {BINDER, BINDER};
    static const struct {
        const char *identity;
        size_t len;
    } others[] = {{"nobody", 6}, {"device1\0x", 9}, {"device1\0", 8}, {"\0device1", 8}, {"\0", 1}};
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2 * sizeof(others) / sizeof(others[0]); i++) {
        bytes.len = 0;
        raw_hello_init_13(&hello);
        put_identity(others[i / 2].identity, others[i / 2].len, 0);
        put_identity(IDENTITY, strlen(IDENTITY), i % 2 == 0 ? 0 : 5000);
        put_psks(binders, 2);
        fresh_gate(gate, others[i / 2].identity);
        assert_int_equal(raw_hello_exchange(gate, &hello), CLIENT_handshake_failed);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_wrong_key), 1);
        assert_int_equal(fake_log_count("reason=wrong_key", "identity=" IDENTITY, NULL), 1);
    }
    gate_doing(NULL);
}

/* A datagram of the device's with the identity in it, which is changed on the way. */
static const struct packet *find_identity(const char *identity, uint8_t **where)
{
    size_t len = strlen(identity);
    uint32_t count = fake_network_count(CLIENT_TO_GATE, NULL);
    for (uint32_t i = 0; i < count; i++) {
        const struct packet *packet = gate_nth(CLIENT_TO_GATE, i);
        *where = memmem(packet->data, packet->len, identity, len);
        if (*where != NULL)
            return packet;
    }
    fail_msg("the device has not named its identity");
    return NULL;
}

/* In DTLS 1.2 (RFC 4279 section 2): who names a known identity, a NUL byte and more is not taken
 * for who has that identity. */
static void identity_with_a_nul_byte_is_unknown(void **state)
{
    static const struct client_kind kind = {.name = "device1/x", PSK_12, .identity = IDENTITY "/x"};
    enum { FIRST_OF_FLIGHT = 2 };
    struct gate *gate = *state;
    fresh_gate(gate, kind.name);
    struct device *device = gate_add(gate, &kind);
    device_connect(device);
    for (uint32_t i = 0; i < 3; i++)
        fake_network_plan(LOSE, CLIENT_TO_GATE, FIRST_OF_FLIGHT + i);
    gate_run(gate, 10);
    uint8_t *where;
    const struct packet *packet = find_identity(kind.identity, &where);
    if (packet == NULL)
        return; /* it has failed */
    where[strlen(IDENTITY)] = '\0';
    assert_int_equal(gate_inject(gate, &device->addr, packet->data, packet->len),
                     CLIENT_handshake_failed);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_unknown_identity), 1);
    assert_int_equal(fake_log_count("reason=unknown_identity", "NUL byte", NULL), 1);
    gate_run(gate, 100);
    assert_int_equal(device->client->alert_received, 115); /* unknown_psk_identity */
    gate_doing(NULL);
}

/* Records in plaintext of any version, in the device's name, between any two of its datagrams: of
 * these bytes none ends a handshake (RFC 6347 section 4.1.2.7). */
static void forge_versions(struct gate *gate, const struct device *device)
{
    static const uint16_t versions[] = {0xfeff, 0xfefc, 0xfe00, 0x0303, 0x0000, 0xffff};
    static const struct {
        uint8_t type, len;
        const char *body;
    } bodies[] = {{20, 1, "\x01"},
                  {21, 2, "\x02\x28"},
                  {22, 16, "\x10\x00\x00\x20\x00\x07\x00\x00\x00\x00\x00\x04part"},
                  {26, 2, "\x00\x00"},
                  {26, 7, "garbage"}};
    uint64_t number = 8; /* not so high that those of the device are too old afterwards */
    for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        for (unsigned n = 0; n < sizeof(bodies) / sizeof(bodies[0]); n++) {
            bytes.len = 0;
            raw_put_number(&bytes, bodies[n].type, 1);
            raw_put_number(&bytes, versions[i], 2);
            raw_put_number(&bytes, number++, 8);
            raw_put_number(&bytes, bodies[n].len, 2);
            raw_put(&bytes, bodies[n].body, bodies[n].len);
            enum client_outcome outcome = gate_inject(gate, &device->addr, bytes.at, bytes.len);
            assert_int_not_equal(outcome, CLIENT_handshake_failed);
            assert_int_not_equal(outcome, CLIENT_session_closed);
        }
    }
}

static void odd_record_version_ends_no_handshake(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        for (uint32_t before = 0; before < 8; before++) {
            gate_doing("%s, %u ms after its hello", kind->name, before);
            gate_open(gate, USUAL);
            struct device *device = gate_add(gate, kind);
            device_connect(device);
            gate_run(gate, before);
            forge_versions(gate, device);
            assert_true(gate_run_until_up(gate, device, 20000));
            gate_assert_echo(gate, device, "unharmed");
        }
    }
    gate_doing(NULL);
}

/* What the device sends, with another version in all that is in plaintext. */
struct rewriter {
    struct device *device;
    uint16_t version;
};

static void send_rewritten(void *context, const uint8_t *datagram, size_t len)
{
    const struct rewriter *rewriter = context;
    enum { HEADER = 13, TYPE_ACK = 26, EPOCH_AT = 3, LENGTH_AT = 11 };
    bytes.len = 0;
    raw_put(&bytes, datagram, len);
    for (size_t at = 0; at + HEADER < len && bytes.at[at] <= TYPE_ACK &&
                        bytes_get16(bytes.at + at + EPOCH_AT) == 0;
         at += HEADER + (size_t)bytes_get16(bytes.at + at + LENGTH_AT))
        bytes_put16(bytes.at + at + 1, rewriter->version);
    fake_network_send(CLIENT_TO_GATE, &rewriter->device->addr, &rewriter->device->to, bytes.at,
                      bytes.len);
}

/* A device may say there what it likes. */
static void device_may_say_1_0_in_every_record(void **state)
{
    static const uint16_t versions[] = {0xfeff, 0xfe00, 0x1234};
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
            gate_doing("%s, %04x", kind->name, versions[i]);
            gate_open(gate, USUAL);
            struct device *device = gate_add(gate, kind);
            struct rewriter rewriter = {.device = device, .version = versions[i]};
            device->client->send = send_rewritten;
            device->client->context = &rewriter;
            device_connect(device);
            assert_true(gate_run_until_up(gate, device, 100));
            gate_assert_echo(gate, device, "as any other");
        }
    }
    gate_doing(NULL);
}

int datapath_hellos_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(plain_hellos_are_served),
        GATE_TEST(long_lists_are_read),
        GATE_TEST(many_key_shares_are_read),
        GATE_TEST(empty_extension_block_is_none),
        GATE_TEST(unknown_groups_leave_the_psk),
        GATE_TEST(renegotiation_info_and_the_suite),
        GATE_TEST(ticket_of_any_length_is_passed_over),
        GATE_TEST(higher_version_is_answered_with_ours),
        GATE_TEST(record_version_of_a_hello_is_ignored),
        GATE_TEST(foreign_identities_are_passed_over),
        GATE_TEST(unknown_identity_is_the_reason),
        GATE_TEST(identity_is_found_behind_any_other),
        GATE_TEST(identity_with_a_nul_byte_is_unknown),
        GATE_TEST(odd_record_version_ends_no_handshake),
        GATE_TEST(device_may_say_1_0_in_every_record),
    };
    return cmocka_run_group_tests_name("datapath: hellos", tests, NULL, NULL);
}
