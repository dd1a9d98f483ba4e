/* Finished log lines on their way to the one thread that writes them. Any thread puts lines in
 * without a lock and without waiting for anybody, not even for another thread that was stopped in
 * the middle of putting one; a line that finds no room is lost, and counted. One thread takes. */
#ifndef BASE_LOG_RING_H
#define BASE_LOG_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A line takes as many pieces in a row as its text needs. In all 256 KiB, some 700 usual lines. */
#define LOG_RING_PIECES 2048
#define LOG_RING_PIECE_BYTES 108
#define LOG_RING_LINE_BYTES 1024

struct log_ring_piece {
    /* Even: free, or in use without beginning a line; odd: begins a line that is complete. Grows by
     * 2 each time round. */
    _Atomic uint64_t turn;
    uint64_t lost_before; /* of a first piece: `lost` of the ring when the line was put in */
    uint32_t size;        /* of a first piece: of the line */
    char text[LOG_RING_PIECE_BYTES];
};

_Static_assert(sizeof(struct log_ring_piece) == 128, "two cache lines");

/* Zeroed = empty. */
struct log_ring {
    _Atomic uint64_t next; /* where the next line begins: pieces, counted from the first of all */
    _Atomic uint64_t lost; /* lines that found no room, since the start */
    uint64_t first;        /* where the oldest line begins; of the thread that takes */
    struct log_ring_piece pieces[LOG_RING_PIECES];
};

/* Any thread. size is 1 to LOG_RING_LINE_BYTES. False if the line was lost. */
bool log_ring_put(struct log_ring *ring, const char *text, uint32_t size);

/* A line as it was taken. */
struct log_ring_line {
    uint64_t lost_before; /* so many lines had been lost when it was put in */
    uint32_t size;
    char text[LOG_RING_LINE_BYTES];
};

/* Takes the oldest line; false if there is none, or if the thread that puts it in is not done. One
 * thread only. */
bool log_ring_take(struct log_ring *ring, struct log_ring_line *line);

#endif
