/* wire/record13.c: records of NSS are opened and sealed again to the byte; rules R1 to R9 and R20,
 * one row each, for all forms of the header; nothing changes unless a record is authentic and new.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "gate/record_forge.h"
#include "wire/record13.h"
#include "wire/record_fixture.h"

enum { ROOM = 512 };

static const uint8_t secret[RECORD13_SECRET_MAX] =
    "a traffic secret for tests, of forty-eight bytes";

/* ---- records of others ---------------------------------------------------------------------- */

static unsigned sealed_alike;

static void open_vector(const struct record_vector *vector)
{
    uint8_t keys[RECORD13_KEYS_MAX];
    struct record_window window = {0};
    struct record_content content;
    uint8_t room[sizeof(vector->record)];
    assert_int_equal(vector->secret_len, record13_secret_bytes(vector->aead));
    assert_true(record13_derive(keys, vector->aead, vector->secret));
    const struct record13_epoch epoch = {.epoch = 3, .keys = keys, .window = &window};
    const struct record13_reader reader = {.aead = vector->aead,
                                           .epochs = &epoch,
                                           .epoch_count = 1,
                                           .cid = vector->cid,
                                           .cid_len = vector->cid_len,
                                           .plaintext_max = RECORD_PLAINTEXT_MAX};
    enum record_verdict verdict = record13_open(record_work, &reader, vector->record,
                                                vector->record_len, true, room, &content);
    record_assert_opened(vector, verdict, &content);
}

static void seal_vector(const struct record_vector *vector)
{
    uint8_t keys[RECORD13_KEYS_MAX];
    uint8_t out[sizeof(vector->plaintext) + RECORD_OVERHEAD_MAX];
    assert_true(record13_derive(keys, vector->aead, vector->secret));
    const struct record13_writer writer = {.aead = vector->aead,
                                           .epoch = 3,
                                           .keys = keys,
                                           .cid = vector->cid,
                                           .cid_len = vector->cid_len};
    size_t len = record13_seal(record_work, &writer, vector->number, vector->type,
                               vector->plaintext, vector->plaintext_len, out);
    assert_int_equal(len, vector->record_len);
    assert_memory_equal(out, vector->record, len);
    sealed_alike++;
}

static void records_of_others_are_opened(void **state)
{
    (void)state;
    assert_true(record_vectors_each(13, open_vector) >= 18);
}

static void what_is_sealed_is_what_others_seal(void **state)
{
    (void)state;
    sealed_alike = 0;
    record_vectors_each(13, seal_vector);
    assert_true(sealed_alike >= 18);
}

/* R20; computed with Python's cryptography package from the secret above. */
static void secrets_of_the_next_epoch(void **state)
{
    static const uint8_t next_32[32] = {0xbf, 0x43, 0x6b, 0x8c, 0xac, 0xe7, 0x9f, 0xef,
                                        0x58, 0x99, 0xf5, 0xbc, 0xb6, 0x38, 0x5d, 0x47,
                                        0xaf, 0x47, 0x3a, 0x29, 0x52, 0xe4, 0x3f, 0x98,
                                        0x1f, 0x0f, 0xca, 0x7e, 0x05, 0x77, 0xfc, 0x56};
    static const uint8_t next_48[48] = {0xda, 0xcb, 0x9b, 0xc8, 0x3b, 0x02, 0x78, 0x32, 0x12, 0xf1,
                                        0x98, 0x5b, 0xee, 0x97, 0x50, 0xb5, 0x8c, 0x0d, 0xb5, 0x36,
                                        0x27, 0x28, 0x7b, 0xd9, 0xb3, 0x8b, 0x37, 0xd0, 0xb2, 0xdd,
                                        0x3f, 0xd8, 0x35, 0x19, 0x7c, 0x11, 0x02, 0x08, 0x39, 0xc3,
                                        0x0a, 0x05, 0xd4, 0xf4, 0xdc, 0x08, 0x3e, 0x3b};
    uint8_t next[RECORD13_SECRET_MAX];
    (void)state;
    assert_true(record13_update(AEAD_AES_128_GCM, secret, next));
    assert_memory_equal(next, next_32, 32);
    memcpy(next, secret, sizeof(next));
    assert_true(record13_update(AEAD_AES_256_GCM, next, next));
    assert_memory_equal(next, next_48, 48);
}

