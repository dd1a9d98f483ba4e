/* The steering program in the kernel and its twin in C name the same socket, and the right one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fakes/skip_because.h"
#include "net/steering.h"
#include "net/udp_fixture.h"

enum { WORKERS_MAX = 8, SOCKETS_MAX = 2 * WORKERS_MAX, SENDERS = 40, CID_MAX = 32 };

static uint32_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 32);
}

/* ---- the rule ------------------------------------------------------------------------------- */

static const uint8_t hello[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 60, 1, 0, 0};
static const uint8_t record_12[] = {25, 0xfe, 0xfd, 0, 1, 0, 0,   0, 0,
                                    0,  7,    0xca, 2, 3, 4, 0xd, 0, 20};
static const uint8_t record_13[] = {0x3f, 0xca, 2, 3, 4, 0xd, 0x12, 0x34, 0, 20};

static const struct steering rule = {
    .worker_count = 5, .cid_length = 5, .has_hello_sockets = true, .is_v4 = true};

static uint32_t worker_of_addr(const struct addr *from, uint32_t workers)
{
    return steering_worker_of_bucket(steering_bucket_of_addr(from), workers);
}

static uint32_t worker_of_cid(const uint8_t *cid, size_t len, uint32_t workers)
{
    return steering_worker_of_bucket(steering_bucket_of_cid(cid, len), workers);
}

static uint32_t socket_of(const void *data, size_t len)
{
    struct addr from = udp_fixture_parse("192.0.2.7:5683");
    return steering_socket_of(&rule, &from, data, len);
}

static void test_the_rule(void **state)
{
    (void)state;
    struct addr from = udp_fixture_parse("192.0.2.7:5683");
    uint32_t by_addr = 2 * worker_of_addr(&from, 5);
    uint32_t by_cid = 2 * worker_of_cid((const uint8_t[]){0xca, 2, 3, 4, 0xd}, 5, 5);
    uint8_t other[sizeof(hello)];
    assert_int_not_equal(by_addr, by_cid);

    assert_int_equal(socket_of(hello, sizeof(hello)), by_addr + 1);
    assert_int_equal(socket_of(hello, 14), by_addr + 1);
    assert_int_equal(socket_of(hello, 13), by_addr);
    /* Of a later epoch, by either byte; another message; another content type. */
    for (size_t at = 0; at < 14; at++) {
        memcpy(other, hello, sizeof(hello));
        other[at] ^= 2;
        bool matters = at == 0 || at == 3 || at == 4 || at == 13;
        assert_int_equal(socket_of(other, sizeof(other)), by_addr + (matters ? 0 : 1));
    }
    assert_int_equal(socket_of(record_12, sizeof(record_12)), by_cid);
    assert_int_equal(socket_of(record_12, 16), by_cid);
    assert_int_equal(socket_of(record_12, 15), by_addr);
    assert_int_equal(socket_of(record_13, sizeof(record_13)), by_cid);
    assert_int_equal(socket_of(record_13, 6), by_cid);
    assert_int_equal(socket_of(record_13, 5), by_addr);
    assert_int_equal(socket_of(record_13, 0), by_addr);
    /* The flags below the C bit do not matter. */
    for (unsigned flags = 0; flags < 16; flags++) {
        memcpy(other, record_13, sizeof(record_13));
        other[0] = (uint8_t)(0x30 | flags);
        assert_int_equal(socket_of(other, sizeof(record_13)), by_cid);
        other[0] = (uint8_t)(0x20 | flags);
        assert_int_equal(socket_of(other, sizeof(record_13)), by_addr);
    }
}

static void test_without_cids_and_hello_sockets(void **state)
{
    (void)state;
    struct steering plain = {.worker_count = 5, .is_v4 = true};
    struct addr from = udp_fixture_parse("192.0.2.7:5683");
    uint32_t by_addr = worker_of_addr(&from, 5);
    assert_int_equal(steering_socket_of(&plain, &from, hello, sizeof(hello)), by_addr);
    assert_int_equal(steering_socket_of(&plain, &from, record_12, sizeof(record_12)), by_addr);
    assert_int_equal(steering_socket_of(&plain, &from, record_13, sizeof(record_13)), by_addr);
}

