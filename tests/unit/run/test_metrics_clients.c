#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run/metrics_clients.h"

static void test_the_oldest_goes(void **state)
{
    (void)state;
    struct metrics_clients clients;
    struct metrics_client *entries[METRICS_CLIENTS_MAX];
    metrics_clients_init(&clients);
    assert_null(metrics_clients_oldest(&clients));
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++) {
        entries[i] = metrics_clients_add(&clients, 10 + i, 1000 - (uint64_t)i);
        assert_non_null(entries[i]);
    }
    assert_null(metrics_clients_add(&clients, 99, 0));
    entries[METRICS_CLIENTS_MAX - 1]->since_ms = 2000; /* it has had an answer */
    for (int i = METRICS_CLIENTS_MAX - 2; i >= 0; i--) {
        assert_int_equal(metrics_clients_oldest(&clients)->fd, 10 + i);
        metrics_clients_remove(metrics_clients_oldest(&clients));
    }
    assert_int_equal(metrics_clients_oldest(&clients)->fd, 10 + METRICS_CLIENTS_MAX - 1);
    assert_non_null(metrics_clients_add(&clients, 0, 3000)); /* 0 is a descriptor, too */
    metrics_clients_remove(metrics_clients_oldest(&clients));
    assert_int_equal(metrics_clients_oldest(&clients)->fd, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_oldest_goes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
