/* Processes that are killed (SIGKILL) wherever they are, one after the other, each of which has
 * taken over what the one before has left. Several devices and their server talk all the time,
 * move, change keys and close.
 *
 * In each round a process takes over the state, and passes on what the devices and the server have
 * just sent, until it is killed. What it has sent itself until then arrives. Then this process
 * takes over, and everything that was sent in that round arrives once more, as replays do. What
 * must hold:
 *   - nothing that a device has sent reaches the server twice;
 *   - each device's session goes on, both ways; or it was torn, and that is counted; or its device
 *     has closed it;
 *   - no key meets a nonce twice with other bytes, in all of these processes.
 *
 *   CRASH_KILLS=n  so many (default below) */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "count/counters_area.h"
#include "crash/crash_text.h"
#include "gate/gate_restart.h"
#include "gate/gate_wolfssl.h"
#include "handshake/dtls.h"

enum {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    KILLS = 50,
#else
    KILLS = 300,
#endif
    DEVICES = 6,
    WIRE_BYTES = 1 << 20,
    ROUND_MS = 20, /* of the virtual clock, that a process lives if nobody kills it */
};

static const char *const kinds[DEVICES] = {"1.2 psk ccm-8",  "1.2 psk ccm-8, cid 4",
                                           "1.3 psk",        "1.3 psk, cid 4",
                                           "1.3 psk chacha", "1.2 psk gcm, cid 8"};

/* How far a process has come. */
enum stage { STAGE_START, STAGE_SERVES, STAGE_DONE, STAGES };

/* What a process has sent, in memory that is there when it has been killed. */
struct wire {
    _Atomic uint32_t stage;              /* enum stage */
    _Atomic uint64_t reached_us[STAGES]; /* when; 0 = not yet */
    _Atomic uint32_t end;                /* bytes of whole packets */
    uint8_t bytes[WIRE_BYTES];
};

struct crash_round {
    struct gate *gate;
    struct wire *wire; /* shared with the process that is killed */
    uint64_t random;
    /* When the next process is killed: so long after it has reached that stage, or never. */
    enum stage fatal_stage;
    uint64_t fatal_us;
    uint64_t usual_us[STAGES]; /* that a process takes for each if it is not killed */
    struct addr sources[DEVICES];
    bool has_closed[DEVICES];
    uint32_t first_packet;
    uint64_t kills_at[STAGES], torn, closed;
};

static uint64_t draw(struct crash_round *r, uint64_t below)
{
    return fake_system_random(&r->random) % below;
}

/* ---- the process that is killed -------------------------------------------------------------- */

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* By the kernel's timer, whose interrupt comes between any two instructions. */
static void die_after(uint64_t us)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 + 1}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &when, NULL) != 0)
        _exit(1);
}

static void reach(struct crash_round *r, enum stage stage)
{
    r->wire->reached_us[stage] = now_us();
    r->wire->stage = stage;
    if (stage == r->fatal_stage)
        die_after(r->fatal_us);
}

static void put_on_wire(void *context, const struct packet *packet)
{
    struct wire *wire = context;
    uint32_t end = wire->end;
    if (packet->direction != GATE_TO_CLIENT && packet->direction != GATE_TO_BACKEND)
        return;
    assert_true(end + sizeof(*packet) + packet->len <= WIRE_BYTES);
    memcpy(wire->bytes + end, packet, sizeof(*packet));
    memcpy(wire->bytes + end + sizeof(*packet), packet->data, packet->len);
    wire->end = end + (uint32_t)sizeof(*packet) + packet->len;
}

static void arrive(void *context, const struct packet *packet)
{
    (void)context;
    if (packet->direction == CLIENT_TO_GATE || packet->direction == BACKEND_TO_GATE)
        fake_udp_put(packet);
}

