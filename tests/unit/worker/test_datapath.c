/* datapath.c and everything below it, on a network in memory with a clock of its own. The tests
 * stand by theme in datapath_*.c.
 *
 *   test_datapath [THEME ...]  only these themes, for instance "moving"; without, all of them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/coverage.h"
#include "gate/gate_fixture.h"
#include "gate/gate_wolfssl.h"
#include "handshake/dtls.h"
#include "worker/datapath_tests.h"

static const struct theme {
    const char *name;
    int (*run)(void);
} themes[] = {
    {"hellos", datapath_hellos_tests},
    {"handshake", datapath_handshake_tests},
    {"data", datapath_data_tests},
    {"quarantine", datapath_quarantine_tests},
    {"cid", datapath_cid_tests},
    {"moving", datapath_moving_tests},
    {"identities", datapath_identities_tests},
    {"limits", datapath_limits_tests},
    {"alerts", datapath_alerts_tests},
    {"forged", datapath_forged_tests},
    {"hostile", datapath_hostile_tests},
    {"spoofed", datapath_spoofed_tests},
    {"flights", datapath_flights_tests},
    {"keys", datapath_keys_tests},
    {"loss", datapath_loss_tests},
    {"memory", datapath_memory_tests},
    {"swap", datapath_swap_tests},
    {"reasons", datapath_reasons_tests},
    {"offers", datapath_offers_tests},
    {"unusable", datapath_unusable_tests},
    {"refused", datapath_refused_tests},
    {"renegotiation", datapath_renegotiation_tests},
    {"resume", datapath_resume_tests},
    {"closing", datapath_closing_tests},
    {"linger", datapath_linger_tests},
    {"linger_end", datapath_linger_end_tests},
    {"cookies", datapath_cookies_tests},
    {"cid_wire", datapath_cid_wire_tests},
    {"fragments", datapath_fragments_tests},
    {"records", datapath_records_tests},
    {"restart", datapath_restart_tests},
    {"garbage", datapath_garbage_tests},
};
enum { THEME_COUNT = sizeof(themes) / sizeof(themes[0]) };

/* All of them if name is NULL; coverage is of all of them, too. */
static int run_themes(const char *name)
{
    int failed = 0;
    for (unsigned i = 0; i < THEME_COUNT; i++) {
        if (name == NULL || strcmp(name, themes[i].name) == 0)
            failed += themes[i].run();
    }
    if (name != NULL)
        return failed;
    const struct CMUnitTest last[] = {cmocka_unit_test(coverage_is_complete)};
    return failed + cmocka_run_group_tests_name("datapath: coverage", last, NULL, NULL);
}

static bool is_theme(const char *name)
{
    for (unsigned i = 0; i < THEME_COUNT; i++) {
        if (strcmp(name, themes[i].name) == 0)
            return true;
    }
    return false;
}

static int list_themes(const char *wrong)
{
    fprintf(stderr, "no theme is called %s; there are:\n", wrong);
    for (unsigned i = 0; i < THEME_COUNT; i++)
        fprintf(stderr, "  %s\n", themes[i].name);
    return 2;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        if (!is_theme(argv[i]))
            return list_themes(argv[i]);
    }
    if (!gate_wolfssl_init())
        return 1;
    if (argc < 2)
        failed = run_themes(NULL);
    for (int i = 1; i < argc; i++)
        failed += run_themes(argv[i]);
    dtls_library_deinit();
    return failed == 0 ? 0 : 1;
}
