#include "base/der.h"

#include <string.h>

/* The length at bytes[1], in its shortest form. Sets where the content begins. */
static bool read_length(struct der from, size_t *begin, size_t *size)
{
    size_t first = from.bytes[1];
    *begin = 2;
    *size = first;
    if (first < 0x80)
        return true;
    size_t count = first & 0x7f;
    if (count == 0 || count > 4 || from.size < 2 + count || from.bytes[2] == 0)
        return false;
    *begin = 2 + count;
    *size = 0;
    for (size_t i = 0; i < count; i++)
        *size = *size << 8 | from.bytes[2 + i];
    return *size >= 0x80;
}

bool der_next(struct der *from, struct der_element *element)
{
    size_t begin, size;
    if (from->size < 2 || (from->bytes[0] & 0x1f) == 0x1f || !read_length(*from, &begin, &size) ||
        size > from->size - begin)
        return false;
    element->tag = from->bytes[0];
    element->content = (struct der){from->bytes + begin, size};
    element->whole = (struct der){from->bytes, begin + size};
    from->bytes += begin + size;
    from->size -= begin + size;
    return true;
}

bool der_take(struct der *from, uint8_t tag, struct der *content)
{
    struct der_element element;
    if (from->size == 0 || from->bytes[0] != tag || !der_next(from, &element))
        return false;
    *content = element.content;
    return true;
}

bool der_is_equal(struct der a, struct der b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

bool der_small_number(struct der integer, int *number)
{
    if (integer.size == 0 || integer.size > 4 || integer.bytes[0] >= 0x80)
        return false;
    *number = 0;
    for (size_t i = 0; i < integer.size; i++)
        *number = *number << 8 | integer.bytes[i];
    return true;
}

bool der_whole_bits(struct der bit_string, struct der *bytes)
{
    if (bit_string.size < 1 || bit_string.bytes[0] != 0)
        return false;
    *bytes = (struct der){bit_string.bytes + 1, bit_string.size - 1};
    return true;
}
