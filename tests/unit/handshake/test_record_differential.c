/* The same records through our record layer and through the TLS library's object: reordered, lost,
 * twice, forged, cut, padded, several in a datagram, in all forms of the header. Every difference
 * stands in the table below with the section that says who is right; a row that no record needs is
 * an error. DIFFERENTIAL_RECORDS: how many (1,000,000; under a sanitizer fewer will do). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "base/bytes.h"
#include "gate/dtls_pair.h"
#include "gate/record_forge.h"
#include "handshake/dtls_take_over.h"
#include "wire/classify.h"
#include "wire/record12.h"
#include "wire/record13.h"

enum { DATAGRAM_ROOM = 4096, RECORDS_MAX = 3, KEPT = 128 };

#define ALL_SUITES_13                                                                           \
    "ciphers = TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES256-GCM-SHA384:" \
    "TLS13-AES128-CCM-SHA256:TLS13-AES128-CCM-8-SHA256\n"
#define ALL_SUITES_12                                                                      \
    "ciphers = PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-CCM:PSK-AES256-CCM:" \
    "PSK-AES128-CCM-8:PSK-AES256-CCM-8:ECDHE-ECDSA-CHACHA20-POLY1305\n"

static const char *const suites_12[] = {
    "PSK-AES128-GCM-SHA256",
    "PSK-AES256-GCM-SHA384",
    "PSK-AES128-CCM",
    "PSK-AES256-CCM",
    "PSK-AES128-CCM-8",
    "PSK-AES256-CCM-8",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
};
static const char *const suites_13[] = {
    "TLS13-AES128-GCM-SHA256", "TLS13-AES256-GCM-SHA384",   "TLS13-CHACHA20-POLY1305-SHA256",
    "TLS13-AES128-CCM-SHA256", "TLS13-AES128-CCM-8-SHA256",
};

/* Of the connection IDs: none; the gate's only; both. */
static const int client_cid_bytes[] = {-1, 0, 8};

/* What is done to a record, or to its datagram. */
enum mutation {
    PLAIN,
    LOST,      /* numbers are left out before it */
    REORDERED, /* an older number that was not sent yet */
    REPEATED,  /* bytes that were sent before */
    OLD,       /* a number from before the window */
    FORGED_BODY,
    FORGED_TYPE,   /* the header's first byte */
    FORGED_HEADER, /* version, number or length */
    CUT,
    PADDED,
    EMPTY, /* no data */
    WRONG_CID,
    WRONG_EPOCH,
    BEHIND, /* no connection ID in a record that is not the first of its datagram; DTLS 1.3 */
    MUTATIONS,
};
static const char *const names[MUTATIONS] = {
    "plain",         "lost", "reordered", "repeated", "old",       "forged body", "forged type",
    "forged header", "cut",  "padded",    "empty",    "wrong cid", "wrong epoch", "behind"};

enum difference { WE_DELIVER_MORE, LIBRARY_DELIVERS_MORE, OTHER_DATA, WE_END, LIBRARY_ENDS };
static const char *const difference_names[] = {"we deliver more", "the library delivers more",
                                               "other data", "we end", "the library ends"};

static struct row {
    int version; /* 12 or 13 */
    enum mutation mutation;
    enum difference difference;
    const char *why;
    unsigned long count;
} rows[] = {
#define EMPTY_DATA                                                                             \
    "RFC 5246 section 6.2.1, RFC 8446 section 5.1: application data may be empty, and CoAP's " \
    "datagram boundaries are kept (RFC 7252 section 4.6)"
#define RECORD_BY_RECORD \
    "RFC 6347 section 4.1.2.7: what is behind a record that is discarded is not discarded with it"
#define OTHER_CID                                                                                 \
    "RFC 9147 section 4: behind a record with another connection ID the rest of the datagram is " \
    "discarded"
#define FORGERIES \
    "RFC 9147 section 4.5.3 leaves the limit of CCM-8 to us: 2^20, the library's is 64"
    {12, EMPTY, WE_DELIVER_MORE, EMPTY_DATA, 0},
    {13, EMPTY, WE_DELIVER_MORE, EMPTY_DATA, 0},
    {12, FORGED_TYPE, WE_DELIVER_MORE, RECORD_BY_RECORD, 0},
    {12, FORGED_HEADER, WE_DELIVER_MORE, RECORD_BY_RECORD, 0},
    {12, WRONG_EPOCH, WE_DELIVER_MORE, RECORD_BY_RECORD, 0},
    {13, WRONG_CID, LIBRARY_DELIVERS_MORE, OTHER_CID, 0},
    {13, FORGED_HEADER, LIBRARY_DELIVERS_MORE, OTHER_CID, 0},
    {13, BEHIND, WE_DELIVER_MORE,
     "RFC 9147 section 4: only the first record of a datagram must have the connection ID", 0},
    {13, REPEATED, LIBRARY_ENDS, FORGERIES, 0},
    {13, FORGED_BODY, LIBRARY_ENDS, FORGERIES, 0},
    {13, FORGED_HEADER, LIBRARY_ENDS, FORGERIES, 0},
    {13, FORGED_TYPE, LIBRARY_ENDS, FORGERIES, 0},
    {13, CUT, LIBRARY_ENDS, FORGERIES, 0},
};

