/* wire/record12.c: records of OpenSSL, GnuTLS and Mbed TLS are opened and sealed again to the byte;
 * rules R30 to R35, one row each; nothing changes unless a record is authentic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "wire/record12.h"
#include "wire/record_fixture.h"

static const uint8_t key[32] = "0123456789abcdefghijklmnopqrstu";
static const uint8_t iv[12] = "an iv for 12";

static struct record12_keys keys_of(enum aead aead, size_t cid_len)
{
    return (struct record12_keys){.aead = aead,
                                  .key = key,
                                  .iv = iv,
                                  .cid = record_cid,
                                  .cid_len = cid_len,
                                  .nonce_base = 0x1122334455667788,
                                  .plaintext_max = RECORD_PLAINTEXT_MAX};
}

/* ---- records of others ---------------------------------------------------------------------- */

static unsigned sealed_alike;

static struct record12_keys keys_of_vector(const struct record_vector *vector)
{
    return (struct record12_keys){.aead = vector->aead,
                                  .key = vector->secret,
                                  .iv = vector->iv,
                                  .cid = vector->cid,
                                  .cid_len = vector->cid_len,
                                  .plaintext_max = RECORD_PLAINTEXT_MAX};
}

static void open_vector(const struct record_vector *vector)
{
    struct record12_keys keys = keys_of_vector(vector);
    struct record_window window = {0};
    struct record_content content;
    uint8_t room[sizeof(vector->record)];
    enum record_verdict verdict = record12_open(record_work, &keys, &window, vector->record,
                                                vector->record_len, room, &content);
    record_assert_opened(vector, verdict, &content);
    assert_int_equal(window.next, vector->number + 1);
}

static void seal_vector(const struct record_vector *vector)
{
    struct record12_keys keys = keys_of_vector(vector);
    uint8_t out[sizeof(vector->plaintext) + RECORD_OVERHEAD_MAX];
    if (vector->aead != AEAD_CHACHA20_POLY1305) {
        const uint8_t *nonce = vector->record + 13 + vector->cid_len;
        keys.nonce_base =
            ((uint64_t)bytes_get32(nonce) << 32 | bytes_get32(nonce + 4)) - vector->number;
    }
    size_t len = record12_seal(record_work, &keys, vector->number, vector->type, vector->plaintext,
                               vector->plaintext_len, out);
    if (len != vector->record_len)
        return; /* Mbed TLS pads */
    assert_memory_equal(out, vector->record, len);
    sealed_alike++;
}

static void records_of_others_are_opened(void **state)
{
    (void)state;
    assert_true(record_vectors_each(12, open_vector) >= 90);
}

static void what_is_sealed_is_what_others_seal(void **state)
{
    (void)state;
    sealed_alike = 0;
    record_vectors_each(12, seal_vector);
    assert_true(sealed_alike >= 75);
}

/* ---- what is sealed is opened --------------------------------------------------------------- */

static void seal_and_open(enum aead aead, size_t cid_len, size_t data_len)
{
    struct record12_keys keys = keys_of(aead, cid_len);
    struct record_window window = {0};
    struct record_content content;
    uint8_t *data = malloc(data_len + 1), *out = malloc(data_len + RECORD_OVERHEAD_MAX);
    uint8_t *room = malloc(data_len + RECORD_OVERHEAD_MAX);
    memset(data, 0x5a, data_len);
    uint64_t number = (uint64_t)1 << 47 | data_len;
    size_t len =
        record12_seal(record_work, &keys, number, RECORD_APPLICATION_DATA, data, data_len, out);
    assert_in_range(len, data_len + 1, data_len + RECORD_OVERHEAD_MAX);
    assert_int_equal(out[0], cid_len != 0 ? RECORD_TLS12_CID : RECORD_APPLICATION_DATA);
    assert_int_equal(record12_open(record_work, &keys, &window, out, len, room, &content),
                     RECORD_OPENED);
    assert_int_equal(content.number, number);
    assert_int_equal(content.type, RECORD_APPLICATION_DATA);
    assert_int_equal(content.data_len, data_len);
    assert_memory_equal(content.data, data, data_len);
    free(data);
    free(out);
    free(room);
}

