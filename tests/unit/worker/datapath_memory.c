/* wolfSSL without memory: what is lost is counted, and the gate lives on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "worker/datapath_tests.h"

/* Nobody is harmed for longer than the memory is missing. */
static void assert_serves(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_connected(gate, kind);
    gate_assert_echo(gate, device, "served");
    device_close(device);
    gate_run(gate, 10);
}

/* Records of a session need no memory. */
static void without_memory_a_session_goes_on(void **state)
{
    static const uint8_t noise[1000] = {1};
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_assert_echo(gate, device, "all is well");
    struct addr source = gate_last_source();

    uint8_t record[128];
    size_t len = memory_client_seal(device->client, 23, "data", 4, record, sizeof(record));
    gate_wolfssl_fail_after(0);
    enum client_outcome outcome = gate_inject(gate, &device->addr, record, len);
    enum backend_outcome back = gate_inject_from_backend(gate, &source, noise, sizeof(noise));
    gate_wolfssl_fail_after(UINT32_MAX);
    assert_int_equal(outcome, CLIENT_forwarded);
    assert_int_equal(back, BACKEND_forwarded);
    gate_assert_echo(gate, device, "unharmed");
}

/* However far it gets with the hello of a stranger. */
static void without_memory_a_stranger_waits(void **state)
{
    enum { FAR = 200 };
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    const struct client_kind *kind = gate_kind("1.2 psk ccm-8");
    struct device *device = gate_connected(gate, kind);
    struct addr stranger = gate_device_addr(999);
    const struct packet *hello = gate_nth(CLIENT_TO_GATE, 0);
    unsigned failures = 0;

    for (uint32_t i = 0; i < FAR; i++) {
        gate_doing("memory fails at allocation %u", i);
        gate_run(gate, 60000); /* the spare object has an old secret */
        gate->memory_left = i;
        enum client_outcome outcome = gate_inject(gate, &stranger, hello->data, hello->len);
        gate->memory_left = UINT32_MAX;
        failures += outcome == CLIENT_out_of_memory;
        assert_true(outcome == CLIENT_out_of_memory || outcome == CLIENT_cookie_sent ||
                    outcome == CLIENT_hello_ignored);
        assert_int_equal(gate_inject(gate, &stranger, hello->data, hello->len), CLIENT_cookie_sent);
        if (i % 20 == 0)
            gate_assert_echo(gate, device, "unharmed");
    }
    assert_true(failures > 0);
    gate_doing(NULL);
}

/* The memory ends at each allocation of a handshake in turn, until the handshake needs no more. */
static void memory_may_end_anywhere_in_a_handshake(void **state)
{
    enum { ENOUGH = 100000, MISSING_MS = 300 };
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        bool was_enough = false;
        for (uint32_t i = 0; !was_enough; i++) {
            gate_doing("%s: memory fails at allocation %u", kind->name, i);
            assert_true(i < ENOUGH);
            gate_open(gate, USUAL);
            struct device *device = gate_add(gate, kind);
            gate->memory_left = i;
            device_connect(device);
            gate_run(gate, MISSING_MS);
            was_enough = gate->memory_left > 0;
            assert_true(gate_session_count(&gate->dp) == 1 || !was_enough);
            gate->memory_left = UINT32_MAX;
            device->client->is_deaf = true;
            if (i % 16 == 0)
                assert_serves(gate, kind);
        }
    }
    gate_doing(NULL);
}

/* A gate whose hash tables have a key that can be guessed does not begin to serve. */
static void without_random_bytes_there_is_no_gate(void **state)
{
    struct gate *gate = *state;
    struct datapath dp;
    struct err err = {0};
    gate_open(gate, USUAL);
    fake_system_fail_random(ENOSYS, 1);
    const struct datapath_shared shared = {.state = &gate->state, .identities = gate->identities};
    assert_false(datapath_init(&dp, gate->generation, &shared, 0, 1, &gate->backend, &err));
    assert_non_null(strstr(err.text, "random"));
}

int datapath_memory_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(without_memory_a_session_goes_on),
        GATE_TEST(without_memory_a_stranger_waits),
        GATE_TEST(memory_may_end_anywhere_in_a_handshake),
        GATE_TEST(without_random_bytes_there_is_no_gate),
    };
    return cmocka_run_group_tests_name("datapath: memory", tests, NULL, NULL);
}
