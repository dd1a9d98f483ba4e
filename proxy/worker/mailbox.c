#include "worker/mailbox.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 64 };

void mailbox_init(struct mailbox *mailbox)
{
    *mailbox = (struct mailbox){0};
    pthread_mutex_init(&mailbox->lock, NULL); /* cannot fail without attributes */
}

void mailbox_deinit(struct mailbox *mailbox)
{
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox->mail);
}

static bool grow(struct mailbox *mailbox)
{
    uint32_t capacity = mailbox->capacity == 0 ? CAPACITY_MIN : mailbox->capacity * 2;
    struct mail *grown = realloc(mailbox->mail, capacity * sizeof(*mailbox->mail));
    if (grown == NULL)
        return false;
    mailbox->mail = grown;
    mailbox->capacity = capacity;
    return true;
}

bool mailbox_put(struct mailbox *mailbox, const struct mail *mail)
{
    pthread_mutex_lock(&mailbox->lock);
    bool has_room = mailbox->count < mailbox->capacity || grow(mailbox);
    if (has_room)
        mailbox->mail[mailbox->count++] = *mail;
    pthread_mutex_unlock(&mailbox->lock);
    return has_room;
}

struct mail *mailbox_take_all(struct mailbox *mailbox, uint32_t *count)
{
    pthread_mutex_lock(&mailbox->lock);
    struct mail *mail = mailbox->mail;
    *count = mailbox->count;
    mailbox->mail = NULL;
    mailbox->count = mailbox->capacity = 0;
    pthread_mutex_unlock(&mailbox->lock);
    return mail;
}
