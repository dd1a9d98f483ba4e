#include "session/session_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "count/counters_area.h"
#include "gate/gate_state.h"
#include "gate/memory_generation.h"
#include "net/steering.h"
#include "run/reload.h"
#include "wire/record12.h"
#include "wire/record13.h"

#define LISTENER(name, port)                                                       \
    "[listener " name "]\nlisten = 192.0.2.1:" port "\nbackend = 127.0.0.1:5683\n" \
    "psk_file = @psk\nidle_timeout = 60s\nidle_timeout_cid = 600s\n"
#define SETTINGS                                                                        \
    "[gate]\nmetrics =\ntombstone = 30s\nmax_sessions = 40\n" LISTENER("plain", "5684") \
        LISTENER("second", "5685") LISTENER("few", "5686") "sessions_per_identity = 2\n"

enum { SERVER_PORT = 5683 }; /* what else goes to that side are marks of the gate's own */

static void end_elsewhere(void *context, const struct identities_session *session)
{
    struct session_scene *scene = context;
    scene->ended_elsewhere++;
    scene->elsewhere = *session;
}

int scene_set_up(void **state)
{
    struct session_scene *scene = calloc(1, sizeof(*scene));
    struct err err;
    if (scene == NULL)
        return -1;
    fake_system_seed(1);
    fake_udp_reset();
    fake_network_reset(0);
    fake_log_reset();
    scene->generation = memory_generation(SETTINGS);
    scene->now_ms = SCENE_START_MS;
    scene->next_number = 1;
    scene->random = 1;
    slabs_init(&scene->slabs);
    gate_state_open(&scene->state, scene->generation);
    scene->counters = counters_area_of(&scene->state, 0);
    scene->identities = identities_new(&err);
    scene->work = aead_work_new();
    const struct addr bound = {.ip = {192, 0, 2, 1}, .port = 5684, .family = AF_INET};
    if (scene->identities == NULL || scene->work == NULL || !udp_out_init(&scene->to_client) ||
        !udp_in_init(&scene->in) || !udp_open_listener(&scene->socket, &bound, &err) ||
        !udp_open_backend(&scene->backend_socket, 0, true, &err) ||
        !backend_open(&scene->backend, &scene->state, &scene->generation->config->gate, 0, 1,
                      &scene->backend_socket, &scene->counters, &err))
        return -1;
    const struct sessions_settings settings = {
        .worker_count = 1,
        .session_max = scene->generation->config->gate.max_sessions,
        .listeners = scene->generation->by_number,
        .identities = scene->identities,
        .end_elsewhere = end_elsewhere,
        .context = scene,
        .backend = &scene->backend,
        .to_client = &scene->to_client,
        .state = &scene->state,
        .counters = &scene->counters,
    };
    if (!sessions_init(&scene->all, &settings, &err))
        return -1;
    *state = scene;
    return 0;
}

int scene_tear_down(void **state)
{
    struct session_scene *scene = *state;
    sessions_deinit(&scene->all);
    assert_int_equal(slabs_bytes_taken(&scene->slabs), 0);
    slabs_deinit(&scene->slabs);
    state_close(&scene->state);
    identities_free(scene->identities);
    backend_close(&scene->backend);
    udp_out_deinit(&scene->to_client);
    udp_in_deinit(&scene->in);
    udp_close(&scene->socket);
    aead_work_free(scene->work);
    reload_release(scene->generation);
    free(scene);
    fake_log_reset();
    fake_udp_reset();
    fake_network_reset(0);
    return 0;
}

struct addr scene_address(unsigned index)
{
    return (struct addr){.ip = {198, 51, (uint8_t)(100 + index / 250), (uint8_t)(1 + index % 250)},
                         .port = 5000,
                         .family = AF_INET};
}

struct scene_device scene_device_at(unsigned index)
{
    return (struct scene_device){.addr = scene_address(index), .identity = "device"};
}