static void test_addresses_spread(void **state)
{
    (void)state;
    /* Devices behind one NAT differ in the port alone; others only in the last address byte;
     * those that a test bench has numbered in both. */
    for (uint32_t workers = 1; workers <= 16; workers++) {
        uint32_t by_port[16] = {0}, by_ip[16] = {0}, by_both[16] = {0};
        struct addr addr = udp_fixture_parse("192.0.2.1:1024");
        for (uint32_t i = 0; i < 16000; i++) {
            addr.port = (uint16_t)(1024 + i);
            by_port[worker_of_addr(&addr, workers)]++;
        }
        addr.port = 5684;
        for (uint32_t i = 0; i < 16000; i++) {
            addr.ip[2] = (uint8_t)(i >> 8);
            addr.ip[3] = (uint8_t)i;
            by_ip[worker_of_addr(&addr, workers)]++;
        }
        for (uint32_t i = 0; i < 16000; i++) {
            addr.ip[2] = (uint8_t)(i >> 8);
            addr.ip[3] = (uint8_t)i;
            addr.port = (uint16_t)(1024 + i);
            by_both[worker_of_addr(&addr, workers)]++;
        }
        for (uint32_t w = 0; w < workers; w++) {
            assert_in_range(by_port[w], 16000 / workers * 8 / 10, 16000 / workers * 12 / 10 + 1);
            assert_in_range(by_ip[w], 16000 / workers * 8 / 10, 16000 / workers * 12 / 10 + 1);
            assert_in_range(by_both[w], 16000 / workers * 8 / 10, 16000 / workers * 12 / 10 + 1);
        }
    }
}

static void test_a_bucket_is_the_first_12_bits_of_a_cid(void **state)
{
    (void)state;
    uint64_t random = 1;
    assert_int_equal(steering_bucket_of_cid((const uint8_t[]){0xab, 0xcd}, 2), 0xabc);
    for (uint32_t bucket = 0; bucket < STEERING_BUCKETS; bucket++) {
        uint8_t cid[CID_MAX], before[CID_MAX];
        for (size_t i = 0; i < CID_MAX; i++)
            before[i] = cid[i] = (uint8_t)next_random(&random);
        steering_put_bucket(cid, bucket);
        assert_int_equal(steering_bucket_of_cid(cid, CID_MAX), bucket);
        assert_int_equal(cid[1] & 0x0f, before[1] & 0x0f);
        assert_memory_equal(cid + 2, before + 2, CID_MAX - 2);
    }
}

static void test_a_bucket_is_the_last_12_bits_of_a_backend_address(void **state)
{
    (void)state;
    struct addr to = udp_fixture_parse("127.17.171.205:1");
    assert_int_equal(steering_bucket_of_backend(&to), 0xbcd);
}

/* A device stays with the worker that it has come to, also if its address is another one's. */
static void test_every_worker_finds_a_bucket_of_its_own(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 5, 8, 255, 256, STEERING_BUCKETS};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        for (uint32_t bucket = 0; bucket < STEERING_BUCKETS; bucket++) {
            uint32_t worker = bucket % counts[n], other = bucket * 7 % counts[n];
            assert_int_equal(steering_worker_of_bucket(bucket, counts[n]), worker);
            assert_int_equal(steering_bucket_of_worker(bucket, worker, counts[n]), bucket);
            uint32_t own = steering_bucket_of_worker(bucket, other, counts[n]);
            assert_true(own < STEERING_BUCKETS);
            assert_int_equal(steering_worker_of_bucket(own, counts[n]), other);
        }
    }
}

/* ---- the program ---------------------------------------------------------------------------- */

struct group {
    struct steering steering;
    struct udp_socket sockets[SOCKETS_MAX];
    uint32_t socket_count;
    int senders[SENDERS];
    struct addr sources[SENDERS];
    uint64_t random;
    uint32_t away_from_addr, to_hello; /* datagrams seen so far */
};

