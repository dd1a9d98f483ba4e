/* Finished log lines on their way to the one thread that writes them. Any thread puts lines in
 * without a lock and without waiting for anybody, not even for another thread that was stopped in
 * the middle of putting one; a line that finds no room is lost, and counted. One thread takes. */
#ifndef BASE_LOG_RING_H
#define BASE_LOG_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_RING_LINES 1024
#define LOG_RING_LINE_BYTES 1024

struct log_ring_line {
    _Atomic uint64_t turn; /* even: free, odd: holds a line; grows by 2 each time round */
    uint64_t lost_before;  /* `lost` of the ring when this line was put in */
    uint32_t size;
    char text[LOG_RING_LINE_BYTES];
};

/* Zeroed = empty. */
struct log_ring {
    _Atomic uint64_t next; /* where the next line goes, counted from the first */
    _Atomic uint64_t lost; /* lines that found no room, since the start */
    uint64_t first;        /* the oldest line; of the thread that takes */
    struct log_ring_line lines[LOG_RING_LINES];
};

/* Any thread. size is at most LOG_RING_LINE_BYTES. False if the line was lost. */
bool log_ring_put(struct log_ring *ring, const char *text, uint32_t size);

/* The oldest line, which stays where it is until log_ring_drop(); NULL if there is none, or if the
 * thread that puts it in is not done. The thread that takes, only. */
const struct log_ring_line *log_ring_first(const struct log_ring *ring);
void log_ring_drop(struct log_ring *ring);

#endif
