/* datapath.c and everything below it, on a network in memory with a clock of its own. The tests
 * stand by theme in datapath_*.c, and are run twice: the second time every session is parked as
 * often as it can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fakes/coverage.h"
#include "gate/gate_fixture.h"
#include "gate/gate_wolfssl.h"
#include "handshake/dtls.h"
#include "worker/datapath_tests.h"

static int all_tests(void)
{
    int failed = 0;
    failed += datapath_hellos_tests();
    failed += datapath_handshake_tests();
    failed += datapath_data_tests();
    failed += datapath_quarantine_tests();
    failed += datapath_cid_tests();
    failed += datapath_moving_tests();
    failed += datapath_identities_tests();
    failed += datapath_limits_tests();
    failed += datapath_alerts_tests();
    failed += datapath_forged_tests();
    failed += datapath_hostile_tests();
    failed += datapath_spoofed_tests();
    failed += datapath_flights_tests();
    failed += datapath_keys_tests();
    failed += datapath_loss_tests();
    failed += datapath_memory_tests();
    failed += datapath_reasons_tests();
    failed += datapath_offers_tests();
    failed += datapath_unusable_tests();
    failed += datapath_refused_tests();
    failed += datapath_renegotiation_tests();
    failed += datapath_resume_tests();
    failed += datapath_closing_tests();
    failed += datapath_linger_tests();
    failed += datapath_linger_end_tests();
    failed += datapath_cookies_tests();
    failed += datapath_cid_wire_tests();
    failed += datapath_fragments_tests();
    failed += datapath_records_tests();
    failed += datapath_parked_tests();
    return failed;
}

int main(void)
{
    if (!gate_wolfssl_init())
        return 1;
    int failed = all_tests();
    gate_parks_always = true;
    failed += all_tests();
    const struct CMUnitTest last[] = {cmocka_unit_test(coverage_is_complete)};
    failed += cmocka_run_group_tests_name("datapath: coverage", last, NULL, NULL);
    dtls_library_deinit();
    return failed == 0 ? 0 : 1;
}
