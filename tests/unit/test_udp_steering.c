/* The steering program in the kernel and its twin in C name the same worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "udp_fixture.h"

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

static void assert_steered(struct udp_fixture *f, const char *listen, uint32_t worker_count)
{
    enum { SENDERS = 300 };
    struct udp_socket workers[4];
    struct err err = {""};
    udp_fixture_open_listener(&workers[0], listen);
    for (uint32_t w = 1; w < worker_count; w++) {
        if (!udp_open_listener(&workers[w], &workers[0].bound, &err))
            fail_msg("%s", err.text);
    }
    if (!udp_steer(&workers[0], worker_count, &err))
        fail_msg("%s", err.text);

    uint64_t random = worker_count;
    uint32_t by_worker[4] = {0};
    for (int i = 0; i < SENDERS; i++) {
        int fd = udp_fixture_open_plain(random_source(workers[0].bound.family, &random));
        struct addr from = udp_fixture_name_of(fd);
        uint32_t expected = udp_worker_of(&from, worker_count);
        assert_true(expected < worker_count);
        /* Whatever it says, and each time. */
        udp_fixture_send_plain(fd, &workers[0].bound, &random, (size_t)i % 8);
        udp_fixture_send_plain(fd, &workers[0].bound, &random, 8);
        close(fd);
        for (uint32_t w = 0; w < worker_count; w++) {
            if (w != expected) {
                assert_false(udp_receive(&workers[w], &f->in));
                continue;
            }
            udp_fixture_receive(&workers[w], &f->in);
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
        struct addr addr = udp_fixture_parse("192.0.2.1:1024");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BUFFERS(test_steering_ipv4),
        WITH_BUFFERS(test_steering_ipv6),
        cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_can_steer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
