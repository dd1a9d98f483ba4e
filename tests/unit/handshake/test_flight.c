/* flight.c: what is kept of a flight, and when it is sent again. How flights look to devices is in
 * worker/datapath_flights.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/timers.h"
#include "fakes/fake_system.h"
#include "fakes/fake_udp.h"
#include "gate/client_kinds.h"
#include "gate/dtls_pair.h"
#include "gate/gate_wolfssl.h"
#include "handshake/flight.h"

enum { START_MS = 100000, HEADER = 13, EPOCH_AT = 3, NUMBER_AT = 7, LENGTH_AT = 11 };

struct fixture {
    struct dtls_pair *pair;
    struct slabs slabs;
    struct log_limiter limiter;
    struct udp_out to_client;
    struct udp_socket socket;
    struct flight flight;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    const struct addr bound = {.ip = {192, 0, 2, 1}, .port = 5684, .family = AF_INET};
    fake_udp_reset();
    fake_network_reset(0);
    if (f == NULL || dtls_pair_set_up((void **)&f->pair) != 0 || !udp_out_init(&f->to_client) ||
        !udp_open_listener(&f->socket, &bound, &err))
        return -1;
    slabs_init(&f->slabs);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    void *pair = f->pair;
    flight_deinit(&f->flight);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
    slabs_deinit(&f->slabs);
    dtls_pair_tear_down(&pair);
    udp_out_deinit(&f->to_client);
    udp_close(&f->socket);
    free(f);
    fake_udp_reset();
    fake_network_reset(0);
    return 0;
}

/* An object that waits for the answer to its flight; what it sends from now on is the flight's. */
static void begin(struct fixture *f, const struct client_kind *kind)
{
    flight_deinit(&f->flight);
    dtls_pair_meet_briefly(f->pair, kind);
    const struct flight_way way = {
        .dtls = f->pair->dtls,
        .listener = &f->pair->generation->listeners[0],
        .to_client = &f->to_client,
        .socket = &f->socket,
        .client = {.ip = {198, 51, 100, 1}, .port = 5000, .family = AF_INET},
        .local = f->socket.bound,
        .slabs = &f->slabs,
        .limiter = &f->limiter,
    };
    flight_init(&f->flight, &way);
    f->flight.now_ms = START_MS;
}

/* As if the library sent it. */
static void send_record(struct fixture *f, uint16_t epoch, uint32_t number, size_t len)
{
    uint8_t record[2000] = {22, 0xfe, 0xfd};
    bytes_put16(record + EPOCH_AT, epoch);
    bytes_put32(record + NUMBER_AT, number);
    bytes_put16(record + LENGTH_AT, (uint16_t)(len - HEADER));
    memset(record + HEADER, 14, len - HEADER);
    f->pair->dtls->send(f->pair->dtls->owner, record, len);
}

static void feed(struct fixture *f, uint64_t now_ms)
{
    static const uint8_t datagram[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 16};
    flight_on_feed(&f->flight, datagram, sizeof(datagram), now_ms);
}

/* ---- what is kept --------------------------------------------------------------------------- */

static void assert_record(const struct flight_kept *kept, const uint8_t **record, size_t *len,
                          uint16_t epoch, uint32_t number, size_t expected_len)
{
    *record = flight_kept_next(kept, *record, len);
    assert_non_null(*record);
    assert_int_equal(*len, expected_len);
    assert_int_equal(bytes_get16(*record + EPOCH_AT), epoch);
    assert_int_equal(bytes_get32(*record + NUMBER_AT), number);
    assert_int_equal((*record)[expected_len - 1], 14);
}

static void assert_kept(const struct flight_kept *kept, uint32_t first, uint32_t second)
{
    const uint8_t *record = NULL;
    size_t len = 0;
    assert_record(kept, &record, &len, 0, first, 200);
    assert_record(kept, &record, &len, 0, second, 14);
    assert_record(kept, &record, &len, 1, 0, 53);
    assert_null(flight_kept_next(kept, record, &len));
}

