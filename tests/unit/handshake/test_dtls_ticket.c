/* dtls_ticket.c: which of a hello's tickets counts, and what the library is told about each. What
 * comes of it is in datapath_resume.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "gate/memory_generation.h"
#include "handshake/dtls_ticket.h"
#include "run/reload.h"

enum { STATE_BYTES = 108, BODY_ROOM = 958, START_MS = 1000000 };

struct fixture {
    struct generation *generation;
    struct dtls *dtls;
};

/* A ticket in the library's memory. */
struct blob {
    uint8_t name[TICKET_NAME_BYTES], iv[TICKET_IV_BYTES], mac[TICKET_MAC_BYTES], body[BODY_ROOM];
    int len;
};

/* Each of the devices has the key 00. */
static const uint8_t key[1];
static const char psks[] = "own:00\nstolen:00\nforged:00\ndevice1:00\n";

static void use_psks(struct creds *creds)
{
    struct problems problems;
    char path[64];
    int fd = memfd_create("psks", MFD_CLOEXEC);
    assert_int_equal(write(fd, psks, sizeof(psks) - 1), sizeof(psks) - 1);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    problems_init(&problems);
    psk_free(creds->psks);
    creds->psks = psk_load(&(const char *){path}, 1, "test", &problems);
    assert_non_null(creds->psks);
    problems_deinit(&problems);
    close(fd);
}

static void set_up_for(struct fixture *f, const char *versions)
{
    char ini[512];
    snprintf(ini, sizeof(ini),
             "[listener x]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\n"
             "psk_file = @psk\nversions = %s\n",
             versions);
    dtls_free(f->dtls);
    reload_release(f->generation);
    f->generation = memory_generation(ini);
    use_psks(f->generation->listeners[0].creds);
    f->dtls = dtls_new(&f->generation->listeners[0]);
    assert_non_null(f->dtls);
    f->dtls->now_ms = START_MS;
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state != NULL && dtls_library_init() ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    dtls_free(f->dtls);
    reload_release(f->generation);
    free(f);
    dtls_library_deinit();
    return 0;
}

/* Seals with the listener's key, for a device of that name. */
static struct blob make_ticket(const struct fixture *f, const char *identity)
{
    struct blob blob = {.len = STATE_BYTES};
    memset(blob.body, 0x5a, STATE_BYTES);
    struct ticket ticket = {blob.name, blob.iv, blob.mac, blob.body, STATE_BYTES, BODY_ROOM};
    struct ticket_holder holder = {
        .good_until_ms = UINT64_MAX,
        .credential = CREDENTIAL_PSK,
        .identity_len = (uint8_t)strlen(identity),
    };
    memcpy(holder.identity, identity, holder.identity_len);
    holder.digests.count = 1;
    assert_true(credential_digest_psk((struct der){holder.identity, holder.identity_len},
                                      (struct der){key, sizeof(key)}, holder.digests.at[0]));
    assert_true(ticket_seal(f->generation->listeners[0].creds->ticket_master, &holder,
                            f->dtls->now_ms, &ticket));
    blob.len = (int)ticket.body_len;
    return blob;
}

/* What the library is told; it gives the callback its own copy. */
static int open_ticket(const struct fixture *f, const struct blob *blob)
{
    struct blob copy = *blob;
    int len = copy.len;
    int answer = dtls_ticket_seal_or_open(f->dtls->ssl, copy.name, copy.iv, copy.mac, 0, copy.body,
                                          copy.len, &len, NULL);
    if (answer != WOLFSSL_TICKET_RET_REJECT) {
        assert_int_equal(len, STATE_BYTES);
        assert_int_equal(copy.body[0], 0x5a);
    }
    return answer;
}

static void assert_holder(const struct fixture *f, const char *identity)
{
    const struct ticket_holder *holder = &f->dtls->peer->holder;
    assert_int_equal(holder->identity_len, strlen(identity));
    assert_memory_equal(holder->identity, identity, holder->identity_len);
}

/* A device that shows its own ticket and one that it has seen on the wire is itself, in whatever
 * order and however often the library looks at them. */
static void test_one_ticket_counts(void **state)
{
    struct fixture *f = *state;
    set_up_for(f, "1.3");
    struct blob own = make_ticket(f, "own"), stolen = make_ticket(f, "stolen");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(open_ticket(f, &own), WOLFSSL_TICKET_RET_OK);
        assert_int_equal(open_ticket(f, &stolen), WOLFSSL_TICKET_RET_REJECT);
        assert_holder(f, "own");
    }
    /* One that cannot be opened does not count. */
    struct blob forged = make_ticket(f, "forged");
    set_up_for(f, "1.3");
    own = make_ticket(f, "own");
    assert_int_equal(open_ticket(f, &forged), WOLFSSL_TICKET_RET_REJECT);
    assert_int_equal(f->dtls->peer->holder.good_until_ms, 0);
    assert_int_equal(open_ticket(f, &own), WOLFSSL_TICKET_RET_OK);
    assert_holder(f, "own");
}

/* With the key before the current one, the library of 1.2 is asked to make a new ticket; the one of
 * 1.3 would not resume if it were. */
