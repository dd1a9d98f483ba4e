/* What workers ask of each other: typed messages by value. Any thread puts, the owner takes. */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "session/identities.h"

struct inquiry;
struct worker_swap;

struct mail {
    enum mail_kind {
        MAIL_END_SESSION, /* as replaced, if it is still there */
        MAIL_INQUIRY,     /* see inquiry.h */
        MAIL_SWAP,        /* see worker.h */
    } kind;
    union {
        struct identities_session session; /* MAIL_END_SESSION */
        struct inquiry *inquiry;           /* MAIL_INQUIRY: with it goes who may touch it */
        struct worker_swap *swap;          /* MAIL_SWAP */
    };
};

struct mailbox {
    pthread_mutex_t lock; /* of what follows */
    struct mail *mail;    /* owned */
    uint32_t count, capacity;
};

void mailbox_init(struct mailbox *mailbox);
/* What is in it is lost. No thread may use it any more. */
void mailbox_deinit(struct mailbox *mailbox);

/* False: out of memory, and the mail is lost. */
bool mailbox_put(struct mailbox *mailbox, const struct mail *mail) MUST_USE;
/* All that is there, in the order in which it was put; the caller frees it. NULL: nothing. */
struct mail *mailbox_take_all(struct mailbox *mailbox, uint32_t *count) MUST_USE;

#endif
