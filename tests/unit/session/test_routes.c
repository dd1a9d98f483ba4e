/* routes.c: pairs of a socket and an address of ours, by number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>

#include "session/routes.h"

static struct addr address(uint32_t number)
{
    return (struct addr){
        .ip = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number},
        .port = 5684,
        .family = AF_INET};
}

struct fixture {
    struct state state;
    struct routes routes, other; /* of two workers */
    struct udp_socket sockets[3];
};

static int set_up(void **at)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    *at = f;
    for (unsigned s = 0; f != NULL && s < 3; s++)
        f->sockets[s].bound = (struct addr){.port = (uint16_t)(5684 + s), .family = AF_INET};
    return f != NULL && state_create(&f->state, &err) && routes_init(&f->routes, &f->state, &err) &&
                   routes_init(&f->other, &f->state, &err)
               ? 0
               : -1;
}

static int tear_down(void **at)
{
    struct fixture *f = *at;
    routes_deinit(&f->routes);
    routes_deinit(&f->other);
    state_close(&f->state);
    free(f);
    return 0;
}

static void change_process(struct fixture *f)
{
    struct err err;
    int fd = fcntl(f->state.region.fd, F_DUPFD_CLOEXEC, 0);
    routes_deinit(&f->routes);
    routes_deinit(&f->other);
    state_close(&f->state);
    assert_true(state_adopt(&f->state, fd, &err));
    assert_true(routes_init(&f->routes, &f->state, &err));
    assert_true(routes_init(&f->other, &f->state, &err));
}

static void a_pair_has_one_number(void **at)
{
    struct fixture *f = *at;
    uint32_t numbers[3][20];
    for (int again = 0; again < 2; again++) {
        for (unsigned s = 0; s < 3; s++) {
            for (uint32_t i = 0; i < 20; i++) {
                struct addr local = address(i);
                /* The port that the device sent to is no part of it. */
                local.port = (uint16_t)(local.port + again);
                /* Nor is the worker. */
                struct routes *routes = (i + (unsigned)again) % 2 == 0 ? &f->routes : &f->other;
                uint32_t number = routes_find(routes, i, &f->sockets[s], &local);
                if (again == 0)
                    numbers[s][i] = number;
                assert_int_equal(number, numbers[s][i]);
                const struct route *route = routes_get(routes, number, 0);
                assert_ptr_equal(route->socket, &f->sockets[s]);
                assert_memory_equal(route->local.ip, local.ip, sizeof(local.ip));
                assert_int_equal(route->local.family, AF_INET);
                assert_int_equal(route->local.port, 0);
            }
        }
    }
    assert_int_equal(atomic_load(&f->state.header->route_count), 60);
}

/* A host that takes a whole network for its own, and strangers that try every address of it. */
static void there_are_only_so_many(void **at)
{
    struct fixture *f = *at;
    for (uint32_t i = 0; i < 3 * ROUTES_MAX; i++) {
        struct addr local = address(i);
        uint32_t number = routes_find(&f->routes, 0, &f->sockets[0], &local);
        const struct route *route = routes_get(&f->routes, number, 0);
        assert_ptr_equal(route->socket, &f->sockets[0]);
        /* Its own address, or the kernel's choice; never another one. */
        if (route->local.family != 0)
            assert_memory_equal(route->local.ip, local.ip, sizeof(local.ip));
    }
    struct addr local = address(1);
    uint32_t number = routes_find(&f->routes, 0, &f->sockets[0], &local);
    assert_int_equal(routes_get(&f->routes, number, 0)->local.family, AF_INET);
    /* For a socket that is seen only now there is room. */
    number = routes_find(&f->routes, 0, &f->sockets[1], &local);
    assert_ptr_equal(routes_get(&f->routes, number, 0)->socket, &f->sockets[1]);
    assert_in_range(atomic_load(&f->state.header->route_count), 1000, ROUTES_MAX);
}

/* Out of numbers, after many changes of where listeners listen, a session goes out by a socket of
 * its own listener, not by that of the pair that came first. */
static void there_are_none_left(void **at)
{
    struct fixture *f = *at;
    struct addr local = address(7);
    struct udp_socket *gone = calloc(ROUTES_MAX, sizeof(*gone));
    assert_non_null(gone);
    for (uint32_t i = 0; i < ROUTES_MAX; i++) {
        gone[i].bound = address(i);
        (void)routes_find(&f->routes, 0, &gone[i], &local);
    }
    assert_true(routes_add_socket(&f->routes, 1, &f->sockets[0]));
    assert_true(routes_add_socket(&f->routes, 5, &f->sockets[1]));
    for (int again = 0; again < 2; again++) {
        uint32_t number = routes_find(&f->routes, 0, &f->sockets[1], &local);
        assert_in_range(number, 0, ROUTES_MASK);
        const struct route *route = routes_get(&f->routes, number, 5);
        assert_non_null(route);
        assert_ptr_equal(route->socket, &f->sockets[1]);
        assert_int_equal(route->local.family, 0);
    }
    free(gone);
}

/* The next process, and another worker, have sockets of their own at the same addresses. */
static void a_number_means_the_same_afterwards(void **at)
{
    struct fixture *f = *at;
    struct addr local = address(7);
    uint32_t number = routes_find(&f->routes, 0, &f->sockets[1], &local);
    change_process(f);
    assert_null(routes_get(&f->routes, number, 0));
    for (unsigned s = 0; s < 3; s++)
        assert_true(routes_add_socket(&f->routes, s, &f->sockets[s]));
    const struct route *route = routes_get(&f->routes, number, 1);
    assert_ptr_equal(route->socket, &f->sockets[1]);
    assert_memory_equal(route->local.ip, local.ip, sizeof(local.ip));
    assert_int_equal(routes_find(&f->routes, number, &f->sockets[1], &local), number);
    assert_int_equal(atomic_load(&f->state.header->route_count), 1);
}

/* A listener that listens elsewhere now: its sessions go out there. */
static void a_socket_may_go(void **at)
{
    struct fixture *f = *at;
    struct addr local = address(7);
    uint32_t number = routes_find(&f->routes, 0, &f->sockets[0], &local);
    f->sockets[1].bound.family = AF_INET6;
    assert_true(routes_add_socket(&f->routes, 5, &f->sockets[0]));
    assert_true(routes_add_socket(&f->routes, 5, &f->sockets[1]));
    assert_true(routes_add_socket(&f->routes, 6, &f->sockets[2]));
    routes_remove_socket(&f->routes, &f->sockets[0]);
    const struct route *route = routes_get(&f->routes, number, 5);
    assert_ptr_equal(route->socket, &f->sockets[1]);
    assert_int_equal(route->local.family, 0);
    assert_ptr_equal(routes_get(&f->routes, number, 6)->socket, &f->sockets[2]);
    assert_null(routes_get(&f->routes, number, 7));
    /* Rather one of the family. */
    struct udp_socket moved = {.bound = {.port = 9000, .family = AF_INET}};
    assert_true(routes_add_socket(&f->routes, 5, &moved));
    assert_ptr_equal(routes_get(&f->routes, number, 5)->socket, &moved);
    /* The device comes there, and the pair is known again. */
    uint32_t other = routes_find(&f->routes, number, &moved, &local);
    assert_true(other != number);
    /* A number that the state has nothing for. */
    assert_ptr_equal(routes_get(&f->routes, ROUTES_MASK, 6)->socket, &f->sockets[2]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pair_has_one_number), TEST(there_are_only_so_many),
        TEST(there_are_none_left),   TEST(a_number_means_the_same_afterwards),
        TEST(a_socket_may_go),
    };
    return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