/* ---- the library's object, which goes on after its handshake -------------------------------- */

/* It is handed one record at a time: of what it has at once, it drops all that stands behind a
 * record that is not authentic. */
struct reference {
    WOLFSSL *ssl;      /* borrowed of the pair */
    const uint8_t *in; /* what is left of the datagram, borrowed */
    size_t in_len;
    size_t cid_len; /* of the listener */
    size_t body_max;
    bool has_cid;
};

enum { LIBRARY_DATAGRAM_MAX = 16384 }; /* that it can send */

/* In DTLS 1.2 the library finds a record authentic that has lost its connection ID, and takes the
 * content type at the end of its plaintext for plaintext (RFC 9146 section 3: it is to be dropped).
 * It would end the session over a record that is longer than it may be, authentic or not. */
static size_t reference_portion(const struct reference *r)
{
    size_t usable = r->in_len;
    if (r->has_cid)
        usable = classify_before_missing_cid(r->in, r->in_len, r->cid_len);
    return classify_record_len(r->in, usable, r->cid_len, r->body_max);
}

static int reference_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    struct reference *r = context;
    size_t len = r->in_len != 0 ? reference_portion(r) : 0;
    (void)ssl;
    if (len == 0 || len > (size_t)size) {
        r->in_len = 0;
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    memcpy(buffer, r->in, len);
    r->in += len;
    r->in_len -= len;
    return (int)len;
}

/* It has nobody to talk to. */
static int reference_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    (void)buffer;
    (void)context;
    return size;
}

static void reference_begin(struct reference *r, const struct dtls *dtls, const struct taken *taken)
{
    *r = (struct reference){
        .ssl = dtls->ssl,
        .cid_len = dtls->listener->config->cid_bytes,
        .body_max = UINT16_MAX,
        .has_cid = taken->cid_len != 0,
    };
    if (taken->version == VERSION_1_3)
        r->body_max = RECORD_PLAINTEXT_MAX + 1 + aead_tag_bytes(taken->aead);
    wolfSSL_SSLSetIORecv(r->ssl, reference_receive);
    wolfSSL_SSLSetIOSend(r->ssl, reference_send);
    wolfSSL_SetIOReadCtx(r->ssl, r);
    wolfSSL_SetIOWriteCtx(r->ssl, r);
    wolfSSL_SSLEnableRead(r->ssl);
}

/* ---- a session, and what is sent in it ------------------------------------------------------ */

struct stream {
    struct dtls_pair *pair;
    struct reference reference;
    struct client_kind kind;
    int version;
    struct taken taken;
    uint8_t keys[RECORD13_KEYS_MAX]; /* of 1.3 */
    struct record_window window;
    uint64_t next;        /* number of the next record */
    uint64_t left_out[8]; /* numbers that were skipped and may come later */
    unsigned left_out_count;
    uint8_t sent[KEPT][DATAGRAM_ROOM / 8];
    size_t sent_len[KEPT];
    unsigned sent_count;
};

static struct aead_work *work;
static uint32_t random_state = 1;
static unsigned long records_by_mutation[MUTATIONS], records_possible[MUTATIONS];
static unsigned long records_by_form[8], records_all;
static unsigned long delivered_by_both;
static unsigned unknown_differences;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(random_state >> 4) * below >> 28);
}

static void begin(struct stream *s)
{
    dtls_pair_meet_well(s->pair, &s->kind);
    assert_true(dtls_take_over(s->pair->dtls, &s->taken));
    reference_begin(&s->reference, s->pair->dtls, &s->taken);
    s->window = s->version == 12 ? s->taken.v12.window : (struct record_window){0};
    if (s->version == 13)
        assert_true(record13_derive(s->keys, s->taken.aead, s->taken.v13.read_secret));
    s->next = s->window.next;
    s->left_out_count = s->sent_count = 0;
}

