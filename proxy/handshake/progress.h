/* How far a handshake came: how often the gate's flight was sent, how large, and what came back;
 * and what that says about the device and the path to it. Pure. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Flights are numbered as in RFC 6347 section 4.2.4, with cookie, in both versions: 3 is the
 * device's hello with the cookie, 4 all that the gate says to it, 5 what the device answers. */
struct progress {
    uint16_t sent;           /* how often flight 4 was sent, or what was missing of it */
    uint16_t largest_bytes;  /* datagram of it */
    uint16_t datagram_bytes; /* that was sent last; more may join it */
    uint8_t fed;             /* enum progress_answer: the datagram being fed */
    uint8_t came_back;       /* set of them, each a bit, since flight 4 was sent */
    bool is_fed_ciphertext;  /* of DTLS 1.3: says what it is when it has been decrypted */
};

/* What a device does when flight 4 is there, or not. */
enum progress_answer {
    PROGRESS_ANSWER_NONE,
    PROGRESS_ANSWER_HELLO,      /* repeats its hello: it has not got the flight */
    PROGRESS_ANSWER_ACK,        /* DTLS 1.3: it has part of it, or all */
    PROGRESS_ANSWER_PART,       /* part of flight 5: it has it all */
    PROGRESS_ANSWER_UNREADABLE, /* does not decrypt */
};

/* A datagram of the device is about to be fed, and has been: whether a record of it was discarded,
 * and whether the last one was an ACK. */
void progress_on_feed(struct progress *progress, const uint8_t *data, size_t len);
void progress_on_fed(struct progress *progress, bool was_discarded, bool was_ack);

/* A record leaves, in a datagram of its own or in the one before. */
void progress_on_record(struct progress *progress, size_t len, bool has_joined);
/* The flight has been sent, once more or for the first time. */
void progress_on_flight(struct progress *progress);

/* What became of it. */
struct progress_story {
    unsigned flight;       /* that did not come through as a whole */
    const char *came_back; /* none, hello, ack, part, unreadable */
    const char *words;     /* the likely cause, for an operator */
};

/* has_unreadable: records came that do not decrypt. */
struct progress_story progress_tell(const struct progress *progress, bool has_unreadable);

#endif
