/* Sockets and batches on the loopback interface: nothing here is simulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "udp.h"

/* The batch buffers are some megabytes each. */
struct fixture {
    struct udp_in in;
    struct udp_out out;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL || !udp_in_init(&f->in) || !udp_out_init(&f->out))
        return -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    udp_in_deinit(&f->in);
    udp_out_deinit(&f->out);
    free(f);
    return 0;
}

/* ---- plain sockets of the other side -------------------------------------------------------- */

static struct addr parse(const char *text)
{
    struct addr addr;
    struct err err;
    if (!addr_parse(&addr, text, &err))
        fail_msg("%s", err.text);
    return addr;
}

static struct addr name_of(int fd)
{
    struct sockaddr_storage storage;
    socklen_t size = sizeof(storage);
    struct addr addr;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&storage, &size), 0);
    assert_true(addr_from_sockaddr(&addr, (struct sockaddr *)&storage));
    return addr;
}

/* Bound to the address; its port is the kernel's choice. A receive that lasts too long fails. */
static int open_plain(struct addr addr)
{
    struct sockaddr_storage storage;
    struct timeval limit = {.tv_sec = 10};
    addr.port = 0;
    socklen_t size = addr_to_sockaddr(&addr, &storage);
    int fd = socket(addr.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int bytes = 1 << 20; /* a whole send batch arrives at once */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    int on = 1; /* an IPv6 address that no interface has */
    if (addr.family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)), 0);
    if (bind(fd, (struct sockaddr *)&storage, size) != 0)
        fail_msg("bind: %s", strerror(errno));
    return fd;
}

static void send_plain(int fd, const struct addr *to, const void *data, size_t len)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(to, &storage);
    ssize_t sent = sendto(fd, data, len, 0, (struct sockaddr *)&storage, size);
    if (sent != (ssize_t)len)
        fail_msg("sendto: %s", strerror(errno));
}

/* Returns the length; the sender is in *from. */
static size_t receive_plain(int fd, void *data, size_t size, struct addr *from)
{
    struct sockaddr_storage storage;
    socklen_t storage_size = sizeof(storage);
    ssize_t got = recvfrom(fd, data, size, 0, (struct sockaddr *)&storage, &storage_size);
    if (got < 0)
        fail_msg("recvfrom: %s", strerror(errno));
    assert_true(addr_from_sockaddr(from, (struct sockaddr *)&storage));
    return (size_t)got;
}

static bool has_arrived(int fd)
{
    struct pollfd in = {.fd = fd, .events = POLLIN};
    return poll(&in, 1, 0) == 1 && (in.revents & POLLIN) != 0;
}

/* ---- sockets under test --------------------------------------------------------------------- */

/* A listener on a free port of that address. */
static void open_listener(struct udp_socket *listener, const char *ip_and_any_port)
{
    struct addr addr = parse(ip_and_any_port);
    struct err err = {""};
    bool is_open = false;
    for (int attempt = 0; attempt < 20 && !is_open; attempt++) {
        int probe = open_plain(addr);
        addr.port = name_of(probe).port;
        close(probe);
        is_open = udp_open_listener(listener, &addr, &err);
    }
    if (!is_open)
        fail_msg("%s", err.text);
}

static void open_backend(struct udp_socket *backend)
{
    struct err err = {""};
    if (!udp_open_backend(backend, &err))
        fail_msg("%s", err.text);
    assert_int_equal(backend->bound.family, AF_INET);
    assert_true(backend->bound.port != 0);
    assert_int_equal(name_of(backend->fd).port, backend->bound.port);
}

/* On loopback a datagram has arrived when its sending returns; the wait is for a busy machine. */
static void receive(struct udp_socket *socket, struct udp_in *in)
{
    struct pollfd readable = {.fd = socket->fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 10000), 1);
    assert_true(udp_receive(socket, in));
    assert_true(in->count > 0);
}

static void queue(struct udp_out *out, const struct udp_socket *from, const struct addr *local,
                  const struct addr *to, const void *data, size_t len, bool *failed)
{
    memcpy(udp_out_room(out, len), data, len);
    udp_out_queue(out, from, local, to, len, failed);
}