static void what_is_sealed_is_opened(void **state)
{
    static const size_t cid_lens[] = {0, 1, 2, 8, 31, 32};
    static const size_t data_lens[] = {0, 1, 7, 64, 1280, RECORD_PLAINTEXT_MAX - 1};
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        for (size_t c = 0; c < sizeof(cid_lens) / sizeof(cid_lens[0]); c++) {
            for (size_t d = 0; d < sizeof(data_lens) / sizeof(data_lens[0]); d++)
                seal_and_open(aead, cid_lens[c], data_lens[d]);
        }
        seal_and_open(aead, 0, RECORD_PLAINTEXT_MAX);
    }
}

/* ---- rules ---------------------------------------------------------------------------------- */

enum { DATA = 20, ROOM = 256 };

struct sample {
    struct record12_keys keys;
    struct record_window window;
    uint8_t record[ROOM], room[ROOM];
    size_t len;
};

static struct sample make_sample(enum aead aead, size_t cid_len)
{
    struct sample sample = {.keys = keys_of(aead, cid_len)};
    static const uint8_t data[DATA] = "twenty bytes of data";
    sample.len = record12_seal(record_work, &sample.keys, 7, RECORD_APPLICATION_DATA, data, DATA,
                               sample.record);
    assert_int_not_equal(sample.len, 0);
    return sample;
}

static enum record_verdict open_sample(struct sample *sample, struct record_content *content)
{
    return record12_open(record_work, &sample->keys, &sample->window, sample->record, sample->len,
                         sample->room, content);
}

/* Changes one byte; the window must not move (RFC 6347 section 4.1.2.6). */
static void expect_changed(enum aead aead, size_t cid_len, size_t at, uint8_t value,
                           enum record_verdict expected)
{
    struct sample sample = make_sample(aead, cid_len);
    struct record_content content;
    sample.record[at] = value;
    assert_int_equal(open_sample(&sample, &content), expected);
    assert_int_equal(sample.window.next, 0);
    assert_int_equal(sample.window.seen, 0);
}

static void headers_are_checked(void **state)
{
    (void)state;
    expect_changed(AEAD_AES_128_GCM, 0, 1, 0xff, RECORD_MALFORMED); /* R30: version */
    expect_changed(AEAD_AES_128_GCM, 0, 2, 0xff, RECORD_MALFORMED);
    expect_changed(AEAD_AES_128_GCM, 0, 11, 0x7f, RECORD_MALFORMED); /* R30: beyond the end */
    expect_changed(AEAD_AES_128_GCM, 0, 4, 0, RECORD_WRONG_EPOCH);   /* R30: epoch 0 */
    expect_changed(AEAD_AES_128_GCM, 0, 4, 2, RECORD_WRONG_EPOCH);
    expect_changed(AEAD_AES_128_GCM, 0, 3, 1, RECORD_WRONG_EPOCH);
    expect_changed(AEAD_AES_128_GCM, 0, 0, 25, RECORD_MALFORMED);   /* R31: we have none */
    expect_changed(AEAD_AES_128_GCM, 0, 0, 0x2f, RECORD_MALFORMED); /* of 1.3 */
    expect_changed(AEAD_AES_128_GCM, 8, 0, 23, RECORD_MALFORMED); /* R31: its length is elsewhere */
    expect_changed(AEAD_AES_128_GCM, 8, 11, 'b', RECORD_WRONG_CID); /* R31 */
    expect_changed(AEAD_AES_128_GCM, 8, 18, 'b', RECORD_WRONG_CID);
    expect_changed(AEAD_AES_128_GCM, 0, 12, 8 + 15, RECORD_TOO_SHORT); /* R30: for nonce and tag */
    expect_changed(AEAD_AES_128_CCM_8, 0, 12, 8 + 7, RECORD_TOO_SHORT);
    expect_changed(AEAD_CHACHA20_POLY1305, 0, 12, 15, RECORD_TOO_SHORT);
}

/* R30, RFC 5246 section 6.2.3: one byte more than a record may have makes it none. */
static void a_body_has_a_bound(void **state)
{
    enum { BODY_MAX = 16384 + 2048 };
    static const uint8_t header[13] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1};
    struct record12_keys keys = keys_of(AEAD_AES_128_GCM, 0);
    struct record_window window = {0};
    struct record_content content;
    size_t len = sizeof(header) + BODY_MAX + 1;
    uint8_t *record = calloc(1, len), *room = malloc(len);
    (void)state;
    memcpy(record, header, sizeof(header));
    bytes_put16(record + 11, BODY_MAX);
    assert_int_equal(record12_open(record_work, &keys, &window, record, len, room, &content),
                     RECORD_FORGED);
    assert_int_equal(content.record_len, len - 1);
    bytes_put16(record + 11, BODY_MAX + 1);
    assert_int_equal(record12_open(record_work, &keys, &window, record, len, room, &content),
                     RECORD_MALFORMED);
    free(record);
    free(room);
}

