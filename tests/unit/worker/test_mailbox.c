/* worker/mailbox.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/mailbox.h"

static struct mail mail_about(uint32_t worker, uint64_t number)
{
    return (struct mail){.kind = MAIL_END_SESSION,
                         .session = {.worker = worker, .slot = 7, .number = number}};
}

static void all_is_taken_in_order(void **state)
{
    (void)state;
    enum { COUNT = 1000 }; /* it grows several times */
    struct mailbox mailbox;
    uint32_t count = 1;
    mailbox_init(&mailbox);
    assert_null(mailbox_take_all(&mailbox, &count));
    assert_int_equal(count, 0);
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            const struct mail mail = mail_about(1, i);
            assert_true(mailbox_put(&mailbox, &mail));
        }
        struct mail *mail = mailbox_take_all(&mailbox, &count);
        assert_int_equal(count, COUNT);
        for (uint64_t i = 0; i < COUNT; i++) {
            assert_int_equal(mail[i].kind, MAIL_END_SESSION);
            assert_int_equal(mail[i].session.worker, 1);
            assert_int_equal(mail[i].session.slot, 7);
            assert_int_equal(mail[i].session.number, i);
        }
        free(mail);
        assert_null(mailbox_take_all(&mailbox, &count));
        assert_int_equal(count, 0);
    }
    mailbox_deinit(&mailbox);
}

static void what_is_left_is_freed(void **state)
{
    (void)state;
    struct mailbox mailbox;
    const struct mail mail = mail_about(0, 1);
    mailbox_init(&mailbox);
    assert_true(mailbox_put(&mailbox, &mail));
    mailbox_deinit(&mailbox);
}

/* ---- several threads ------------------------------------------------------------------------ */

enum { SENDERS = 4, EACH = 20000 };

struct sender {
    struct mailbox *mailbox;
    uint32_t worker;
    uint32_t lost;
};

static void *send_all(void *context)
{
    struct sender *sender = context;
    for (uint64_t i = 0; i < EACH; i++) {
        const struct mail mail = mail_about(sender->worker, i);
        sender->lost += !mailbox_put(sender->mailbox, &mail);
    }
    return NULL;
}

/* Each sender's in its order, none lost, none twice; taken while they are sent. */
static void any_thread_puts(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    uint64_t next[SENDERS] = {0}, taken = 0;
    mailbox_init(&mailbox);
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.mailbox = &mailbox, .worker = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    while (taken < (uint64_t)SENDERS * EACH) {
        uint32_t count;
        struct mail *mail = mailbox_take_all(&mailbox, &count);
        for (uint32_t i = 0; i < count; i++) {
            assert_in_range(mail[i].session.worker, 0, SENDERS - 1);
            assert_int_equal(mail[i].session.number, next[mail[i].session.worker]++);
        }
        taken += count;
        free(mail);
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(senders[i].lost, 0);
        assert_int_equal(next[i], EACH);
    }
    mailbox_deinit(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_taken_in_order),
        cmocka_unit_test(what_is_left_is_freed),
        cmocka_unit_test(any_thread_puts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
