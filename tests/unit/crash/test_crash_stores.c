/* A gate that is killed before any store into its state, in whatever it does: each session is whole
 * afterwards, or known to be torn. See crash_scene.h.
 *
 *   test_crash_stores [OPERATION]  only those operations whose name has this in it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crash/crash_scene.h"
#include "crash/crash_text.h"
#include "crash/store_trap.h"
#include "fakes/skip_because.h"
#include "gate/gate_restart.h"
#include "gate/gate_wolfssl.h"
#include "handshake/dtls.h"

static const char *only = "";

/* ---- what a gate does ------------------------------------------------------------------------ */

#define LONG_CIDS USUAL "cid_length = 32\n"

/* ---- before it ------------------------------------------------------------------------------- */

static void connect_and_speak(struct crash_scene *scene)
{
    crash_scene_connect(scene);
    gate_assert_echo(scene->gate, scene->subject, crash_text_new());
}

static void say_one(struct crash_scene *scene)
{
    const char *text = crash_text_new();
    device_send(scene->subject, text, strlen(text));
}

/* In one batch. */
static void say_something(struct crash_scene *scene)
{
    for (int i = 0; i < 3; i++)
        say_one(scene);
}

static void let_server_speak(struct crash_scene *scene)
{
    const struct addr *server = &scene->gate->generation->config->listeners[0].backend;
    for (int i = 0; i < 3; i++) {
        const char *text = crash_text_new();
        fake_network_send(BACKEND_TO_GATE, server, &scene->source, text, strlen(text));
    }
}

static void first_data(struct crash_scene *scene)
{
    crash_scene_connect(scene);
    say_something(scene);
}

static void data_of_device(struct crash_scene *scene)
{
    connect_and_speak(scene);
    say_something(scene);
}

static void lose_one(struct crash_scene *scene)
{
    fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL));
    say_one(scene);
}

static void data_behind_a_gap(struct crash_scene *scene)
{
    data_of_device(scene);
    gate_run(scene->gate, 5);
    lose_one(scene);
    lose_one(scene);
    say_something(scene);
}

static void data_of_server(struct crash_scene *scene)
{
    connect_and_speak(scene);
    let_server_speak(scene);
}

static void hello(struct crash_scene *scene)
{
    crash_scene_add(scene);
    device_connect(scene->subject);
}

/* It has not heard the end of its handshake. */
static void deaf_at_the_end(struct crash_scene *scene)
{
    crash_scene_add(scene);
    device_connect(scene->subject);
    while (gate_session_count(&scene->gate->dp) < 2)
        gate_run(scene->gate, 1);
    scene->source = gate_slot_addr_of(&scene->gate->dp, &scene->subject->addr);
    scene->subject->client->is_deaf = true;
    gate_run(scene->gate, 5);
    scene->subject->client->is_deaf = false;
}

static void close_notify(struct crash_scene *scene)
{
    connect_and_speak(scene);
    device_close(scene->subject);
}

static void close_notify_behind_a_gap(struct crash_scene *scene)
{
    connect_and_speak(scene);
    lose_one(scene);
    device_close(scene->subject);
}

/* As long as a third device has no session. */
static void least_used(struct crash_scene *scene)
{
    connect_and_speak(scene);
    gate_run(scene->gate, 1000);
    gate_assert_echo(scene->gate, scene->bystander, crash_text_new());
    device_connect(gate_add(scene->gate, scene->kind));
}

static void reboot(struct crash_scene *scene)
{
    connect_and_speak(scene);
    scene->has_successor = true;
    gate_run(scene->gate, 20000);
    device_connect(gate_add_reborn(scene->gate, scene->kind, scene->subject));
}

static void almost_idle(struct crash_scene *scene)
{
    connect_and_speak(scene);
    gate_run(scene->gate, 55000);
}

static void move(struct crash_scene *scene)
{
    connect_and_speak(scene);
    scene->subject->addr = gate_device_addr(60);
    say_something(scene);
}

static void unproved(struct crash_scene *scene)
{
    connect_and_speak(scene);
    scene->subject->addr = gate_device_addr(60);
    say_one(scene);
    gate_run(scene->gate, 5);
}

static void server_speaks_to_unproved(struct crash_scene *scene)
{
    unproved(scene);
    let_server_speak(scene);
}

static void proof(struct crash_scene *scene)
{
    unproved(scene);
    say_something(scene);
}

static void change_of_keys(struct crash_scene *scene)
{
    connect_and_speak(scene);
    gate_run(scene->gate, 10000);
    memory_client_update_keys(scene->subject->client, scene->gate->now_ms);
}

static void changed_keys(struct crash_scene *scene)
{
    change_of_keys(scene);
    gate_run(scene->gate, 10);
    say_something(scene);
}