/* ---- a session with all forms of headers ---------------------------------------------------- */

struct peer {
    uint8_t keys[RECORD13_KEYS_MAX];
    struct record_window window;
    struct record13_epoch epoch;
    struct record13_reader reader;
    uint8_t record[ROOM], room[ROOM];
    size_t len;
};

static void peer_init(struct peer *peer, enum aead aead, size_t cid_len)
{
    memset(peer, 0, sizeof(*peer));
    assert_true(record13_derive(peer->keys, aead, secret));
    peer->epoch = (struct record13_epoch){.epoch = 3, .keys = peer->keys, .window = &peer->window};
    peer->reader = (struct record13_reader){.aead = aead,
                                            .epochs = &peer->epoch,
                                            .epoch_count = 1,
                                            .cid = record_cid,
                                            .cid_len = cid_len,
                                            .plaintext_max = RECORD_PLAINTEXT_MAX};
}

static void peer_seal(struct peer *peer, uint8_t first, uint64_t number)
{
    static const uint8_t inner[] = "twenty bytes of data\x17";
    peer->len =
        record_forge_13(record_work, peer->reader.aead, peer->keys, first, record_cid,
                        peer->reader.cid_len, number, inner, sizeof(inner) - 1, peer->record);
}

static enum record_verdict peer_open(struct peer *peer, bool is_first,
                                     struct record_content *content)
{
    return record13_open(record_work, &peer->reader, peer->record, peer->len, is_first, peer->room,
                         content);
}

static void all_forms_are_opened(void **state)
{
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        for (size_t cid_len = 0; cid_len <= 32; cid_len += 8) {
            for (uint8_t form = 0; form < 32; form += 4) {
                uint8_t first = (uint8_t)(0x23 | form);
                if ((first & FORGE_HAS_CID) != 0 && cid_len == 0)
                    continue;
                bool may_be_first = cid_len == 0 || (first & FORGE_HAS_CID) != 0;
                struct peer peer;
                struct record_content content;
                peer_init(&peer, aead, cid_len);
                peer_seal(&peer, first, 5);
                assert_int_equal(peer_open(&peer, may_be_first, &content), RECORD_OPENED);
                assert_int_equal(content.number, 5);
                assert_int_equal(content.type, RECORD_APPLICATION_DATA);
                assert_int_equal(content.data_len, 20);
                assert_int_equal(content.record_len, peer.len);
                assert_int_equal(peer.window.next, 6);
                assert_int_equal(peer_open(&peer, may_be_first, &content), RECORD_REPLAYED);
            }
        }
    }
}

static void what_is_sealed_is_opened(void **state)
{
    static const size_t lens[] = {0, 1, 7, 8, 64, 1280, RECORD_PLAINTEXT_MAX};
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        for (size_t cid_len = 0; cid_len <= 32; cid_len += 4) {
            for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
                struct peer peer;
                struct record_content content;
                peer_init(&peer, aead, cid_len);
                const struct record13_writer writer = {.aead = aead,
                                                       .epoch = 7,
                                                       .keys = peer.keys,
                                                       .cid = record_cid,
                                                       .cid_len = cid_len};
                peer.epoch.epoch = 7;
                uint8_t *data = calloc(1, lens[i] + 1),
                        *out = malloc(lens[i] + RECORD_OVERHEAD_MAX),
                        *room = malloc(lens[i] + RECORD_OVERHEAD_MAX);
                size_t len = record13_seal(record_work, &writer, i, RECORD_APPLICATION_DATA, data,
                                           lens[i], out);
                assert_in_range(len, 1, lens[i] + RECORD_OVERHEAD_MAX);
                assert_int_equal(
                    record13_open(record_work, &peer.reader, out, len, true, room, &content),
                    RECORD_OPENED);
                assert_int_equal(content.epoch, 7);
                assert_int_equal(content.data_len, lens[i]);
                assert_memory_equal(content.data, data, lens[i]);
                free(data);
                free(out);
                free(room);
            }
        }
    }
}