static const struct addr unset;

/* ---- addresses ------------------------------------------------------------------------------ */

static void assert_address_of_each_way(struct fixture *f, const char *listen, const char *client,
                                       const char *local)
{
    struct udp_socket listener;
    open_listener(&listener, listen);
    struct addr to = parse(local);
    to.port = listener.bound.port;
    int fd = open_plain(parse(client));
    send_plain(fd, &to, "question", 8);

    receive(&listener, &f->in);
    assert_int_equal(f->in.count, 1);
    const struct udp_datagram *d = &f->in.at[0];
    struct addr from = name_of(fd);
    assert_true(addr_equal(&d->from, &from));
    assert_true(addr_equal(&d->to, &to));
    assert_int_equal(d->len, 8);
    assert_memory_equal(d->data, "question", 8);

    bool failed = false;
    queue(&f->out, &listener, &d->to, &d->from, "answer", 6, &failed);
    assert_false(has_arrived(fd)); /* not before the flush */
    udp_out_flush(&f->out);
    assert_false(failed);
    char text[16];
    assert_int_equal(receive_plain(fd, text, sizeof(text), &from), 6);
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
    struct fixture *f = *state;
    struct udp_socket v6, v4;
    struct err err = {""};
    open_listener(&v6, "[::]:1");
    struct addr any4 = parse("0.0.0.0:1");
    any4.port = v6.bound.port;
    if (!udp_open_listener(&v4, &any4, &err))
        fail_msg("%s", err.text);
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr to = parse("127.0.0.1:1");
    to.port = v6.bound.port;
    send_plain(fd, &to, "x", 1);
    receive(&v4, &f->in);
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
    struct err err = {""};
    struct addr addr = parse("192.0.2.77:5684");
    assert_false(udp_open_listener(&listener, &addr, &err));
    assert_non_null(strstr(err.text, "192.0.2.77:5684"));
    assert_non_null(strstr(err.text, "no such address"));
    assert_int_equal(listener.fd, -1);

    /* A socket without SO_REUSEPORT keeps its address to itself. */
    int fd = open_plain(parse("127.0.0.1:1"));
    addr = name_of(fd);
    assert_false(udp_open_listener(&listener, &addr, &err));
    assert_non_null(strstr(err.text, "another program has this address"));
    close(fd);
}

/* ---- batches -------------------------------------------------------------------------------- */

