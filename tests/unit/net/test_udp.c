/* Addresses and batches on the loopback interface: nothing here is simulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/udp_fixture.h"

/* ---- addresses ------------------------------------------------------------------------------ */

static void assert_address_of_each_way(struct udp_fixture *f, const char *listen,
                                       const char *client, const char *local)
{
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, listen);
    struct addr to = udp_fixture_parse(local);
    to.port = listener.bound.port;
    int fd = udp_fixture_open_plain(udp_fixture_parse(client));
    udp_fixture_send_plain(fd, &to, "question", 8);

    udp_fixture_receive(&listener, &f->in);
    assert_int_equal(f->in.count, 1);
    const struct udp_datagram *d = &f->in.at[0];
    struct addr from = udp_fixture_name_of(fd);
    assert_true(addr_equal(&d->from, &from));
    assert_true(addr_equal(&d->to, &to));
    assert_int_equal(d->len, 8);
    assert_memory_equal(d->data, "question", 8);

    bool failed = false;
    udp_fixture_queue(&f->out, &listener, &d->to, &d->from, "answer", 6, &failed);
    assert_false(udp_fixture_has_arrived(fd)); /* not before the flush */
    udp_out_flush(&f->out);
    assert_false(failed);
    char text[16];
    assert_int_equal(udp_fixture_receive_plain(fd, text, sizeof(text), &from), 6);
    assert_true(addr_equal(&from, &to));
    close(fd);
    udp_close(&listener);
    assert_int_equal(listener.fd, -1);
}

static void test_addresses_ipv4(void **state)
{
    assert_address_of_each_way(*state, "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1");
    assert_address_of_each_way(*state, "0.0.0.0:1", "127.9.8.7:1", "127.1.2.3:1");
    assert_address_of_each_way(*state, "0.0.0.0:1", "127.0.0.1:1", "127.255.255.254:1");
}

static void test_addresses_ipv6(void **state)
{
    assert_address_of_each_way(*state, "[::1]:1", "[::1]:1", "[::1]:1");
    assert_address_of_each_way(*state, "[::]:1", "[::1]:1", "[::1]:1");
}

/* [::] and 0.0.0.0 are listeners of their own, on the same port. */
static void test_ipv6_listener_takes_no_ipv4(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket v6, v4;
    struct err err = {0};
    udp_fixture_open_listener(&v6, "[::]:1");
    struct addr any4 = udp_fixture_parse("0.0.0.0:1");
    any4.port = v6.bound.port;
    if (!udp_open_listener(&v4, &any4, &err))
        fail_msg("%s", err.text);
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_parse("127.0.0.1:1");
    to.port = v6.bound.port;
    udp_fixture_send_plain(fd, &to, "x", 1);
    udp_fixture_receive(&v4, &f->in);
    assert_int_equal(f->in.at[0].from.family, AF_INET);
    assert_false(udp_receive(&v6, &f->in));
    close(fd);
    udp_close(&v4);
    udp_close(&v6);
}

static void test_listener_that_cannot_be(void **state)
{
    (void)state;
    struct udp_socket listener;
    struct err err = {0};
    struct addr addr = udp_fixture_parse("192.0.2.77:5684");
    assert_false(udp_open_listener(&listener, &addr, &err));
    assert_non_null(strstr(err.text, "192.0.2.77:5684"));
    assert_non_null(strstr(err.text, "no such address"));
    assert_int_equal(listener.fd, -1);

    /* A socket without SO_REUSEPORT keeps its address to itself. */
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    addr = udp_fixture_name_of(fd);
    assert_false(udp_open_listener(&listener, &addr, &err));
    assert_non_null(strstr(err.text, "another program has this address"));
    close(fd);
}

/* ---- who has an address --------------------------------------------------------------------- */

/* Two gates that start at once, of which each tries for the first socket of the same address. */
struct race {
    pthread_barrier_t begin;
    struct addr addr;
};

struct racer {
    struct race *race;
    struct udp_socket socket;
    struct err err;
    bool has_won;
};

static void *try_for_address(void *argument)
{
    struct racer *racer = argument;
    pthread_barrier_wait(&racer->race->begin);
    racer->has_won = udp_open_first_listener(&racer->socket, &racer->race->addr, NULL, &racer->err);
    return NULL;
}