static size_t seal_12(struct stream *s, uint64_t number, const uint8_t *inner, size_t len,
                      uint8_t *out)
{
    /* With a connection ID, what follows the type is ours to say: inner has its own. */
    const struct record12_keys keys = {.aead = s->taken.aead,
                                       .key = s->taken.v12.read_key,
                                       .iv = s->taken.v12.read_iv,
                                       .cid = s->taken.cid,
                                       .cid_len = s->taken.cid_len};
    if (s->taken.cid_len == 0)
        return record12_seal(work, &keys, number, inner[len - 1], inner, len - 1, out);
    return record12_seal(work, &keys, number, 0, inner, len, out);
}

/* One record at the end of a datagram. A record without a length ends it. */
static size_t seal(struct stream *s, uint64_t number, bool has_cid, bool may_lack_length,
                   const uint8_t *inner, size_t len, uint8_t *out)
{
    if (s->version == 12)
        return seal_12(s, number, inner, len, out);
    uint8_t first = 0x23;
    if (s->taken.cid_len != 0 && has_cid)
        first |= FORGE_HAS_CID;
    /* Eight bits tell 128 numbers back and forth. */
    if (draw(2) == 0 || number + 100 < s->window.next || number > s->window.next + 100)
        first |= FORGE_HAS_16_BITS;
    if (!may_lack_length || draw(2) == 0)
        first |= FORGE_HAS_LENGTH;
    records_by_form[first >> 2 & 7]++;
    return record_forge_13(work, s->taken.aead, s->keys, first, s->taken.cid, s->taken.cid_len,
                           number, inner, len, out);
}

static uint64_t number_for(struct stream *s, enum mutation mutation)
{
    if (mutation == LOST) {
        uint64_t skipped = 1 + draw(draw(10) == 0 ? 90 : 3);
        if (s->left_out_count < 8)
            s->left_out[s->left_out_count++] = s->next;
        s->next += skipped;
    }
    if (mutation == REORDERED && s->left_out_count != 0)
        return s->left_out[--s->left_out_count];
    if (mutation == OLD && s->next > 80)
        return s->next - 70 - draw(10);
    return s->next++;
}

/* A content of a type that both take for data; returns its length with type and padding. */
static size_t make_inner(const struct stream *s, enum mutation mutation, uint8_t *inner)
{
    size_t len = mutation == EMPTY ? 0 : 1 + draw(100);
    for (size_t i = 0; i < len; i++)
        inner[i] = (uint8_t)draw(256);
    inner[len++] = RECORD_APPLICATION_DATA;
    bool can_pad = s->version == 13 || s->taken.cid_len != 0;
    size_t padding = mutation == PADDED && can_pad ? 1 + draw(40) : 0;
    if (s->version == 13 && len + padding < 8) /* enough to sample */
        padding = 8 - len;
    memset(inner + len, 0, padding);
    return len + padding;
}

static bool is_possible(const struct stream *s, enum mutation mutation)
{
    switch (mutation) {
    case WRONG_CID: return s->taken.cid_len != 0;
    case BEHIND: return s->taken.cid_len != 0 && s->version == 13;
    case PADDED: return s->taken.cid_len != 0 || s->version == 13;
    default: return true;
    }
}

static size_t cid_at(const struct stream *s)
{
    return s->version == 12 ? 11 : 1;
}

static size_t make_datagram(struct stream *s, enum mutation mutation, uint8_t *datagram)
{
    uint8_t inner[256];
    if (mutation == REPEATED && s->sent_count != 0) {
        unsigned which = draw(s->sent_count < KEPT ? s->sent_count : KEPT);
        memcpy(datagram, s->sent[which], s->sent_len[which]);
        records_all++;
        records_by_mutation[mutation]++;
        return s->sent_len[which];
    }
    unsigned count = draw(4) == 0 ? 1 + draw(RECORDS_MAX) : 1, mutated = draw(count);
    if (mutation == BEHIND)
        count = 2, mutated = 1;
    size_t len = 0, mutated_at = 0, mutated_end = 0;
    for (unsigned i = 0; i < count; i++) {
        enum mutation of_record = i == mutated ? mutation : PLAIN;
        records_by_mutation[of_record]++;
        records_all++;
        size_t inner_len = make_inner(s, of_record, inner);
        if (i == mutated)
            mutated_at = len;
        len += seal(s, number_for(s, of_record), of_record != BEHIND, i + 1 == count, inner,
                    inner_len, datagram + len);
        if (i == mutated)
            mutated_end = len;
    }
    size_t header = s->version == 12 ? 12 + s->taken.cid_len : 2 + s->taken.cid_len;
    uint8_t *record = datagram + mutated_at;
    switch (mutation) {
    case FORGED_BODY: datagram[mutated_end - 1 - draw(8)] ^= (uint8_t)(1 + draw(255)); break;
    case FORGED_TYPE: record[0] ^= (uint8_t)(1u << draw(8)); break;
    case FORGED_HEADER: record[1 + draw((uint32_t)header)] ^= (uint8_t)(1u << draw(8)); break;
    case CUT: len = mutated_at + draw((uint32_t)(len - mutated_at)); break;
    case WRONG_CID:
        if (s->taken.cid_len != 0)
            record[cid_at(s) + draw((uint32_t)s->taken.cid_len)] ^= 0x55;
        break;
    case WRONG_EPOCH:
        if (s->version == 12)
            record[4] = (uint8_t)draw(4);
        else
            record[0] ^= (uint8_t)(1 + draw(3));
        break;
    default: break;
    }
    return len;
}

