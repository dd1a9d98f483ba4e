/* Datagrams of any content, at listeners that give out no connection IDs, short and long ones: what
 * classify() says of them must fit what a plain reading of the bytes finds, and nothing is read
 * past the end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "handshake/hello_offer.h"
#include "wire/classify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static bool is_ciphertext(const uint8_t *record)
{
    return (record[0] & 0xe0) == 0x20;
}

/* The connection ID of a record, NULL if it has none. */
static const uint8_t *cid_of(const uint8_t *record)
{
    if (is_ciphertext(record))
        return (record[0] & 0x10) != 0 ? record + 1 : NULL;
    return record[0] == 25 ? record + 11 : NULL;
}

/* Length of the record as its header tells it; `left` if only the datagram's end does. */
static size_t told_len(const uint8_t *record, size_t left, size_t cid_len)
{
    size_t own_cid_len = cid_of(record) != NULL ? cid_len : 0;
    size_t length_at = is_ciphertext(record) ? 1 + own_cid_len + ((record[0] & 0x08) != 0 ? 2 : 1)
                                             : 11 + own_cid_len;
    if (cid_of(record) != NULL && cid_len == 0)
        return left; /* of nobody's: what it says of its length is unknown */
    if (is_ciphertext(record) && (record[0] & 0x04) == 0)
        return left;
    must(left >= length_at + 2);
    return length_at + 2 + (size_t)(record[length_at] << 8 | record[length_at + 1]);
}

static bool is_protected(const uint8_t *record)
{
    return is_ciphertext(record) || record[3] != 0 || record[4] != 0;
}

/* Both without a connection ID, or both with the same. */
static bool is_of_one_session(const uint8_t *record, const uint8_t *other, size_t cid_len)
{
    const uint8_t *a = cid_of(record), *b = cid_of(other);
    return (a == NULL) == (b == NULL) && (a == NULL || memcmp(a, b, cid_len) == 0);
}

static void check_records(const uint8_t *data, const struct classified *c, size_t cid_len)
{
    bool only_protected = true, has_alert = false;
    size_t at = 0, protected_len = 0, before_alert_len = 0;
    while (at < c->usable_len) {
        const uint8_t *record = data + at;
        size_t len = told_len(record, c->usable_len - at, cid_len);
        must(len > 0 && len <= c->usable_len - at);
        must(is_protected(record) || (record[0] != 23 && record[0] != 25));
        must(cid_of(record) == NULL || cid_of(record) + cid_len <= record + len);
        only_protected =
            only_protected && is_protected(record) && is_of_one_session(record, data, cid_len);
        has_alert = has_alert || (!is_protected(record) && record[0] == 21);
        at += len;
        if (only_protected)
            protected_len = at;
        if (!has_alert)
            before_alert_len = at;
    }
    must(before_alert_len == c->before_alert_len);
    must(has_alert || (c->alert_level == 0 && c->alert_code == 0));
    must(at == c->usable_len);
    must(protected_len == c->protected_len);
    must(c->cid == cid_of(data));
}

static void check_kind(const uint8_t *data, const struct classified *c)
{
    must(c->first_type == data[0]);
    must((c->kind == DATAGRAM_PROTECTED) == is_protected(data));
    if (c->kind == DATAGRAM_HELLO)
        must(data[0] == 22 && data[13] == 1 && c->usable_len >= 13 + 12);
    else
        must(!c->is_fragment && !c->is_later_fragment && !c->has_cookie && c->hello_tag == 0);
    must(c->is_fragment || !c->is_later_fragment);
    must(!c->is_later_fragment || (!c->has_cookie && c->hello_tag == 0));
}

/* Whatever stands behind what was found usable changes nothing. */
static void check_prefix(const uint8_t *data, const struct classified *c, size_t cid_len)
{
    uint8_t *copy = malloc(c->usable_len);
    must(copy != NULL);
    memcpy(copy, data, c->usable_len);
    struct classified again = classify(copy, c->usable_len, cid_len);
    must(again.kind == c->kind && again.usable_len == c->usable_len &&
         again.protected_len == c->protected_len && again.hello_tag == c->hello_tag &&
         again.has_cookie == c->has_cookie && again.is_fragment == c->is_fragment);
    free(copy);
}

static bool is_known(const uint8_t *record)
{
    return is_ciphertext(record) || (record[0] >= 20 && record[0] <= 26 && record[0] != 24);
}

/* Record by record, as a handshake takes them: none whose type is unknown. */
static size_t known_records(const uint8_t *data, size_t size, size_t cid_len)
{
    size_t at = 0, record_len;
    while ((record_len = classify_record_len(data + at, size - at, cid_len, UINT16_MAX)) != 0)
        at += record_len;
    return at;
}

static void check(const uint8_t *data, size_t size, size_t cid_len)
{
    struct classified c = classify(data, size, cid_len);
    must(c.usable_len <= size && c.protected_len <= c.usable_len);
    must((c.kind == DATAGRAM_JUNK) == (c.usable_len == 0));
    if (c.kind != DATAGRAM_JUNK) {
        check_kind(data, &c);
        check_records(data, &c, cid_len);
        check_prefix(data, &c, cid_len);
    }
    must(c.kind != DATAGRAM_JUNK || c.cid == NULL);
    size_t known = known_records(data, size, cid_len);
    must(known <= c.usable_len && (known == c.usable_len || !is_known(data + known)));
    must(classify_before_missing_cid(data, size, cid_len) <= c.usable_len);

    size_t suites_size = 0;
    const uint8_t *suites = classify_hello_suites(data, size, &suites_size);
    if (suites != NULL) {
        must(c.kind == DATAGRAM_HELLO && !c.is_later_fragment);
        must(suites > data + 59 && suites_size <= (size_t)(data + c.usable_len - suites));
    }
    size_t ticket_size = 0;
    const uint8_t *ticket = classify_hello_ticket(data, size, &ticket_size);
    if (ticket != NULL) {
        must(suites != NULL && ticket > suites + suites_size);
        must(ticket_size <= (size_t)(data + c.usable_len - ticket));
    }
}

/* What a log line would say of it. */
static void check_offer(const uint8_t *data, size_t size)
{
    struct hello_offer offer = {0};
    char text[HELLO_OFFER_TEXT_MAX];
    if (!hello_offer_read(&offer, data, size))
        return;
    must(data[0] == 22 && data[13] == 1 && offer.is_read);
    must(strlen(hello_offer_format(&offer, text)) < sizeof(text));
    must(strncmp(text, "versions:", 9) == 0 && strstr(text, " suites:") != NULL);
    for (const char *c = text; *c != '\0'; c++)
        must(*c >= ' ' && *c <= '~' && *c != '"' && *c != '\\');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t cid_lens[] = {0, 1, 8, 32};
    uint8_t *copy = malloc(size > 0 ? size : 1);
    must(copy != NULL);
    memcpy(copy, data, size);
    for (size_t i = 0; i < sizeof(cid_lens) / sizeof(cid_lens[0]); i++)
        check(copy, size, cid_lens[i]);
    check_offer(copy, size);
    free(copy);
    return 0;
}
