/* Reads and writes big-endian numbers, reads hexadecimal ones; wipes secrets. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t bytes_get24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline uint32_t bytes_get32(const uint8_t *p)
{
    return (uint32_t)bytes_get16(p) << 16 | bytes_get16(p + 2);
}

static inline void bytes_put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void bytes_put32(uint8_t *p, uint32_t value)
{
    bytes_put16(p, (uint16_t)(value >> 16));
    bytes_put16(p + 2, (uint16_t)value);
}

/* The value of a hexadecimal digit, in either case; -1 if it is none. */
static inline int bytes_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* explicit_bzero is not optimised away, unlike memset on memory about to be freed. */
static inline void bytes_wipe(void *p, size_t size)
{
    explicit_bzero(p, size);
}

#endif
