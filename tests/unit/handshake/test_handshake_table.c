/* Sessions are found by listener and device address, or by listener and connection ID, and by
 * nothing less; nobody can choose either so that finding them takes long. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_system.h"
#include "handshake/handshake_table.h"

struct owner {
    int before;
    struct handshake_table_entry entry;
    struct handshake_table_cid_entry cid_entry;
    uint32_t number;
};

static struct handshake_table new_table(void)
{
    struct handshake_table table;
    struct err err;
    assert_true(handshake_table_init(&table, &err));
    return table;
}

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
    struct handshake_table table = new_table();
    struct owner owner = {0};
    struct addr client = addr4(0xc0000201, 5000);
    assert_null(handshake_table_find(&table, &client, 0));
    assert_int_equal(handshake_table_count(&table), 0);
    handshake_table_remove(&table, &owner.entry);
}

static void test_add_find_remove(void **state)
{
    (void)state;
    struct handshake_table table = new_table();
    struct owner owner;
    struct addr client = addr4(0xc0000201, 5000);
    set_key(&owner, &client, 3);
    assert_true(handshake_table_add(&table, &owner.entry));
    assert_int_equal(handshake_table_count(&table), 1);
    struct handshake_table_entry *found = handshake_table_find(&table, &client, 3);
    assert_ptr_equal(HANDSHAKE_OF_ENTRY(found, struct owner, entry), &owner);
    handshake_table_remove(&table, &owner.entry);
    assert_null(handshake_table_find(&table, &client, 3));
    handshake_table_remove(&table, &owner.entry); /* twice is harmless */
    assert_int_equal(handshake_table_count(&table), 0);
    assert_true(handshake_table_add(&table, &owner.entry));
    assert_non_null(handshake_table_find(&table, &client, 3));
    handshake_table_remove(&table, &owner.entry);
}

static void test_every_part_of_the_key_counts(void **state)
{
    (void)state;
    struct handshake_table table = new_table();
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
        struct handshake_table_key *key = &owners[i].entry.key;
        assert_null(handshake_table_find(&table, &key->client, key->listener));
        assert_true(handshake_table_add(&table, &owners[i].entry));
    }
    for (size_t i = 0; i < 6; i++) {
        struct handshake_table_key *key = &owners[i].entry.key;
        assert_ptr_equal(handshake_table_find(&table, &key->client, key->listener),
                         &owners[i].entry);
    }
    for (size_t i = 0; i < 6; i++)
        handshake_table_remove(&table, &owners[i].entry);
    assert_int_equal(handshake_table_count(&table), 0);
}

/* Through many growths, removed in another order than added. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 50000, STEP = 7919 /* prime to COUNT */ };
    struct handshake_table table = new_table();
    struct owner *owners = calloc(COUNT, sizeof(*owners));
    assert_non_null(owners);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct addr client = addr4(0x0a000000 + i / 16, (uint16_t)(1024 + i % 16));
        set_key(&owners[i], &client, i % 3);
        owners[i].number = i;
        assert_true(handshake_table_add(&table, &owners[i].entry));
    }
    assert_int_equal(handshake_table_count(&table), COUNT);
    for (uint32_t i = 0, at = 0; i < COUNT; i++, at = (at + STEP) % COUNT) {
        struct handshake_table_key *key = &owners[at].entry.key;
        struct handshake_table_entry *found =
            handshake_table_find(&table, &key->client, key->listener);
        assert_ptr_equal(found, &owners[at].entry);
        assert_null(handshake_table_find(&table, &key->client, (key->listener + 1) % 3));
        handshake_table_remove(&table, found);
        assert_null(handshake_table_find(&table, &key->client, key->listener));
    }
    assert_int_equal(handshake_table_count(&table), 0);
    free(owners);
}

/* A new session takes the place of an old one at the same address. */
static void test_replaced(void **state)
{
    (void)state;
    struct handshake_table table = new_table();
    struct owner old, new;
    struct addr client = addr4(0xc0000201, 5000);
    set_key(&old, &client, 0);
    set_key(&new, &client, 0);
    assert_true(handshake_table_add(&table, &old.entry));
    handshake_table_remove(&table, &old.entry);
    assert_true(handshake_table_add(&table, &new.entry));
    handshake_table_remove(&table, &old.entry); /* does not take out the other */
    assert_ptr_equal(handshake_table_find(&table, &client, 0), &new.entry);
    handshake_table_remove(&table, &new.entry);
}

/* ---- by connection ID ------------------------------------------------------------------------ */

static void set_cid(struct owner *owner, uint32_t listener, const void *cid, size_t cid_len)
{
    /* What lies behind the CID must not matter. */
    memset(owner, 0xaa, sizeof(*owner));
    owner->cid_entry.hh = (UT_hash_handle){0};
    owner->cid_entry.listener = listener;
    owner->cid_entry.cid_len = (uint8_t)cid_len;
    memcpy(owner->cid_entry.cid, cid, cid_len);
}

