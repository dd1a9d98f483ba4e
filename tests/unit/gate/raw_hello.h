/* A device that is nothing but its hellos, byte by byte as a test wants them: what no client
 * library would send, and the RFCs allow. It goes through the cookie exchange and no further. */
#ifndef RAW_HELLO_H
#define RAW_HELLO_H

#include "gate/gate_fixture.h"

enum { RAW_HELLO_ROOM = 16384 };

/* Bytes under construction. */
struct raw_bytes {
    uint8_t at[RAW_HELLO_ROOM];
    size_t len;
};

void raw_put(struct raw_bytes *b, const void *bytes, size_t len);
void raw_put_number(struct raw_bytes *b, uint64_t number, unsigned size);
void raw_put_times(struct raw_bytes *b, uint8_t byte, size_t times);
/* An extension that holds these bytes, or a list of these bytes after their length. */
void raw_put_extension(struct raw_bytes *b, unsigned type, const void *bytes, size_t len);
void raw_put_list(struct raw_bytes *b, unsigned type, unsigned length_bytes, const void *bytes,
                  size_t len);

struct raw_hello {
    uint16_t record_version[2]; /* of the first hello and of the second */
    uint16_t legacy_version;
    bool is_1_3;                 /* the cookie is an extension */
    bool has_empty_block;        /* the length of the extensions is there, if they are not */
    struct raw_bytes suites;     /* cipher_suites, two bytes each */
    struct raw_bytes extensions; /* without a cookie */
    struct raw_bytes last;       /* extensions behind it, which pre_shared_key must be */
};

/* A hello of DTLS 1.2 that offers a PSK suite; one of 1.3 with a key share, for certificates. */
void raw_hello_init_12(struct raw_hello *hello);
void raw_hello_init_13(struct raw_hello *hello);

/* What became of the second hello, with the cookie that the first one got; of the first if it got
 * none. */
enum client_outcome raw_hello_exchange(struct gate *gate, const struct raw_hello *hello);
/* The same, and the gate answered with a ServerHello. Fails the test otherwise. */
void raw_hello_assert_served(struct gate *gate, const struct raw_hello *hello);

#endif
