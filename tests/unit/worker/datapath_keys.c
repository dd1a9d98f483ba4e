/* Keys of DTLS 1.3 change while a session goes on, and wear out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "worker/datapath_tests.h"

enum {
    TYPE_APPLICATION_DATA = 23,
    RECORD_ROOM = 256,
    /* Of TLS_AES_128_CCM_8_SHA256; at half of it wolfSSL asks for new keys. */
    LIMIT = 64,
};

static const char *const kinds_1_3[] = {"1.3 psk", "1.3 psk ccm-8", "1.3 certificate"};

static struct device *used_session(struct gate *gate, const char *kind)
{
    static const struct record_limits limits = {.sealed = 1 << 20, .forged = LIMIT};
    gate_open(gate, USUAL);
    gate_set_record_limits(&gate->dp, &limits);
    struct device *device = gate_connected(gate, gate_kind(kind));
    gate_assert_echo(gate, device, "first data");
    gate_run(gate, 10000);
    return device;
}

/* An authentic record that has not arrived yet. */
static size_t seal(struct device *device, uint8_t *record)
{
    return memory_client_seal(device->client, TYPE_APPLICATION_DATA, "a record of the device", 22,
                              record, RECORD_ROOM);
}

static void forge(struct gate *gate, struct device *device, int count)
{
    uint8_t record[RECORD_ROOM];
    size_t len = seal(device, record);
    record[len - 1] ^= 1;
    for (int i = 0; i < count; i++)
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_record_discarded);
}

/* The device changes its keys, more often than there is room for epochs; what it sent before and
 * the network brings after is still good, once. */
static void device_may_change_its_keys(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < 3; i++) {
        struct device *device = used_session(gate, kinds_1_3[i]);
        for (int round = 0; round < 10; round++) {
            uint8_t record[RECORD_ROOM];
            gate_doing("%s, round %d", kinds_1_3[i], round);
            size_t len = seal(device, record);
            uint32_t answers = fake_network_count(GATE_TO_CLIENT, NULL);
            memory_client_update_keys(device->client, gate->now_ms);
            gate_run(gate, 10);
            /* An ACK, and as it was asked to, the gate has changed its own keys. */
            assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), answers + 2);
            gate_assert_echo(gate, device, "with new keys");
            assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_forwarded);
            assert_int_equal(gate_inject(gate, &device->addr, record, len),
                             CLIENT_record_discarded);
        }
        uint32_t captured = fake_network_captured();
        gate_run(gate, 120000);
        assert_int_equal(fake_network_captured(), captured);
    }
    gate_doing(NULL);
}

/* Whatever becomes of the datagrams that are about a change of keys. */
static void change_of_keys_survives_the_network(void **state)
{
    struct gate *gate = *state;
    for (int mishap = LOSE; mishap <= OVERTAKE; mishap++) {
        for (unsigned direction = CLIENT_TO_GATE; direction <= GATE_TO_CLIENT; direction++) {
            for (uint32_t k = 0; k < 4; k++) {
                gate_doing("mishap %d, direction %u, datagram %u", mishap, direction, k);
                struct device *device = used_session(gate, kinds_1_3[1]);
                fake_network_plan(mishap, direction, fake_network_count(direction, NULL) + k);
                memory_client_update_keys(device->client, gate->now_ms);
                gate_run(gate, 5);
                forge(gate, device, LIMIT / 2 + 1); /* the gate wants new keys as well */
                gate_run(gate, 30000);
                fake_network_plan_nothing();
                gate_assert_echo(gate, device, "afterwards");
                /* While its own change was unanswered it could not ask; then the next one counts.
                 */
                forge(gate, device, 1);
                gate_run(gate, 10);
                forge(gate, device, LIMIT - 2);
                gate_assert_echo(gate, device, "and again");
                gate_run(gate, 120000);
                uint32_t captured = fake_network_captured();
                gate_run(gate, 120000);
                assert_int_equal(fake_network_captured(), captured);
                assert_int_equal(gate_session_count(&gate->dp), 1);
            }
        }
    }
    gate_doing(NULL);
}

/* The gate asks for new keys, and that is lost; meanwhile data goes to and fro all the time. */
static void traffic_does_not_keep_keys_from_changing(void **state)
{
    struct gate *gate = *state;
    struct device *device = used_session(gate, "1.3 psk ccm-8");
    fake_network_plan(LOSE, GATE_TO_CLIENT, fake_network_count(GATE_TO_CLIENT, NULL));
    forge(gate, device, LIMIT / 2 + 1);
    gate_run(gate, 0);
    for (int i = 0; i < 20; i++) {
        gate_assert_echo(gate, device, "data");
        gate_run(gate, 500);
    }
    forge(gate, device, LIMIT - 1);
    gate_assert_echo(gate, device, "with other keys");
}

/* DTLS 1.3 with CCM-8, whose tag is short, must not go on with its keys after a number of forgeries
 * (RFC 9147 section 4.5.3). The gate asks for new keys at half of it; so the session survives any
 * number of them if the device answers in between. */