/* The devices of this process are copies: they hear and do nothing. */
static void live(struct crash_round *r, int fd)
{
    const struct rlimit none = {0};
    struct gate *gate = r->gate;
    setrlimit(RLIMIT_CORE, &none);
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    for (uint32_t i = 0; i < gate->device_count; i++)
        gate->devices[i].client->is_deaf = true;
    fake_network_set_handlers(arrive, put_on_wire, r->wire);
    reach(r, STAGE_START);
    gate_rise(gate, fd);
    (void)gate_begin_anew(gate);
    reach(r, STAGE_SERVES);
    gate_run(gate, ROUND_MS);
    reach(r, STAGE_DONE);
    _exit(0);
}

/* ---- one round ------------------------------------------------------------------------------- */

static void speak(struct crash_round *r, uint32_t i)
{
    struct gate *gate = r->gate;
    const struct addr *server = &gate->generation->config->listeners[0].backend;
    const char *text = crash_text_new();
    if (draw(r, 2) == 0)
        device_send(&gate->devices[i], text, strlen(text));
    else
        fake_network_send(BACKEND_TO_GATE, server, &r->sources[i], text, strlen(text));
}

static void act(struct crash_round *r, uint32_t i)
{
    struct device *device = &r->gate->devices[i];
    const struct client_kind *kind = device->client->kind;
    uint64_t what = draw(r, 40);
    if (what < 30) {
        for (uint64_t n = draw(r, 4); n > 0; n--)
            speak(r, i);
    } else if (what < 33 && kind->has_cid) {
        device->addr.port ^= 1;
        speak(r, i);
    } else if (what < 36 && kind->version == VERSION_1_3) {
        memory_client_update_keys(device->client, r->gate->now_ms);
    } else if (what == 39) {
        device_close(device);
        r->has_closed[i] = true;
    }
}

static void learn(struct crash_round *r, enum stage stage)
{
    uint64_t begun_us = r->wire->reached_us[stage], ended_us = r->wire->reached_us[stage + 1];
    if (ended_us != 0)
        r->usual_us[stage] = (3 * r->usual_us[stage] + ended_us - begun_us) / 4;
    else if (begun_us != 0)
        r->usual_us[stage] += r->usual_us[stage] / 8 + 1;
}

static void bury(struct crash_round *r, pid_t child)
{
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    bool is_done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!is_done && (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL))
        fail_msg("a process that took over has failed, see above (status %d)", status);
    learn(r, r->fatal_stage);
    r->kills_at[r->wire->stage]++;
}

/* What it has sent arrives. */
static void deliver(struct crash_round *r)
{
    struct packet packet;
    for (uint32_t at = 0; at < r->wire->end; at += (uint32_t)sizeof(packet) + packet.len) {
        memcpy(&packet, r->wire->bytes + at, sizeof(packet));
        packet.data = r->wire->bytes + at + sizeof(packet);
        if (packet.direction == GATE_TO_BACKEND)
            crash_text_note_delivered(packet.data, packet.len);
        for (uint32_t i = 0; i < DEVICES && packet.direction == GATE_TO_CLIENT; i++) {
            struct device *device = &r->gate->devices[i];
            if (addr_equal(&device->addr, &packet.to))
                memory_client_receive(device->client, packet.data, packet.len, r->gate->now_ms);
        }
    }
}

static void note_deliveries(struct crash_round *r)
{
    for (; r->first_packet < fake_network_captured(); r->first_packet++) {
        const struct packet *packet = fake_network_packet(r->first_packet);
        if (packet->direction == GATE_TO_BACKEND)
            crash_text_note_delivered(packet->data, packet->len);
    }
}

/* ---- in between ------------------------------------------------------------------------------ */

static void connect_anew(struct crash_round *r, uint32_t i)
{
    struct gate *gate = r->gate;
    gate_replace(&gate->devices[i], gate_kind(kinds[i]));
    device_connect(&gate->devices[i]);
    assert_true(gate_run_until_up(gate, &gate->devices[i], 1000));
    gate_run(gate, 5);
    r->sources[i] = gate_slot_addr_of(&gate->dp, &gate->devices[i].addr);
    r->has_closed[i] = false;
}

