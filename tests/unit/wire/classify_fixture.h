/* For tests of classify.c: datagrams made field by field, right or wrong, and looked at. */
#ifndef CLASSIFY_FIXTURE_H
#define CLASSIFY_FIXTURE_H

#include "wire/classify.h"

enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23, HEARTBEAT = 24, CID = 25, ACK = 26 };

/* A datagram under construction. */
struct maker {
    uint8_t bytes[65536];
    size_t len;
};

void classify_fixture_put(struct maker *m, const void *bytes, size_t len);
void classify_fixture_put_number(struct maker *m, uint64_t number, int size);
void classify_fixture_put_zeros(struct maker *m, size_t len);
/* The header alone, which may say a length that is not there. */
void classify_fixture_put_header(struct maker *m, int type, int version, int epoch, int body_len);
/* A record of zeros. */
void classify_fixture_put_record(struct maker *m, int type, int epoch, int body_len);
/* A DTLS 1.3 ciphertext: first byte, rest of its header, then `len` bytes. */
void classify_fixture_put_ciphertext(struct maker *m, int first_byte, const char *header,
                                     size_t header_len, size_t len);

struct hello {
    int message_len, fragment_offset, fragment_len; /* -1: as it is */
    int session_id_len, cookie_len;
    int body_len;           /* bytes of the body that are there; -1: all */
    const char *extensions; /* NULL = none, not even their length */
    int extensions_len;
};

#define WHOLE_HELLO               \
    {                             \
        -1, 0, -1, .body_len = -1 \
    }

/* version, random 00 01 .. 1f, session id, cookie, suites, compression methods, extensions */
void classify_fixture_put_hello(struct maker *m, const struct hello *hello);

/* Classifies a copy of the exact size, so that a sanitizer sees a byte too far, and checks what
 * holds for every verdict. */
struct classified classify_fixture_run(const uint8_t *bytes, size_t len);
struct classified classify_fixture_run_made(const struct maker *m);
void classify_fixture_assert_junk(const struct maker *m);

#endif