static void assert_one_wins(const struct addr *addr)
{
    struct race race = {.addr = *addr};
    struct racer racers[2] = {{.race = &race}, {.race = &race}};
    pthread_t threads[2];
    assert_int_equal(pthread_barrier_init(&race.begin, NULL, 2), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, try_for_address, &racers[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&race.begin), 0);
    assert_int_equal(racers[0].has_won + racers[1].has_won, 1);

    struct racer *winner = &racers[racers[1].has_won], *loser = &racers[racers[0].has_won];
    assert_non_null(strstr(loser->err.text, "another program has this address"));
    struct udp_socket joins;
    assert_true(udp_open_listener(&joins, addr, &loser->err));
    udp_close(&joins);
    udp_close(&winner->socket);
}

static void test_two_at_once(void **state)
{
    struct udp_socket free_port;
    (void)state;
    udp_fixture_open_listener(&free_port, "127.0.0.1:1");
    struct addr addr = free_port.bound;
    udp_close(&free_port);
    for (int i = 0; i < 300; i++)
        assert_one_wins(&addr);
}

/* Whoever was first: it shares with others, or with nobody, on the address or on all of them. */
static void assert_taken(const char *taken, const char *wanted, bool is_shared)
{
    struct udp_socket has, wants;
    struct err err;
    udp_fixture_open_listener(&has, taken);
    struct addr addr = udp_fixture_parse(wanted);
    addr.port = has.bound.port;
    if (!is_shared)
        assert_int_equal(setsockopt(has.fd, SOL_SOCKET, SO_REUSEPORT, &(int){0}, sizeof(int)), 0);
    assert_false(udp_open_first_listener(&wants, &addr, NULL, &err));
    assert_int_equal(wants.fd, -1);
    udp_close(&has);
    assert_true(udp_open_first_listener(&wants, &addr, NULL, &err));
    udp_close(&wants);
}

static void test_address_that_is_taken(void **state)
{
    (void)state;
    for (int is_shared = 0; is_shared < 2; is_shared++) {
        assert_taken("127.0.0.1:1", "127.0.0.1:1", is_shared);
        assert_taken("127.0.0.1:1", "0.0.0.0:1", is_shared);
        assert_taken("0.0.0.0:1", "127.0.0.1:1", is_shared);
        assert_taken("[::1]:1", "[::]:1", is_shared);
    }
}

/* The sockets toward backends share a port with each other, and with no other program. */
static void test_backend_port_that_is_taken(void **state)
{
    (void)state;
    struct udp_socket first, second, third;
    struct err err;
    udp_fixture_open_backend(&first);
    uint16_t port = first.bound.port;
    assert_true(udp_open_backend(&second, port, false, &err));
    assert_int_equal(second.bound.port, port);
    assert_false(udp_open_backend(&third, port, true, &err));
    assert_non_null(strstr(err.text, "another program has this address"));
    udp_close(&first);
    udp_close(&second);
    assert_true(udp_open_backend(&third, port, true, &err));
    assert_int_equal(third.bound.port, port);
    udp_close(&third);
}

/* ---- batches -------------------------------------------------------------------------------- */

static void test_batches_of_64(void **state)
{
    struct udp_fixture *f = *state;
    enum { SENT = 2 * UDP_BATCH + 5 };
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    for (uint32_t i = 0; i < SENT; i++)
        udp_fixture_send_plain(fd, &listener.bound, &i, sizeof(i));
    uint32_t next = 0;
    static const uint32_t sizes[] = {UDP_BATCH, UDP_BATCH, 5};
    for (size_t batch = 0; batch < 3; batch++) {
        udp_fixture_receive(&listener, &f->in);
        assert_int_equal(f->in.count, sizes[batch]);
        for (uint32_t i = 0; i < f->in.count; i++, next++) {
            assert_int_equal(f->in.at[i].len, sizeof(next));
            assert_memory_equal(f->in.at[i].data, &next, sizeof(next));
        }
    }
    assert_false(udp_receive(&listener, &f->in));
    assert_int_equal(f->in.count, 0);
    close(fd);
    udp_close(&listener);
}