/* ---- rules ---------------------------------------------------------------------------------- */

static void expect(struct peer *peer, bool is_first, enum record_verdict expected)
{
    struct record_content content;
    struct record_window before = peer->window;
    assert_int_equal(peer_open(peer, is_first, &content), expected);
    assert_memory_equal(&before, &peer->window, sizeof(before));
    assert_in_range(content.record_len, 0, peer->len);
}

static void headers_are_checked(void **state)
{
    struct peer peer;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 0);
    peer_seal(&peer, 0x2f, 1);
    for (int first = 0; first < 256; first++) { /* R1 */
        if ((first & 0xe0) == 0x20)
            continue;
        peer.record[0] = (uint8_t)first;
        expect(&peer, true, RECORD_MALFORMED);
    }
    for (uint8_t epoch = 0; epoch < 3; epoch++) { /* R4 */
        peer.record[0] = 0x2c | epoch;
        expect(&peer, true, RECORD_WRONG_EPOCH);
    }
    peer.record[0] = 0x3f; /* R3: we have no connection ID */
    expect(&peer, true, RECORD_WRONG_CID);
    peer.record[0] = 0x2f;
    size_t body = bytes_get16(peer.record + 3);
    bytes_put16(peer.record + 3, (uint16_t)(body + 1)); /* R2: beyond the datagram */
    expect(&peer, true, RECORD_MALFORMED);
    bytes_put16(peer.record + 3, 15); /* R2: nothing to sample */
    expect(&peer, true, RECORD_TOO_SHORT);
    bytes_put16(peer.record + 3, (uint16_t)(body - 1));
    expect(&peer, true, RECORD_FORGED);
}

/* R2: RFC 8446 section 5.2. */
static void too_long_to_be_a_record(void **state)
{
    struct peer peer;
    struct record_content content;
    static uint8_t datagram[5 + 16384 + 257], room[sizeof(datagram)];
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 0);
    datagram[0] = 0x2f;
    bytes_put16(datagram + 3, 16384 + 257);
    assert_int_equal(
        record13_open(record_work, &peer.reader, datagram, sizeof(datagram), true, room, &content),
        RECORD_MALFORMED);
    bytes_put16(datagram + 3, 16384 + 256);
    assert_int_equal(
        record13_open(record_work, &peer.reader, datagram, sizeof(datagram), true, room, &content),
        RECORD_FORGED);
}

static void the_first_has_the_cid(void **state)
{
    struct peer peer;
    struct record_content content;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 8);
    peer_seal(&peer, 0x2f, 1);
    expect(&peer, true, RECORD_WRONG_CID); /* R3 */
    assert_int_equal(peer_open(&peer, false, &content), RECORD_OPENED);
    peer_seal(&peer, 0x3f, 2);
    peer.record[8] ^= 1;
    expect(&peer, true, RECORD_WRONG_CID);
    assert_int_equal(peer_open(&peer, false, &content), RECORD_WRONG_CID);
    assert_int_equal(content.record_len, peer.len); /* R3: and all that follows */
}

static void every_bit_is_authenticated(void **state)
{
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        for (uint8_t form = 0; form < 32; form += 4) {
            struct peer good, peer;
            struct record_content content;
            peer_init(&good, aead, 8);
            peer_seal(&good, (uint8_t)(0x23 | form), 9);
            for (size_t bit = 0; bit < good.len * 8; bit++) {
                peer = good;
                peer.epoch.keys = peer.keys;
                peer.epoch.window = &peer.window;
                peer.reader.epochs = &peer.epoch;
                peer.record[bit / 8] ^= (uint8_t)(1u << bit % 8);
                assert_int_not_equal(peer_open(&peer, false, &content), RECORD_OPENED);
                assert_int_equal(peer.window.next, 0);
            }
        }
    }
}