static void a_record_without_the_cid_is_not_ours(void **state)
{
    struct sample sample = make_sample(AEAD_AES_128_GCM, 0);
    struct record_content content;
    (void)state;
    sample.keys.cid_len = 8;
    assert_int_equal(open_sample(&sample, &content), RECORD_WRONG_CID);
    assert_int_equal(content.record_len, sample.len); /* what follows can be looked at */
}

/* R32, R33: each bit of a record is authenticated, apart from what the header's checks catch. */
static void every_bit_is_authenticated(void **state)
{
    static const size_t cid_lens[] = {0, 8};
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        for (int c = 0; c < 2; c++) {
            struct sample good = make_sample(aead, cid_lens[c]);
            for (size_t bit = 0; bit < good.len * 8; bit++) {
                struct sample sample = good;
                struct record_content content;
                sample.record[bit / 8] ^= (uint8_t)(1u << bit % 8);
                assert_int_not_equal(open_sample(&sample, &content), RECORD_OPENED);
                assert_int_equal(sample.window.next, 0);
            }
        }
    }
}

/* RFC 9146 section 5.3: the connection ID is authenticated where it is not compared. */
static void the_cid_is_authenticated(void **state)
{
    struct sample sample = make_sample(AEAD_AES_128_CCM_8, 8);
    struct record_content content;
    uint8_t other[8];
    (void)state;
    memcpy(other, record_cid, sizeof(other));
    other[3] ^= 1;
    sample.record[11 + 3] ^= 1;
    sample.keys.cid = other;
    assert_int_equal(open_sample(&sample, &content), RECORD_FORGED);
}

/* Each in memory of its own size: nothing behind the end is looked at. */
static void any_cut_is_discarded(void **state)
{
    (void)state;
    for (size_t cid_len = 0; cid_len <= 8; cid_len += 8) {
        struct sample sample = make_sample(AEAD_AES_128_GCM, cid_len);
        struct record_content content;
        for (size_t len = 0; len < sample.len; len++) {
            uint8_t *cut = malloc(len);
            if (len != 0)
                memcpy(cut, sample.record, len);
            assert_int_equal(record12_open(record_work, &sample.keys, &sample.window, cut, len,
                                           sample.room, &content),
                             RECORD_MALFORMED);
            assert_int_equal(content.record_len, len);
            free(cut);
        }
    }
}

static void a_record_of_a_header_only_is_too_short(void **state)
{
    (void)state;
    for (size_t cid_len = 0; cid_len <= 8; cid_len += 8) {
        struct sample sample = make_sample(AEAD_AES_128_GCM, cid_len);
        struct record_content content;
        sample.len = RECORD_HEADER_BYTES + cid_len;
        bytes_put16(sample.record + sample.len - 2, 0);
        assert_int_equal(open_sample(&sample, &content), RECORD_TOO_SHORT);
        assert_int_equal(content.record_len, sample.len);
    }
}

static void replays_are_discarded(void **state)
{
    struct sample sample = make_sample(AEAD_AES_128_GCM, 8);
    struct record_content content;
    (void)state;
    assert_int_equal(open_sample(&sample, &content), RECORD_OPENED);
    assert_int_equal(open_sample(&sample, &content), RECORD_REPLAYED); /* R35 */
    sample.window = (struct record_window){.next = 7 + 65, .seen = 1};
    assert_int_equal(open_sample(&sample, &content), RECORD_REPLAYED);
}

