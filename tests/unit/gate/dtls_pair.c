#include "gate/dtls_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes/fake_network.h"
#include "fakes/fake_system.h"
#include "gate/gate_keys.h"
#include "handshake/dtls_ticket.h"
#include "run/reload.h"
#include "wire/classify.h"

#define SETTINGS                                                                               \
    "[gate]\nmetrics =\n[listener coaps]\nlisten = 192.0.2.1:5684\nbackend = 127.0.0.1:5683\n" \
    "certificate = server.pem\nprivate_key = server.key\nclient_ca = ca.pem\n"

_Static_assert(sizeof(LONG_IDENTITY) - 1 == PSK_IDENTITY_MAX, "as long as it may be");
_Static_assert(sizeof(LONG_KEY) - 1 == PSK_KEY_MAX, "as long as it may be");

const uint8_t dtls_pair_cid[8] = {0xc1, 0xd0, 1, 2, 3, 4, 5, 6};

static const struct addr home = {.ip = {198, 51, 100, 1}, .port = 5000, .family = AF_INET};

static void put(struct datagrams *queue, const uint8_t *data, size_t len)
{
    assert_true(queue->count < DTLS_PAIR_QUEUE_MAX);
    queue->at[queue->count++] = (struct client_message){fake_network_copy(data, len), len};
}

void dtls_pair_empty(struct datagrams *queue)
{
    for (uint32_t i = 0; i < queue->count; i++)
        free(queue->at[i].data);
    queue->count = 0;
}

static void client_sends(void *context, const uint8_t *datagram, size_t len)
{
    struct dtls_pair *p = context;
    put(&p->to_gate, datagram, len);
}

void dtls_pair_gate_sends(void *owner, const uint8_t *datagram, size_t len)
{
    struct dtls_pair *p = owner;
    put(&p->to_client, datagram, len);
}

static void write_psk(FILE *out, const char *identity, const char *key)
{
    fprintf(out, "%s:", identity);
    for (const char *c = key; *c != '\0'; c++)
        fprintf(out, "%02x", (unsigned char)*c);
    fprintf(out, "\n");
}

static struct generation *build(const char *settings)
{
    char path[512], psks[512], ini[1024];
    struct problems problems;
    snprintf(psks, sizeof(psks), "%s/%d.psk", gate_keys(), (int)getpid());
    FILE *out = fopen(psks, "w");
    assert_non_null(out);
    write_psk(out, "device1", "0123456789abcdef");
    write_psk(out, LONG_IDENTITY, LONG_KEY);
    write_psk(out, SHORT_IDENTITY, SHORT_KEY);
    fclose(out);
    snprintf(ini, sizeof(ini), "%s%spsk_file = %d.psk\n", SETTINGS, settings, (int)getpid());
    gate_keys_write_ini(ini, path, sizeof(path));
    problems_init(&problems);
    struct generation *generation = reload_build(path, &problems);
    for (uint32_t i = 0; generation == NULL && i < problems.count; i++)
        fprintf(stderr, "  %s\n", problems.texts[i]);
    problems_deinit(&problems);
    unlink(path);
    unlink(psks);
    return generation;
}

int dtls_pair_set_up(void **state)
{
    return dtls_pair_set_up_with(state, "");
}

int dtls_pair_set_up_with(void **state, const char *settings)
{
    struct dtls_pair *p = calloc(1, sizeof(*p));
    fake_system_seed(1);
    if (p == NULL || (p->generation = build(settings)) == NULL)
        return -1;
    cookie_init(&p->front, &p->generation->listeners[0], p->generation->cookie_master);
    *state = p;
    return 0;
}

static void part(struct dtls_pair *p)
{
    dtls_pair_empty(&p->to_gate);
    dtls_pair_empty(&p->to_client);
    memory_client_free(p->client);
    dtls_free(p->dtls);
    p->client = NULL;
    p->dtls = NULL;
    p->was_established = false;
}

int dtls_pair_tear_down(void **state)
{
    struct dtls_pair *p = *state;
    part(p);
    cookie_deinit(&p->front);
    reload_release(p->generation);
    free(p);
    return 0;
}

