/* Tickets of DTLS 1.3 that their device cannot use, and what else an alert may be about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum { GIVE_UP_MS = 10000 };

/* A fatal alert in plaintext, behind the records of the device so far. */
static enum client_outcome send_alert(struct gate *gate, const struct device *device, uint8_t code)
{
    const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, code};
    return gate_inject(gate, &device->addr, alert, sizeof(alert));
}

/* ---- tickets that a device cannot use ---------------------------------------------------------
 */

#define ADVICE \
    "advice=it cannot use its ticket of DTLS 1.3, as wolfSSL before 5.9.1: set tickets = 1.2"

/* A device that comes back with a ticket, and has got the gate's answers to that many hellos. */
static struct device *come_back(struct gate *gate, const struct client_kind *kind, unsigned hellos)
{
    struct device *first = gate_connected(gate, kind);
    gate_run(gate, 100);
    struct WOLFSSL_SESSION *session = memory_client_session(first->client);
    assert_non_null(session);
    device_close(first);
    gate_run(gate, 10);
    struct device *device = gate_add(gate, kind);
    memory_client_resume(device->client, session);
    memory_client_free_session(session);
    device_connect(device);
    gate_run(gate, 2 * hellos - 1);
    device->client->is_deaf = true;
    return device;
}

/* wolfSSL 5.7.2 sends illegal_parameter in plaintext when it gets the HelloRetryRequest to a hello
 * with a ticket; others might get as far as the ServerHello. */
static void ticket_that_cannot_be_used_is_told(void **state)
{
    static const char *const kinds[] = {
        "1.3 psk", "1.3 certificate",
        /* Asks for a ticket of 1.2 as well, by an extension without one. */
        "1.3 psk, ticket"};
    struct gate *gate = *state;
    for (unsigned k = 0; k < 3; k++) {
        gate_doing("%s, at the cookie", kinds[k]);
        gate_open(gate, USUAL);
        struct device *device = come_back(gate, gate_kind(kinds[k]), 1);
        assert_int_equal(send_alert(gate, device, 47), CLIENT_handshake_failed);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=client_alert",
                                        "detail=illegal_parameter", "version=1.3", ADVICE, NULL),
                         1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 1);
        assert_int_equal(send_alert(gate, come_back(gate, gate_kind(kinds[k]), 1), 90),
                         CLIENT_no_session);
        assert_int_equal(fake_log_count("advice=", NULL), 1);
        /* Once for each attempt. */
        assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 1);

        gate_doing("%s, at the ServerHello", kinds[k]);
        gate_open(gate, USUAL);
        device = come_back(gate, gate_kind(kinds[k]), 2);
        assert_int_equal(send_alert(gate, device, 47), CLIENT_handshake);
        gate_run(gate, GIVE_UP_MS + 100);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=client_alert",
                                        "detail=illegal_parameter", ADVICE, NULL),
                         1);
        assert_int_equal(send_alert(gate, come_back(gate, gate_kind(kinds[k]), 2), 90),
                         CLIENT_handshake);
        gate_run(gate, GIVE_UP_MS + 100);
        assert_int_equal(fake_log_count("detail=user_canceled", NULL), 2); /* stalled, failed */
        assert_int_equal(fake_log_count("advice=", NULL), 1);
    }
    gate_doing(NULL);
}

/* The ticket is of the gate before its restart: that it has no key for it makes no difference. */
static void old_ticket_that_cannot_be_used_is_told(void **state)
{
    const struct client_kind *kind = gate_kind("1.3 psk, ticket");
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *first = gate_connected(gate, kind);
    gate_run(gate, 100);
    struct WOLFSSL_SESSION *session = memory_client_session(first->client);
    assert_non_null(session);
    gate_open(gate, USUAL "tickets = 1.2\n");
    gate->generation->listeners[0].creds->ticket_master[0] ^=
        1; /* the tests' random bytes repeat */
    struct device *device = gate_add(gate, kind);
    memory_client_resume(device->client, session);
    memory_client_free_session(session);
    device_connect(device);
    gate_run(gate, 1);
    device->client->is_deaf = true;
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    assert_int_equal(fake_log_count("event=stranger_alert", "detail=illegal_parameter",
                                    "advice=it cannot use the ticket", NULL),
                     1);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 0);
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    assert_int_equal(fake_log_count("advice=", NULL), 1);
}

/* A ticket that the device has no key for is not a wrong key of psk_file. */
static void wrong_key_of_a_ticket_is_told(void **state)
{
    const struct client_kind *kind = gate_kind("1.3 certificate");
    struct gate *gate = *state;
    uint8_t ticket[1024];
    gate_open(gate, USUAL);
    struct device *one = gate_connected(gate, kind);
    gate_run(gate, 100);
    struct WOLFSSL_SESSION *session = memory_client_session(one->client);
    assert_non_null(session);
    /* The ticket's age is hidden by a random number that belongs to it. If it does not fit, as it
     * mostly does not here, the binder is not looked at. */
    for (int i = 0; i < 35 && fake_log_count("event=handshake_failed", NULL) == 0; i++) {
        struct device *two = gate_connected(gate, kind);
        gate_run(gate, 100);
        size_t len = memory_client_ticket(two->client, ticket, sizeof(ticket));
        struct device *device = gate_add(gate, kind);
        memory_client_resume_with(device->client, session, ticket, len);
        device_connect(device);
        gate_run(gate, 100);
    }
    memory_client_free_session(session);
    assert_int_equal(fake_log_count("event=handshake_failed", "reason=protocol_error",
                                    "detail=the binder of its ticket is wrong", NULL),
                     1);
}

/* The advice is for devices with a ticket of ours in DTLS 1.3, and soon after their hello. */
static void other_alerts_are_not_about_tickets(void **state)
{
    const struct client_kind *without = gate_kind("1.3 psk");
    const struct client_kind *of_1_2 = gate_kind("1.2 psk ccm-8, ticket");
    struct gate *gate = *state;
    gate_doing("no ticket");
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, without);
    device_connect(device);
    gate_run(gate, 1);
    device->client->is_deaf = true;
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    gate_doing("1.2");
    gate_open(gate, USUAL);
    device = come_back(gate, of_1_2, 1);
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    gate_doing("late, of another address, or no fatal alert");
    gate_open(gate, USUAL);
    device = come_back(gate, without, 1);
    const uint8_t warning[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0};
    assert_int_equal(gate_inject(gate, &device->addr, warning, sizeof(warning)), CLIENT_no_session);
    struct device *other = gate_add(gate, without);
    assert_int_equal(send_alert(gate, other, 47), CLIENT_no_session);
    gate_run(gate, GIVE_UP_MS);
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    assert_int_equal(fake_log_count("advice=", NULL), 0);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 0);
    gate_doing(NULL);
}

int datapath_unusable_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(ticket_that_cannot_be_used_is_told),
        GATE_TEST(old_ticket_that_cannot_be_used_is_told),
        GATE_TEST(wrong_key_of_a_ticket_is_told),
        GATE_TEST(other_alerts_are_not_about_tickets),
    };
    return cmocka_run_group_tests_name("datapath: unusable tickets", tests, NULL, NULL);
}