static void several_in_a_datagram(void **state)
{
    struct record12_keys keys = keys_of(AEAD_AES_128_CCM_8, 8);
    struct record_window window = {0};
    struct record_content content;
    uint8_t datagram[512], room[512];
    size_t len = 0;
    (void)state;
    for (uint8_t i = 0; i < 3; i++)
        len += record12_seal(record_work, &keys, i, RECORD_APPLICATION_DATA, &i, 1, datagram + len);
    datagram[30] ^= 1; /* the first is forged; RFC 6347 section 4.1: the others are not */
    size_t at = 0;
    for (uint8_t i = 0; i < 3; i++) {
        enum record_verdict verdict =
            record12_open(record_work, &keys, &window, datagram + at, len - at, room, &content);
        assert_int_equal(verdict, i == 0 ? RECORD_FORGED : RECORD_OPENED);
        assert_true(i == 0 || (content.data_len == 1 && content.data[0] == i));
        at += content.record_len;
    }
    assert_int_equal(at, len);
}

/* ---- inner plaintexts ----------------------------------------------------------------------- */

/* With a type of 0 the sealed plaintext ends in zeros: what a peer that pads would send. */
static enum record_verdict open_inner(const uint8_t *inner, size_t len,
                                      struct record_content *content, uint8_t *room)
{
    struct record12_keys keys = keys_of(AEAD_AES_128_GCM, 8);
    struct record_window window = {0};
    uint8_t record[ROOM];
    size_t record_len = record12_seal(record_work, &keys, 1, 0, inner, len, record);
    return record12_open(record_work, &keys, &window, record, record_len, room, content);
}

static void padding_is_taken_off(void **state)
{
    static const uint8_t inner[] = {'a', 0, 'b', 23, 0, 0, 0};
    struct record_content content;
    uint8_t room[ROOM];
    (void)state;
    assert_int_equal(open_inner(inner, sizeof(inner), &content, room), RECORD_OPENED);
    assert_int_equal(content.type, RECORD_APPLICATION_DATA);
    assert_int_equal(content.data_len, 3);
    assert_memory_equal(content.data, inner, 3);
    assert_int_equal(open_inner(inner + 3, 4, &content, room), RECORD_OPENED); /* N40: empty data */
    assert_int_equal(content.data_len, 0);
    assert_int_equal(content.type, RECORD_APPLICATION_DATA);
}

static void nothing_but_padding(void **state)
{
    static const uint8_t zeros[4];
    struct record_content content;
    uint8_t room[ROOM];
    (void)state;
    for (size_t len = 0; len <= sizeof(zeros); len++)
        assert_int_equal(open_inner(zeros, len, &content, room), RECORD_WITHOUT_TYPE);
}

/* R34: RFC 6066 section 4, after the AEAD. */
static void longer_than_agreed(void **state)
{
    struct sample sample = make_sample(AEAD_AES_128_GCM, 8);
    struct record_content content;
    (void)state;
    sample.keys.plaintext_max = DATA - 1;
    struct sample forged = sample;
    forged.record[forged.len - 1] ^= 1;
    assert_int_equal(open_sample(&forged, &content), RECORD_FORGED);
    assert_int_equal(open_sample(&sample, &content), RECORD_TOO_LONG);
}

/* T8: the explicit nonce is the base plus the number, whatever the library drew. */
static void the_nonce_is_base_and_number(void **state)
{
    struct record12_keys keys = keys_of(AEAD_AES_128_GCM, 0);
    uint8_t record[ROOM];
    (void)state;
    keys.nonce_base = UINT64_MAX - 1;
    assert_int_not_equal(record12_seal(record_work, &keys, 3, 23, NULL, 0, record), 0);
    static const uint8_t expected[8] = {0, 0, 0, 0, 0, 0, 0, 1};
    assert_memory_equal(record + 13, expected, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_others_are_opened),
        cmocka_unit_test(what_is_sealed_is_what_others_seal),
        cmocka_unit_test(what_is_sealed_is_opened),
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(a_body_has_a_bound),
        cmocka_unit_test(a_record_without_the_cid_is_not_ours),
        cmocka_unit_test(every_bit_is_authenticated),
        cmocka_unit_test(the_cid_is_authenticated),
        cmocka_unit_test(any_cut_is_discarded),
        cmocka_unit_test(a_record_of_a_header_only_is_too_short),
        cmocka_unit_test(replays_are_discarded),
        cmocka_unit_test(several_in_a_datagram),
        cmocka_unit_test(padding_is_taken_off),
        cmocka_unit_test(nothing_but_padding),
        cmocka_unit_test(longer_than_agreed),
        cmocka_unit_test(the_nonce_is_base_and_number),
    };
    return cmocka_run_group_tests(tests, record_set_up, record_tear_down);
}
