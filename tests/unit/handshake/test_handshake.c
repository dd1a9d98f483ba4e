/* handshake.c: one handshake an address, its deadlines, its ends, and the instant at which the gate
 * has the keys. What devices see of it is in worker/datapath_*.c. Most objects of the library are
 * real here but have not seen a datagram. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_log.h"
#include "fakes/fake_system.h"
#include "fakes/fake_udp.h"
#include "gate/client_kinds.h"
#include "gate/dtls_pair.h"
#include "gate/gate_keys.h"
#include "gate/gate_wolfssl.h"
#include "handshake/handshake.h"
#include "net/steering.h"

enum { START_MS = 1000000, PATIENCE_MS = 10000, GIVE_UP_MS = 10000 };

struct fixture {
    struct dtls_pair *pair; /* for its generation and cookies */
    const struct listener *listener;
    struct counters by_listener[1];
    struct worker_counters counters;
    _Atomic uint64_t last_number;
    struct slabs slabs;
    struct udp_out to_client;
    struct udp_socket socket;
    struct handshakes all;
    struct handshake_step step;
    struct addr home;
    uint64_t now_ms;
    uint32_t delivered; /* packets of the network that the client has got */
    bool is_cid_taken;
    struct datagrams to_gate;
};

static bool is_cid_taken(void *context, const struct listener *listener, const uint8_t *cid)
{
    struct fixture *f = context;
    (void)listener;
    (void)cid;
    return f->is_cid_taken;
}

static struct addr address(unsigned index)
{
    return (struct addr){
        .ip = {10, 0, (uint8_t)(index >> 8), (uint8_t)index}, .port = 5000, .family = AF_INET};
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    const struct addr bound = {.ip = {192, 0, 2, 1}, .port = 5684, .family = AF_INET};
    fake_udp_reset();
    fake_network_reset(0);
    fake_log_reset();
    if (f == NULL || dtls_pair_set_up((void **)&f->pair) != 0 || !udp_out_init(&f->to_client) ||
        !udp_open_listener(&f->socket, &bound, &err))
        return -1;
    f->listener = &f->pair->generation->listeners[0];
    f->counters = (struct worker_counters){.by_listener = f->by_listener, .listener_count = 1};
    f->home = address(1);
    f->now_ms = START_MS;
    slabs_init(&f->slabs);
    const struct handshakes_settings settings = {
        .first_number = 1,
        .last_number = &f->last_number,
        .worker_count = 1,
        .listener_count = 2,
        .to_client = &f->to_client,
        .slabs = &f->slabs,
        .counters = &f->counters,
        .is_cid_taken = is_cid_taken,
        .context = f,
    };
    *state = f;
    return handshakes_init(&f->all, &settings, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    void *pair = f->pair;
    handshakes_deinit(&f->all);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
    taken_wipe(&f->step.taken);
    dtls_pair_empty(&f->to_gate);
    dtls_pair_tear_down(&pair);
    slabs_deinit(&f->slabs);
    udp_out_deinit(&f->to_client);
    udp_close(&f->socket);
    free(f);
    fake_log_reset();
    fake_udp_reset();
    fake_network_reset(0);
    return 0;
}

static uint64_t results(const struct fixture *f, enum handshake_result result)
{
    uint64_t sum = 0;
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++)
            sum += counter_get(&f->by_listener[0].handshakes[v][c][result]);
    return sum;
}

static struct arrival arrive(const struct fixture *f, struct udp_datagram *datagram,
                             const struct addr *from, const uint8_t *data, size_t len)
{
    *datagram = (struct udp_datagram){
        .from = *from, .to = f->socket.bound, .data = data, .len = (uint32_t)len};
    return (struct arrival){.listener = f->listener,
                            .socket = &f->socket,
                            .datagram = datagram,
                            .kind = classify(data, len, f->listener->config->cid_bytes),
                            .now_ms = f->now_ms};
}

