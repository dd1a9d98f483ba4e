/* The records of a datagram as they stand on the wire: what anybody can see of them. Only for
 * datagrams that a library made; the gate's own reader, classify.c, is what is being tested. */
#ifndef PROPERTY_WIRE_H
#define PROPERTY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_record {
    size_t len; /* with its header */
    bool is_protected;
    uint32_t epoch;     /* in DTLS 1.3 its lowest two bits: all of it, without key updates */
    const uint8_t *cid; /* in the datagram; NULL = none */
};

/* The first record of these bytes; false if there is no whole one. cid_len: of the connection IDs
 * in that direction. */
bool wire_read(const uint8_t *data, size_t len, size_t cid_len, struct wire_record *record);

/* The same for the last protected record; false if the datagram has none. */
bool wire_last_protected(const uint8_t *data, size_t len, size_t cid_len,
                         struct wire_record *record);

/* The first record without its connection ID, as one that never had any. Returns its length; 0 if
 * it has none. */
size_t wire_strip_cid(const uint8_t *data, size_t len, size_t cid_len, uint8_t *out);

#endif
