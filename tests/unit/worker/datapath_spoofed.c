/* ClientHellos in the name of a device that has a session, with a cookie that is good for its
 * address: recorded from the device itself, or earned by somebody behind the same NAT. They begin a
 * handshake, and cost the session nothing (RFC 6347 section 4.2.8, RFC 9147 section 5.11). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum {
    HELLO_WITH_COOKIE = 1,   /* the device's second datagram */
    NO_DUPLICATE_MS = 11000, /* later than a repetition of the hello may come */
    HANDSHAKE_TIMEOUT_MS = 90000,
    TURNS = 12,
};

static const char *const kinds[] = {
    "1.2 psk ccm-8", "1.2 psk ccm-8, cid", "1.2 certificate", "1.2 certificate, cid 8",
    "1.3 psk",       "1.3 psk, cid 3",     "1.3 certificate", "1.3 certificate, cid",
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* A session with data both ways, which must go on. */
struct victim {
    struct gate *gate;
    struct device *device;
    struct addr source;
};

static struct victim make_victim(struct gate *gate, const struct client_kind *kind)
{
    struct victim victim = {.gate = gate, .device = gate_connected(gate, kind)};
    gate_assert_echo(gate, victim.device, "before");
    victim.source = gate_last_source();
    return victim;
}

/* Nothing is lost of what goes either way. */
static void assert_traffic(struct victim *v)
{
    struct gate *gate = v->gate;
    uint32_t received = v->device->client->message_count;
    assert_int_equal(gate_inject_from_backend(gate, &v->source, "notify", 6), BACKEND_forwarded);
    gate_run(gate, 5);
    assert_int_equal(v->device->client->message_count, received + 1);
    gate_assert_echo(gate, v->device, "request");
    struct addr source = gate_last_source();
    assert_true(addr_equal(&source, &v->source));
    assert_int_equal(v->device->client->state, CLIENT_UP);
}

static void assert_unharmed(struct victim *v)
{
    struct gate *gate = v->gate;
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++)
        assert_int_equal(gate_closed(gate, reason), 0);
    gate_run(gate, HANDSHAKE_TIMEOUT_MS);
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
    assert_traffic(v);
}

/* The device's own hello, as it was on the wire, while its cookie is still good. */
static void own_hello_with_its_cookie(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KINDS; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct victim victim = make_victim(gate, gate_kind(kinds[i]));
        const struct packet *hello = gate_nth(CLIENT_TO_GATE, HELLO_WITH_COOKIE);
        gate_run(gate, NO_DUPLICATE_MS);
        for (int turn = 0; turn < TURNS; turn++) {
            enum client_outcome outcome =
                gate_inject(gate, &victim.device->addr, hello->data, hello->len);
            /* The first begins a handshake, the others repeat its hello. */
            assert_int_equal(outcome, turn == 0 ? CLIENT_handshake_begun : CLIENT_handshake);
            assert_traffic(&victim);
            gate_run(gate, 1000);
        }
        assert_unharmed(&victim);
    }
    gate_doing(NULL);
}

/* Somebody who shares the device's address, of every kind, and who gets as far as he can: all but
 * his last flight arrives. */
static void handshake_of_another(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < KINDS * KINDS; i++) {
        const struct client_kind *old = gate_kind(kinds[i / KINDS]),
                                 *kind = gate_kind(kinds[i % KINDS]);
        gate_doing("%s, at its address %s", old->name, kind->name);
        gate_open(gate, USUAL);
        struct victim victim = make_victim(gate, old);
        for (int turn = 0; turn < 3; turn++) {
            struct device *other = gate_add(gate, kind);
            other->addr = victim.device->addr;
            device_connect(other);
            while (gate_handshake_count(&gate->dp) == 0)
                gate_run(gate, 1);
            /* It hears nothing from now on; what it has sent already may be on its way. */
            other->client->is_deaf = true;
            other->addr = gate_device_addr(70);
            assert_int_equal(gate_handshake_count(&gate->dp), 1);
            for (int n = 0; n < 4; n++) {
                assert_traffic(&victim);
                gate_run(gate, 700);
            }
            gate_run(gate, HANDSHAKE_TIMEOUT_MS);
        }
        assert_unharmed(&victim);
    }
    gate_doing(NULL);
}

int datapath_spoofed_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(own_hello_with_its_cookie),
        GATE_TEST(handshake_of_another),
    };
    return cmocka_run_group_tests_name("datapath: spoofed hellos", tests, NULL, NULL);
}
