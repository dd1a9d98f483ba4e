#include "session/park.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"

enum {
    NO_FRAME = 0xff,
    RUN_MAX = 255,
    ZEROS_MIN = 3, /* a shorter run costs more than it saves */
    /* Nothing common, no zeros, and two bytes before each run. */
    PACKED_MAX = DTLS_EXPORT_MAX + 2 * (DTLS_EXPORT_MAX / RUN_MAX + 2),
};

struct parked {
    uint16_t len; /* of bytes */
    uint8_t frame;
    uint8_t bytes[];
};

static_assert(PARK_FRAMES < NO_FRAME, "frames are numbered by a byte");
static_assert(offsetof(struct parked, bytes) + PACKED_MAX <= SLABS_MAX_BYTES,
              "there is a cell for the longest state");

void park_init(struct park *park, struct slabs *slabs)
{
    *park = (struct park){.slabs = slabs};
}

/* ---- runs of zeros -------------------------------------------------------------------------- */

/* Groups of: how many zeros, how many other bytes, those bytes. */

static size_t zeros_at(const uint8_t *bytes, size_t len)
{
    size_t n = 0;
    while (n < len && n < RUN_MAX && bytes[n] == 0)
        n++;
    return n;
}

/* Bytes up to the next run that is worth a group of its own. */
static size_t others_at(const uint8_t *bytes, size_t len)
{
    size_t n = 0;
    while (n < len && n < RUN_MAX && zeros_at(bytes + n, len - n) < ZEROS_MIN)
        n++;
    return n;
}

static size_t pack(const uint8_t *bytes, size_t len, uint8_t *out)
{
    size_t at = 0, size = 0;
    while (at < len) {
        size_t zeros = zeros_at(bytes + at, len - at);
        size_t others = others_at(bytes + at + zeros, len - at - zeros);
        out[size++] = (uint8_t)zeros;
        out[size++] = (uint8_t)others;
        memcpy(out + size, bytes + at + zeros, others);
        size += others;
        at += zeros + others;
    }
    return size;
}

static size_t unpack(const uint8_t *packed, size_t size, uint8_t *out)
{
    size_t at = 0, len = 0;
    while (at < size) {
        size_t zeros = packed[at], others = packed[at + 1];
        assert(len + zeros + others <= DTLS_EXPORT_MAX);
        memset(out + len, 0, zeros);
        memcpy(out + len + zeros, packed + at + 2, others);
        len += zeros + others;
        at += 2 + others;
    }
    return len;
}

/* ---- what is common ------------------------------------------------------------------------- */

static uint8_t take_frame(struct park *park, const uint8_t *bytes, size_t len)
{
    uint8_t unused = NO_FRAME;
    for (uint8_t i = 0; i < PARK_FRAMES; i++) {
        struct park_frame *frame = &park->frames[i];
        if (frame->users == 0) {
            unused = i;
        } else if (frame->len == len && memcmp(frame->bytes, bytes, len) == 0) {
            frame->users++;
            return i;
        }
    }
    if (unused != NO_FRAME && len <= DTLS_EXPORT_COMMON_MAX) {
        struct park_frame *frame = &park->frames[unused];
        frame->users = 1;
        frame->len = (uint16_t)len;
        memcpy(frame->bytes, bytes, len);
        return unused;
    }
    return NO_FRAME;
}

static void release_frame(struct park *park, uint8_t frame)
{
    if (frame != NO_FRAME)
        park->frames[frame].users--;
}

/* ---- one session's -------------------------------------------------------------------------- */

static size_t bytes_of(size_t len)
{
    return offsetof(struct parked, bytes) + len;
}

struct parked *park_keep(struct park *park, const struct dtls_export *state)
{
    uint8_t packed[PACKED_MAX];
    uint8_t frame = take_frame(park, state->bytes, state->common_len);
    size_t begin = frame != NO_FRAME ? state->common_len : 0;
    size_t len = pack(state->bytes + begin, state->len - begin, packed);
    struct parked *parked = slabs_take(park->slabs, bytes_of(len));
    if (parked != NULL) {
        parked->len = (uint16_t)len;
        parked->frame = frame;
        memcpy(parked->bytes, packed, len);
    } else {
        release_frame(park, frame);
    }
    bytes_wipe(packed, len);
    return parked;
}

void park_load(const struct park *park, const struct parked *parked, struct dtls_export *state)
{
    size_t begin = 0;
    if (parked->frame != NO_FRAME) {
        const struct park_frame *frame = &park->frames[parked->frame];
        begin = frame->len;
        memcpy(state->bytes, frame->bytes, begin);
    }
    state->common_len = begin;
    state->len = begin + unpack(parked->bytes, parked->len, state->bytes + begin);
}

void park_drop(struct park *park, struct parked *parked)
{
    if (parked == NULL)
        return;
    release_frame(park, parked->frame);
    slabs_give(park->slabs, parked, bytes_of(parked->len));
}