struct addr scene_address_in(const struct addr *addr, uint32_t bucket)
{
    struct addr found = *addr;
    do {
        if (++found.port == 0)
            found.ip[3]++;
    } while (steering_bucket_of_addr(&found) != bucket);
    return found;
}

/* ---- keys, and what is sealed with them ----------------------------------------------------- */

static void fill(struct session_scene *scene, void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)fake_system_random(&scene->random);
}

static void draw_keys(struct session_scene *scene, struct scene_device *device)
{
    struct taken *taken = &device->taken;
    memset(taken, 0, sizeof(*taken));
    taken->version = device->is_1_3 ? VERSION_1_3 : VERSION_1_2;
    taken->aead = device->is_1_3 ? AEAD_AES_128_GCM : AEAD_AES_128_CCM_8;
    taken->plaintext_max = RECORD_PLAINTEXT_MAX;
    if (device->has_cid) {
        taken->cid_len = SCENE_CID_BYTES;
        fill(scene, taken->cid, SCENE_CID_BYTES);
    }
    if (device->is_1_3) {
        fill(scene, taken->v13.read_secret, sizeof(taken->v13.read_secret));
        fill(scene, taken->v13.write_secret, sizeof(taken->v13.write_secret));
        taken->v13.message_seq_next = 3;
        taken->v13.message_seq_expected = 2;
        device->next = 0;
    } else {
        fill(scene, taken->v12.read_key, sizeof(taken->v12.read_key));
        fill(scene, taken->v12.write_key, sizeof(taken->v12.write_key));
        fill(scene, taken->v12.read_iv, sizeof(taken->v12.read_iv));
        fill(scene, taken->v12.write_iv, sizeof(taken->v12.write_iv));
        taken->write_next = 1;
        taken->v12.window = (struct record_window){.next = 1, .seen = UINT64_MAX};
        device->next = 1; /* behind its Finished */
    }
}

size_t scene_seal(struct session_scene *scene, const struct scene_device *device, uint64_t number,
                  uint8_t type, const void *data, size_t len, uint8_t *out)
{
    const struct taken *taken = &device->taken;
    size_t record_len;
    if (device->is_1_3) {
        uint8_t keys[RECORD13_KEYS_MAX];
        const struct record13_writer writer = {.aead = taken->aead,
                                               .epoch = 3,
                                               .keys = keys,
                                               .cid = taken->cid,
                                               .cid_len = taken->cid_len};
        assert_true(record13_derive(keys, taken->aead, taken->v13.read_secret));
        record_len = record13_seal(scene->work, &writer, number, type, data, len, out);
    } else {
        const struct record12_keys keys = {.aead = taken->aead,
                                           .key = taken->v12.read_key,
                                           .iv = taken->v12.read_iv,
                                           .cid = taken->cid,
                                           .cid_len = taken->cid_len};
        record_len = record12_seal(scene->work, &keys, number, type, data, len, out);
    }
    assert_true(record_len != 0);
    return record_len;
}

uint8_t scene_open_last(struct session_scene *scene, const struct scene_device *device,
                        const uint8_t **data, size_t *len)
{
    static uint8_t room[SCENE_RECORD_MAX];
    const struct packet *packet = fake_network_last(GATE_TO_CLIENT, &device->addr);
    const struct taken *taken = &device->taken;
    struct record_window window = {0};
    struct record_content content;
    enum record_verdict verdict;
    assert_non_null(packet);
    assert_true(packet->len <= sizeof(room));
    if (device->is_1_3) {
        uint8_t keys[RECORD13_KEYS_MAX];
        const struct record13_epoch epoch = {.epoch = 3, .keys = keys, .window = &window};
        const struct record13_reader reader = {.aead = taken->aead,
                                               .epochs = &epoch,
                                               .epoch_count = 1,
                                               .plaintext_max = RECORD_PLAINTEXT_MAX};
        assert_true(record13_derive(keys, taken->aead, taken->v13.write_secret));
        verdict =
            record13_open(scene->work, &reader, packet->data, packet->len, true, room, &content);
    } else {
        const struct record12_keys keys = {.aead = taken->aead,
                                           .key = taken->v12.write_key,
                                           .iv = taken->v12.write_iv,
                                           .plaintext_max = RECORD_PLAINTEXT_MAX};
        verdict =
            record12_open(scene->work, &keys, &window, packet->data, packet->len, room, &content);
    }
    assert_int_equal(verdict, RECORD_OPENED);
    *data = content.data;
    *len = content.data_len;
    return content.type;
}