static struct addr random_source(int family, uint64_t *random)
{
    struct addr addr = {.family = (uint16_t)family};
    size_t len = family == AF_INET ? 4 : 16;
    for (size_t i = 0; i < len; i++)
        addr.ip[i] = (uint8_t)next_random(random);
    if (family == AF_INET)
        addr.ip[0] = 127;
    else
        memcpy(addr.ip, (uint8_t[]){0x20, 0x01, 0x0d, 0xb8}, 4); /* documentation addresses */
    return addr;
}

static void open_group(struct group *g, const char *listen, uint32_t worker_count)
{
    struct err err = {0};
    *g = (struct group){.random = worker_count, .socket_count = 2 * worker_count};
    udp_fixture_open_listener(&g->sockets[0], listen);
    int family = g->sockets[0].bound.family;
    g->steering = (struct steering){.worker_count = worker_count, .is_v4 = family == AF_INET};
    for (uint32_t i = 1; i < g->socket_count; i++) {
        if (!udp_open_listener(&g->sockets[i], &g->sockets[0].bound, &err))
            fail_msg("%s", err.text);
    }
    for (int i = 0; i < SENDERS; i++) {
        g->senders[i] = udp_fixture_open_plain(random_source(family, &g->random));
        g->sources[i] = udp_fixture_name_of(g->senders[i]);
    }
}

static void close_group(struct group *g)
{
    for (uint32_t i = 0; i < g->socket_count; i++)
        udp_close(&g->sockets[i]);
    for (int i = 0; i < SENDERS; i++)
        close(g->senders[i]);
}

static void attach(struct group *g, uint32_t cid_length, bool has_hello_sockets)
{
    struct err err = {0};
    g->steering.cid_length = cid_length;
    g->steering.has_hello_sockets = has_hello_sockets;
    if (!steering_attach(g->sockets[0].fd, &g->steering, &err))
        fail_msg("%s", err.text);
}

/* Mostly records that the rule is about, of mostly critical lengths. */
static size_t make_datagram(uint8_t *data, size_t size, uint32_t cid_length, uint64_t *random)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)next_random(random);
    size_t starts[] = {0, 1 + cid_length, 11 + cid_length, 14};
    size_t len = starts[next_random(random) % 4] + next_random(random) % 3;
    switch (next_random(random) % 8) {
    case 0: break;
    case 1: data[0] = 25; break;
    case 2: data[0] = (uint8_t)(0x30 | (data[0] & 0x0f)); break;
    case 3: len = next_random(random) % 15; /* fall through */
    default:
        memcpy(data, hello, 14);
        if (next_random(random) % 4 == 0)
            data[next_random(random) % 14] ^= (uint8_t)next_random(random);
    }
    return next_random(random) % 16 == 0 ? size : len;
}

static void send_and_check(struct group *g, struct udp_in *in)
{
    uint8_t data[64];
    size_t len = make_datagram(data, sizeof(data), g->steering.cid_length, &g->random);
    uint32_t sender = next_random(&g->random) % SENDERS;
    const struct addr *source = &g->sources[sender];
    uint32_t expected = steering_socket_of(&g->steering, source, data, len);
    assert_true(expected < g->socket_count);
    g->away_from_addr += expected >> g->steering.has_hello_sockets !=
                         worker_of_addr(source, g->steering.worker_count);
    g->to_hello += g->steering.has_hello_sockets && expected % 2 == 1;
    udp_fixture_send_plain(g->senders[sender], &g->sockets[0].bound, data, len);
    udp_fixture_receive(&g->sockets[expected], in);
    assert_int_equal(in->count, 1);
    assert_true(addr_equal(&in->at[0].from, source));
    assert_int_equal(in->at[0].len, len);
    assert_memory_equal(in->at[0].data, data, len);
}

static const uint32_t worker_counts[] = {1, 2, 3, 5, WORKERS_MAX};