static void test_flush_when_the_batch_is_full(void **state)
{
    struct udp_fixture *f = *state;
    enum { SENT = 3 * UDP_BATCH + 1 };
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_name_of(fd);
    bool failed[SENT] = {false};
    for (uint32_t i = 0; i < SENT; i++)
        udp_fixture_queue(&f->out, &listener, &listener.bound, &to, &i, sizeof(i), &failed[i]);
    assert_true(udp_fixture_has_arrived(fd)); /* what did not fit has been sent */
    udp_out_flush(&f->out);
    for (uint32_t i = 0; i < SENT; i++) {
        uint32_t number;
        struct addr from;
        assert_int_equal(udp_fixture_receive_plain(fd, &number, sizeof(number), &from),
                         sizeof(number));
        assert_int_equal(number, i);
        assert_false(failed[i]);
    }
    assert_false(udp_fixture_has_arrived(fd));
    udp_out_flush(&f->out); /* of nothing */
    close(fd);
    udp_close(&listener);
}

static void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251 + seed);
}

/* More bytes than the arena holds, of lengths that are no multiples of anything. */
static void test_flush_when_the_arena_is_full(void **state)
{
    struct udp_fixture *f = *state;
    /* Three large ones and a small one leave no room for a fourth. */
    static const size_t lens[] = {65507, 1,     65507, 65507, 65507, 0,    63,
                                  65507, 65507, 64,    65507, 65,    1232, 40000};
    enum { COUNT = sizeof(lens) / sizeof(lens[0]) };
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_name_of(fd);
    uint8_t *expected = malloc(UDP_DATAGRAM_MAX), *got = malloc(UDP_DATAGRAM_MAX + 1);
    assert_non_null(expected);
    assert_non_null(got);
    bool failed[COUNT] = {false};
    uint32_t next = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t *room = udp_out_room(&f->out, lens[i]);
        fill(room, lens[i], i);
        udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, lens[i], &failed[i], NULL);
        if (i == COUNT - 1)
            udp_out_flush(&f->out);
        /* Read as we go: the socket's buffer is small. */
        for (; udp_fixture_has_arrived(fd); next++) {
            struct addr from;
            assert_int_equal(udp_fixture_receive_plain(fd, got, UDP_DATAGRAM_MAX + 1, &from),
                             lens[next]);
            fill(expected, lens[next], next);
            assert_memory_equal(got, expected, lens[next]);
        }
        assert_true(next <= i + 1);
    }
    assert_int_equal(next, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_false(failed[i]);
    free(expected);
    free(got);
    close(fd);
    udp_close(&listener);
}

/* Room that is not used in full, or not at all, takes nothing from the next datagram. */
static void test_room_given_back(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_name_of(fd), from;
    uint8_t *first = udp_out_room(&f->out, 16384);
    assert_ptr_equal(udp_out_room(&f->out, 16384), first);
    memcpy(first, "ab", 2);
    udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, 2, NULL, NULL);
    udp_fixture_queue(&f->out, &listener, &udp_fixture_unset, &to, "cde", 3, NULL);
    udp_out_flush(&f->out);
    char text[16];
    assert_int_equal(udp_fixture_receive_plain(fd, text, sizeof(text), &from), 2);
    assert_memory_equal(text, "ab", 2);
    assert_int_equal(udp_fixture_receive_plain(fd, text, sizeof(text), &from), 3);
    assert_memory_equal(text, "cde", 3);
    close(fd);
    udp_close(&listener);
}

/* The last datagram of a batch can be made longer, until it is sent or another one follows. */
static void test_last_datagram_grows(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket listener;
    udp_fixture_open_listener(&listener, "127.0.0.1:1");
    int fd = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    struct addr to = udp_fixture_name_of(fd), from;
    char text[300], more[200];
    memset(more, '+', sizeof(more));
    assert_false(udp_out_append(&f->out, 0, "x", 1, 100)); /* nothing is queued */
    memcpy(udp_out_room(&f->out, 2), "ab", 2);
    counter sent_bytes = 0;
    uint64_t first =
        udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, 2, NULL, &sent_bytes);
    assert_true(udp_out_append(&f->out, first, "cd", 2, 4));
    assert_false(udp_out_append(&f->out, first, "e", 1, 4));
    assert_true(udp_out_append(&f->out, first, more, sizeof(more), sizeof(text)));
    memcpy(udp_out_room(&f->out, 3), "xyz", 3);
    uint64_t second = udp_out_queue(&f->out, &listener, &udp_fixture_unset, &to, 3, NULL, NULL);
    assert_int_equal(second, first + 1);
    assert_false(udp_out_append(&f->out, first, "e", 1, sizeof(text)));
    udp_out_flush(&f->out);
    assert_int_equal(counter_get(&sent_bytes), 4 + sizeof(more));
    assert_false(udp_out_append(&f->out, second, "e", 1, sizeof(text)));
    assert_int_equal(udp_fixture_receive_plain(fd, text, sizeof(text), &from), 4 + sizeof(more));
    assert_memory_equal(text, "abcd", 4);
    assert_memory_equal(text + 4, more, sizeof(more));
    assert_int_equal(udp_fixture_receive_plain(fd, text, sizeof(text), &from), 3);
    assert_memory_equal(text, "xyz", 3);
    close(fd);
    udp_close(&listener);
}