/* ---- both, and what is different ------------------------------------------------------------ */

struct result {
    unsigned delivered;
    bool has_ended;
    uint8_t last[256];
    size_t last_len;
};

static struct result ours(struct stream *s, const uint8_t *datagram, size_t len)
{
    static uint8_t room[DATAGRAM_ROOM];
    struct result result = {0};
    const struct record12_keys keys_12 = {.aead = s->taken.aead,
                                          .key = s->taken.v12.read_key,
                                          .iv = s->taken.v12.read_iv,
                                          .cid = s->taken.cid,
                                          .cid_len = s->taken.cid_len,
                                          .plaintext_max = s->taken.plaintext_max};
    const struct record13_epoch epoch = {.epoch = 3, .keys = s->keys, .window = &s->window};
    const struct record13_reader reader = {.aead = s->taken.aead,
                                           .epochs = &epoch,
                                           .epoch_count = 1,
                                           .cid = s->taken.cid,
                                           .cid_len = s->taken.cid_len,
                                           .plaintext_max = s->taken.plaintext_max};
    for (size_t at = 0; at < len;) {
        struct record_content content;
        enum record_verdict verdict =
            s->version == 12
                ? record12_open(work, &keys_12, &s->window, datagram + at, len - at, room, &content)
                : record13_open(work, &reader, datagram + at, len - at, at == 0, room, &content);
        at += content.record_len;
        if (verdict == RECORD_WITHOUT_TYPE || verdict == RECORD_TOO_LONG) {
            result.has_ended = true;
            return result;
        }
        if (verdict != RECORD_OPENED || content.type != RECORD_APPLICATION_DATA)
            continue;
        result.delivered++;
        result.last_len = content.data_len;
        memcpy(result.last, content.data, content.data_len);
    }
    return result;
}

static struct result the_librarys(struct stream *s, const uint8_t *datagram, size_t len)
{
    static uint8_t room[LIBRARY_DATAGRAM_MAX];
    struct reference *r = &s->reference;
    struct result result = {0};
    int read_len;
    if (len == 0)
        return result;
    r->in = datagram;
    r->in_len = len;
    /* It reads no longer datagrams than it sends, or not much. */
    wolfSSL_dtls_set_mtu(r->ssl, LIBRARY_DATAGRAM_MAX);
    while ((read_len = wolfSSL_read(r->ssl, room, sizeof(room))) > 0) {
        result.delivered++;
        assert_in_range(read_len, 0, sizeof(result.last));
        result.last_len = (size_t)read_len;
        memcpy(result.last, room, result.last_len);
    }
    result.has_ended = wolfSSL_get_error(r->ssl, read_len) != WOLFSSL_ERROR_WANT_READ;
    return result;
}

static void note(const struct stream *s, enum mutation mutation, enum difference difference)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].version == s->version && rows[i].mutation == mutation &&
            rows[i].difference == difference) {
            rows[i].count++;
            return;
        }
    }
    if (unknown_differences++ < 20)
        fprintf(stderr, "1.%d, %s, %s: %s\n", s->version % 10, s->kind.suites, names[mutation],
                difference_names[difference]);
}

/* True if both may have come to different windows. */
static bool compare(const struct stream *s, enum mutation mutation, const struct result *a,
                    const struct result *b)
{
    if (a->has_ended != b->has_ended)
        note(s, mutation, a->has_ended ? WE_END : LIBRARY_ENDS);
    else if (a->delivered != b->delivered)
        note(s, mutation, a->delivered > b->delivered ? WE_DELIVER_MORE : LIBRARY_DELIVERS_MORE);
    else if (a->last_len != b->last_len || memcmp(a->last, b->last, a->last_len) != 0)
        note(s, mutation, OTHER_DATA);
    else
        return false;
    return mutation != EMPTY;
}