static const struct record_limits limits = {.sealed = 64, .forged = 64};

static void limit_keys(struct crash_scene *scene)
{
    scene->limits = &limits;
    gate_set_record_limits(&scene->gate->dp, &limits);
    connect_and_speak(scene);
    gate_run(scene->gate, 10000);
}

static void worn_by_half(struct crash_scene *scene)
{
    limit_keys(scene);
    for (int i = 0; i < 9; i++)
        let_server_speak(scene);
    gate_run(scene->gate, 5);
    let_server_speak(scene);
}

static void forged_by_half(struct crash_scene *scene)
{
    uint8_t record[64] = {0};
    limit_keys(scene);
    lose_one(scene);
    struct packet packet = *fake_network_last(CLIENT_TO_GATE, NULL);
    memcpy(record, packet.data, packet.len);
    record[packet.len - 1] ^= 1;
    for (uint64_t i = 1; i < limits.forged / 2; i++)
        (void)gate_inject(scene->gate, &packet.from, record, packet.len);
    fake_network_send(CLIENT_TO_GATE, &packet.from, &packet.to, record, packet.len);
}

static void late_after_the_end(struct crash_scene *scene)
{
    close_notify(scene);
    gate_run(scene->gate, 10);
    let_server_speak(scene);
}

/* All that its bucket has of addresses toward the backend has been used. */
static void few_addresses(struct crash_scene *scene)
{
    enum { BUCKET_SHARE = 8, OTHERS = BUCKET_SHARE - 2 };
    connect_and_speak(scene);
    for (int i = 0; i < OTHERS; i++)
        device_close(gate_connected(scene->gate, scene->kind));
    gate_run(scene->gate, 1000);
    device_close(scene->subject);
}

static void die(struct crash_scene *scene)
{
    scene->is_start = true;
    gate_rise(scene->gate, gate_die(scene->gate));
}

/* A process has begun, and has the state of one that was killed. */
static void start(struct crash_scene *scene)
{
    connect_and_speak(scene);
    die(scene);
}

static void start_over_a_torn_one(struct crash_scene *scene)
{
    connect_and_speak(scene);
    gate_tear(&scene->gate->dp, &scene->subject->addr, false);
    die(scene);
}

static void start_over_an_end(struct crash_scene *scene)
{
    connect_and_speak(scene);
    gate_tear(&scene->gate->dp, &scene->subject->addr, true);
    die(scene);
}

/* ---- what is interrupted --------------------------------------------------------------------- */

static void at_once(struct crash_scene *scene)
{
    gate_run(scene->gate, 10);
}

static void for_seconds(struct crash_scene *scene)
{
    gate_run(scene->gate, 10000);
}

static void for_minutes(struct crash_scene *scene)
{
    gate_run(scene->gate, 300000);
}

static void and_another_one(struct crash_scene *scene)
{
    gate_run(scene->gate, 10);
    scene->is_forgotten = true;
    gate_run(scene->gate, 70000);
    device_connect(gate_add(scene->gate, scene->kind));
    gate_run(scene->gate, 20);
}

static void take_over(struct crash_scene *scene)
{
    (void)gate_begin_anew(scene->gate);
}

