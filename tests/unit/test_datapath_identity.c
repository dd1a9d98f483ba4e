/* Whose name stands in the log, and how many lines a device without one can cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "datapath_tests.h"
#include "dtls.h"
#include "fake_log.h"

/* It names a PSK identity that is not its own, and gets in by a certificate. */
static void identity_that_was_only_named_is_not_logged(void **state)
{
    struct gate *gate = *state;
    static const struct client_kind nameless = {.name = "1.3 certificate without common name",
                                                .version = VERSION_1_3,
                                                .suites = "TLS13-AES128-GCM-SHA256",
                                                .identity = "victim",
                                                .key = KEY,
                                                .certificate = "nameless",
                                                .ca = "ca",
                                                .has_small_hello = true};
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &nameless);
    device_connect(device);
    assert_true(gate_run_until_up(gate, device, 5000));
    assert_int_equal(
        fake_log_count("event=session_established", "credential=certificate", "nameless", NULL), 1);
    assert_int_equal(fake_log_count("victim", NULL, NULL, NULL), 0);
}

static void anonymous_devices_do_not_flood_the_log(void **state)
{
    struct gate *gate = *state;
    static const struct client_kind anonymous = {.name = "1.2 anonymous",
                                                 .version = VERSION_1_2,
                                                 .suites = "ECDHE-ECDSA-AES128-CCM-8",
                                                 .ca = "ca"};
    enum { DEVICES = 100, LINES_PER_S = 20 };
    gate_open(gate, GATE LISTENER CERTIFICATE "client_auth = none\n");
    uint64_t begun_ms = gate->now_ms;
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = gate_add(gate, &anonymous);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 5000));
        device_close(device);
        gate_run(gate, 3);
    }
    uint64_t seconds = (gate->now_ms - begun_ms) / 1000 + 2;
    int lines = (int)fake_log_count("event=session_established", NULL, NULL, NULL) +
                (int)fake_log_count("event=session_closed", NULL, NULL, NULL);
    assert_true(lines > 0 && (uint64_t)lines <= LINES_PER_S * seconds);
    assert_true(seconds * LINES_PER_S < 2 * DEVICES); /* else nothing had to be held back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(identity_that_was_only_named_is_not_logged),
        GATE_TEST(anonymous_devices_do_not_flood_the_log),
    };
    if (!dtls_library_init())
        return 1;
    int failed = cmocka_run_group_tests_name("datapath: identities", tests, NULL, NULL);
    dtls_library_deinit();
    return failed == 0 ? 0 : 1;
}