/* R7: the connection ID is authenticated where it is not compared. */
static void the_cid_is_authenticated(void **state)
{
    struct peer peer;
    uint8_t other[8];
    (void)state;
    peer_init(&peer, AEAD_AES_128_CCM_8, 8);
    peer_seal(&peer, 0x3f, 1);
    memcpy(other, record_cid, sizeof(other));
    other[3] ^= 1;
    peer.record[1 + 3] ^= 1;
    peer.reader.cid = other;
    expect(&peer, true, RECORD_FORGED);
}

/* What follows a record that says how long it is can be looked at, whatever becomes of it. */
static void the_end_of_a_record_is_told(void **state)
{
    struct peer peer;
    struct record_content content;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 8);
    peer_seal(&peer, 0x3f, 1);
    size_t whole = peer.len;
    peer.len += 3;
    assert_int_equal(peer_open(&peer, true, &content), RECORD_OPENED);
    assert_int_equal(content.record_len, whole);
    assert_int_equal(peer_open(&peer, true, &content), RECORD_REPLAYED);
    assert_int_equal(content.record_len, whole);
    peer.record[0] ^= 1;
    assert_int_equal(peer_open(&peer, true, &content), RECORD_WRONG_EPOCH);
    assert_int_equal(content.record_len, whole);
    /* Nothing but a header. */
    peer.record[0] ^= 1;
    peer.len = whole - record_body_len(peer.record, 13);
    assert_int_equal(peer.len, 13);
    bytes_put16(peer.record + 11, 0);
    assert_int_equal(peer_open(&peer, true, &content), RECORD_TOO_SHORT);
    assert_int_equal(content.record_len, 13);
}

static struct record13_writer writer_of(const struct peer *peer)
{
    return (struct record13_writer){.aead = peer->reader.aead, .epoch = 3, .keys = peer->keys};
}

/* R9: there is just as much as is needed to sample, and no more than that is added. */
static void the_shortest_records(void **state)
{
    (void)state;
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        for (size_t data_len = 0; data_len < 12; data_len++) {
            struct peer peer;
            static const uint8_t data[12];
            peer_init(&peer, aead, 0);
            const struct record13_writer writer = writer_of(&peer);
            size_t body = data_len + 1 + aead_tag_bytes(aead);
            assert_int_equal(record13_seal(record_work, &writer, 0, RECORD_APPLICATION_DATA, data,
                                           data_len, peer.record),
                             5 + (body < AEAD_SAMPLE_BYTES ? AEAD_SAMPLE_BYTES : body));
        }
    }
}

static void both_bytes_of_a_number_are_sealed(void **state)
{
    static const uint64_t numbers[] = {0xff, 0x100, 0x1234, 0xabcd, 0xffff, 0x1fedc};
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct peer peer;
        struct record_content content;
        static const uint8_t data[] = "data";
        peer_init(&peer, AEAD_AES_128_GCM, 0);
        peer.window.next = numbers[i];
        const struct record13_writer writer = writer_of(&peer);
        peer.len = record13_seal(record_work, &writer, numbers[i], RECORD_APPLICATION_DATA, data,
                                 sizeof(data), peer.record);
        assert_int_equal(peer_open(&peer, true, &content), RECORD_OPENED);
        assert_int_equal(content.number, numbers[i]);
    }
}

