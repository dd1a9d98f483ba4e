/* What few associations have at a time, and none for long: a list in memory for key material. */
#include "session/association_inside.h"

#include <string.h>

void *association_find_rare(const struct association *a, enum association_rare_kind kind)
{
    struct association_rare *rare = ref_find(&a->rare);
    while (rare != NULL && rare->kind != kind)
        rare = ref_find(&rare->next);
    return rare;
}

void *association_add_rare(struct association *a, struct cells *cells,
                           enum association_rare_kind kind, size_t bytes)
{
    association_drop_rare(a, cells, kind);
    struct association_rare *rare = cells_take(cells, CELLS_PIECES, bytes);
    if (rare == NULL)
        return NULL;
    ref_set(&rare->next, ref_find(&a->rare));
    rare->bytes = (uint16_t)bytes;
    rare->kind = (uint8_t)kind;
    order_stores();
    ref_set(&a->rare, rare);
    return rare;
}

void association_drop_rare(struct association *a, struct cells *cells,
                           enum association_rare_kind kind)
{
    struct ref *at = &a->rare;
    struct association_rare *rare;
    while ((rare = ref_find(at)) != NULL && rare->kind != kind)
        at = &rare->next;
    if (rare == NULL)
        return;
    ref_set(at, ref_find(&rare->next));
    order_stores();
    cells_give(cells, CELLS_PIECES, rare, rare->bytes); /* which wipes it */
}

void association_drop_all_rare(struct association *a, struct cells *cells)
{
    struct association_rare *rare;
    while ((rare = ref_find(&a->rare)) != NULL)
        association_drop_rare(a, cells, rare->kind);
}

/* ---- connection IDs ------------------------------------------------------------------------- */

const uint8_t *association_cid(const struct association *a)
{
    if (a->cid_len <= ASSOCIATION_CID_INLINE)
        return a->cid;
    const struct association_long_cids *cids = association_find_rare(a, RARE_LONG_CIDS);
    return cids->cid;
}

const uint8_t *association_client_cid(const struct association *a)
{
    if (a->client_cid_len <= ASSOCIATION_CID_INLINE)
        return a->client_cid;
    const struct association_long_cids *cids = association_find_rare(a, RARE_LONG_CIDS);
    return cids->client_cid;
}

static struct association_long_cids *get_long_cids(struct association *a, struct cells *cells)
{
    struct association_long_cids *cids = association_find_rare(a, RARE_LONG_CIDS);
    return cids != NULL ? cids : association_add_rare(a, cells, RARE_LONG_CIDS, sizeof(*cids));
}

bool association_set_cid(struct association *a, struct cells *cells, const uint8_t *cid, size_t len)
{
    uint8_t *at = a->cid;
    if (len > ASSOCIATION_CID_INLINE) {
        struct association_long_cids *cids = get_long_cids(a, cells);
        if (cids == NULL)
            return false;
        at = cids->cid;
    }
    memcpy(at, cid, len);
    a->cid_len = (uint8_t)len;
    return true;
}

bool association_set_client_cid(struct association *a, struct cells *cells, const uint8_t *cid,
                                size_t len)
{
    uint8_t *at = a->client_cid;
    if (len > ASSOCIATION_CID_INLINE) {
        struct association_long_cids *cids = get_long_cids(a, cells);
        if (cids == NULL)
            return false;
        at = cids->client_cid;
    }
    memcpy(at, cid, len);
    a->client_cid_len = (uint8_t)len;
    if (len <= ASSOCIATION_CID_INLINE && a->cid_len <= ASSOCIATION_CID_INLINE)
        association_drop_rare(a, cells, RARE_LONG_CIDS);
    return true;
}
