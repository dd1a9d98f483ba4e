#include "base/utf8.h"

/* By the first byte: how many follow, 0 if it can be no first byte of several. */
static size_t count_following(uint8_t first)
{
    if (first >= 0xc2 && first <= 0xdf)
        return 1;
    if (first >= 0xe0 && first <= 0xef)
        return 2;
    return first >= 0xf0 && first <= 0xf4 ? 3 : 0;
}

size_t utf8_next(const uint8_t *at, size_t len, uint32_t *character)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (len == 0)
        return 0;
    *character = at[0];
    if (at[0] < 0x80)
        return 1;
    size_t following = count_following(at[0]);
    if (following == 0 || following >= len)
        return 0;
    *character = at[0] & (0x3fu >> following);
    for (size_t i = 1; i <= following; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        *character = *character << 6 | (at[i] & 0x3fu);
    }
    bool is_surrogate = *character >= 0xd800 && *character <= 0xdfff;
    if (*character < least[following] || *character > 0x10ffff || is_surrogate)
        return 0;
    return following + 1;
}

size_t utf8_put(uint32_t character, uint8_t to[3])
{
    size_t size = character < 0x80 ? 1 : character < 0x800 ? 2 : 3;
    for (size_t i = size - 1; i > 0; i--) {
        to[i] = (uint8_t)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    to[0] = (uint8_t)(size == 1 ? character : (size == 2 ? 0xc0 : 0xe0) | character);
    return size;
}

bool utf8_is_valid(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t character;
    for (size_t i = 0, step; i < size; i += step) {
        step = utf8_next(at + i, size - i, &character);
        if (step == 0)
            return false;
    }
    return true;
}