/* T4: what is in plaintext gets numbers that were never used, what is protected stays. */
static void records_that_are_repeated_have_new_numbers(void **state)
{
    struct fixture *f = *state;
    begin(f, gate_kind("1.2 psk ccm-8"));
    feed(f, START_MS);
    send_record(f, 0, 5, 200);
    send_record(f, 0, 6, 14);
    send_record(f, 1, 0, 53);
    struct flight_kept kept = flight_take_kept(&f->flight);
    assert_kept(&kept, 5, 6);
    flight_kept_renumber(&kept);
    assert_kept(&kept, 7, 8);
    flight_kept_renumber(&kept);
    assert_kept(&kept, 9, 10);
    const struct flight_kept none = flight_take_kept(&f->flight);
    assert_int_equal(none.len, 0);
    size_t len = 0;
    assert_null(flight_kept_next(&none, NULL, &len));
    flight_kept_free(&kept, &f->slabs);
    flight_kept_free(&kept, &f->slabs); /* harmless */
    assert_int_equal(kept.len, 0);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
}

/* What was sent before the device's latest datagram is no last flight. */
static void a_datagram_of_the_device_ends_a_flight(void **state)
{
    struct fixture *f = *state;
    begin(f, gate_kind("1.2 psk ccm-8"));
    send_record(f, 0, 5, 200);
    feed(f, START_MS);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
    send_record(f, 1, 0, 53);
    struct flight_kept kept = flight_take_kept(&f->flight);
    size_t len = 0;
    const uint8_t *record = flight_kept_next(&kept, NULL, &len);
    assert_int_equal(len, 53);
    assert_null(flight_kept_next(&kept, record, &len));
    flight_kept_free(&kept, &f->slabs);
}

/* None that is the last of a handshake is as long. */
static void a_flight_that_is_too_long_is_not_kept(void **state)
{
    struct fixture *f = *state;
    begin(f, gate_kind("1.2 psk ccm-8"));
    for (uint32_t i = 0; i < 3; i++)
        send_record(f, 0, i, 1000);
    assert_int_equal(flight_take_kept(&f->flight).len, 0);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
}

/* DTLS 1.3 has ACKs instead. */
static void nothing_is_kept_of_1_3(void **state)
{
    struct fixture *f = *state;
    begin(f, gate_kind("1.3 psk"));
    send_record(f, 0, 5, 200);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
    assert_int_equal(flight_take_kept(&f->flight).len, 0);
}

/* It may be the alert that a device is told again: see refusal.h. */
static void the_last_record_is_remembered(void **state)
{
    struct fixture *f = *state;
    size_t len;
    begin(f, gate_kind("1.2 psk ccm-8"));
    assert_null(flight_last_record(&f->flight, &len));
    send_record(f, 0, 5, 200);
    assert_null(flight_last_record(&f->flight, &len)); /* too long to be one */
    send_record(f, 0, 6, 15);
    const uint8_t *record = flight_last_record(&f->flight, &len);
    assert_non_null(record);
    assert_int_equal(len, 15);
    assert_int_equal(bytes_get32(record + NUMBER_AT), 6);
    feed(f, START_MS);
    assert_null(flight_last_record(&f->flight, &len));
}

/* ---- when ----------------------------------------------------------------------------------- */

static uint32_t sent(struct fixture *f)
{
    udp_out_flush(&f->to_client);
    return fake_network_count(GATE_TO_CLIENT, NULL);
}