static void ccm_8_of_1_3_survives_as_many_forgeries_as_it_may(void **state)
{
    struct gate *gate = *state;
    uint8_t record[RECORD_ROOM];
    struct device *device = used_session(gate, "1.3 psk ccm-8");
    for (int round = 0; round < 5; round++) {
        size_t len = seal(device, record);
        record[len - 1] ^= 1;
        for (int i = 0; i < LIMIT - 1; i++)
            assert_int_equal(gate_inject(gate, &device->addr, record, len),
                             CLIENT_record_discarded);
        gate_run(gate, 10);
        gate_assert_echo(gate, device, "unharmed");
    }
    size_t len = seal(device, record);
    record[len - 1] ^= 1;
    struct addr source = gate_last_source();
    for (int i = 0; i < LIMIT - 1; i++)
        gate_inject(gate, &device->addr, record, len);
    assert_int_equal(gate_closed(gate, CLOSE_forgery_limit), 0);
    assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_session_closed);
    assert_int_equal(gate_closed(gate, CLOSE_forgery_limit), 1);
    assert_int_equal(fake_log_count("event=session_closed", "reason=forgery_limit", NULL), 1);
    /* The device is not the forger, and is told. */
    gate_run(gate, 10);
    assert_int_equal(device->client->state, CLIENT_CLOSED);
    assert_int_equal(gate_inject_from_backend(gate, &source, "late", 4), BACKEND_late);
    assert_int_equal(gate_late(gate, CLOSE_forgery_limit), 1);
}

/* T9: while a device begins anew at the address of a session, what that does not open may be of the
 * new handshake, and wears nothing. When the handshake is over it does again. */
static void what_comes_for_another_handshake_is_no_forgery(void **state)
{
    struct gate *gate = *state;
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.3 psk ccm-8"};
    for (int i = 0; i < 2; i++) {
        uint8_t record[RECORD_ROOM];
        gate_doing("%s", kinds[i]);
        struct device *device = used_session(gate, kinds[i]);
        size_t len = seal(device, record);
        record[len - 1] ^= 1;
        struct device *reborn = gate_add_reborn(gate, gate_kind(kinds[i]), device);
        device_connect(reborn);
        while (gate_handshake_count(&gate->dp) == 0)
            gate_step(gate, gate_next_event_ms(gate));
        reborn->client->is_deaf = true;
        for (int n = 0; n < 2 * LIMIT; n++)
            gate_inject(gate, &device->addr, record, len);
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        assert_int_equal(gate_closed(gate, CLOSE_forgery_limit), 0);
        gate_run(gate, 120000);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
        for (int n = 0; n < LIMIT; n++) {
            assert_int_equal(gate_closed(gate, CLOSE_forgery_limit), 0);
            gate_inject(gate, &device->addr, record, len);
        }
        assert_int_equal(gate_closed(gate, CLOSE_forgery_limit), 1);
    }
    gate_doing(NULL);
}

/* What a key may seal is bounded, too (RFC 9147 section 4.5.3, RFC 9325 section 4.4): in DTLS 1.2
 * the session ends, and the device is told; in 1.3 the gate changes its keys before that. */
static void keys_wear_out(void **state)
{
    static const struct record_limits limits = {.sealed = 40, .forged = 1 << 20};
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm", "1.3 psk", "1.3 psk ccm-8"};
    struct gate *gate = *state;
    for (int i = 0; i < 4; i++) {
        gate_doing("%s", kinds[i]);
        struct device *device = used_session(gate, kinds[i]);
        gate_set_record_limits(&gate->dp, &limits);
        struct addr source = gate_last_source();
        uint32_t forwarded = 0;
        enum backend_outcome outcome = BACKEND_forwarded;
        for (; forwarded < 1000 && outcome == BACKEND_forwarded; forwarded++) {
            outcome = gate_inject_from_backend(gate, &source, "answer", 6);
            gate_run(gate, 5);
        }
        if (gate_kind(kinds[i])->version == VERSION_1_3) {
            assert_int_equal(outcome, BACKEND_forwarded);
            gate_assert_echo(gate, device, "with other keys");
            continue;
        }
        assert_int_equal(outcome, BACKEND_encrypt_failed);
        assert_in_range(forwarded, 30, 40);
        assert_int_equal(gate_closed(gate, CLOSE_key_limit), 1);
        assert_int_equal(device->client->state, CLIENT_CLOSED);
        assert_int_equal(gate_inject_from_backend(gate, &source, "late", 4), BACKEND_late);
        assert_int_equal(gate_late(gate, CLOSE_key_limit), 1);
    }
    gate_doing(NULL);
}

/* Neither DTLS 1.2 nor any other suite of 1.3 minds as many (RFC 6347 section 4.1.2.7). */
static void any_number_of_forgeries_ends_no_other_session(void **state)
{
    enum { FORGERIES = 100000 };
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm", "1.3 psk"};
    struct gate *gate = *state;
    uint8_t record[RECORD_ROOM];
    for (int i = 0; i < 3; i++) {
        gate_doing("%s", kinds[i]);
        struct device *device = used_session(gate, kinds[i]);
        gate_set_record_limits(&gate->dp, NULL);
        log_set_level(LOG_INFO); /* no line for each forgery */
        size_t len = seal(device, record);
        record[len - 1] ^= 1;
        uint32_t captured = fake_network_captured();
        for (uint32_t n = 0; n < FORGERIES; n++)
            gate_inject(gate, &device->addr, record, len);
        assert_int_equal(fake_network_captured(), captured);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_record_discarded), FORGERIES);
        record[len - 1] ^= 1;
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_forwarded);
        gate_assert_echo(gate, device, "unharmed");
    }
    gate_doing(NULL);
}

int datapath_keys_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(device_may_change_its_keys),
        GATE_TEST(change_of_keys_survives_the_network),
        GATE_TEST(traffic_does_not_keep_keys_from_changing),
        GATE_TEST(ccm_8_of_1_3_survives_as_many_forgeries_as_it_may),
        GATE_TEST(what_comes_for_another_handshake_is_no_forgery),
        GATE_TEST(any_number_of_forgeries_ends_no_other_session),
        GATE_TEST(keys_wear_out),
    };
    return cmocka_run_group_tests_name("datapath: keys", tests, NULL, NULL);
}
