/* routes.c: pairs of a socket and an address of ours, by number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session/routes.h"

static struct addr address(uint32_t number)
{
    return (struct addr){
        .ip = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number},
        .port = 5684,
        .family = AF_INET};
}

static void a_pair_has_one_number(void **state)
{
    struct routes routes = {0};
    struct udp_socket sockets[3];
    uint32_t numbers[3][20];
    (void)state;
    for (int again = 0; again < 2; again++) {
        for (unsigned s = 0; s < 3; s++) {
            for (uint32_t i = 0; i < 20; i++) {
                struct addr local = address(i);
                /* The port that the device sent to is no part of it. */
                local.port = (uint16_t)(local.port + again);
                uint32_t number = routes_find(&routes, i, &sockets[s], &local);
                if (again == 0)
                    numbers[s][i] = number;
                assert_int_equal(number, numbers[s][i]);
                const struct route *route = routes_get(&routes, number);
                assert_ptr_equal(route->socket, &sockets[s]);
                assert_memory_equal(route->local.ip, local.ip, sizeof(local.ip));
                assert_int_equal(route->local.family, AF_INET);
                assert_int_equal(route->local.port, 0);
            }
        }
    }
    assert_int_equal(routes.count, 60);
    routes_deinit(&routes);
    assert_int_equal(routes.count, 0);
}

/* A host that takes a whole network for its own, and strangers that try every address of it. */
static void there_are_only_so_many(void **state)
{
    struct routes routes = {0};
    struct udp_socket first, second;
    (void)state;
    for (uint32_t i = 0; i < 3 * ROUTES_MAX; i++) {
        struct addr local = address(i);
        uint32_t number = routes_find(&routes, 0, &first, &local);
        const struct route *route = routes_get(&routes, number);
        assert_ptr_equal(route->socket, &first);
        /* Its own address, or the kernel's choice; never another one. */
        if (route->local.family != 0)
            assert_memory_equal(route->local.ip, local.ip, sizeof(local.ip));
    }
    struct addr local = address(1);
    assert_int_equal(routes_get(&routes, routes_find(&routes, 0, &first, &local))->local.family,
                     AF_INET);
    /* For a socket that is seen only now there is room. */
    assert_ptr_equal(routes_get(&routes, routes_find(&routes, 0, &second, &local))->socket,
                     &second);
    assert_in_range(routes.count, 1000, ROUTES_MAX);
    routes_deinit(&routes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_has_one_number),
        cmocka_unit_test(there_are_only_so_many),
    };
    return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