static const struct operation {
    const char *name;
    const char *ini;
    const char *kind;
    void (*prepare)(struct crash_scene *scene);
    void (*run)(struct crash_scene *scene);
    bool may_tear, may_end;
} operations[] = {
    {"first data", USUAL, "1.2 psk ccm-8", first_data, at_once, false, false},
    {"first data, 1.3", USUAL, "1.3 psk", first_data, at_once, false, false},
    {"data in", USUAL, "1.2 psk ccm-8", data_of_device, at_once, false, false},
    {"data in, cid", USUAL, "1.2 psk ccm-8, cid 8", data_of_device, at_once, false, false},
    {"data in, long cid", LONG_CIDS, "1.2 psk ccm-8, cid 32", data_of_device, at_once, false,
     false},
    {"data in, chacha", USUAL, "1.2 certificate chacha", data_of_device, at_once, false, false},
    {"data in, 1.3", USUAL, "1.3 psk", data_of_device, at_once, false, false},
    {"data in, 1.3 cid", USUAL, "1.3 psk, cid 4", data_of_device, at_once, false, false},
    {"data in behind a gap", USUAL, "1.2 psk ccm-8", data_behind_a_gap, at_once, false, false},
    {"data in behind a gap, 1.3", USUAL, "1.3 psk", data_behind_a_gap, at_once, false, false},
    {"data out", USUAL, "1.2 psk ccm-8", data_of_server, at_once, false, false},
    {"data out, gcm", USUAL, "1.2 psk gcm", data_of_server, at_once, false, false},
    {"data out, long cid", LONG_CIDS, "1.2 psk ccm-8, cid 32", data_of_server, at_once, false,
     false},
    {"data out, chacha", USUAL, "1.2 certificate chacha", data_of_server, at_once, false, false},
    {"data out, 1.3", USUAL, "1.3 psk", data_of_server, at_once, false, false},
    {"data out, 1.3 chacha", USUAL, "1.3 psk chacha", data_of_server, at_once, false, false},
    {"birth", USUAL, "1.2 psk ccm-8", hello, at_once, false, false},
    {"birth, long cid", LONG_CIDS, "1.2 psk ccm-8, cid 32", hello, at_once, false, false},
    {"birth, 1.3", USUAL, "1.3 psk, ticket", hello, at_once, true, false},
    {"end of a handshake", USUAL, "1.2 psk ccm-8", deaf_at_the_end, for_seconds, true, false},
    {"end of a handshake, 1.3", USUAL, "1.3 psk, ticket", deaf_at_the_end, for_seconds, true,
     false},
    {"close_notify", USUAL, "1.2 psk ccm-8", close_notify, at_once, true, true},
    {"close_notify, long cid", LONG_CIDS, "1.3 psk, cid 32", close_notify, at_once, true, true},
    {"close_notify behind a gap", USUAL, "1.2 psk ccm-8", close_notify_behind_a_gap, for_seconds,
     true, true},
    {"eviction", GATE "max_sessions = 2\n" LISTENER PSK, "1.2 psk ccm-8", least_used, at_once,
     false, true},
    {"another one of the same identity", USUAL "sessions_per_identity = 1\n", "1.2 certificate",
     least_used, at_once, false, true},
    {"reboot", USUAL, "1.2 psk ccm-8", reboot, at_once, false, true},
    {"idle", USUAL "idle_timeout = 60s\n", "1.3 psk", almost_idle, for_seconds, false, true},
    {"move", USUAL, "1.2 psk ccm-8, cid", move, at_once, true, false},
    {"move, 1.3", USUAL, "1.3 psk, cid 4", move, at_once, true, false},
    {"data to an unproved address", USUAL, "1.2 psk ccm-8, cid", server_speaks_to_unproved, at_once,
     false, false},
    {"proof of an address", USUAL, "1.2 psk ccm-8, cid", proof, at_once, false, false},
    {"new keys of the device", USUAL, "1.3 psk", change_of_keys, at_once, true, false},
    {"first data with new keys", USUAL, "1.3 psk chacha", changed_keys, at_once, false, false},
    {"end of old keys", USUAL, "1.3 psk", changed_keys, for_minutes, true, false},
    {"new keys of the gate", USUAL, "1.3 psk", worn_by_half, at_once, true, false},
    {"new keys after forgeries", USUAL, "1.3 psk", forged_by_half, for_seconds, true, false},
    {"noise after the end", USUAL, "1.2 psk ccm-8", late_after_the_end, at_once, false, true},
    {"an address is used again", GATE "tombstone = 60s\n" LISTENER PSK, "1.2 psk ccm-8",
     few_addresses, and_another_one, true, true},
    {"start", USUAL, "1.3 psk, ticket", start, take_over, false, false},
    {"start over a torn session", USUAL, "1.3 psk", start_over_a_torn_one, take_over, true, true},
    {"start over an end", USUAL, "1.2 psk ccm-8", start_over_an_end, take_over, false, true},
};

static void run_operation(struct gate *gate, const struct operation *operation)
{
    struct crash_scene scene;
    crash_scene_open(&scene, gate, operation->ini);
    scene.kind = gate_kind(operation->kind);
    scene.may_tear = operation->may_tear;
    scene.may_end = operation->may_end;
    operation->prepare(&scene);
    crash_scene_run(&scene, operation->run);
    printf("  %s: %u kills, %u whole, %u torn, %u ended, %u absent\n", operation->name, scene.kills,
           scene.fates[CRASH_WHOLE], scene.fates[CRASH_TORN], scene.fates[CRASH_ENDED],
           scene.fates[CRASH_ABSENT]);
}

static void each_session_is_whole_or_torn(void **state)
{
    struct gate *gate = *state;
    if (!store_trap_is_possible())
        skip_because("stores can be stopped at on x86-64 only, and not under a thread sanitizer");
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strstr(operations[i].name, only) == NULL)
            continue;
        gate_doing("%s", operations[i].name);
        run_operation(gate, &operations[i]);
    }
    gate_doing(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_session_is_whole_or_torn, gate_set_up, gate_tear_down),
    };
    if (argc > 1)
        only = argv[1];
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("killed before each store", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
