/* Datagrams of any content: what classify() says of them must fit what a plain reading of the bytes
 * finds, and nothing is read past the end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* Length of the record as its header tells it; `left` if only the datagram's end does. */
static size_t told_len(const uint8_t *record, size_t left)
{
    if ((record[0] & 0xe0) == 0x20) {
        size_t length_at = (record[0] & 0x08) != 0 ? 3 : 2;
        if ((record[0] & 0x10) != 0 || (record[0] & 0x04) == 0)
            return left;
        must(left >= length_at + 2);
        return length_at + 2 + (size_t)(record[length_at] << 8 | record[length_at + 1]);
    }
    must(left >= 13);
    return record[0] == 25 ? left : 13 + (size_t)(record[11] << 8 | record[12]);
}

static bool is_protected(const uint8_t *record)
{
    return (record[0] & 0xe0) == 0x20 || record[3] != 0 || record[4] != 0;
}

static void check_records(const uint8_t *data, const struct classified *c)
{
    bool only_protected = true;
    size_t at = 0, protected_len = 0;
    while (at < c->usable_len) {
        const uint8_t *record = data + at;
        size_t len = told_len(record, c->usable_len - at);
        must(len > 0 && len <= c->usable_len - at);
        must(is_protected(record) || (record[0] != 23 && record[0] != 25));
        only_protected = only_protected && is_protected(record);
        at += len;
        if (only_protected)
            protected_len = at;
    }
    must(at == c->usable_len);
    must(protected_len == c->protected_len);
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
static void check_prefix(const uint8_t *data, const struct classified *c)
{
    uint8_t *copy = malloc(c->usable_len);
    must(copy != NULL);
    memcpy(copy, data, c->usable_len);
    struct classified again = classify(copy, c->usable_len, 0);
    must(again.kind == c->kind && again.usable_len == c->usable_len &&
         again.protected_len == c->protected_len && again.hello_tag == c->hello_tag &&
         again.has_cookie == c->has_cookie && again.is_fragment == c->is_fragment);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    must(copy != NULL);
    memcpy(copy, data, size);
    struct classified c = classify(copy, size, 0);
    must(c.usable_len <= size && c.protected_len <= c.usable_len);
    must((c.kind == DATAGRAM_JUNK) == (c.usable_len == 0));
    if (c.kind != DATAGRAM_JUNK) {
        check_kind(copy, &c);
        check_records(copy, &c);
        check_prefix(copy, &c);
    }
    size_t suites_size = 0;
    const uint8_t *suites = classify_hello_suites(copy, size, &suites_size);
    if (suites != NULL) {
        must(c.kind == DATAGRAM_HELLO && !c.is_later_fragment);
        must(suites > copy + 59 && suites_size <= (size_t)(copy + c.usable_len - suites));
    }
    free(copy);
    return 0;
}
