#include "property/property_note.h"

#include <string.h>

#include "fakes/fake_system.h"

static const uint8_t mark[8] = {'P', 'l', 'a', 'i', 'n', 't', 'x', 't'};

struct head {
    uint8_t mark[8];
    uint32_t who, number, len, is_from_backend;
};

_Static_assert(sizeof(struct head) == NOTE_MIN, "a note is at least its head");

void note_write(const struct note *note, uint8_t *out, size_t len)
{
    struct head head = {.who = note->who,
                        .number = note->number,
                        .len = (uint32_t)len,
                        .is_from_backend = note->is_from_backend};
    memcpy(head.mark, mark, sizeof(mark));
    memcpy(out, &head, sizeof(head));
    uint64_t seed = (uint64_t)note->who << 32 | note->number;
    for (size_t at = sizeof(head); at < len; at += 8) {
        uint64_t value = fake_system_random(&seed);
        memcpy(out + at, &value, len - at < 8 ? len - at : 8);
    }
}

bool note_read(struct note *note, const uint8_t *data, size_t len)
{
    struct head head;
    if (len < sizeof(head))
        return false;
    memcpy(&head, data, sizeof(head));
    if (memcmp(head.mark, mark, sizeof(mark)) != 0 || head.len != len || head.is_from_backend > 1)
        return false;
    *note = (struct note){head.is_from_backend != 0, head.who, head.number};
    uint64_t seed = (uint64_t)head.who << 32 | head.number;
    for (size_t at = sizeof(head); at < len; at += 8) {
        uint64_t value = fake_system_random(&seed);
        if (memcmp(data + at, &value, len - at < 8 ? len - at : 8) != 0)
            return false;
    }
    return true;
}

bool note_shows_in(const uint8_t *data, size_t len)
{
    return memmem(data, len, mark, sizeof(mark)) != NULL;
}