/* With an object that has not seen a datagram. */
static struct handshake *begin_at(struct fixture *f, const struct addr *from)
{
    struct udp_datagram d;
    struct cookie_result cookie = {.verdict = COOKIE_GOOD, .dtls = dtls_new(f->listener)};
    const struct arrival arrival = arrive(f, &d, from, NULL, 0);
    assert_non_null(cookie.dtls);
    struct handshake *h = handshake_begin(&f->all, &cookie, &arrival, &f->step);
    assert_non_null(h);
    assert_null(cookie.dtls); /* taken */
    assert_int_equal(f->step.outcome, CLIENT_handshake_begun);
    assert_false(f->step.is_complete);
    return h;
}

static void wait(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    handshakes_on_time(&f->all, f->now_ms);
    handshakes_reap(&f->all);
    udp_out_flush(&f->to_client);
}

/* ---- one an address, and how it ends -------------------------------------------------------- */

static void an_address_has_one_handshake(void **state)
{
    struct fixture *f = *state;
    const struct addr other = address(2);
    struct handshake *first = begin_at(f, &f->home);
    assert_ptr_equal(handshakes_find(&f->all, f->listener, &f->home), first);
    assert_null(handshakes_find(&f->all, f->listener, &other));
    struct handshake *second = begin_at(f, &f->home);
    assert_int_equal(first->state, HANDSHAKE_ENDED);
    assert_int_equal(results(f, HANDSHAKE_superseded), 1);
    assert_ptr_equal(handshakes_find(&f->all, f->listener, &f->home), second);
    begin_at(f, &other);
    assert_int_equal(second->number, 2);
    assert_int_equal(handshakes_count_of(&f->all, f->listener), 2);
    assert_int_equal(counter_get(&f->by_listener[0].handshakes_in_progress), 2);
    handshakes_reap(&f->all);
    handshakes_end_all(&f->all, f->now_ms);
    handshakes_reap(&f->all);
    assert_int_equal(results(f, HANDSHAKE_shutdown), 2);
    assert_int_equal(handshakes_count_of(&f->all, f->listener), 0);
    assert_int_equal(counter_get(&f->by_listener[0].handshakes_in_progress), 0);
    assert_int_equal(handshakes_due_ms(&f->all), TIMERS_NONE);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
}

static void a_handshake_fails_for_a_reason_of_ours(void **state)
{
    struct fixture *f = *state;
    struct handshake *h = begin_at(f, &f->home);
    handshake_fail(&f->all, h, HANDSHAKE_superseded, "it gave way", f->now_ms);
    assert_int_equal(h->state, HANDSHAKE_ENDED);
    assert_null(handshakes_find(&f->all, f->listener, &f->home));
    assert_int_equal(results(f, HANDSHAKE_superseded), 1);
    assert_int_equal(fake_log_count("event=handshake_failed", "it gave way", NULL), 1);
}

/* Thousands of timers: room for them is made ahead, and all of them are kept. */
static void many_handshakes_time_out(void **state)
{
    enum { MANY = 2000 };
    struct fixture *f = *state;
    uint64_t timeout_ms = f->listener->config->handshake_timeout_ms;
    for (unsigned i = 0; i < MANY; i++) {
        struct addr from = address(i);
        begin_at(f, &from);
        f->now_ms++;
    }
    assert_int_equal(handshakes_due_ms(&f->all), f->now_ms - MANY + timeout_ms);
    wait(f, timeout_ms - MANY - 1);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(handshakes_count_of(&f->all, f->listener), MANY - i);
        wait(f, 1);
    }
    assert_int_equal(handshakes_count_of(&f->all, f->listener), 0);
    assert_int_equal(results(f, HANDSHAKE_timeout), MANY);
}

