/* Reads DER (X.690): the elements of bytes from outside, one after the other. Nothing is copied. */
#ifndef BASE_DER_H
#define BASE_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes of somebody else's. */
struct der {
    const uint8_t *bytes;
    size_t size;
};

enum {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_OID = 0x06,
    DER_UTF8 = 0x0c,
    DER_PRINTABLE = 0x13,
    DER_T61 = 0x14,
    DER_IA5 = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT = 0x80,             /* plus its number */
    DER_CONTEXT_CONSTRUCTED = 0xa0, /* plus its number */
};

/* One element. */
struct der_element {
    uint8_t tag;
    struct der content;
    struct der whole; /* with its tag and length */
};

/* Takes the next element off `from`. False, and `from` is as it was, if there is none: at the end,
 * or if it is not DER or has a tag of more than a byte. */
bool der_next(struct der *from, struct der_element *element) MUST_USE;

/* Takes the next element if it has that tag. */
bool der_take(struct der *from, uint8_t tag, struct der *content) MUST_USE;

bool der_is_equal(struct der a, struct der b);

/* A number that is not negative and below 2^31. */
bool der_small_number(struct der integer, int *number) MUST_USE;

/* The bytes of a BIT STRING that has no unused bits. */
bool der_whole_bits(struct der bit_string, struct der *bytes) MUST_USE;

#endif
