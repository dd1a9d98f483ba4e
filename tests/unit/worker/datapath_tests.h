/* The tests of test_datapath.c, one function a theme; each returns how many failed. */
#ifndef DATAPATH_TESTS_H
#define DATAPATH_TESTS_H

#include "gate/gate_fixture.h"

#define GATE_TEST(f) cmocka_unit_test_setup_teardown(f, gate_set_up, gate_tear_down)

int datapath_cid_tests(void);
int datapath_moving_tests(void);
int datapath_identities_tests(void);
int datapath_limits_tests(void);
int datapath_alerts_tests(void);
int datapath_forged_tests(void);
int datapath_handshake_tests(void);
int datapath_hellos_tests(void);
int datapath_data_tests(void);
int datapath_hostile_tests(void);
int datapath_spoofed_tests(void);
int datapath_flights_tests(void);
int datapath_keys_tests(void);
int datapath_loss_tests(void);
int datapath_memory_tests(void);
int datapath_swap_tests(void);
int datapath_closing_tests(void);
int datapath_quarantine_tests(void);
int datapath_linger_tests(void);
int datapath_linger_end_tests(void);
int datapath_reasons_tests(void);
int datapath_offers_tests(void);
int datapath_unusable_tests(void);
int datapath_refused_tests(void);
int datapath_resume_tests(void);
int datapath_cookies_tests(void);
int datapath_cid_wire_tests(void);
int datapath_fragments_tests(void);
int datapath_records_tests(void);
int datapath_restart_tests(void);
int datapath_garbage_tests(void);
int datapath_renegotiation_tests(void);

#endif
