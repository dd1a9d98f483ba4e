/* What a ClientHello offers, in words: for an operator who wants to know why a device has nothing
 * in common with a listener. Pure; reads bytes of strangers. */
#ifndef HELLO_OFFER_H
#define HELLO_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HELLO_OFFER_SUITES = 40, HELLO_OFFER_OTHERS = 12 };

/* The beginning of a list of two-byte values in the hello. */
struct hello_offer_list {
    uint16_t total; /* in the hello; 0 = empty, or not there */
    uint16_t at[HELLO_OFFER_OTHERS];
};

/* A copy of the lists, each cut at a bound. Zeroed: nothing has been read. */
struct hello_offer {
    bool is_read;
    bool is_cut;     /* the datagram or the message ends within it */
    bool has_cookie; /* of DTLS 1.3, as all that follow */
    bool has_key_share;
    bool has_psk; /* an external one, or a ticket */
    bool has_psk_modes;
    bool has_psk_dhe;        /* among these: psk_dhe_ke; the other one is psk_ke */
    uint16_t legacy_version; /* as on the wire; counts if there is no list of versions */
    uint16_t suite_total;
    uint16_t suites[HELLO_OFFER_SUITES];
    struct hello_offer_list versions, groups, signatures;
};

/* Longest text, with its NUL: leaves the rest of a log line its place. */
#define HELLO_OFFER_TEXT_MAX 512

/* Reads the hello at the beginning of a datagram, or the part of it that is in its first record.
 * False, and nothing is changed, if there is none. */
bool hello_offer_read(struct hello_offer *offer, const uint8_t *datagram, size_t len);

/* As "versions:1.3,1.2 groups:x25519,secp256r1 signatures:... suites:...", in the device's order.
 * What has no name here is in hex; what does not fit is counted ("+17"); a hello that was cut ends
 * in "...". Returns text. */
const char *hello_offer_format(const struct hello_offer *offer, char text[HELLO_OFFER_TEXT_MAX]);

#endif
