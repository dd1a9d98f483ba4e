/* Whose name stands in the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fakes/fake_log.h"
#include "handshake/dtls.h"
#include "worker/datapath_tests.h"

/* It names a PSK identity that is not its own, and gets in by a certificate. */
static void identity_that_was_only_named_is_not_logged(void **state)
{
    struct gate *gate = *state;
    struct client_kind nameless = *gate_kind("1.3 certificate");
    nameless.certificate = "nameless";
    nameless.identity = "victim";
    nameless.key = KEY;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &nameless);
    device_connect(device);
    assert_true(gate_run_until_up(gate, device, 5000));
    assert_int_equal(fake_log_count("event=session_established", "credential=certificate",
                                    "identity=spki-sha256:", NULL),
                     1);
    assert_int_equal(fake_log_count("victim", NULL, NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(identity_that_was_only_named_is_not_logged),
    };
    if (!dtls_library_init())
        return 1;
    int failed = cmocka_run_group_tests_name("datapath: identities", tests, NULL, NULL);
    dtls_library_deinit();
    return failed == 0 ? 0 : 1;
}
