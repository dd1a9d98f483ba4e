#include "session/association_adopt.h"

#include <sys/random.h>

#include "session/association.h"
#include "session/association_inside.h"

/* Numbers of records have 48 bits (RFC 6347 section 4.1, RFC 9147 section 4.2.1). */
#define NUMBER_END ((uint64_t)1 << 48)
enum {
    FIRST_EPOCH_13 = 3,
    JUMP_BITS = 30, /* of record numbers, from a copy on: the device takes it for loss */
};

/* ---- soundness: every number that something is found, counted or called by ------------------ */

/* A bool that may hold any byte. */
static bool is_bool(const bool *value)
{
    return *(const volatile uint8_t *)value <= 1;
}

static bool is_window(const struct record_window *window)
{
    return window->next <= NUMBER_END;
}

/* ---- what few have -------------------------------------------------------------------------- */

static bool is_rare(const struct association *a, const struct association_rare *rare)
{
    switch ((enum association_rare_kind)rare->kind) {
    case RARE_HANDSHAKE_EPOCH:
    case RARE_PREVIOUS_EPOCH:
        return a->version == VERSION_1_3 && association_epoch_is_sound(a, rare);
    case RARE_OUTGOING: return a->version == VERSION_1_3 && association_outgoing_is_sound(rare);
    case RARE_PARTIAL: return a->version == VERSION_1_3 && association_partial_is_sound(rare);
    case RARE_LONG_CIDS: return rare->bytes == sizeof(struct association_long_cids);
    case RARE_CLOSURE: return rare->bytes == sizeof(struct association_closure);
    }
    return false;
}

/* One of each kind at most. */
static bool are_rare(const struct association *a, struct association_pieces *pieces)
{
    uint32_t kinds = 0;
    const struct association_rare *rare = ref_find(&a->rare);
    for (; rare != NULL; rare = ref_find(&rare->next)) {
        if (!association_pieces_hold(pieces, rare, sizeof(*rare)) ||
            !association_pieces_add(pieces, rare, rare->bytes) || rare->kind > RARE_CLOSURE ||
            (kinds >> rare->kind & 1) != 0 || !is_rare(a, rare))
            return false;
        kinds |= 1u << rare->kind;
    }
    bool is_long =
        a->cid_len > ASSOCIATION_CID_INLINE || a->client_cid_len > ASSOCIATION_CID_INLINE;
    return !is_long || (kinds >> RARE_LONG_CIDS & 1) != 0;
}

bool association_is_sound(const struct association *a, size_t bytes,
                          struct association_pieces *pieces)
{
    bool is_1_3 = a->version == VERSION_1_3;
    if ((a->version != VERSION_1_2 && !is_1_3) || a->aead == AEAD_NONE || a->aead >= AEAD_COUNT ||
        association_size(a) > bytes)
        return false;
    if (a->cid_len > RECORD_CID_MAX || a->client_cid_len > RECORD_CID_MAX ||
        a->plaintext_max > RECORD_PLAINTEXT_MAX || a->write_next > NUMBER_END ||
        !is_window(&a->window) || !is_bool(&a->is_closed))
        return false;
    if (is_1_3 && (a->v13.read_epoch < FIRST_EPOCH_13 || a->v13.write_epoch < FIRST_EPOCH_13 ||
                   !is_bool(&a->v13.owes_update) || !is_bool(&a->v13.has_asked_update)))
        return false;
    return are_rare(a, pieces);
}

/* ---- pieces --------------------------------------------------------------------------------- */

bool association_pieces_hold(const struct association_pieces *pieces, const void *piece,
                             size_t bytes)
{
    return cells_adopt_bytes(pieces->adopt, CELLS_PIECES, piece) >= bytes;
}

/* In a cell of just that size: it is given back as one. */
bool association_pieces_add(struct association_pieces *pieces, const void *piece, size_t bytes)
{
    size_t cell_bytes = (bytes + CELLS_UNIT_BYTES - 1) / CELLS_UNIT_BYTES * CELLS_UNIT_BYTES;
    if (bytes == 0 || pieces->count == ASSOCIATION_PIECES_MAX ||
        cells_adopt_bytes(pieces->adopt, CELLS_PIECES, piece) != cell_bytes)
        return false;
    pieces->at[pieces->count++] = piece;
    return true;
}

/* ---- copies --------------------------------------------------------------------------------- */

bool association_renew(struct association *a)
{
    uint64_t random;
    if (a->version != VERSION_1_2 ||
        getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return false;
    if (a->aead != AEAD_CHACHA20_POLY1305) {
        a->v12.nonce_base = random; /* nonce = base + number, 64 bits of it */
        return true;
    }
    /* The nonce is the number itself: one that the original has hardly come to. */
    a->write_next += random >> (64 - JUMP_BITS);
    return a->write_next < NUMBER_END;
}
