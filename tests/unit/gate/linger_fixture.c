#include "gate/linger_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const char *const linger_kinds_with_cid[] = {"1.2 psk ccm-8, cid", "1.3 psk, cid 3"};

const struct client_kind *linger_kind_at(unsigned i)
{
    unsigned count = 0;
    while (gate_kinds[count].name != NULL)
        count++;
    if (i < count)
        return &gate_kinds[i];
    return i - count < 2 ? gate_kind(linger_kinds_with_cid[i - count]) : NULL;
}

const struct client_kind *linger_doing_kind_at(unsigned i)
{
    const struct client_kind *kind = linger_kind_at(i);
    if (kind != NULL)
        gate_doing("%s", kind->name);
    return kind;
}

struct packet linger_hold_back(struct device *device, const char *text)
{
    fake_network_set_max_bytes(1);
    device_send(device, text, strlen(text));
    fake_network_set_max_bytes(0);
    return *fake_network_last(CLIENT_TO_GATE, NULL);
}

void linger_close_now(struct gate *gate, struct linger_closed *c)
{
    uint64_t closed = gate_closed(gate, CLOSE_closed_by_client);
    uint32_t before = fake_network_count(GATE_TO_CLIENT, &c->device->addr);
    device_close(c->device);
    gate_run(gate, 5);
    /* For everybody else the session has ended as any other. */
    assert_int_equal(gate_closed(gate, CLOSE_closed_by_client), closed + 1);
    c->to_device = fake_network_count(GATE_TO_CLIENT, &c->device->addr);
    c->to_backend = fake_network_count(GATE_TO_BACKEND, NULL);
    assert_int_equal(c->to_device, before + 1);
}

struct linger_closed linger_live_session(struct gate *gate, const struct client_kind *kind,
                                         unsigned held)
{
    static const char *const texts[LINGER_HELD_MAX] = {"deregister 0", "deregister 1",
                                                       "deregister 2"};
    struct linger_closed c = {.device = gate_connected(gate, kind)};
    gate_assert_echo(gate, c.device, "registration");
    c.source = gate_last_source();
    for (unsigned i = 0; i < held; i++)
        c.late[i] = linger_hold_back(c.device, texts[i]);
    return c;
}

struct linger_closed linger_closed_session(struct gate *gate, const struct client_kind *kind,
                                           unsigned held)
{
    struct linger_closed c = linger_live_session(gate, kind, held);
    linger_close_now(gate, &c);
    return c;
}

enum client_outcome linger_arrives(struct gate *gate, const struct packet *packet)
{
    return gate_inject(gate, &packet->from, packet->data, packet->len);
}

void linger_assert_delivered(struct gate *gate, struct linger_closed *c,
                             const struct packet *packet, const char *text)
{
    assert_int_equal(linger_arrives(gate, packet), CLIENT_forwarded);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), ++c->to_backend);
    const struct packet *sent = fake_network_last(GATE_TO_BACKEND, NULL);
    assert_int_equal(sent->len, strlen(text));
    assert_memory_equal(sent->data, text, sent->len);
    assert_true(addr_equal(&sent->from, &c->source));
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &c->device->addr), c->to_device);
}

void linger_assert_ignored(struct gate *gate, const struct linger_closed *c,
                           const struct addr *from, const void *data, size_t len)
{
    enum client_outcome outcome = gate_inject(gate, from, data, len);
    if (outcome != CLIENT_no_session && outcome != CLIENT_cid_unknown)
        fail_msg("it is %s", client_outcome_name(outcome));
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), c->to_backend);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &c->device->addr), c->to_device);
}

void linger_assert_gone(struct gate *gate, const struct linger_closed *c,
                        const struct packet *packet)
{
    linger_assert_ignored(gate, c, &packet->from, packet->data, packet->len);
}
