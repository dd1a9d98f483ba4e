/* The application messages of the property test: each says of itself who sent it, which one it is
 * and how long, and all of its bytes follow from that. So whoever gets one can tell whether it is
 * whole, unchanged and meant for him. */
#ifndef PROPERTY_NOTE_H
#define PROPERTY_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NOTE_MIN = 24 };

struct note {
    bool is_from_backend;
    /* The life of the device; or, from a backend, the IPv4 address that it was sent to. */
    uint32_t who;
    uint32_t number; /* of that sender */
};

/* Fills all of out; len is NOTE_MIN or more. */
void note_write(const struct note *note, uint8_t *out, size_t len);
/* False unless it is, byte for byte, what note_write makes. */
bool note_read(struct note *note, const uint8_t *data, size_t len);
/* A note, or its beginning, can be read in these bytes. */
bool note_shows_in(const uint8_t *data, size_t len);

#endif
