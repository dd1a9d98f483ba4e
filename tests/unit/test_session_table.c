/* Sessions are found by listener and device address, and by nothing less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_table.h"

struct owner {
    int before;
    struct table_entry entry;
    uint32_t number;
};

static struct addr addr4(uint32_t ip, uint16_t port)
{
    struct addr addr = {.family = AF_INET, .port = port};
    uint32_t network = htonl(ip);
    memcpy(addr.ip, &network, 4);
    return addr;
}

static void set_key(struct owner *owner, const struct addr *client, uint32_t listener)
{
    *owner = (struct owner){.entry.key = {.client = *client, .listener = listener}};
}

static void test_empty(void **state)
{
    (void)state;
    struct session_table table = {0};
    struct owner owner = {0};
    struct addr client = addr4(0xc0000201, 5000);
    assert_null(session_table_find(&table, &client, 0));
    assert_int_equal(session_table_count(&table), 0);
    session_table_remove(&table, &owner.entry);
}

static void test_add_find_remove(void **state)
{
    (void)state;
    struct session_table table = {0};
    struct owner owner;
    struct addr client = addr4(0xc0000201, 5000);
    set_key(&owner, &client, 3);
    assert_true(session_table_add(&table, &owner.entry));
    assert_int_equal(session_table_count(&table), 1);
    struct table_entry *found = session_table_find(&table, &client, 3);
    assert_ptr_equal(SESSION_OF_ENTRY(found, struct owner, entry), &owner);
    session_table_remove(&table, &owner.entry);
    assert_null(session_table_find(&table, &client, 3));
    session_table_remove(&table, &owner.entry); /* twice is harmless */
    assert_int_equal(session_table_count(&table), 0);
    assert_true(session_table_add(&table, &owner.entry));
    assert_non_null(session_table_find(&table, &client, 3));
    session_table_remove(&table, &owner.entry);
}

static void test_every_part_of_the_key_counts(void **state)
{
    (void)state;
    struct session_table table = {0};
    struct owner owners[6];
    struct addr v4 = addr4(0xc0000201, 5000);
    struct addr other_port = addr4(0xc0000201, 5001);
    struct addr other_ip = addr4(0xc0000202, 5000);
    struct addr mapped = {.family = AF_INET6, .port = 5000};
    memcpy(mapped.ip, v4.ip, 4);
    struct addr scoped = mapped;
    scoped.scope_id = 2;
    set_key(&owners[0], &v4, 0);
    set_key(&owners[1], &v4, 1);
    set_key(&owners[2], &other_port, 0);
    set_key(&owners[3], &other_ip, 0);
    set_key(&owners[4], &mapped, 0);
    set_key(&owners[5], &scoped, 0);
    for (size_t i = 0; i < 6; i++) {
        struct table_key *key = &owners[i].entry.key;
        assert_null(session_table_find(&table, &key->client, key->listener));
        assert_true(session_table_add(&table, &owners[i].entry));
    }
    for (size_t i = 0; i < 6; i++) {
        struct table_key *key = &owners[i].entry.key;
        assert_ptr_equal(session_table_find(&table, &key->client, key->listener), &owners[i].entry);
    }
    for (size_t i = 0; i < 6; i++)
        session_table_remove(&table, &owners[i].entry);
    assert_int_equal(session_table_count(&table), 0);
}

/* Through many growths, removed in another order than added. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 50000, STEP = 7919 /* prime to COUNT */ };
    struct session_table table = {0};
    struct owner *owners = calloc(COUNT, sizeof(*owners));
    assert_non_null(owners);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct addr client = addr4(0x0a000000 + i / 16, (uint16_t)(1024 + i % 16));
        set_key(&owners[i], &client, i % 3);
        owners[i].number = i;
        assert_true(session_table_add(&table, &owners[i].entry));
    }
    assert_int_equal(session_table_count(&table), COUNT);
    for (uint32_t i = 0, at = 0; i < COUNT; i++, at = (at + STEP) % COUNT) {
        struct table_key *key = &owners[at].entry.key;
        struct table_entry *found = session_table_find(&table, &key->client, key->listener);
        assert_ptr_equal(found, &owners[at].entry);
        assert_null(session_table_find(&table, &key->client, (key->listener + 1) % 3));
        session_table_remove(&table, found);
        assert_null(session_table_find(&table, &key->client, key->listener));
    }
    assert_int_equal(session_table_count(&table), 0);
    free(owners);
}

/* A new session takes the place of an old one at the same address. */
static void test_replaced(void **state)
{
    (void)state;
    struct session_table table = {0};
    struct owner old, new;
    struct addr client = addr4(0xc0000201, 5000);
    set_key(&old, &client, 0);
    set_key(&new, &client, 0);
    assert_true(session_table_add(&table, &old.entry));
    session_table_remove(&table, &old.entry);
    assert_true(session_table_add(&table, &new.entry));
    session_table_remove(&table, &old.entry); /* does not take out the other */
    assert_ptr_equal(session_table_find(&table, &client, 0), &new.entry);
    session_table_remove(&table, &new.entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_add_find_remove),
        cmocka_unit_test(test_every_part_of_the_key_counts),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
