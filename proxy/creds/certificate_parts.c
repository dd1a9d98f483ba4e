#include "creds/certificate_parts.h"

#include <time.h>

bool certificate_signed_read(struct der der, struct certificate_signed_part *signed_part,
                             struct der *content)
{
    struct der whole, bits;
    struct der_element part;
    *signed_part = (struct certificate_signed_part){0};
    if (!der_take(&der, DER_SEQUENCE, &whole) || der.size != 0 || !der_next(&whole, &part) ||
        part.tag != DER_SEQUENCE || !der_take(&whole, DER_SEQUENCE, &signed_part->algorithm) ||
        !der_take(&whole, DER_BIT_STRING, &bits) || whole.size != 0 ||
        !der_whole_bits(bits, &signed_part->signature))
        return false;
    signed_part->whole = part.whole;
    *content = part.content;
    return true;
}

bool certificate_signed_take_algorithm(struct der *from,
                                       struct certificate_signed_part *signed_part)
{
    struct der algorithm;
    struct der_element parameters;
    if (!der_take(from, DER_SEQUENCE, &algorithm) ||
        !der_is_equal(algorithm, signed_part->algorithm) ||
        !der_take(&algorithm, DER_OID, &signed_part->oid))
        return false;
    if (algorithm.size == 0)
        return true;
    if (!der_next(&algorithm, &parameters))
        return false;
    signed_part->parameters = parameters.whole;
    return algorithm.size == 0;
}

static bool read_digits(const uint8_t *text, size_t count, int *number)
{
    *number = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *number = *number * 10 + text[i] - '0';
    }
    return true;
}

/* YYMMDDHHMMSSZ, YYYYMMDDHHMMSSZ. */
bool certificate_time_take(struct der *from, int64_t *time)
{
    struct der_element element;
    struct tm tm = {0};
    if (!der_next(from, &element))
        return false;
    size_t digits = element.tag == DER_UTC_TIME ? 2 : element.tag == DER_GENERALIZED_TIME ? 4 : 0;
    const uint8_t *text = element.content.bytes;
    if (digits == 0 || element.content.size != digits + 11 || text[digits + 10] != 'Z' ||
        !read_digits(text, digits, &tm.tm_year))
        return false;
    text += digits;
    if (!read_digits(text, 2, &tm.tm_mon) || !read_digits(text + 2, 2, &tm.tm_mday) ||
        !read_digits(text + 4, 2, &tm.tm_hour) || !read_digits(text + 6, 2, &tm.tm_min) ||
        !read_digits(text + 8, 2, &tm.tm_sec) || tm.tm_mon < 1 || tm.tm_mon > 12 ||
        tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    if (digits == 4)
        tm.tm_year -= 1900;
    else if (tm.tm_year < 50)
        tm.tm_year += 100;
    tm.tm_mon--;
    *time = timegm(&tm);
    return true;
}

bool certificate_extension_take(struct der *from, uint64_t *seen,
                                struct certificate_extension *extension)
{
    struct der content, boolean;
    *extension = (struct certificate_extension){.number = -1};
    if (!der_take(from, DER_SEQUENCE, &content) || !der_take(&content, DER_OID, &extension->oid))
        return false;
    if (der_take(&content, DER_BOOLEAN, &boolean))
        extension->is_critical = boolean.size != 1 || boolean.bytes[0] != 0;
    if (!der_take(&content, DER_OCTET_STRING, &extension->value) || content.size != 0)
        return false;
    struct der oid = extension->oid;
    if (oid.size != 3 || oid.bytes[0] != 0x55 || oid.bytes[1] != 0x1d || oid.bytes[2] >= 64)
        return true;
    extension->number = oid.bytes[2];
    uint64_t bit = UINT64_C(1) << extension->number;
    bool is_new = (*seen & bit) == 0;
    *seen |= bit;
    return is_new;
}

bool certificate_key_id_read(struct der value, struct der *key_id)
{
    struct der sequence;
    *key_id = (struct der){NULL, 0};
    if (!der_take(&value, DER_SEQUENCE, &sequence) || value.size != 0)
        return false;
    /* Not there, or the first. */
    (void)!der_take(&sequence, DER_CONTEXT + 0, key_id);
    return true;
}