static void intervals_double_up_to_a_minute(void **state)
{
    struct fixture *f = *state;
    uint64_t now_ms = START_MS;
    uint64_t interval_ms = f->pair->generation->listeners[0].config->retransmit_ms;
    begin(f, gate_kind("1.2 psk ccm-8"));
    assert_int_equal(flight_due_ms(&f->flight), TIMERS_NONE);
    feed(f, now_ms);
    send_record(f, 0, 5, 200);
    flight_on_fed(&f->flight, false);
    for (int i = 0; i < 12; i++) {
        uint32_t before = sent(f);
        assert_int_equal(flight_due_ms(&f->flight), now_ms + interval_ms);
        assert_true(flight_on_time(&f->flight, now_ms + interval_ms - 1));
        assert_int_equal(sent(f), before);
        now_ms += interval_ms;
        fake_system_set_ms(now_ms);
        assert_true(flight_on_time(&f->flight, now_ms));
        assert_true(sent(f) > before);
        interval_ms = interval_ms * 2 < 60000 ? interval_ms * 2 : 60000;
    }
    /* An answer begins anew. */
    feed(f, now_ms);
    send_record(f, 0, 6, 200);
    flight_on_fed(&f->flight, false);
    assert_int_equal(flight_due_ms(&f->flight),
                     now_ms + f->pair->generation->listeners[0].config->retransmit_ms);
}

static void a_device_that_asks_is_answered_once_in_a_while(void **state)
{
    struct fixture *f = *state;
    begin(f, gate_kind("1.2 psk ccm-8"));
    assert_true(flight_repeat(&f->flight, START_MS)); /* nothing was sent that could be repeated */
    assert_int_equal(sent(f), 0);
    feed(f, START_MS);
    send_record(f, 0, 5, 200);
    flight_on_fed(&f->flight, false);
    uint32_t before = sent(f);
    assert_true(flight_repeat(&f->flight, START_MS + 249));
    assert_int_equal(sent(f), before);
    assert_true(flight_repeat(&f->flight, START_MS + 250));
    assert_true(sent(f) > before);
    before = sent(f);
    assert_true(flight_repeat(&f->flight, START_MS + 499));
    assert_int_equal(sent(f), before);
    assert_true(flight_repeat(&f->flight, START_MS + 500));
    assert_true(sent(f) > before);
}

/* The device seems to have given up; or somebody says so. */
static void a_flight_pauses(void **state)
{
    struct fixture *f = *state;
    begin(f, gate_kind("1.2 psk ccm-8"));
    feed(f, START_MS);
    send_record(f, 0, 5, 200);
    flight_on_fed(&f->flight, false);
    uint64_t interval_ms = flight_due_ms(&f->flight) - START_MS;
    flight_pause(&f->flight);
    assert_int_equal(flight_due_ms(&f->flight), TIMERS_NONE);
    uint32_t before = sent(f);
    assert_true(flight_on_time(&f->flight, START_MS + 600000));
    assert_int_equal(sent(f), before);
    flight_resume(&f->flight, START_MS + 600000);
    assert_int_equal(flight_due_ms(&f->flight), START_MS + 600000 + interval_ms);
}

static void datagrams_fit_their_path(void **state)
{
    struct fixture *f = *state;
    const struct listener *listener = &f->pair->generation->listeners[0];
    const struct addr v4 = {.family = AF_INET}, v6 = {.family = AF_INET6};
    struct listener_config *config = f->pair->generation->config->listeners;
    config->mtu_bytes = 1400;
    assert_int_equal(flight_datagram_max(listener, &v4), 1400);
    assert_int_equal(flight_datagram_max(listener, &v6), 1232);
    config->mtu_bytes = 600;
    assert_int_equal(flight_datagram_max(listener, &v4), 600);
    assert_int_equal(flight_datagram_max(listener, &v6), 600);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_that_are_repeated_have_new_numbers),
        TEST(a_datagram_of_the_device_ends_a_flight),
        TEST(a_flight_that_is_too_long_is_not_kept),
        TEST(nothing_is_kept_of_1_3),
        TEST(the_last_record_is_remembered),
        TEST(intervals_double_up_to_a_minute),
        TEST(a_device_that_asks_is_answered_once_in_a_while),
        TEST(a_flight_pauses),
        TEST(datagrams_fit_their_path),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("flight", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
