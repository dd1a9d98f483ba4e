#include "wire/classify_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void classify_fixture_put(struct maker *m, const void *bytes, size_t len)
{
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

void classify_fixture_put_number(struct maker *m, uint64_t number, int size)
{
    for (int i = size - 1; i >= 0; i--)
        m->bytes[m->len++] = (uint8_t)(number >> (8 * i));
}

void classify_fixture_put_zeros(struct maker *m, size_t len)
{
    memset(m->bytes + m->len, 0, len);
    m->len += len;
}

void classify_fixture_put_header(struct maker *m, int type, int version, int epoch, int body_len)
{
    classify_fixture_put_number(m, type, 1);
    classify_fixture_put_number(m, version, 2);
    classify_fixture_put_number(m, epoch, 2);
    classify_fixture_put_number(m, 7, 6);
    classify_fixture_put_number(m, body_len, 2);
}

void classify_fixture_put_record(struct maker *m, int type, int epoch, int body_len)
{
    classify_fixture_put_header(m, type, 0xfefd, epoch, body_len);
    classify_fixture_put_zeros(m, body_len);
}

void classify_fixture_put_hello(struct maker *m, const struct hello *hello)
{
    struct maker body = {.len = 0};
    classify_fixture_put_number(&body, 0xfefd, 2);
    for (int i = 0; i < 32; i++)
        classify_fixture_put_number(&body, i, 1);
    classify_fixture_put_number(&body, hello->session_id_len, 1);
    classify_fixture_put_zeros(&body, hello->session_id_len);
    classify_fixture_put_number(&body, hello->cookie_len, 1);
    classify_fixture_put_zeros(&body, hello->cookie_len);
    classify_fixture_put_number(&body, 0x0002c0a80100, 6);
    if (hello->extensions != NULL) {
        classify_fixture_put_number(&body, hello->extensions_len, 2);
        classify_fixture_put(&body, hello->extensions, hello->extensions_len);
    }
    int body_len = hello->body_len >= 0 ? hello->body_len : (int)body.len;
    classify_fixture_put_header(m, HANDSHAKE, 0xfeff, 0, 12 + body_len);
    classify_fixture_put_number(m, 1, 1);
    classify_fixture_put_number(m, hello->message_len >= 0 ? hello->message_len : (int)body.len, 3);
    classify_fixture_put_number(m, 0, 2);
    classify_fixture_put_number(m, hello->fragment_offset, 3);
    classify_fixture_put_number(m, hello->fragment_len >= 0 ? hello->fragment_len : (int)body.len,
                                3);
    classify_fixture_put(m, body.bytes, body_len);
}

void classify_fixture_put_ciphertext(struct maker *m, int first_byte, const char *header,
                                     size_t header_len, size_t len)
{
    classify_fixture_put_number(m, first_byte, 1);
    classify_fixture_put(m, header, header_len);
    classify_fixture_put_zeros(m, len);
}

struct classified classify_fixture_run(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    struct classified result = classify(len > 0 ? copy : copy + 1, len, 0);
    free(copy);
    assert_true(result.usable_len <= len);
    assert_true(result.protected_len <= result.usable_len);
    assert_true(result.before_alert_len <= result.usable_len);
    assert_true((result.kind == DATAGRAM_JUNK) == (result.usable_len == 0));
    return result;
}

struct classified classify_fixture_run_made(const struct maker *m)
{
    return classify_fixture_run(m->bytes, m->len);
}

void classify_fixture_assert_junk(const struct maker *m)
{
    assert_int_equal(classify_fixture_run_made(m).kind, DATAGRAM_JUNK);
}
