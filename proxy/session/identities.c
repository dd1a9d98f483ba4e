#include "session/identities.h"

#include <assert.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* A failed insertion is reported instead of ending the process; hh.tbl is NULL then. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(entry) ((void)(entry))

/* Numbers tell the order of those that were adopted. Of those that have begun they do not: each
 * worker counts by itself. */
struct kept {
    struct identities_session session;
    bool has_begun;             /* else it was adopted, and is older than all that have */
    struct kept *older, *newer; /* of those that have begun */
};

struct identity {
    struct identities_key key;
    uint32_t count;               /* not 0 while the lock is free */
    void *sessions;               /* owned struct kept: a tree of search.h, in compare()'s order */
    struct kept *oldest, *newest; /* of those that have begun */
    UT_hash_handle hh;
};

struct identities {
    struct keyed_hash_key hash_key; /* does not change */
    pthread_mutex_t lock;           /* of everything below */
    struct identity *head;
    uint32_t count;
};

struct identities *identities_new(struct err *err)
{
    struct identities *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        err_set(err, "out of memory for the table of identities");
        return NULL;
    }
    if (!keyed_hash_key_init(&all->hash_key, err)) {
        free(all);
        return NULL;
    }
    pthread_mutex_init(&all->lock, NULL); /* cannot fail without attributes */
    return all;
}

void identities_make_key(const struct identities *all, uint32_t listener, enum credential kind,
                         const void *identity, size_t identity_size, struct identities_key *key)
{
    struct {
        uint32_t listener, kind;
        uint8_t identity[KEYED_HASH_WIDE_BYTES];
    } parts = {.listener = listener, .kind = (uint32_t)kind};
    static_assert(sizeof(parts) == 8 + KEYED_HASH_WIDE_BYTES, "no padding is hashed");
    keyed_hash_wide(&all->hash_key, identity, identity_size, parts.identity);
    keyed_hash_wide(&all->hash_key, &parts, sizeof(parts), key->bytes);
}

/* The key is a keyed hash already. */
static unsigned hash_of(const struct identities_key *key)
{
    unsigned value;
    memcpy(&value, key->bytes, sizeof(value));
    return value;
}

static struct identity *find(const struct identities *all, const struct identities_key *key)
{
    struct identity *found = NULL;
    unsigned value = hash_of(key);
    HASH_FIND_BYHASHVALUE(hh, all->head, key, sizeof(*key), value, found);
    return found;
}

static struct identity *add(struct identities *all, const struct identities_key *key)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    if (identity == NULL)
        return NULL;
    identity->key = *key;
    unsigned value = hash_of(key);
    HASH_ADD_BYHASHVALUE(hh, all->head, key, sizeof(*key), value, identity);
    if (identity->hh.tbl != NULL)
        return identity;
    free(identity);
    return NULL;
}

/* ---- the sessions of one -------------------------------------------------------------------- */

static bool is_same(const struct identities_session *a, const struct identities_session *b)
{
    return a->number == b->number && a->worker == b->worker;
}

static int compare(const void *left, const void *right)
{
    const struct kept *a = left, *b = right;
    if (a->has_begun != b->has_begun)
        return a->has_begun ? 1 : -1;
    if (a->session.number != b->session.number)
        return a->session.number < b->session.number ? -1 : 1;
    return (a->session.worker > b->session.worker) - (a->session.worker < b->session.worker);
}

static struct kept *find_kept(const struct identity *identity,
                              const struct identities_session *session)
{
    struct kept wanted = {.session = *session};
    struct kept *const *at = tfind(&wanted, &identity->sessions, compare);
    if (at == NULL && identity->oldest != NULL) {
        wanted.has_begun = true;
        at = tfind(&wanted, &identity->sessions, compare);
    }
    return at != NULL ? *at : NULL;
}

/* Takes it. False: out of memory, or it is there already; it is freed. */
static bool enter(struct identities *all, struct identity *identity, struct kept *kept)
{
    struct kept *const *at = tsearch(kept, &identity->sessions, compare);
    if (at == NULL || *at != kept) {
        free(kept);
        return false;
    }
    if (kept->has_begun) {
        kept->older = identity->newest;
        *(kept->older != NULL ? &kept->older->newer : &identity->oldest) = kept;
        identity->newest = kept;
    }
    identity->count++;
    all->count++;
    return true;
}

static void forget(struct identities *all, struct identity *identity, struct kept *kept)
{
    tdelete(kept, &identity->sessions, compare);
    if (kept->has_begun) {
        *(kept->older != NULL ? &kept->older->newer : &identity->oldest) = kept->newer;
        *(kept->newer != NULL ? &kept->newer->older : &identity->newest) = kept->older;
    }
    free(kept);
    identity->count--;
    all->count--;
}