static void any_cut_is_discarded(void **state)
{
    struct peer peer;
    struct record_content content;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 8);
    peer_seal(&peer, 0x3f, 1);
    for (size_t whole = peer.len, len = 0; len < whole; len++) {
        peer.len = len;
        assert_int_equal(peer_open(&peer, true, &content), RECORD_MALFORMED);
    }
    peer_seal(&peer, 0x3b, 1); /* without a length: shorter, but a record */
    for (size_t whole = peer.len, len = 0; len < whole; len++) {
        peer.len = len;
        enum record_verdict verdict = peer_open(&peer, true, &content);
        assert_in_range(verdict, RECORD_MALFORMED, RECORD_FORGED);
    }
}

/* ---- numbers and epochs --------------------------------------------------------------------- */

/* R6: what arrives is within half of the numbers that 8 or 16 bits tell of what is expected. */
static void numbers_are_reconstructed(void **state)
{
    static const uint64_t nexts[] = {0,
                                     1,
                                     100,
                                     127,
                                     128,
                                     129,
                                     255,
                                     256,
                                     32767,
                                     32768,
                                     65535,
                                     65536,
                                     70000,
                                     1 << 20,
                                     (uint64_t)1 << 40,
                                     ((uint64_t)1 << 48) - 70000};
    (void)state;
    for (size_t i = 0; i < sizeof(nexts) / sizeof(nexts[0]); i++) {
        for (int bytes = 1; bytes <= 2; bytes++) {
            int64_t half = bytes == 1 ? 128 : 32768;
            for (int64_t off = -half + 1; off < half; off += bytes == 1 ? 1 : 111) {
                if (off < 0 && (uint64_t)-off > nexts[i])
                    continue;
                struct peer peer;
                struct record_content content;
                peer_init(&peer, AEAD_CHACHA20_POLY1305, 0);
                peer.window = (struct record_window){.next = nexts[i], .seen = 0};
                uint64_t number = nexts[i] + (uint64_t)off;
                peer_seal(&peer, bytes == 2 ? 0x2f : 0x27, number);
                enum record_verdict verdict = peer_open(&peer, true, &content);
                assert_int_equal(content.number, number);
                assert_int_equal(verdict, off < -64 ? RECORD_REPLAYED : RECORD_OPENED);
            }
        }
    }
}

/* A jump of 32,768 and more cannot be told: such a record does not authenticate. */
static void too_far_ahead(void **state)
{
    struct peer peer;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 0);
    peer.window = (struct record_window){.next = 100000, .seen = UINT64_MAX};
    peer_seal(&peer, 0x2f, 100000 + 32769);
    expect(&peer, true, RECORD_FORGED);
}

/* R8: what the window knows is told only after the AEAD; forged it is forged. */
static void the_window_comes_after_the_aead(void **state)
{
    struct peer peer;
    struct record_content content;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 0);
    peer_seal(&peer, 0x2f, 1);
    assert_int_equal(peer_open(&peer, true, &content), RECORD_OPENED);
    expect(&peer, true, RECORD_REPLAYED);
    peer.record[peer.len - 1] ^= 1;
    expect(&peer, true, RECORD_FORGED);
}

/* R4: the newest epoch that has these bits; each has keys and a window of its own. */
static void epochs_are_told_by_their_low_bits(void **state)
{
    struct peer new_peer, old_peer;
    struct record_content content;
    uint8_t next[RECORD13_SECRET_MAX];
    (void)state;
    peer_init(&new_peer, AEAD_AES_128_GCM, 0);
    peer_init(&old_peer, AEAD_AES_128_GCM, 0);
    assert_true(record13_update(AEAD_AES_128_GCM, secret, next));
    assert_true(record13_derive(new_peer.keys, AEAD_AES_128_GCM, next));
    const struct record13_epoch epochs[] = {
        {.epoch = 4, .keys = new_peer.keys, .window = &new_peer.window},
        {.epoch = 3, .keys = old_peer.keys, .window = &old_peer.window},
    };
    new_peer.reader.epochs = old_peer.reader.epochs = epochs;
    new_peer.reader.epoch_count = old_peer.reader.epoch_count = 2;
    peer_seal(&new_peer, 0x2c, 0);
    peer_seal(&old_peer, 0x2f, 0);
    assert_int_equal(peer_open(&new_peer, true, &content), RECORD_OPENED);
    assert_int_equal(content.epoch, 4);
    assert_int_equal(peer_open(&old_peer, true, &content), RECORD_OPENED);
    assert_int_equal(content.epoch, 3);
    assert_int_equal(new_peer.window.next, 1);
    assert_int_equal(old_peer.window.next, 1);
    peer_seal(&old_peer, 0x2c, 1); /* under the old keys, as if of the new epoch */
    expect(&old_peer, true, RECORD_FORGED);
}