/* The oldest gives way, but every device has its time. */
static void a_slow_one_is_found_when_it_had_its_time(void **state)
{
    struct fixture *f = *state;
    const struct addr other = address(2);
    assert_null(handshakes_find_slow(&f->all, f->listener, f->now_ms));
    struct handshake *oldest = begin_at(f, &f->home);
    f->now_ms++;
    begin_at(f, &other);
    f->now_ms--;
    assert_null(handshakes_find_slow(&f->all, f->listener, f->now_ms + PATIENCE_MS - 1));
    assert_ptr_equal(handshakes_find_slow(&f->all, f->listener, f->now_ms + PATIENCE_MS), oldest);
    struct listener second = {.number = 1};
    assert_null(handshakes_find_slow(&f->all, &second, f->now_ms + PATIENCE_MS));
}

/* ---- alerts in plaintext, which anybody can send --------------------------------------------- */

static enum client_outcome receive(struct fixture *f, struct handshake *h, const uint8_t *data,
                                   size_t len)
{
    struct udp_datagram d;
    uint8_t *copy = fake_network_copy(data, len);
    const struct arrival arrival = arrive(f, &d, &f->home, copy, len);
    handshake_receive(&f->all, h, &arrival, len, &f->step);
    udp_out_flush(&f->to_client);
    free(copy);
    return f->step.outcome;
}

static const uint8_t fatal[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 48};
static const uint8_t warning[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 90};

static void an_alert_in_plaintext_is_believed_later(void **state)
{
    struct fixture *f = *state;
    struct handshake *h = begin_at(f, &f->home);
    assert_int_equal(receive(f, h, warning, sizeof(warning)), CLIENT_handshake);
    assert_int_equal(h->state, HANDSHAKE_RUNNING);
    assert_int_equal(receive(f, h, fatal, sizeof(fatal)), CLIENT_handshake);
    assert_int_equal(h->state, HANDSHAKE_GIVEN_UP);
    assert_int_equal(fake_log_count("event=handshake_stalled", "detail=unknown_ca", NULL), 1);
    wait(f, GIVE_UP_MS - 1);
    assert_ptr_equal(handshakes_find(&f->all, f->listener, &f->home), h);
    wait(f, 1);
    assert_null(handshakes_find(&f->all, f->listener, &f->home));
    assert_int_equal(results(f, HANDSHAKE_client_alert), 1);
}

/* If the device goes on it was somebody else's. */
static void a_forged_alert_ends_nothing(void **state)
{
    struct fixture *f = *state;
    struct handshake *h = begin_at(f, &f->home);
    receive(f, h, fatal, sizeof(fatal));
    assert_int_equal(h->state, HANDSHAKE_GIVEN_UP);
    handshake_repeat(&f->all, h, f->now_ms);
    assert_int_equal(h->state, HANDSHAKE_RUNNING);
    wait(f, GIVE_UP_MS);
    assert_ptr_equal(handshakes_find(&f->all, f->listener, &f->home), h);
    assert_int_equal(results(f, HANDSHAKE_client_alert), 0);
}

/* ---- with a device --------------------------------------------------------------------------- */

static void client_sends(void *context, const uint8_t *datagram, size_t len)
{
    struct fixture *f = context;
    assert_true(f->to_gate.count < DTLS_PAIR_QUEUE_MAX);
    f->to_gate.at[f->to_gate.count++] =
        (struct client_message){fake_network_copy(datagram, len), len};
}

static struct client_message take_first(struct fixture *f)
{
    assert_true(f->to_gate.count != 0);
    struct client_message first = f->to_gate.at[0];
    memmove(f->to_gate.at, f->to_gate.at + 1, --f->to_gate.count * sizeof(first));
    return first;
}

/* What the gate has sent since the last call goes to the client. */
static void deliver(struct fixture *f)
{
    udp_out_flush(&f->to_client);
    for (; f->delivered < fake_network_captured(); f->delivered++) {
        const struct packet *packet = fake_network_packet(f->delivered);
        memory_client_receive(f->pair->client, packet->data, packet->len, 0);
    }
}

