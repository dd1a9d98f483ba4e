/* Handshakes of every kind of device, and every way in which they fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "datapath_tests.h"

static void assert_echo(struct gate *gate, struct device *device, const char *text)
{
    uint32_t before = device->client->message_count;
    gate->has_echo = true;
    device_send(device, text, strlen(text));
    gate_run(gate, 10);
    assert_int_equal(device->client->message_count, before + 1);
    struct client_message message = memory_client_last(device->client);
    assert_int_equal(message.len, strlen(text));
    assert_memory_equal(message.data, text, message.len);
}

static void every_kind_connects(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        assert_echo(gate, device, "hello, gate");
        enum credential credential =
            kind->identity != NULL ? CREDENTIAL_PSK : CREDENTIAL_CERTIFICATE;
        assert_int_equal(counter_get(&gate_counters(gate, 0)->handshakes[kind->version][credential]
                                                                        [HANDSHAKE_established]),
                         1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_cookie_sent), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_begun), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_established), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), 1);
        assert_int_equal(gate_backend_outcomes(gate, BACKEND_forwarded), 1);
        assert_int_equal(fake_log_count("event=session_established", "identity=device1", NULL), 1);
    }
    gate_doing(NULL);
}

int datapath_handshake_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(every_kind_connects),
    };
    return cmocka_run_group_tests_name("datapath: handshake", tests, NULL, NULL);
}