/* An identity without sessions is none. */
static void drop_empty(struct identities *all, struct identity *identity)
{
    if (identity->count != 0)
        return;
    HASH_DELETE(hh, all->head, identity);
    free(identity);
}

/* The first one of a tree that was adopted and is not `self`. */
struct search {
    const struct identities_session *self;
    const struct kept *found;
};

/* A way down the tree: to the left wherever there may be an earlier one. */
static int lead_to_first(const void *searching, const void *node)
{
    struct search *search = (struct search *)searching;
    const struct kept *kept = node;
    if (!kept->has_begun && is_same(&kept->session, search->self))
        return 1;
    if (!kept->has_begun)
        search->found = kept;
    return -1;
}

static struct kept *oldest_but(const struct identity *identity,
                               const struct identities_session *self)
{
    struct search search = {.self = self};
    (void)tfind(&search, &identity->sessions, lead_to_first);
    if (search.found != NULL)
        return (struct kept *)search.found;
    struct kept *oldest = identity->oldest;
    return oldest != NULL && is_same(&oldest->session, self) ? oldest->newer : oldest;
}

/* The oldest one but `self`, if there are more than `limit`. */
static bool take_surplus(struct identities *all, struct identity *identity, uint32_t limit,
                         const struct identities_session *self, struct identities_session *victim)
{
    if (identity == NULL || limit == 0 || identity->count <= limit)
        return false;
    struct kept *oldest = oldest_but(identity, self);
    if (oldest == NULL)
        return false;
    *victim = oldest->session;
    forget(all, identity, oldest);
    return true;
}

/* ---- the door ------------------------------------------------------------------------------- */

/* Takes it. NULL: it does not count. */
static struct identity *keep(struct identities *all, const struct identities_key *key,
                             struct kept *kept)
{
    struct identity *identity = find(all, key);
    if (identity == NULL)
        identity = add(all, key);
    if (identity == NULL) {
        free(kept);
        return NULL;
    }
    bool is_new = enter(all, identity, kept);
    drop_empty(all, identity);
    return is_new ? identity : NULL;
}

bool identities_begin(struct identities *all, const struct identities_key *key, uint32_t limit,
                      struct identities_session self, struct identities_session *victim)
{
    struct kept *newest = limit > 0 ? calloc(1, sizeof(*newest)) : NULL;
    if (newest == NULL)
        return false;
    newest->session = self;
    newest->has_begun = true;
    pthread_mutex_lock(&all->lock);
    struct identity *identity = keep(all, key, newest);
    bool has_victim = take_surplus(all, identity, limit, &self, victim);
    pthread_mutex_unlock(&all->lock);
    return has_victim;
}

bool identities_take_surplus(struct identities *all, const struct identities_key *key,
                             uint32_t limit, struct identities_session self,
                             struct identities_session *victim)
{
    pthread_mutex_lock(&all->lock);
    bool has_victim = take_surplus(all, find(all, key), limit, &self, victim);
    pthread_mutex_unlock(&all->lock);
    return has_victim;
}

void identities_adopt(struct identities *all, const struct identities_key *key,
                      struct identities_session self)
{
    struct kept *kept = calloc(1, sizeof(*kept));
    if (kept == NULL)
        return;
    kept->session = self;
    pthread_mutex_lock(&all->lock);
    const struct identity *identity = find(all, key);
    if (identity != NULL && find_kept(identity, &self) != NULL)
        free(kept);
    else
        (void)keep(all, key, kept);
    pthread_mutex_unlock(&all->lock);
}

void identities_end(struct identities *all, const struct identities_key *key,
                    struct identities_session self)
{
    pthread_mutex_lock(&all->lock);
    struct identity *identity = find(all, key);
    struct kept *kept = identity != NULL ? find_kept(identity, &self) : NULL;
    if (kept != NULL) {
        forget(all, identity, kept);
        drop_empty(all, identity);
    }
    pthread_mutex_unlock(&all->lock);
}

uint32_t identities_count(struct identities *all)
{
    pthread_mutex_lock(&all->lock);
    uint32_t count = all->count;
    pthread_mutex_unlock(&all->lock);
    return count;
}

void identities_free(struct identities *all)
{
    if (all == NULL)
        return;
    struct identity *identity = all->head;
    HASH_CLEAR(hh, all->head);
    while (identity != NULL) {
        struct identity *next = identity->hh.next;
        tdestroy(identity->sessions, free);
        free(identity);
        identity = next;
    }
    pthread_mutex_destroy(&all->lock);
    free(all);
}