void scene_expect_alert(struct session_scene *scene, const struct scene_device *device,
                        uint8_t code)
{
    const uint8_t *data;
    size_t len;
    assert_int_equal(scene_open_last(scene, device, &data, &len), RECORD_ALERT);
    assert_int_equal(len, 2);
    assert_int_equal(data[1], code);
}

/* ---- what happens --------------------------------------------------------------------------- */

/* The gate's own marks come back to it. */
static void read_marks(struct session_scene *scene)
{
    while (backend_receive(&scene->backend, &scene->in)) {
        for (uint32_t i = 0; i < scene->in.count; i++)
            (void)backend_recipient(&scene->backend, &scene->in.at[i], scene->now_ms);
        backend_on_batch(&scene->backend, true, scene->now_ms);
    }
}

static void flush(struct session_scene *scene)
{
    backend_flush(&scene->backend);
    udp_out_flush(&scene->to_client);
    read_marks(scene);
}

/* As a handshake is when it is complete. */
static struct handshake *make_handshake(struct session_scene *scene, struct scene_device *device)
{
    struct handshake *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    h->entry.key =
        (struct handshake_table_key){.client = device->addr, .listener = device->listener};
    h->listener = scene->generation->by_number[device->listener];
    h->number = scene->next_number++;
    h->begun_ms = scene->now_ms;
    h->state = HANDSHAKE_COMPLETE;
    h->flight.way.client = device->addr;
    h->flight.way.local = scene->socket.bound;
    h->flight.way.socket = &scene->socket;
    h->flight.way.slabs = &scene->slabs;
    h->flight.sent_at_ms = scene->now_ms;
    h->who.version = device->is_1_3 ? VERSION_1_3 : VERSION_1_2;
    h->who.credential = CREDENTIAL_NONE;
    if (device->identity != NULL) {
        h->who.credential = CREDENTIAL_PSK;
        h->who.identity_len = (uint8_t)strlen(device->identity);
        memcpy(h->who.identity, device->identity, h->who.identity_len);
        h->who.digests.count = 1;
        memset(h->who.digests.at[0], SCENE_DIGEST, CREDENTIAL_DIGEST_BYTES);
    }
    return h;
}

static struct session *begin(struct session_scene *scene, struct scene_device *device,
                             struct handshake *h, enum handshake_result *why)
{
    draw_keys(scene, device);
    const struct udp_datagram finished = {.from = h->entry.key.client, .to = scene->socket.bound};
    const struct arrival last = {.listener = h->listener,
                                 .socket = &scene->socket,
                                 .datagram = &finished,
                                 .now_ms = scene->now_ms};
    struct session *s = session_begin(&scene->all, h, &device->taken, &last, why);
    flight_deinit(&h->flight);
    free(h);
    flush(scene);
    return s;
}

struct session *scene_begin(struct session_scene *scene, struct scene_device *device,
                            enum handshake_result *why)
{
    enum handshake_result ignored;
    return begin(scene, device, make_handshake(scene, device), why != NULL ? why : &ignored);
}

struct session *scene_begin_well(struct session_scene *scene, struct scene_device *device)
{
    struct session *s = scene_begin(scene, device, NULL);
    assert_non_null(s);
    return s;
}