static void test_ageing_ticket(void **state)
{
    struct fixture *f = *state;
    static const char *const versions[] = {"1.2", "1.3"};
    static const int answers[] = {WOLFSSL_TICKET_RET_CREATE, WOLFSSL_TICKET_RET_OK};
    for (int i = 0; i < 2; i++) {
        set_up_for(f, versions[i]);
        struct blob blob = make_ticket(f, "device1");
        assert_int_equal(open_ticket(f, &blob), WOLFSSL_TICKET_RET_OK);
        f->dtls->now_ms += TICKET_PERIOD_MS;
        assert_int_equal(open_ticket(f, &blob), answers[i]);
        f->dtls->now_ms += TICKET_PERIOD_MS;
        assert_int_equal(open_ticket(f, &blob), WOLFSSL_TICKET_RET_REJECT);
    }
}

/* A chain is as good as its first certificate to expire. */
static void test_expiry(void **state)
{
    struct fixture *f = *state;
    int64_t now_s = (int64_t)time(NULL);
    set_up_for(f, "1.2");
    dtls_ticket_note_expiry(f->dtls, INT64_MAX);
    assert_true(f->dtls->peer->good_until_ms == START_MS + TICKET_CHAIN_MS);
    dtls_ticket_note_expiry(f->dtls, now_s + 3600);
    assert_in_range(f->dtls->peer->good_until_ms, START_MS + 3590000, START_MS + 3600000);
    uint64_t earliest_ms = f->dtls->peer->good_until_ms;
    dtls_ticket_note_expiry(f->dtls, now_s + 86400);
    assert_int_equal(f->dtls->peer->good_until_ms, earliest_ms);
    dtls_ticket_note_expiry(f->dtls, now_s - 5);
    assert_int_equal(f->dtls->peer->good_until_ms, START_MS + 1);
}

/* What the library is told when it makes a ticket. */
static struct blob seal_ticket(const struct fixture *f)
{
    struct blob blob = {.len = STATE_BYTES};
    int len = BODY_ROOM;
    memset(blob.body, 0x5a, STATE_BYTES);
    assert_int_equal(dtls_ticket_seal_or_open(f->dtls->ssl, blob.name, blob.iv, blob.mac, 1,
                                              blob.body, blob.len, &len, NULL),
                     WOLFSSL_TICKET_RET_OK);
    blob.len = len;
    return blob;
}

/* The longest path of certificates and the longest name find room in the library's memory; of who
 * proved nothing, nothing is told. */
static void test_ticket_tells_which_credential_it_was(void **state)
{
    struct fixture *f = *state;
    set_up_for(f, "1.2");
    struct dtls_peer *peer = f->dtls->peer;
    struct credential_digests digests = {.count = CREDENTIAL_DIGESTS_MAX};
    for (int i = 0; i < CREDENTIAL_DIGESTS_MAX; i++)
        memset(digests.at[i], 1 + i, sizeof(digests.at[i]));
    struct creds *creds = f->generation->listeners[0].creds;
    assert_true(digest_set_init(&creds->anchor_digests, 1));
    digest_set_add(&creds->anchor_digests, digests.at[CREDENTIAL_DIGESTS_MAX - 1]);
    creds->is_open = true;
    for (int is_good = 0; is_good <= 1; is_good++) {
        peer->is_certificate_good = is_good;
        peer->identity_len = PSK_IDENTITY_MAX;
        memset(peer->identity, 'i', PSK_IDENTITY_MAX);
        peer->digests = digests;
        peer->holder.good_until_ms = 0;
        struct blob blob = seal_ticket(f);
        assert_int_equal(open_ticket(f, &blob), WOLFSSL_TICKET_RET_OK);
        assert_int_equal(peer->holder.credential,
                         is_good ? CREDENTIAL_CERTIFICATE : CREDENTIAL_NONE);
        assert_int_equal(peer->holder.identity_len, is_good ? PSK_IDENTITY_MAX : 0);
        assert_int_equal(peer->holder.digests.count, is_good ? CREDENTIAL_DIGESTS_MAX : 0);
    }
    assert_memory_equal(&peer->holder.digests, &digests, sizeof(digests));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* What has changed since the ticket was made counts. */
static void test_the_holder_must_be_admitted_now(void **state)
{
    struct fixture *f = *state;
    set_up_for(f, "1.3");
    struct creds *creds = f->generation->listeners[0].creds;
    struct blob blob = make_ticket(f, "own"), gone = make_ticket(f, "gone");
    assert_int_equal(open_ticket(f, &gone), WOLFSSL_TICKET_RET_REJECT);
    assert_int_equal(f->dtls->peer->holder.good_until_ms, 0);
    struct psk_store *before = creds->psks;
    creds->psks = NULL;
    assert_int_equal(open_ticket(f, &blob), WOLFSSL_TICKET_RET_REJECT);
    creds->psks = before;
    assert_int_equal(open_ticket(f, &blob), WOLFSSL_TICKET_RET_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_ticket_counts),
        TEST(test_ageing_ticket),
        TEST(test_expiry),
        TEST(test_ticket_tells_which_credential_it_was),
        TEST(test_the_holder_must_be_admitted_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
