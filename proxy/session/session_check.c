#include "session/session_check.h"

#include "base/bytes.h"

static bool is_who(const struct session *s, struct association_pieces *pieces)
{
    const struct session_who *who = ref_find(&s->who);
    return who != NULL && association_pieces_hold(pieces, who, session_who_bytes(0, 0)) &&
           who->credential < CREDENTIAL_COUNT && who->digest_count <= CREDENTIAL_DIGESTS_MAX &&
           association_pieces_add(pieces, who,
                                  session_who_bytes(who->identity_len, who->digest_count));
}

/* Whole records, each behind its length: they are given new numbers, and sent. */
static bool is_flight(const struct session_flight *flight, struct association_pieces *pieces)
{
    enum { LENGTH_BYTES = 2 };
    if (!association_pieces_hold(pieces, flight, sizeof(*flight)) ||
        !association_pieces_add(pieces, flight, sizeof(*flight) + flight->len))
        return false;
    size_t at = 0;
    while (at + LENGTH_BYTES + RECORD_HEADER_BYTES <= flight->len) {
        size_t len = bytes_get16(flight->bytes + at);
        if (len < RECORD_HEADER_BYTES)
            return false;
        at += LENGTH_BYTES + len;
    }
    return at == flight->len;
}

static bool is_rare(const struct session *s, struct association_pieces *pieces)
{
    const struct session_rare *rare = ref_find(&s->rare);
    if (rare == NULL)
        return true;
    /* A bool that may hold any byte is looked at as one. */
    if (!association_pieces_add(pieces, rare, sizeof(*rare)) ||
        *(const volatile uint8_t *)&rare->is_unproved > 1)
        return false;
    const struct session_flight *flight = ref_find(&rare->flight);
    return flight == NULL || is_flight(flight, pieces);
}

bool session_is_sound(const struct session *s, size_t cell_bytes, struct association_pieces *pieces)
{
    enum { ALIGNMENT = 64, ASSOCIATION_AT = offsetof(struct session, association) };
    if (s->association.change % 2 != 0 || s->slot == BACKEND_NO_SLOT ||
        (s->client.family != AF_INET && s->client.family != AF_INET6) ||
        !association_is_sound(&s->association, cell_bytes - ASSOCIATION_AT, pieces))
        return false;
    /* In a cell of just the size that it is given back as. */
    size_t bytes = ASSOCIATION_AT + association_size(&s->association);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT == cell_bytes && is_who(s, pieces) &&
           is_rare(s, pieces);
}
