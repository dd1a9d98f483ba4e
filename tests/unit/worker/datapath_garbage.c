/* A state that is garbage, here and there: what makes no sense is dropped, and nothing of it does
 * any harm. Most of what this is for only a sanitizer sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate/gate_restart.h"
#include "state/layout.h"
#include "worker/datapath_tests.h"

enum { PAGE_BYTES = 4096, PAGES_MAX = 4096, RECORDS_MAX = 16, ROUNDS = 100 };

/* ---- the memory as it was ------------------------------------------------------------------- */

struct image {
    uint64_t random;
    uint32_t count;
    size_t at[PAGES_MAX];
    uint8_t (*pages)[PAGE_BYTES];               /* owned */
    uint32_t first_chunk_page, first_slot_page; /* of those in `at` */
    unsigned damages;                           /* bytes to be changed */
};

static void take_image(struct image *image, const struct region *region)
{
    image->pages = malloc(sizeof(*image->pages) * PAGES_MAX);
    assert_non_null(image->pages);
    for (size_t at = region_next_used(region, 0); at < region->bytes;
         at = region_next_used(region, at + PAGE_BYTES)) {
        assert_true(image->count < PAGES_MAX);
        image->first_slot_page += at < LAYOUT_SLOTS_AT;
        image->first_chunk_page += at < LAYOUT_CHUNKS_AT;
        image->at[image->count] = at;
        /* By the descriptor: what is free must not be touched, in this process. */
        assert_int_equal(pread(region->fd, image->pages[image->count++], PAGE_BYTES, (off_t)at),
                         PAGE_BYTES);
    }
}

static uint64_t draw(struct image *image, uint64_t end)
{
    return fake_system_random(&image->random) % end;
}

/* In memory of sessions, mostly where they are; in slots; in the directory. */
static uint8_t *place(struct image *image, struct region *region)
{
    uint32_t first = image->first_chunk_page;
    switch (draw(image, 8)) {
    case 0: return region->base + LAYOUT_DIRECTORY_AT + draw(image, 512);
    case 1: first = image->first_slot_page; break;
    default: break;
    }
    for (;;) {
        uint32_t page = first + (uint32_t)draw(image, image->count - first);
        size_t byte = draw(image, PAGE_BYTES);
        if (image->pages[page][byte] != 0 || draw(image, 50) == 0)
            return region->base + image->at[page] + byte;
    }
}

static void damage(struct region *region, void *context)
{
    struct image *image = context;
    for (size_t at = region_next_used(region, 0); at < region->bytes;
         at = region_next_used(region, at + PAGE_BYTES))
        memset(region->base + at, 0, PAGE_BYTES);
    for (uint32_t i = 0; i < image->count; i++) {
        assert_true(region_need(region, image->at[i], PAGE_BYTES));
        memcpy(region->base + image->at[i], image->pages[i], PAGE_BYTES);
    }
    for (unsigned i = 0; i < image->damages; i++) {
        uint8_t *byte = place(image, region);
        if (draw(image, 2) == 0)
            *byte = (uint8_t)(*byte ^ 1u << draw(image, 8));
        else
            *byte = (uint8_t)draw(image, 256);
    }
}

/* ---- what is done with it ------------------------------------------------------------------- */

struct life {
    struct packet records[RECORDS_MAX]; /* of devices, that have not arrived */
    struct addr sources[RECORDS_MAX];   /* of sessions, toward the backend */
    uint32_t count;
};

static void ignore(void *context, const struct packet *packet)
{
    (void)context;
    (void)packet;
}

/* All that can happen to a session: data from both sides, timers, and its end. */
static void use(struct gate *gate, const struct life *life)
{
    for (uint32_t i = 0; i < life->count; i++) {
        const struct packet *record = &life->records[i];
        (void)gate_inject(gate, &record->from, record->data, record->len);
        (void)gate_inject_from_backend(gate, &life->sources[i], "answer", 6);
    }
    for (int i = 0; i < 8; i++) {
        gate->now_ms += 40000;
        gate_tick(gate);
    }
    gate_stop(gate);
}

/* Sessions of all kinds, some of them in the middle of something. */
static void begin(struct gate *gate, struct life *life)
{
    static const char *const kinds[] = {
        "1.2 psk ccm-8",      "1.2 psk gcm",           "1.2 certificate", "1.2 certificate chacha",
        "1.2 psk ccm-8, cid", "1.2 psk ccm-8, cid 32", "1.3 psk",         "1.3 psk chacha",
        "1.3 certificate",    "1.3 psk, cid",          "1.3 psk, cid 32", "1.3 psk, ticket",
    };
    gate_open(gate, USUAL "cid_length = 32\nsessions_per_identity = 100\n");
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        life->sources[life->count] = gate_slot_addr_of(&gate->dp, &device->addr);
        if (i >= 9) { /* its own keys change, and the gate's are to */
            device->client->is_deaf = true;
            memory_client_update_keys(device->client, gate->now_ms);
            gate_run(gate, 3);
        }
        fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL));
        device_send(device, "late", 4);
        life->records[life->count++] = *fake_network_last(CLIENT_TO_GATE, NULL);
        if (i == 4 || i == 10) { /* it moves, and has not proved where it is */
            struct addr elsewhere = gate_device_addr(60 + i);
            fake_network_plan(LOSE, CLIENT_TO_GATE, fake_network_count(CLIENT_TO_GATE, NULL));
            device_send(device, "moved", 5);
            const struct packet *moved = fake_network_last(CLIENT_TO_GATE, NULL);
            (void)gate_inject(gate, &elsewhere, moved->data, moved->len);
        }
    }
    fake_network_set_handlers(ignore, ignore, NULL); /* where garbage goes is not looked at */
}

static void garbage_does_no_harm(void **state)
{
    static struct image image;
    struct gate *gate = *state;
    struct life life = {0};
    uint64_t kept = 0, all = 0;
    begin(gate, &life);
    uint64_t now_ms = gate->now_ms;
    image = (struct image){.random = 1};
    take_image(&image, &gate->state.region);
    for (unsigned round = 0; round < ROUNDS; round++) {
        gate_doing("round %u", round);
        nonce_watch_reset(); /* each begins with the same numbers */
        image.damages = round == 0 ? 0 : 1u << draw(&image, 7);
        gate->now_ms = now_ms;
        struct sessions_adopted adopted = gate_restart_damaged(gate, damage, &image);
        if (round == 0)
            assert_int_equal(adopted.kept, life.count);
        kept += adopted.kept;
        all += life.count;
        use(gate, &life);
        assert_true(gate_is_empty(&gate->dp));
        assert_int_equal(gate_bytes_kept(&gate->dp), 0);
    }
    /* Some are lost, most are not: it was tried on sessions. */
    assert_in_range(kept, all / 4, all - all / 50);
    free(image.pages);
    gate_doing(NULL);
}

int datapath_garbage_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(garbage_does_no_harm),
    };
    return cmocka_run_group_tests_name("datapath: garbage", tests, NULL, NULL);
}