static void test_every_part_of_a_cid_key_counts(void **state)
{
    (void)state;
    static const struct {
        uint32_t listener;
        uint8_t cid_len;
        uint8_t cid[HANDSHAKE_CID_MAX];
    } keys[] = {
        {0, 1, {0}},
        {1, 1, {0}},
        {0, 1, {1}},
        {0, 2, {0}},
        {0, 8, {0}},
        {0, 8, {0, 0, 0, 0, 0, 0, 0, 1}},
        {0x01000000, 8, {0}},
        {0, HANDSHAKE_CID_MAX, {0}},
        {0, HANDSHAKE_CID_MAX, {[HANDSHAKE_CID_MAX - 1] = 1}},
    };
    enum { COUNT = sizeof(keys) / sizeof(*keys) };
    struct handshake_table table = new_table();
    struct owner owners[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        set_cid(&owners[i], keys[i].listener, keys[i].cid, keys[i].cid_len);
        assert_null(
            handshake_table_find_cid(&table, keys[i].listener, keys[i].cid, keys[i].cid_len));
        assert_true(handshake_table_add_cid(&table, &owners[i].cid_entry));
    }
    assert_int_equal(handshake_table_count_cid(&table), COUNT);
    assert_int_equal(handshake_table_count(&table), 0);
    for (size_t i = 0; i < COUNT; i++) {
        struct handshake_table_cid_entry *found =
            handshake_table_find_cid(&table, keys[i].listener, keys[i].cid, keys[i].cid_len);
        assert_ptr_equal(HANDSHAKE_OF_ENTRY(found, struct owner, cid_entry), &owners[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        handshake_table_remove_cid(&table, &owners[i].cid_entry);
        handshake_table_remove_cid(&table, &owners[i].cid_entry); /* twice is harmless */
        assert_null(
            handshake_table_find_cid(&table, keys[i].listener, keys[i].cid, keys[i].cid_len));
        assert_int_equal(handshake_table_count_cid(&table), COUNT - i - 1);
    }
}

/* A datagram can contain any length. */
static void test_cid_of_impossible_length_is_not_found(void **state)
{
    (void)state;
    struct handshake_table table = new_table();
    struct owner owner;
    uint8_t cid[300] = {0};
    set_cid(&owner, 0, cid, HANDSHAKE_CID_MAX);
    assert_true(handshake_table_add_cid(&table, &owner.cid_entry));
    assert_null(handshake_table_find_cid(&table, 0, NULL, 0));
    assert_null(handshake_table_find_cid(&table, 0, cid, HANDSHAKE_CID_MAX + 1));
    assert_null(handshake_table_find_cid(&table, 0, cid, sizeof(cid)));
    assert_non_null(handshake_table_find_cid(&table, 0, cid, HANDSHAKE_CID_MAX));
    handshake_table_remove_cid(&table, &owner.cid_entry);
}

/* ---- attacks --------------------------------------------------------------------------------- */

/* With the old hash, this many addresses or CIDs could be chosen that all share a bucket. */
enum { CHOSEN = 20000, CHOSEN_BITS = 10 };

/* A bucket holds 10 on average before the table grows. That a random one of the about 4,000 holds
 * more than this happens less than once in 10^9 tables. */
enum { BUCKET_MAX = 45 };

static unsigned longest_bucket(const UT_hash_table *table)
{
    unsigned longest = 0;
    for (unsigned i = 0; i < table->num_buckets; i++) {
        unsigned length = 0;
        for (const UT_hash_handle *hh = table->buckets[i].hh_head; hh != NULL; hh = hh->hh_next)
            length++;
        if (length > longest)
            longest = length;
    }
    return longest;
}

/* Of CHOSEN entries a shard has its share, give or take eight standard deviations: when it grows,
 * no more than that are moved at once. */
static void check_shard(const UT_hash_table *table)
{
    enum { SHARE = CHOSEN / HANDSHAKE_TABLE_SHARDS };
    assert_in_range(table->num_items, SHARE / 4, SHARE * 2);
    assert_in_range(longest_bucket(table), 1, BUCKET_MAX);
}

/* Whether the hash that uthash would take by itself puts the key into the attacker's bucket. */
static bool is_chosen(const void *key, unsigned size)
{
    unsigned value;
    HASH_JEN(key, size, value);
    return (value & ((1u << CHOSEN_BITS) - 1)) == 0;
}

static void next_chosen_address(struct owner *owner, uint32_t *counter)
{
    do {
        struct addr client =
            addr4(0x0a000000 + *counter / 50000, (uint16_t)(1024 + *counter % 50000));
        set_key(owner, &client, 0);
        ++*counter;
    } while (!is_chosen(&owner->entry.key, sizeof(owner->entry.key)));
}

static void next_address_in_order(struct owner *owner, uint32_t *counter)
{
    struct addr client = addr4(0x0a000000 + *counter % 5, (uint16_t)(1024 + *counter / 5));
    set_key(owner, &client, 0);
    ++*counter;
}

static void next_chosen_cid(struct owner *owner, uint32_t *counter)
{
    do {
        set_cid(owner, 0, "\0\0\0\0\0\0\0", 8);
        memcpy(owner->cid_entry.cid, counter, sizeof(*counter));
        ++*counter;
    } while (!is_chosen(&owner->cid_entry, 12));
}

static void next_cid_in_order(struct owner *owner, uint32_t *counter)
{
    uint8_t cid[HANDSHAKE_CID_MAX] = {0};
    memcpy(cid, counter, sizeof(*counter));
    set_cid(owner, 0, cid, sizeof(cid));
    ++*counter;
}

static void check_addresses(void (*next)(struct owner *, uint32_t *), bool breaks_the_plain_hash)
{
    struct handshake_table table = new_table();
    struct handshake_table_entry *plain = NULL;
    struct owner *owners = calloc(CHOSEN, sizeof(*owners));
    uint32_t counter = 0;
    assert_non_null(owners);
    /* First in a table without a key: the attack is one. */
    for (uint32_t i = 0; i < CHOSEN; i++) {
        next(&owners[i], &counter);
        HASH_ADD(hh, plain, key, sizeof(owners[i].entry.key), &owners[i].entry);
    }
    if (breaks_the_plain_hash)
        assert_true(longest_bucket(plain->hh.tbl) > CHOSEN / 20);
    HASH_CLEAR(hh, plain);
    for (uint32_t i = 0; i < CHOSEN; i++) {
        owners[i].entry.hh = (UT_hash_handle){0};
        assert_true(handshake_table_add(&table, &owners[i].entry));
    }
    for (unsigned i = 0; i < HANDSHAKE_TABLE_SHARDS; i++)
        check_shard(table.shards[i]->hh.tbl);
    for (uint32_t i = 0; i < CHOSEN; i++)
        handshake_table_remove(&table, &owners[i].entry);
    free(owners);
}

static void check_cids(void (*next)(struct owner *, uint32_t *), unsigned size,
                       bool breaks_the_plain_hash)
{
    struct handshake_table table = new_table();
    struct handshake_table_cid_entry *plain = NULL;
    struct owner *owners = calloc(CHOSEN, sizeof(*owners));
    uint32_t counter = 0;
    assert_non_null(owners);
    for (uint32_t i = 0; i < CHOSEN; i++) {
        next(&owners[i], &counter);
        HASH_ADD_KEYPTR(hh, plain, &owners[i].cid_entry, size, &owners[i].cid_entry);
    }
    if (breaks_the_plain_hash)
        assert_true(longest_bucket(plain->hh.tbl) > CHOSEN / 20);
    HASH_CLEAR(hh, plain);
    for (uint32_t i = 0; i < CHOSEN; i++) {
        owners[i].cid_entry.hh = (UT_hash_handle){0};
        assert_true(handshake_table_add_cid(&table, &owners[i].cid_entry));
    }
    for (unsigned i = 0; i < HANDSHAKE_TABLE_SHARDS; i++)
        check_shard(table.cid_shards[i]->hh.tbl);
    for (uint32_t i = 0; i < CHOSEN; i++)
        handshake_table_remove_cid(&table, &owners[i].cid_entry);
    free(owners);
}

static void test_chosen_addresses_do_not_share_a_bucket(void **state)
{
    (void)state;
    check_addresses(next_chosen_address, true);
    check_addresses(next_address_in_order, false);
}

static void test_chosen_cids_do_not_share_a_bucket(void **state)
{
    (void)state;
    check_cids(next_chosen_cid, 12, true);
    check_cids(next_cid_in_order, 4 + HANDSHAKE_CID_MAX, false);
}

/* What was learned of one table, or before a restart, is of no use for another. */
static void test_each_table_has_its_own_order(void **state)
{
    (void)state;
    struct handshake_table a = new_table(), b = new_table();
    struct addr client = addr4(0xc0000201, 5000);
    struct owner in_a, in_b;
    set_key(&in_a, &client, 0);
    set_key(&in_b, &client, 0);
    assert_true(handshake_table_add(&a, &in_a.entry));
    assert_true(handshake_table_add(&b, &in_b.entry));
    assert_memory_not_equal(&a.hash_key, &b.hash_key, sizeof(a.hash_key));
    assert_int_not_equal(in_a.entry.hh.hashv, in_b.entry.hh.hashv);
    handshake_table_remove(&a, &in_a.entry);
    handshake_table_remove(&b, &in_b.entry);
}

static void test_no_table_without_random_bytes(void **state)
{
    (void)state;
    struct handshake_table table;
    struct err err = {0};
    fake_system_fail_random(ENOSYS, 1);
    assert_false(handshake_table_init(&table, &err));
    assert_string_not_equal(err.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_add_find_remove),
        cmocka_unit_test(test_every_part_of_the_key_counts),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_every_part_of_a_cid_key_counts),
        cmocka_unit_test(test_cid_of_impossible_length_is_not_found),
        cmocka_unit_test(test_chosen_addresses_do_not_share_a_bucket),
        cmocka_unit_test(test_chosen_cids_do_not_share_a_bucket),
        cmocka_unit_test(test_each_table_has_its_own_order),
        cmocka_unit_test(test_no_table_without_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