static void assert_program_and_twin_agree(struct udp_fixture *f, const char *listen)
{
    enum { DATAGRAMS = 50 };
    for (size_t n = 0; n < sizeof(worker_counts) / sizeof(worker_counts[0]); n++) {
        struct group g;
        uint32_t workers = worker_counts[n];
        open_group(&g, listen, workers);
        for (uint32_t cid_length = 0; cid_length <= CID_MAX;
             cid_length += cid_length == 0 ? STEERING_CID_MIN : 1) {
            for (int has_hello_sockets = 0; has_hello_sockets <= 1; has_hello_sockets++) {
                attach(&g, cid_length, has_hello_sockets);
                for (int i = 0; i < DATAGRAMS; i++)
                    send_and_check(&g, &f->in);
            }
        }
        for (uint32_t i = 0; i < g.socket_count; i++)
            assert_false(udp_receive(&g.sockets[i], &f->in));
        assert_true(g.to_hello > 400);
        assert_true(workers == 1 || g.away_from_addr > 100);
        close_group(&g);
    }
}

static void test_ipv4(void **state)
{
    assert_program_and_twin_agree(*state, "127.0.0.1:1");
}

static void test_ipv6(void **state)
{
    assert_program_and_twin_agree(*state, "[::1]:1");
}

/* Up to 14 bytes, each length and each first byte that is looked at, from each source. */
static void test_short_datagrams(void **state)
{
    struct udp_fixture *f = *state;
    static const uint8_t firsts[] = {22, 25, 0x30, 0x3f, 0};
    struct group g;
    open_group(&g, "127.0.0.1:1", 3);
    attach(&g, 4, true);
    for (size_t len = 0; len <= 14; len++) {
        for (size_t i = 0; i < sizeof(firsts); i++) {
            uint8_t data[16] = {[13] = 1};
            data[0] = firsts[i];
            for (int s = 0; s < SENDERS; s++) {
                uint32_t expected = steering_socket_of(&g.steering, &g.sources[s], data, len);
                udp_fixture_send_plain(g.senders[s], &g.sockets[0].bound, data, len);
                udp_fixture_receive(&g.sockets[expected], &f->in);
                assert_int_equal(f->in.count, 1);
                assert_int_equal(f->in.at[0].len, len);
            }
        }
    }
    close_group(&g);
}

/* IPv4 options and up to two IPv6 extension headers move the port; routers put some there. */
static void test_headers_of_other_length(void **state)
{
    struct udp_fixture *f = *state;
    uint8_t options_v4[8] = {1, 1, 1, 1, 1, 1, 1, 0}; /* no operation; end */
    uint8_t options_v6[16] = {0, 1, 0x1e, 12};        /* of 16 bytes: an option to skip */
    uint8_t short_v6[8] = {0, 0, 1, 4};               /* of 8 bytes */
    for (int round = 0; round < 4; round++) {
        struct group g;
        bool is_v4 = round == 0;
        open_group(&g, is_v4 ? "127.0.0.1:1" : "[::1]:1", WORKERS_MAX);
        attach(&g, 8, true);
        for (int s = 0; s < SENDERS; s++) {
            int fd = g.senders[s], failed = 0;
            if (is_v4)
                failed |= setsockopt(fd, IPPROTO_IP, IP_OPTIONS, options_v4, sizeof(options_v4));
            if (round & 1 && !is_v4)
                failed |=
                    setsockopt(fd, IPPROTO_IPV6, IPV6_HOPOPTS, options_v6, sizeof(options_v6));
            if (round & 2)
                failed |= setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, short_v6, sizeof(short_v6));
            if (failed != 0 && errno == EPERM) {
                close_group(&g);
                skip_because("IPv6 extension headers need root");
            }
            assert_int_equal(failed, 0);
            for (int i = 0; i < 2; i++) {
                uint32_t expected =
                    steering_socket_of(&g.steering, &g.sources[s], hello, sizeof(hello) - 4 * i);
                udp_fixture_send_plain(fd, &g.sockets[0].bound, hello, sizeof(hello) - 4 * i);
                udp_fixture_receive(&g.sockets[expected], &f->in);
                assert_int_equal(f->in.count, 1);
                assert_true(addr_equal(&f->in.at[0].from, &g.sources[s]));
            }
        }
        close_group(&g);
    }
}