static void test_batches_of_64(void **state)
{
    struct fixture *f = *state;
    enum { SENT = 2 * UDP_BATCH + 5 };
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int fd = open_plain(parse("127.0.0.1:1"));
    for (uint32_t i = 0; i < SENT; i++)
        send_plain(fd, &listener.bound, &i, sizeof(i));
    uint32_t next = 0;
    static const uint32_t sizes[] = {UDP_BATCH, UDP_BATCH, 5};
    for (size_t batch = 0; batch < 3; batch++) {
        receive(&listener, &f->in);
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
    struct fixture *f = *state;
    enum { SENT = 3 * UDP_BATCH + 1 };
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr to = name_of(fd);
    bool failed[SENT] = {false};
    for (uint32_t i = 0; i < SENT; i++)
        queue(&f->out, &listener, &listener.bound, &to, &i, sizeof(i), &failed[i]);
    assert_true(has_arrived(fd)); /* what did not fit has been sent */
    udp_out_flush(&f->out);
    for (uint32_t i = 0; i < SENT; i++) {
        uint32_t number;
        struct addr from;
        assert_int_equal(receive_plain(fd, &number, sizeof(number), &from), sizeof(number));
        assert_int_equal(number, i);
        assert_false(failed[i]);
    }
    assert_false(has_arrived(fd));
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
    struct fixture *f = *state;
    /* Three large ones and a small one leave no room for a fourth. */
    static const size_t lens[] = {65507, 1,     65507, 65507, 65507, 0,    63,
                                  65507, 65507, 64,    65507, 65,    1232, 40000};
    enum { COUNT = sizeof(lens) / sizeof(lens[0]) };
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr to = name_of(fd);
    uint8_t *expected = malloc(UDP_DATAGRAM_MAX), *got = malloc(UDP_DATAGRAM_MAX + 1);
    assert_non_null(expected);
    assert_non_null(got);
    bool failed[COUNT] = {false};
    uint32_t next = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t *room = udp_out_room(&f->out, lens[i]);
        fill(room, lens[i], i);
        udp_out_queue(&f->out, &listener, &unset, &to, lens[i], &failed[i]);
        if (i == COUNT - 1)
            udp_out_flush(&f->out);
        /* Read as we go: the socket's buffer is small. */
        for (; has_arrived(fd); next++) {
            struct addr from;
            assert_int_equal(receive_plain(fd, got, UDP_DATAGRAM_MAX + 1, &from), lens[next]);
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
    struct fixture *f = *state;
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr to = name_of(fd), from;
    uint8_t *first = udp_out_room(&f->out, 16384);
    assert_ptr_equal(udp_out_room(&f->out, 16384), first);
    memcpy(first, "ab", 2);
    udp_out_queue(&f->out, &listener, &unset, &to, 2, NULL);
    queue(&f->out, &listener, &unset, &to, "cde", 3, NULL);
    udp_out_flush(&f->out);
    char text[16];
    assert_int_equal(receive_plain(fd, text, sizeof(text), &from), 2);
    assert_memory_equal(text, "ab", 2);
    assert_int_equal(receive_plain(fd, text, sizeof(text), &from), 3);
    assert_memory_equal(text, "cde", 3);
    close(fd);
    udp_close(&listener);
}

/* A batch that mixes sockets and addresses sends each by its own. */
static void test_batch_of_several_sockets(void **state)
{
    struct fixture *f = *state;
    struct udp_socket sockets[3];
    open_listener(&sockets[0], "127.0.0.1:1");
    open_listener(&sockets[1], "[::1]:1");
    open_backend(&sockets[2]);
    int fds[2] = {open_plain(parse("127.0.0.1:1")), open_plain(parse("[::1]:1"))};
    struct addr to[2] = {name_of(fds[0]), name_of(fds[1])};
    struct addr source = parse("127.77.1.2:1");
    static const int order[] = {0, 1, 2, 2, 1, 0, 0, 2};
    for (uint8_t i = 0; i < 8; i++)
        queue(&f->out, &sockets[order[i]], order[i] == 2 ? &source : &unset, &to[order[i] == 1], &i,
              1, NULL);
    udp_out_flush(&f->out);
    for (uint8_t i = 0; i < 8; i++) {
        uint8_t number;
        struct addr from;
        assert_int_equal(receive_plain(fds[order[i] == 1], &number, 1, &from), 1);
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
    struct fixture *f = *state;
    static const char *const ips[] = {"127.0.0.1:1", "[::1]:1"};
    static const size_t lens[] = {UDP_DATAGRAM_MAX, 0, 1, UDP_DATAGRAM_MAX - 1};
    uint8_t *bytes = malloc(UDP_DATAGRAM_MAX);
    assert_non_null(bytes);
    for (int v = 0; v < 2; v++) {
        struct udp_socket listener;
        open_listener(&listener, ips[v]);
        int fd = open_plain(parse(ips[v]));
        for (uint32_t i = 0; i < 4; i++) {
            fill(bytes, lens[i], i);
            send_plain(fd, &listener.bound, bytes, lens[i]);
        }
        uint32_t next = 0;
        while (next < 4) {
            receive(&listener, &f->in);
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

/* ---- failures ------------------------------------------------------------------------------- */

static void test_only_the_failing_datagram_is_marked(void **state)
{
    struct fixture *f = *state;
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr good = name_of(fd);
    struct addr unreachable = parse("255.255.255.255:9"); /* EACCES: not without SO_BROADCAST */
    struct addr foreign = parse("192.0.2.77:1");          /* as a source: not ours */
    static uint8_t bytes[UDP_DATAGRAM_MAX];
    bool failed[8] = {false};
    for (uint8_t i = 0; i < 8; i++) {
        bytes[0] = i;
        bool is_bad_source = i == 3;
        const struct addr *to = i == 0 || i == 4 || i == 7 ? &unreachable : &good;
        queue(&f->out, &listener, is_bad_source ? &foreign : &unset, to, bytes, i == 5 ? 60000 : 1,
              &failed[i]);
    }
    queue(&f->out, &listener, &unset, &unreachable, bytes, 1, NULL); /* nobody asks */
    udp_out_flush(&f->out);
    for (uint8_t i = 0; i < 8; i++)
        assert_int_equal(failed[i], i == 0 || i == 3 || i == 4 || i == 7);
    static const uint8_t expected[] = {1, 2, 5, 6};
    for (int i = 0; i < 4; i++) {
        struct addr from;
        receive_plain(fd, bytes, sizeof(bytes), &from);
        assert_int_equal(bytes[0], expected[i]);
    }
    assert_false(has_arrived(fd));
    close(fd);
    udp_close(&listener);
}

static void test_too_large_is_marked(void **state)
{
    struct fixture *f = *state;
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr to = name_of(fd);
    bool failed[3] = {false};
    udp_out_room(&f->out, 65536); /* larger than UDP allows, smaller than the arena */
    udp_out_queue(&f->out, &listener, &unset, &to, 1, &failed[0]);
    udp_out_room(&f->out, 65536);
    udp_out_queue(&f->out, &listener, &unset, &to, 65508, &failed[1]);
    udp_out_room(&f->out, 1);
    udp_out_queue(&f->out, &listener, &unset, &to, 1, &failed[2]);
    udp_out_flush(&f->out);
    assert_false(failed[0]);
    assert_true(failed[1]);
    assert_false(failed[2]);
    close(fd);
    udp_close(&listener);
}

/* A port of 127.0.0.1 that nobody listens on: its socket has just been closed. */
static struct addr closed_port(void)
{
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr addr = name_of(fd);
    close(fd);
    return addr;
}

static void test_error_queue_names_the_sender(void **state)
{
    struct fixture *f = *state;
    struct udp_socket backend;
    struct addr dead = closed_port();
    open_backend(&backend);
    static const char *const sources[] = {"127.1.0.0:1", "127.44.55.66:1", "127.255.255.254:1"};
    for (int i = 0; i < 3; i++) {
        struct addr source = parse(sources[i]);
        queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
    }
    udp_out_flush(&f->out);
    for (int i = 0; i < 3; i++) {
        struct addr from, source = parse(sources[i]);
        int error;
        assert_true(udp_take_error(&backend, &from, &error));
        assert_int_equal(error, ECONNREFUSED);
        assert_int_equal(from.family, AF_INET);
        assert_memory_equal(from.ip, source.ip, 4);
    }
    struct addr from;
    int error;
    assert_false(udp_take_error(&backend, &from, &error));
    udp_close(&backend);
}

/* Datagrams to a living backend are sent and received although those to a dead one cause errors
 * which the kernel reports to whatever call comes next. */
static void test_pending_errors_lose_nothing(void **state)
{
    struct fixture *f = *state;
    enum { EACH = 30 };
    struct udp_socket backend;
    struct addr dead = closed_port(), source = parse("127.5.6.7:1");
    open_backend(&backend);
    int fd = open_plain(parse("127.0.0.1:1"));
    struct addr alive = name_of(fd);
    bool failed[EACH] = {false};
    for (uint8_t i = 0; i < EACH; i++) {
        queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
        queue(&f->out, &backend, &source, &alive, &i, 1, &failed[i]);
    }
    udp_out_flush(&f->out);
    struct addr from;
    for (uint8_t i = 0; i < EACH; i++) {
        uint8_t number;
        assert_false(failed[i]);
        assert_int_equal(receive_plain(fd, &number, 1, &from), 1);
        assert_int_equal(number, i);
        send_plain(fd, &from, &number, 1);
    }
    /* Answers are there, with an error before them. */
    queue(&f->out, &backend, &source, &dead, "x", 1, NULL);
    udp_out_flush(&f->out);
    uint8_t next = 0;
    for (int attempt = 0; attempt < 4 && next < EACH; attempt++) {
        if (!udp_receive(&backend, &f->in))
            continue; /* the error was reported instead */
        for (uint32_t i = 0; i < f->in.count; i++, next++) {
            assert_int_equal(f->in.at[i].data[0], next);
            assert_memory_equal(f->in.at[i].to.ip, source.ip, 4);
            assert_true(addr_equal(&f->in.at[i].from, &alive));
        }
    }
    assert_int_equal(next, EACH);
    int error, errors = 0;
    while (udp_take_error(&backend, &from, &error))
        errors++;
    assert_int_equal(errors, EACH + 1);
    close(fd);
    udp_close(&backend);
}

static void test_backend_is_loopback_only(void **state)
{
    struct fixture *f = *state;
    struct udp_socket backend;
    open_backend(&backend);
    static const char *const elsewhere[] = {"192.0.2.1:5683", "8.8.8.8:5683"};
    for (int i = 0; i < 2; i++) {
        bool failed = false;
        struct addr to = parse(elsewhere[i]), source = parse("127.1.2.3:1");
        queue(&f->out, &backend, &source, &to, "x", 1, &failed);
        udp_out_flush(&f->out);
        /* Sent it may be, but into the loopback interface: nobody there takes it. */
        char name[16] = "";
        socklen_t size = sizeof(name);
        assert_int_equal(getsockopt(backend.fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size), 0);
        assert_string_equal(name, "lo");
    }
    udp_close(&backend);
}

static void test_kernel_drops_are_counted(void **state)
{
    struct fixture *f = *state;
    enum { SENT = 400 };
    struct udp_socket listener;
    open_listener(&listener, "127.0.0.1:1");
    int small = 8192;
    setsockopt(listener.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    int fd = open_plain(parse("127.0.0.1:1"));
    uint32_t received = 0, dropped = 0;
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < SENT; i++)
            send_plain(fd, &listener.bound, "0123456789", 10);
        while (udp_receive(&listener, &f->in)) {
            received += f->in.count;
            dropped += f->in.new_kernel_drops;
        }
        /* The number stands on datagrams that arrive later. */
        send_plain(fd, &listener.bound, "x", 1);
        receive(&listener, &f->in);
        received += f->in.count;
        dropped += f->in.new_kernel_drops;
        assert_true(dropped > 0);
        assert_int_equal(received + dropped, round * (SENT + 1));
    }
    close(fd);
    udp_close(&listener);
}

/* ---- steering ------------------------------------------------------------------------------- */

static struct addr random_source(int family, uint64_t *random)
{
    struct addr addr = {.family = (uint16_t)family};
    size_t len = family == AF_INET ? 4 : 16;
    for (size_t i = 0; i < len; i++) {
        *random = *random * 6364136223846793005u + 1442695040888963407u;
        addr.ip[i] = (uint8_t)(*random >> 56);
    }
    if (family == AF_INET)
        addr.ip[0] = 127;
    else
        memcpy(addr.ip, (uint8_t[]){0x20, 0x01, 0x0d, 0xb8}, 4); /* documentation addresses */
    return addr;
}

static void assert_steered(struct fixture *f, const char *listen, uint32_t worker_count)
{
    enum { SENDERS = 300 };
    struct udp_socket workers[4];
    struct err err = {""};
    open_listener(&workers[0], listen);
    for (uint32_t w = 1; w < worker_count; w++) {
        if (!udp_open_listener(&workers[w], &workers[0].bound, &err))
            fail_msg("%s", err.text);
    }
    if (!udp_steer(&workers[0], worker_count, &err))
        fail_msg("%s", err.text);

    uint64_t random = worker_count;
    uint32_t by_worker[4] = {0};
    for (int i = 0; i < SENDERS; i++) {
        int fd = open_plain(random_source(workers[0].bound.family, &random));
        struct addr from = name_of(fd);
        uint32_t expected = udp_worker_of(&from, worker_count);
        assert_true(expected < worker_count);
        /* Whatever it says, and each time. */
        send_plain(fd, &workers[0].bound, &random, (size_t)i % 8);
        send_plain(fd, &workers[0].bound, &random, 8);
        close(fd);
        for (uint32_t w = 0; w < worker_count; w++) {
            if (w != expected) {
                assert_false(udp_receive(&workers[w], &f->in));
                continue;
            }
            receive(&workers[w], &f->in);
            assert_int_equal(f->in.count, 2);
            assert_true(addr_equal(&f->in.at[0].from, &from));
            by_worker[w]++;
        }
    }
    for (uint32_t w = 0; w < worker_count; w++) {
        assert_true(by_worker[w] > SENDERS / worker_count / 2);
        udp_close(&workers[w]);
    }
}

static void test_steering_ipv4(void **state)
{
    for (uint32_t workers = 2; workers <= 4; workers++)
        assert_steered(*state, "127.0.0.1:1", workers);
}

static void test_steering_ipv6(void **state)
{
    for (uint32_t workers = 2; workers <= 4; workers++)
        assert_steered(*state, "[::1]:1", workers);
}

static void test_hash_spreads(void **state)
{
    (void)state;
    /* Devices behind one NAT differ in the port alone; others only in the last address byte. */
    for (uint32_t workers = 1; workers <= 16; workers++) {
        uint32_t by_port[16] = {0}, by_ip[16] = {0};
        struct addr addr = parse("192.0.2.1:1024");
        for (uint32_t i = 0; i < 16000; i++) {
            addr.port = (uint16_t)(1024 + i);
            by_port[udp_worker_of(&addr, workers)]++;
        }
        addr.port = 5684;
        for (uint32_t i = 0; i < 16000; i++) {
            addr.ip[2] = (uint8_t)(i >> 8);
            addr.ip[3] = (uint8_t)i;
            by_ip[udp_worker_of(&addr, workers)]++;
        }
        for (uint32_t w = 0; w < workers; w++) {
            assert_in_range(by_port[w], 16000 / workers * 8 / 10, 16000 / workers * 12 / 10 + 1);
            assert_in_range(by_ip[w], 16000 / workers * 8 / 10, 16000 / workers * 12 / 10 + 1);
        }
    }
}

static void test_can_steer(void **state)
{
    (void)state;
    struct err err = {""};
    if (!udp_can_steer(&err))
        fail_msg("%s", err.text);
    struct udp_socket closed = {.fd = -1, .bound = {.family = AF_INET}};
    assert_false(udp_steer(&closed, 2, &err));
    assert_non_null(strstr(err.text, "workers = 1"));
}

#define WITH_BUFFERS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BUFFERS(test_addresses_ipv4),
        WITH_BUFFERS(test_addresses_ipv6),
        WITH_BUFFERS(test_ipv6_listener_takes_no_ipv4),
        cmocka_unit_test(test_listener_that_cannot_be),
        WITH_BUFFERS(test_batches_of_64),
        WITH_BUFFERS(test_flush_when_the_batch_is_full),
        WITH_BUFFERS(test_flush_when_the_arena_is_full),
        WITH_BUFFERS(test_room_given_back),
        WITH_BUFFERS(test_batch_of_several_sockets),
        WITH_BUFFERS(test_largest_and_smallest),
        WITH_BUFFERS(test_only_the_failing_datagram_is_marked),
        WITH_BUFFERS(test_too_large_is_marked),
        WITH_BUFFERS(test_error_queue_names_the_sender),
        WITH_BUFFERS(test_pending_errors_lose_nothing),
        WITH_BUFFERS(test_backend_is_loopback_only),
        WITH_BUFFERS(test_kernel_drops_are_counted),
        WITH_BUFFERS(test_steering_ipv4),
        WITH_BUFFERS(test_steering_ipv6),
        cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_can_steer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