/* Until the gate's flight is there and the client's last one is in to_gate. */
static struct handshake *begin_with(struct fixture *f, const struct client_kind *kind)
{
    struct cookie_result cookie;
    struct udp_datagram d;
    memory_client_free(f->pair->client);
    f->pair->client = memory_client_new(kind, gate_keys(), client_sends, f);
    assert_non_null(f->pair->client);
    memory_client_connect(f->pair->client, 0);
    for (;;) {
        struct client_message hello = take_first(f);
        const struct arrival arrival = arrive(f, &d, &f->home, hello.data, hello.len);
        cookie = cookie_check(&f->pair->front, &f->home, hello.data, arrival.kind.usable_len,
                              arrival.kind.has_cookie, f->now_ms);
        if (cookie.verdict == COOKIE_ANSWER) {
            memory_client_receive(f->pair->client, cookie.reply, cookie.reply_len, 0);
            free(hello.data);
            continue;
        }
        assert_int_equal(cookie.verdict, COOKIE_GOOD);
        struct handshake *h = handshake_begin(&f->all, &cookie, &arrival, &f->step);
        assert_non_null(h);
        free(hello.data);
        deliver(f);
        return h;
    }
}

static void feed_all_but_last(struct fixture *f, struct handshake *h)
{
    while (f->to_gate.count > 1) {
        struct client_message datagram = take_first(f);
        assert_int_equal(receive(f, h, datagram.data, datagram.len), CLIENT_handshake);
        free(datagram.data);
    }
}

/* T3. The gate has keys and knows who it is, the library's object is gone, and what stands behind
 * the Finished is not used up. */
static void the_gate_has_the_keys(void **state)
{
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.3 psk", "1.2 psk ccm-8, cid 4"};
    struct fixture *f = *state;
    uint8_t digest[CREDENTIAL_DIGEST_BYTES];
    assert_true(credential_digest_psk((struct der){(const uint8_t *)IDENTITY, strlen(IDENTITY)},
                                      (struct der){(const uint8_t *)KEY, strlen(KEY)}, digest));
    for (int i = 0; i < 3; i++) {
        const struct client_kind *kind = gate_kind(kinds[i]);
        uint8_t datagram[2048];
        static const uint8_t more[13 + 24] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 24};
        struct handshake *h = begin_with(f, kind);
        feed_all_but_last(f, h);
        struct client_message last = take_first(f);
        memcpy(datagram, last.data, last.len);
        memcpy(datagram + last.len, more, sizeof(more));
        uint64_t number = h->number;
        assert_int_equal(receive(f, h, datagram, last.len + sizeof(more)), CLIENT_established);
        assert_true(f->step.is_complete);
        assert_int_equal(f->step.used_bytes, last.len);
        assert_int_equal(h->state, HANDSHAKE_COMPLETE);
        assert_null(h->dtls);
        assert_int_equal(h->who.version, kind->version);
        assert_int_equal(h->who.credential, CREDENTIAL_PSK);
        assert_false(h->who.is_resumed);
        assert_int_equal(h->who.identity_len, 7);
        assert_memory_equal(h->who.identity, "device1", 7);
        assert_int_equal(h->who.digests.count, 1);
        assert_memory_equal(h->who.digests.at[0], digest, sizeof(digest));
        assert_int_equal(f->step.taken.version, kind->version);
        assert_int_equal(f->step.taken.client_cid_len, kind->cid_bytes);
        if (kind->has_cid) {
            const uint8_t *cid = f->step.taken.cid;
            assert_int_equal(f->step.taken.cid_len, f->listener->config->cid_bytes);
            assert_ptr_equal(handshakes_find_cid(&f->all, f->listener, cid), h);
            assert_int_equal(steering_bucket_of_cid(cid, f->step.taken.cid_len),
                             steering_bucket_of_addr(&f->home));
        }
        handshake_succeed(&f->all, h, f->now_ms);
        assert_int_equal(h->number, number);
        assert_null(handshakes_find(&f->all, f->listener, &f->home));
        assert_int_equal(handshake_table_count_cid(&f->all.table), 0);
        handshakes_reap(&f->all);
        assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
        assert_int_equal(results(f, HANDSHAKE_established), i + 1);
        free(last.data);
    }
}

