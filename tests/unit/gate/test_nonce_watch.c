/* The watcher of nonces itself: it sees every way in which records are encrypted, ours and the
 * library's, and tells a record that is sent again from a nonce that is used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include "gate/gate_fixture.h"
#include "gate/gate_wolfssl.h"
#include "gate/nonce_watch.h"
#include "handshake/dtls.h"
#include "wire/aead.h"
#include "worker/datapath_tests.h"

static int set_up(void **state)
{
    nonce_watch_reset();
    nonce_watch_tolerate(true);
    return gate_set_up(state);
}

static int tear_down(void **state)
{
    nonce_watch_tolerate(false);
    return gate_tear_down(state);
}

/* ---- our own calls -------------------------------------------------------------------------- */

struct sealed {
    uint8_t key[32], nonce[AEAD_NONCE_BYTES], aad[13], in[40];
};

static void seal(enum aead aead, const struct sealed *s)
{
    uint8_t out[sizeof(s->in) + 16];
    struct aead_work *work = aead_work_new();
    assert_non_null(work);
    const struct aead_text text = {.key = s->key,
                                   .nonce = s->nonce,
                                   .aad = s->aad,
                                   .aad_len = sizeof(s->aad),
                                   .in = s->in,
                                   .in_len = sizeof(s->in),
                                   .out = out};
    assert_true(aead_seal(work, aead, &text));
    aead_work_free(work);
}

static void other_bytes_under_a_nonce_are_seen(void **state)
{
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        struct sealed s = {.key = {(uint8_t)aead}, .nonce = {1}, .aad = {2}, .in = {3}};
        gate_doing("AEAD %u", aead);
        seal(aead, &s);
        s.in[sizeof(s.in) - 1]++;
        seal(aead, &s);
        assert_int_equal(nonce_watch_tolerate(true), 1);
        s.in[sizeof(s.in) - 1]--;
        s.aad[12]++;
        seal(aead, &s);
        assert_int_equal(nonce_watch_tolerate(true), 1);
    }
    gate_doing(NULL);
}

static void another_nonce_key_or_the_same_bytes_are_no_reuse(void **state)
{
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        struct sealed s = {.key = {(uint8_t)aead}, .nonce = {1}, .aad = {2}, .in = {3}};
        gate_doing("AEAD %u", aead);
        nonce_watch_reset();
        seal(aead, &s);
        seal(aead, &s);
        assert_int_equal(nonce_watch_repeated(), 1);
        s.nonce[11]++;
        s.in[0]++;
        seal(aead, &s);
        s.key[aead_key_bytes(aead) - 1]++;
        s.in[0]++;
        seal(aead, &s);
        assert_int_equal(nonce_watch_repeated(), 1);
        assert_int_equal(nonce_watch_seen(), 4);
        assert_int_equal(nonce_watch_tolerate(true), 0);
    }
    gate_doing(NULL);
}

/* ---- the library's -------------------------------------------------------------------------- */

static const char *const suites_12[] = {"PSK-AES128-GCM-SHA256", "PSK-AES128-CCM-8",
                                        "ECDHE-ECDSA-CHACHA20-POLY1305"};
static const char *const suites_13[] = {"TLS13-AES128-GCM-SHA256", "TLS13-AES128-CCM-8-SHA256",
                                        "TLS13-CHACHA20-POLY1305-SHA256"};

/* A record of the device and one of the gate, at least; more where they agree on keys. */
static void assert_watched(struct gate *gate, const struct client_kind *kind)
{
    gate_doing("%s, %s", kind->name, kind->suites);
    gate_open(gate, USUAL "ciphers = PSK-AES128-GCM-SHA256:PSK-AES128-CCM-8:"
                          "ECDHE-ECDSA-CHACHA20-POLY1305:TLS13-AES128-GCM-SHA256:"
                          "TLS13-AES128-CCM-8-SHA256:TLS13-CHACHA20-POLY1305-SHA256\n");
    assert_int_equal(nonce_watch_seen(), 0);
    struct device *device = gate_connected(gate, kind);
    uint64_t before = nonce_watch_seen();
    assert_true(before >= 2);
    gate_assert_echo(gate, device, "there and back");
    assert_true(nonce_watch_seen() >= before + 2);
    assert_int_equal(nonce_watch_tolerate(true), 0);
}

static void records_of_every_suite_are_watched(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        struct client_kind kind = *gate_kind(i < 2 ? "1.2 psk gcm" : "1.2 certificate");
        kind.suites = suites_12[i];
        assert_watched(*state, &kind);
        kind = *gate_kind("1.3 psk");
        kind.suites = suites_13[i];
        assert_watched(*state, &kind);
    }
    gate_doing(NULL);
}

/* A call that takes its nonce from the object, as the library's do: set back, it is used again. */
static void nonce_that_is_set_back_is_seen(void **state)
{
    static const uint8_t key[16] = {1}, nonce[12] = {2};
    uint8_t used[12], tag[16], out[4];
    Aes aes;
    (void)state;
    assert_int_equal(wc_AesInit(&aes, NULL, INVALID_DEVID), 0);
    assert_int_equal(wc_AesGcmSetKey(&aes, key, sizeof(key)), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wc_AesGcmSetExtIV(&aes, nonce, sizeof(nonce)), 0);
        assert_int_equal(wc_AesGcmEncrypt_ex(&aes, out, (const uint8_t *)(i == 0 ? "one" : "two"),
                                             3, used, sizeof(used), tag, sizeof(tag), NULL, 0),
                         0);
    }
    assert_int_equal(nonce_watch_tolerate(true), 1);
    /* What follows is a nonce of its own. */
    assert_int_equal(wc_AesGcmEncrypt_ex(&aes, out, (const uint8_t *)"six", 3, used, sizeof(used),
                                         tag, sizeof(tag), NULL, 0),
                     0);
    assert_int_equal(nonce_watch_tolerate(true), 0);
    /* Neither may be used by a call that is given it. */
    assert_int_equal(wc_AesCcmSetKey(&aes, key, sizeof(key)), 0);
    assert_int_equal(wc_AesCcmEncrypt(&aes, out, (const uint8_t *)"ten", 3, used, sizeof(used), tag,
                                      sizeof(tag), NULL, 0),
                     0);
    assert_int_equal(nonce_watch_tolerate(true), 1);
    wc_AesFree(&aes);
}

int main(void)
{
#define WATCHED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WATCHED(other_bytes_under_a_nonce_are_seen),
        WATCHED(another_nonce_key_or_the_same_bytes_are_no_reuse),
        WATCHED(records_of_every_suite_are_watched),
        WATCHED(nonce_that_is_set_back_is_seen),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("nonce_watch", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