/* Datagrams that arrive in fragments are steered by the whole. */
static void test_fragments(void **state)
{
    struct udp_fixture *f = *state;
    static const char *const listens[] = {"127.0.0.1:1", "[::1]:1"};
    static uint8_t large[60000];
    memcpy(large, record_12, sizeof(record_12));
    for (int i = 0; i < 2; i++) {
        struct group g;
        open_group(&g, listens[i], WORKERS_MAX);
        attach(&g, 5, true);
        for (int s = 0; s < SENDERS; s++) {
            int mtu = 1280;
            large[12] = (uint8_t)s;
            if (i == 1)
                assert_int_equal(
                    setsockopt(g.senders[s], IPPROTO_IPV6, IPV6_MTU, &mtu, sizeof(mtu)), 0);
            uint32_t expected =
                steering_socket_of(&g.steering, &g.sources[s], large, sizeof(large));
            udp_fixture_send_plain(g.senders[s], &g.sockets[0].bound, large, sizeof(large));
            udp_fixture_receive(&g.sockets[expected], &f->in);
            assert_int_equal(f->in.count, 1);
            assert_int_equal(f->in.at[0].len, sizeof(large));
        }
        close_group(&g);
    }
}

/* What backends send: to addresses of all buckets, from any port. The sockets are as a gate's. */
static void test_backend_addresses(void **state)
{
    enum { DATAGRAMS = 1000 };
    struct udp_fixture *f = *state;
    struct err err = {0};
    uint64_t random = 5;
    int sender = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    for (size_t n = 1; n < sizeof(worker_counts) / sizeof(worker_counts[0]); n++) {
        struct udp_socket sockets[WORKERS_MAX];
        uint32_t workers = worker_counts[n], seen[WORKERS_MAX] = {0};
        for (uint32_t w = 0; w < workers; w++) {
            uint16_t port = w == 0 ? 0 : sockets[0].bound.port;
            if (!udp_open_backend(&sockets[w], port, w == 0, &err))
                fail_msg("%s", err.text);
        }
        if (!steering_attach_backend(sockets[0].fd, workers, &err))
            fail_msg("%s", err.text);
        for (int i = 0; i < DATAGRAMS; i++) {
            struct addr to = random_source(AF_INET, &random);
            to.ip[1] |= 1; /* not in 127.0.0.0/16 */
            to.port = sockets[0].bound.port;
            uint32_t worker = steering_worker_of_bucket(steering_bucket_of_backend(&to), workers);
            seen[worker]++;
            udp_fixture_send_plain(sender, &to, "late", i % 5);
            udp_fixture_receive(&sockets[worker], &f->in);
            assert_int_equal(f->in.count, 1);
            assert_true(addr_equal(&f->in.at[0].to, &to));
        }
        for (uint32_t w = 0; w < workers; w++) {
            assert_in_range(seen[w], DATAGRAMS / workers / 2, DATAGRAMS / workers * 2);
            udp_close(&sockets[w]);
        }
    }
    close(sender);
}

static void test_is_possible(void **state)
{
    (void)state;
    struct err err = {0};
    if (!steering_is_possible(&err))
        fail_msg("%s", err.text);
    assert_false(steering_attach(-1, &rule, &err));
    assert_non_null(strstr(err.text, "steering"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_rule),
        cmocka_unit_test(test_without_cids_and_hello_sockets),
        cmocka_unit_test(test_addresses_spread),
        cmocka_unit_test(test_a_bucket_is_the_first_12_bits_of_a_cid),
        cmocka_unit_test(test_a_bucket_is_the_last_12_bits_of_a_backend_address),
        cmocka_unit_test(test_every_worker_finds_a_bucket_of_its_own),
        WITH_BUFFERS(test_ipv4),
        WITH_BUFFERS(test_ipv6),
        WITH_BUFFERS(test_short_datagrams),
        WITH_BUFFERS(test_headers_of_other_length),
        WITH_BUFFERS(test_fragments),
        WITH_BUFFERS(test_backend_addresses),
        cmocka_unit_test(test_is_possible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