struct session *scene_begin_with_flight(struct session_scene *scene, struct scene_device *device,
                                        size_t flight_bytes)
{
    enum { HEADER = 13, EPOCH_AT = 3, LENGTH_AT = 11 };
    enum handshake_result ignored;
    struct handshake *h = make_handshake(scene, device);
    uint8_t *kept = slabs_take(&scene->slabs, 2 + flight_bytes);
    assert_non_null(kept);
    bytes_put16(kept, (uint16_t)flight_bytes);
    kept[2] = RECORD_HANDSHAKE;
    kept[3] = 0xfe;
    kept[4] = 0xfd;
    bytes_put16(kept + 2 + EPOCH_AT, 1);
    bytes_put16(kept + 2 + LENGTH_AT, (uint16_t)(flight_bytes - HEADER));
    h->flight.kept = kept;
    h->flight.kept_len = (uint32_t)(2 + flight_bytes);
    return begin(scene, device, h, &ignored);
}

static struct arrival arrive(struct session_scene *scene, const struct scene_device *device,
                             struct udp_datagram *datagram, const uint8_t *data, size_t len)
{
    *datagram = (struct udp_datagram){
        .from = device->addr, .to = scene->socket.bound, .data = data, .len = (uint32_t)len};
    const struct listener *listener = scene->generation->by_number[device->listener];
    return (struct arrival){
        .listener = listener,
        .socket = &scene->socket,
        .datagram = datagram,
        .kind = classify(data, len, listener->config->cid_bytes),
        .now_ms = scene->now_ms,
        .send_failed = &scene->send_failed,
    };
}

enum client_outcome scene_receive(struct session_scene *scene, struct session *s,
                                  const struct scene_device *device, const uint8_t *datagram,
                                  size_t len, bool is_contested)
{
    struct udp_datagram d;
    uint8_t *copy = fake_network_copy(datagram, len);
    const struct arrival arrival = arrive(scene, device, &d, copy, len);
    enum client_outcome outcome = session_receive(&scene->all, s, &arrival, is_contested);
    flush(scene);
    free(copy);
    return outcome;
}

bool scene_receive_closing(struct session_scene *scene, const struct scene_device *device,
                           const uint8_t *datagram, size_t len)
{
    struct udp_datagram d;
    uint8_t *copy = fake_network_copy(datagram, len);
    const struct arrival arrival = arrive(scene, device, &d, copy, len);
    bool was_taken = sessions_receive_closing(&scene->all, &arrival);
    flush(scene);
    free(copy);
    return was_taken;
}

enum client_outcome scene_say(struct session_scene *scene, struct session *s,
                              struct scene_device *device, uint8_t type, const void *data,
                              size_t len)
{
    uint8_t record[SCENE_RECORD_MAX];
    size_t record_len = scene_seal(scene, device, device->next++, type, data, len, record);
    return scene_receive(scene, s, device, record, record_len, false);
}

enum backend_outcome scene_answer(struct session_scene *scene, struct session *s, const void *data,
                                  size_t len)
{
    bool failed = false;
    enum backend_outcome outcome = session_send(&scene->all, s, data, len, &failed, scene->now_ms);
    flush(scene);
    assert_false(failed);
    return outcome;
}

uint32_t scene_sent(void)
{
    return fake_network_count(GATE_TO_CLIENT, NULL);
}

uint32_t scene_forwarded(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        count += packet->direction == GATE_TO_BACKEND && packet->to.port == SERVER_PORT;
    }
    return count;
}

void scene_wait(struct session_scene *scene, uint64_t ms)
{
    scene->now_ms += ms;
    sessions_on_time(&scene->all, scene->now_ms);
    flush(scene);
    sessions_reap(&scene->all);
}

uint64_t scene_closed(const struct session_scene *scene, enum close_reason reason)
{
    uint64_t sum = 0;
    for (int l = 0; l < SCENE_LISTENERS; l++)
        sum += counter_get(&scene->counters.by_listener[l].closed[reason]);
    return sum;
}