/* When the handshake is complete there is nothing more for the object. */
void dtls_pair_feed(struct dtls_pair *p, const uint8_t *data, size_t len)
{
    if (p->was_established)
        return;
    uint8_t *copy = fake_network_copy(data, len);
    dtls_feed(p->dtls, copy, len, 0);
    p->event = dtls_accept(p->dtls);
    p->was_established = p->event == DTLS_ESTABLISHED;
    if (p->was_established)
        dtls_ticket_adopt_holder(p->dtls);
    (void)dtls_rest(p->dtls, &p->rest_len);
    free(copy);
}

/* Before there is an object: by way of the cookie. */
static void to_front(struct dtls_pair *p, const uint8_t *data, size_t len)
{
    struct classified kind = classify(data, len, 0);
    struct cookie_result result =
        cookie_check(&p->front, &home, data, kind.usable_len, kind.has_cookie, 0);
    if (result.verdict == COOKIE_ANSWER) {
        put(&p->to_client, result.reply, result.reply_len);
        return;
    }
    assert_int_equal(result.verdict, COOKIE_GOOD);
    p->dtls = result.dtls;
    dtls_set_sender(p->dtls, dtls_pair_gate_sends, p);
    if (dtls_has_cid(p->dtls))
        assert_true(dtls_set_cid(p->dtls, dtls_pair_cid, sizeof(dtls_pair_cid)));
    p->event = dtls_accept(p->dtls);
}

static void talk(struct dtls_pair *p, bool until_established)
{
    while (p->to_gate.count + p->to_client.count > 0) {
        struct datagrams from_client = p->to_gate, from_gate = p->to_client;
        p->to_gate.count = p->to_client.count = 0;
        for (uint32_t i = 0; i < from_client.count; i++) {
            if (p->dtls == NULL)
                to_front(p, from_client.at[i].data, from_client.at[i].len);
            else
                dtls_pair_feed(p, from_client.at[i].data, from_client.at[i].len);
        }
        for (uint32_t i = 0; i < from_gate.count; i++)
            memory_client_receive(p->client, from_gate.at[i].data, from_gate.at[i].len, 0);
        dtls_pair_empty(&from_client);
        dtls_pair_empty(&from_gate);
        if (until_established && p->was_established)
            return;
    }
}

/* Lets both talk until neither has more to say. */
void dtls_pair_talk(struct dtls_pair *p)
{
    talk(p, false);
}

void dtls_pair_meet_just(struct dtls_pair *p, const struct client_kind *kind)
{
    part(p);
    p->client = memory_client_new(kind, gate_keys(), client_sends, p);
    assert_non_null(p->client);
    memory_client_connect(p->client, 0);
    talk(p, true);
    assert_true(p->was_established);
}

void dtls_pair_meet(struct dtls_pair *p, const struct client_kind *kind)
{
    part(p);
    p->client = memory_client_new(kind, gate_keys(), client_sends, p);
    assert_non_null(p->client);
    memory_client_connect(p->client, 0);
    dtls_pair_talk(p);
}

void dtls_pair_meet_well(struct dtls_pair *p, const struct client_kind *kind)
{
    dtls_pair_meet(p, kind);
    if (p->client->state != CLIENT_UP || !p->was_established)
        fail_msg("%s: client state %d, error %d, event %d", kind->name, p->client->state,
                 p->client->error, p->event);
}

void dtls_pair_meet_briefly(struct dtls_pair *p, const struct client_kind *kind)
{
    part(p);
    p->client = memory_client_new(kind, gate_keys(), client_sends, p);
    assert_non_null(p->client);
    memory_client_connect(p->client, 0);
    while (p->dtls == NULL) {
        dtls_pair_empty(&p->to_client);
        to_front(p, p->to_gate.at[0].data, p->to_gate.at[0].len);
        dtls_pair_empty(&p->to_gate);
        if (p->dtls == NULL)
            memory_client_receive(p->client, p->to_client.at[0].data, p->to_client.at[0].len, 0);
    }
}