static void keep(struct stream *s, const uint8_t *datagram, size_t len)
{
    if (len == 0 || len > sizeof(s->sent[0]))
        return;
    memcpy(s->sent[s->sent_count % KEPT], datagram, len);
    s->sent_len[s->sent_count++ % KEPT] = len;
}

static void run(struct stream *s, unsigned long count)
{
    static uint8_t datagram[DATAGRAM_ROOM];
    begin(s);
    for (int i = 0; i < MUTATIONS; i++)
        records_possible[i] += is_possible(s, (enum mutation)i) ? count : 0;
    for (unsigned long until = records_all + count; records_all < until;) {
        enum mutation mutation = (enum mutation)draw(MUTATIONS);
        if (!is_possible(s, mutation))
            mutation = PLAIN;
        size_t len = make_datagram(s, mutation, datagram);
        struct result a = ours(s, datagram, len), b = the_librarys(s, datagram, len);
        bool is_apart = compare(s, mutation, &a, &b);
        delivered_by_both += a.delivered < b.delivered ? a.delivered : b.delivered;
        keep(s, datagram, len);
        if (is_apart || a.has_ended || b.has_ended)
            begin(s);
    }
}

/* Of a whole run each row of the table is needed. */
enum { WHOLE_RUN = 1000000 };

static unsigned long records_wanted(void)
{
    const char *text = getenv("DIFFERENTIAL_RECORDS");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    unsigned long records = WHOLE_RUN / 20;
#else
    unsigned long records = WHOLE_RUN;
#endif
    return text != NULL ? strtoul(text, NULL, 10) : records;
}

static void run_suites(void **state, int version, const char *const *suites, size_t suite_count,
                       const char *settings)
{
    unsigned long each = records_wanted() / (3 * 12);
    assert_int_equal(dtls_pair_set_up_with(state, settings), 0);
    static struct stream s;
    for (size_t suite = 0; suite < suite_count; suite++) {
        for (int c = 0; c < 3; c++) {
            bool is_psk = version == 13 || strncmp(suites[suite], "PSK", 3) == 0;
            s = (struct stream){.pair = *state, .version = version};
            s.kind = (struct client_kind){
                .name = suites[suite],
                .version = version == 12 ? VERSION_1_2 : VERSION_1_3,
                .suites = suites[suite],
                .identity = is_psk ? "device1" : NULL,
                .key = is_psk ? "0123456789abcdef" : NULL,
                .certificate = is_psk && strstr(suites[suite], "SHA384") == NULL ? NULL : "device",
                .has_cid = client_cid_bytes[c] >= 0,
                .cid_bytes = client_cid_bytes[c] > 0 ? (uint8_t)client_cid_bytes[c] : 0,
            };
            if (version == 13 && strstr(suites[suite], "SHA384") != NULL)
                s.kind.identity = s.kind.key = NULL; /* our PSKs go with SHA-256 */
            run(&s, each);
        }
    }
    dtls_pair_tear_down(state);
}

/* At least 5 % of what can be mutated so. */
static void assert_share(const char *name, unsigned long count, unsigned long of)
{
    if (count < of / 20)
        fail_msg("%s: %lu of %lu", name, count, of);
}

static void both_agree(void **state)
{
    bool is_whole = records_wanted() >= WHOLE_RUN;
    run_suites(state, 12, suites_12, sizeof(suites_12) / sizeof(suites_12[0]), ALL_SUITES_12);
    run_suites(state, 13, suites_13, sizeof(suites_13) / sizeof(suites_13[0]), ALL_SUITES_13);
    assert_int_equal(unknown_differences, 0);
    assert_true(delivered_by_both > records_all / 3); /* they do not agree on nothing */
    for (int i = 0; i < MUTATIONS; i++)
        assert_share(names[i], records_by_mutation[i], records_possible[i]);
    unsigned long all_13 = 0;
    for (int i = 0; i < 8; i++)
        all_13 += records_by_form[i];
    for (int i = 0; i < 8; i++)
        assert_share("a form of the header", records_by_form[i], all_13);
    for (size_t i = 0; is_whole && i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].count == 0)
            fail_msg("no record needs the row 1.%d, %s, %s", rows[i].version % 10,
                     names[rows[i].mutation], difference_names[rows[i].difference]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_agree)};
    work = aead_work_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    aead_work_free(work);
    return failed;
}