/* A complete one that the gate cannot make a session of fails like others. */
static void a_complete_handshake_may_fail(void **state)
{
    struct fixture *f = *state;
    struct handshake *h = begin_with(f, gate_kind("1.3 psk"));
    feed_all_but_last(f, h);
    struct client_message last = take_first(f);
    assert_int_equal(receive(f, h, last.data, last.len), CLIENT_established);
    handshake_fail(&f->all, h, HANDSHAKE_no_backend_address, "", f->now_ms);
    assert_int_equal(counter_get(&f->by_listener[0].handshakes[VERSION_1_3][CREDENTIAL_PSK]
                                                              [HANDSHAKE_no_backend_address]),
                     1);
    assert_int_equal(handshakes_count_of(&f->all, f->listener), 0);
    free(last.data);
}

/* T2. The newest datagram of epoch 3 that comes before the Finished is kept, and shows that our
 * flight may have been lost: it is repeated, four times a second at most. */
static void early_data_is_kept(void **state)
{
    struct fixture *f = *state;
    struct handshake *h = begin_with(f, gate_kind("1.3 psk"));
    feed_all_but_last(f, h);
    struct client_message last = take_first(f);
    for (int i = 0; i < 3; i++) {
        f->now_ms += 100;
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_true(memory_client_send(f->pair->client, &"early data"[i], 10 - (size_t)i));
        struct client_message data = take_first(f);
        assert_int_equal(receive(f, h, data.data, data.len), CLIENT_handshake);
        assert_int_equal(h->early_len, data.len);
        assert_memory_equal(h->early, data.data, data.len);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL) != before, i == 2);
        free(data.data);
    }
    assert_int_equal(receive(f, h, last.data, last.len), CLIENT_established);
    assert_int_not_equal(h->early_len, 0); /* it is for the session */
    handshake_succeed(&f->all, h, f->now_ms);
    handshakes_reap(&f->all);
    assert_int_equal(slabs_bytes_taken(&f->slabs), 0);
    free(last.data);
}

/* A listener's connection IDs are all in use: the device gets none. */
static void without_a_free_connection_id_there_is_none(void **state)
{
    struct fixture *f = *state;
    f->is_cid_taken = true;
    struct handshake *h = begin_with(f, gate_kind("1.2 psk ccm-8, cid 4"));
    assert_int_equal(h->cid_entry.cid_len, 0);
}

/* The library keeps fragments that it cannot use yet; there is an end to it. */
static void a_device_that_never_comes_to_an_end(void **state)
{
    struct fixture *f = *state;
    static uint8_t datagram[1400];
    struct handshake *h = begin_with(f, gate_kind("1.2 psk ccm-8"));
    /* A fragment of a message far ahead of its turn. */
    static const uint8_t header[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0,    0, 0, 99, 0x05, 0x6b,
                                     16, 0,    0x20, 0, 0, 9, 0, 0x00, 0, 0, 5,  0x5f};
    memcpy(datagram, header, sizeof(header));
    uint32_t count = 0;
    while (h->state != HANDSHAKE_ENDED) {
        datagram[10]++;
        receive(f, h, datagram, sizeof(datagram));
        assert_true(++count <= 128 * 1024 / sizeof(datagram) + 1);
    }
    assert_int_equal(f->step.outcome, CLIENT_handshake_failed);
    assert_int_equal(results(f, HANDSHAKE_protocol_error), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_address_has_one_handshake),
        TEST(a_handshake_fails_for_a_reason_of_ours),
        TEST(many_handshakes_time_out),
        TEST(a_slow_one_is_found_when_it_had_its_time),
        TEST(an_alert_in_plaintext_is_believed_later),
        TEST(a_forged_alert_ends_nothing),
        TEST(the_gate_has_the_keys),
        TEST(a_complete_handshake_may_fail),
        TEST(early_data_is_kept),
        TEST(without_a_free_connection_id_there_is_none),
        TEST(a_device_that_never_comes_to_an_end),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