/* A batch that mixes sockets and addresses sends each by its own. */
static void test_batch_of_several_sockets(void **state)
{
    struct udp_fixture *f = *state;
    struct udp_socket sockets[3];
    udp_fixture_open_listener(&sockets[0], "127.0.0.1:1");
    udp_fixture_open_listener(&sockets[1], "[::1]:1");
    udp_fixture_open_backend(&sockets[2]);
    int fds[2] = {udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1")),
                  udp_fixture_open_plain(udp_fixture_parse("[::1]:1"))};
    struct addr to[2] = {udp_fixture_name_of(fds[0]), udp_fixture_name_of(fds[1])};
    struct addr source = udp_fixture_parse("127.77.1.2:1");
    static const int order[] = {0, 1, 2, 2, 1, 0, 0, 2};
    for (uint8_t i = 0; i < 8; i++)
        udp_fixture_queue(&f->out, &sockets[order[i]], order[i] == 2 ? &source : &udp_fixture_unset,
                          &to[order[i] == 1], &i, 1, NULL);
    udp_out_flush(&f->out);
    for (uint8_t i = 0; i < 8; i++) {
        uint8_t number;
        struct addr from;
        assert_int_equal(udp_fixture_receive_plain(fds[order[i] == 1], &number, 1, &from), 1);
        assert_int_equal(number, i);
        struct addr expected = order[i] == 2 ? source : sockets[order[i]].bound;
        expected.port = sockets[order[i]].bound.port;
        assert_true(addr_equal(&from, &expected));
    }
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < 3; i++)
        udp_close(&sockets[i]);
}

static void test_largest_and_smallest(void **state)
{
    struct udp_fixture *f = *state;
    static const char *const ips[] = {"127.0.0.1:1", "[::1]:1"};
    static const size_t lens[] = {UDP_DATAGRAM_MAX, 0, 1, UDP_DATAGRAM_MAX - 1};
    uint8_t *bytes = malloc(UDP_DATAGRAM_MAX);
    assert_non_null(bytes);
    for (int v = 0; v < 2; v++) {
        struct udp_socket listener;
        udp_fixture_open_listener(&listener, ips[v]);
        int fd = udp_fixture_open_plain(udp_fixture_parse(ips[v]));
        for (uint32_t i = 0; i < 4; i++) {
            fill(bytes, lens[i], i);
            udp_fixture_send_plain(fd, &listener.bound, bytes, lens[i]);
        }
        uint32_t next = 0;
        while (next < 4) {
            udp_fixture_receive(&listener, &f->in);
            for (uint32_t i = 0; i < f->in.count; i++, next++) {
                assert_int_equal(f->in.at[i].len, lens[next]);
                fill(bytes, lens[next], next);
                assert_memory_equal(f->in.at[i].data, bytes, lens[next]);
            }
        }
        close(fd);
        udp_close(&listener);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BUFFERS(test_addresses_ipv4),
        WITH_BUFFERS(test_addresses_ipv6),
        WITH_BUFFERS(test_ipv6_listener_takes_no_ipv4),
        cmocka_unit_test(test_listener_that_cannot_be),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_address_that_is_taken),
        cmocka_unit_test(test_backend_port_that_is_taken),
        WITH_BUFFERS(test_batches_of_64),
        WITH_BUFFERS(test_flush_when_the_batch_is_full),
        WITH_BUFFERS(test_flush_when_the_arena_is_full),
        WITH_BUFFERS(test_room_given_back),
        WITH_BUFFERS(test_last_datagram_grows),
        WITH_BUFFERS(test_batch_of_several_sockets),
        WITH_BUFFERS(test_largest_and_smallest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