/* Of all processes. One that is dropped by a process that is killed itself may be dropped, and so
 * counted, once more. */
static uint64_t torn_sessions_counted(struct gate *gate)
{
    struct worker_counters before = counters_area_of(&gate->state, COUNTERS_INHERITED);
    uint32_t listener = gate->generation->listeners[0].number;
    return counter_get(&before.by_listener[listener].closed[CLOSE_torn]) +
           gate_closed(gate, CLOSE_torn);
}

/* Returns whether its session was lost. */
static bool is_lost(struct crash_round *r, uint32_t i)
{
    struct gate *gate = r->gate;
    bool is_there = gate_has_session_from(&gate->dp, &r->sources[i]);
    if (r->has_closed[i]) {
        r->closed++;
        gate_end_session_from(&gate->dp, &r->sources[i]); /* the close_notify was lost */
        return false;
    }
    if (is_there) {
        gate_assert_echo(gate, &gate->devices[i], crash_text_new());
        gate_assert_echo(gate, &gate->devices[i], crash_text_new());
    }
    return !is_there;
}

/* Long enough for what was lost to be repeated. */
static void take_over(struct crash_round *r, int fd)
{
    enum { REPEATED_MS = 5000 };
    struct gate *gate = r->gate;
    gate->now_ms += ROUND_MS;
    gate_rise(gate, fd);
    (void)gate_begin_anew(gate);
    gate_run(gate, REPEATED_MS);
    uint64_t lost = 0;
    for (uint32_t i = 0; i < DEVICES; i++) {
        bool was_lost = is_lost(r, i);
        lost += was_lost;
        if (was_lost || r->has_closed[i])
            connect_anew(r, i);
    }
    r->torn += lost;
    assert_true(torn_sessions_counted(gate) >= r->torn);
}

static void play_round(struct crash_round *r)
{
    struct gate *gate = r->gate;
    for (uint32_t i = 0; i < DEVICES; i++)
        act(r, i);
    int fd = gate_die(gate);
    r->wire->end = 0;
    for (int stage = 0; stage < STAGES; stage++)
        r->wire->reached_us[stage] = 0;
    r->wire->stage = STAGE_START;
    r->fatal_stage = draw(r, 2) == 0 ? STAGE_START : STAGE_SERVES;
    r->fatal_us = draw(r, r->usual_us[r->fatal_stage] * 5 / 4 + 1);
    pid_t child = fork();
    if (child == 0)
        live(r, fd);
    assert_true(child > 0);
    bury(r, child);
    nonce_watch_collect();
    deliver(r);
    take_over(r, fd);
    note_deliveries(r);
}

static uint64_t kills_wanted(void)
{
    const char *text = getenv("CRASH_KILLS");
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : KILLS;
}

static void a_chain_of_killed_processes(void **state)
{
    static struct crash_round r;
    r = (struct crash_round){.gate = *state, .random = 1, .usual_us = {5000, 1000}};
    r.wire = mmap(NULL, sizeof(*r.wire), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(r.wire != MAP_FAILED);
    gate_open(r.gate, USUAL);
    nonce_watch_share();
    for (uint32_t i = 0; i < DEVICES; i++) {
        struct device *device = gate_connected(r.gate, gate_kind(kinds[i]));
        r.sources[i] = gate_slot_addr_of(&r.gate->dp, &device->addr);
    }
    for (uint64_t n = kills_wanted(); n > 0; n--) {
        gate_doing("%u kills left", (unsigned)n);
        play_round(&r);
    }
    gate_doing(NULL);
    printf("  killed at the start %u, while it served %u, never %u; sessions torn %u, closed %u\n",
           (unsigned)r.kills_at[STAGE_START], (unsigned)r.kills_at[STAGE_SERVES],
           (unsigned)r.kills_at[STAGE_DONE], (unsigned)r.torn, (unsigned)r.closed);
    munmap(r.wire, sizeof(*r.wire));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_chain_of_killed_processes, gate_set_up, gate_tear_down),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("killed anywhere", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