/* ---- inner plaintexts ----------------------------------------------------------------------- */

static enum record_verdict open_inner(const uint8_t *inner, size_t len,
                                      struct record_content *content)
{
    static uint8_t record[RECORD_PLAINTEXT_MAX + 512], room[sizeof(record)];
    struct peer peer;
    peer_init(&peer, AEAD_AES_128_GCM, 0);
    size_t record_len = record_forge_13(record_work, peer.reader.aead, peer.keys, 0x2f, record_cid,
                                        0, 1, inner, len, record);
    return record13_open(record_work, &peer.reader, record, record_len, true, room, content);
}

static void inner_plaintexts(void **state)
{
    static uint8_t inner[RECORD_PLAINTEXT_MAX + 2];
    struct record_content content;
    (void)state;
    for (size_t len = 0; len < 300; len++) /* R9 */
        assert_int_equal(open_inner(inner, len, &content), RECORD_WITHOUT_TYPE);
    inner[0] = RECORD_APPLICATION_DATA;
    assert_int_equal(open_inner(inner, 1, &content), RECORD_OPENED); /* N40 */
    assert_int_equal(content.data_len, 0);
    assert_int_equal(open_inner(inner, RECORD_PLAINTEXT_MAX + 1, &content), RECORD_OPENED);
    assert_int_equal(content.data_len, 0);
    assert_int_equal(open_inner(inner, RECORD_PLAINTEXT_MAX + 2, &content), RECORD_TOO_LONG);
    memset(inner, 'x', sizeof(inner));
    assert_int_equal(open_inner(inner, RECORD_PLAINTEXT_MAX + 1, &content), RECORD_OPENED);
    assert_int_equal(content.data_len, RECORD_PLAINTEXT_MAX);
    assert_int_equal(content.type, 'x');
}

static void longer_than_agreed(void **state)
{
    struct peer peer;
    struct record_content content;
    (void)state;
    peer_init(&peer, AEAD_AES_128_GCM, 0);
    peer.reader.plaintext_max = 19;
    peer_seal(&peer, 0x2f, 1);
    assert_int_equal(peer_open(&peer, true, &content), RECORD_TOO_LONG);
    assert_int_equal(peer.window.next, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_others_are_opened),
        cmocka_unit_test(what_is_sealed_is_what_others_seal),
        cmocka_unit_test(secrets_of_the_next_epoch),
        cmocka_unit_test(all_forms_are_opened),
        cmocka_unit_test(what_is_sealed_is_opened),
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(too_long_to_be_a_record),
        cmocka_unit_test(the_first_has_the_cid),
        cmocka_unit_test(every_bit_is_authenticated),
        cmocka_unit_test(the_cid_is_authenticated),
        cmocka_unit_test(any_cut_is_discarded),
        cmocka_unit_test(the_end_of_a_record_is_told),
        cmocka_unit_test(the_shortest_records),
        cmocka_unit_test(both_bytes_of_a_number_are_sealed),
        cmocka_unit_test(numbers_are_reconstructed),
        cmocka_unit_test(too_far_ahead),
        cmocka_unit_test(the_window_comes_after_the_aead),
        cmocka_unit_test(epochs_are_told_by_their_low_bits),
        cmocka_unit_test(inner_plaintexts),
        cmocka_unit_test(longer_than_agreed),
    };
    return cmocka_run_group_tests(tests, record_set_up, record_tear_down);
}
