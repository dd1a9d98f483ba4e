#include "session/identities.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A failed insertion is reported instead of ending the process; hh.tbl is NULL then. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(entry) ((void)(entry))

struct kept {
    struct identities_session session;
    struct kept *newer;
};

struct identity {
    struct identities_key key;
    uint32_t count;
    struct kept *oldest; /* in order of beginning; not NULL while the lock is free */
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

/* May leave the identity without sessions. */
static void forget(struct identities *all, struct identity *identity, struct kept **link)
{
    struct kept *gone = *link;
    *link = gone->newer;
    free(gone);
    identity->count--;
    all->count--;
}

static bool is_same(const struct identities_session *a, const struct identities_session *b)
{
    return a->number == b->number && a->worker == b->worker;
}

/* The oldest one but `self`, if there are more than `limit`. */
static bool take_surplus(struct identities *all, struct identity *identity, uint32_t limit,
                         const struct identities_session *self, struct identities_session *victim)
{
    if (identity == NULL || limit == 0 || identity->count <= limit)
        return false;
    struct kept **link = &identity->oldest;
    if (is_same(&(*link)->session, self) && (*link)->newer != NULL)
        link = &(*link)->newer;
    *victim = (*link)->session;
    forget(all, identity, link);
    return true;
}

static bool begin(struct identities *all, const struct identities_key *key, uint32_t limit,
                  struct kept *newest, struct identities_session *victim)
{
    struct identity *identity = find(all, key);
    if (identity == NULL)
        identity = add(all, key);
    if (identity == NULL) {
        free(newest);
        return false;
    }
    struct kept **link = &identity->oldest;
    while (*link != NULL)
        link = &(*link)->newer;
    *link = newest;
    identity->count++;
    all->count++;
    return take_surplus(all, identity, limit, &newest->session, victim);
}

bool identities_begin(struct identities *all, const struct identities_key *key, uint32_t limit,
                      struct identities_session self, struct identities_session *victim)
{
    struct kept *newest = limit > 0 ? calloc(1, sizeof(*newest)) : NULL;
    if (newest == NULL)
        return false;
    newest->session = self;
    pthread_mutex_lock(&all->lock);
    bool has_victim = begin(all, key, limit, newest, victim);
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

static bool is_known(const struct identity *identity, const struct identities_session *session)
{
    const struct kept *kept = identity->oldest;
    while (kept != NULL && !is_same(&kept->session, session))
        kept = kept->newer;
    return kept != NULL;
}

static void adopt(struct identities *all, const struct identities_key *key, struct kept *kept)
{
    struct identity *identity = find(all, key);
    if (identity == NULL)
        identity = add(all, key);
    if (identity == NULL || is_known(identity, &kept->session)) {
        free(kept);
        return;
    }
    struct kept **link = &identity->oldest;
    while (*link != NULL && (*link)->session.number < kept->session.number)
        link = &(*link)->newer;
    kept->newer = *link;
    *link = kept;
    identity->count++;
    all->count++;
}

void identities_adopt(struct identities *all, const struct identities_key *key,
                      struct identities_session self)
{
    struct kept *kept = calloc(1, sizeof(*kept));
    if (kept == NULL)
        return;
    kept->session = self;
    pthread_mutex_lock(&all->lock);
    adopt(all, key, kept);
    pthread_mutex_unlock(&all->lock);
}

static void end(struct identities *all, const struct identities_key *key,
                struct identities_session self)
{
    struct identity *identity = find(all, key);
    if (identity == NULL)
        return;
    for (struct kept **link = &identity->oldest; *link != NULL; link = &(*link)->newer) {
        if (is_same(&(*link)->session, &self)) {
            forget(all, identity, link);
            break;
        }
    }
    if (identity->oldest == NULL) {
        HASH_DELETE(hh, all->head, identity);
        free(identity);
    }
}

void identities_end(struct identities *all, const struct identities_key *key,
                    struct identities_session self)
{
    pthread_mutex_lock(&all->lock);
    end(all, key, self);
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
        while (identity->oldest != NULL)
            forget(all, identity, &identity->oldest);
        free(identity);
        identity = next;
    }
    pthread_mutex_destroy(&all->lock);
    free(all);
}
