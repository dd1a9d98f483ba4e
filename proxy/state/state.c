#include "state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/order.h"

#define BYTE_ORDER_MARK 0x01020304u

/* Larger ones in a state are garbage: at a million a second these last for 35,000 years. */
#define NUMBER_MAX ((uint64_t)1 << 60)
/* A slot has room for so large a mark, or time. */
#define MARK_MAX ((uint64_t)1 << 43)
#define CLOCK_MAX_MS ((uint64_t)1 << 43)

static const uint32_t sizes[LAYOUT_SIZES] = {
    [LAYOUT_SIZE_HEADER] = sizeof(struct layout_header),
    [LAYOUT_SIZE_SLOT] = LAYOUT_SLOT_BYTES,
    [LAYOUT_SIZE_COUNTERS_NAME] = LAYOUT_COUNTERS_NAME_BYTES,
    [LAYOUT_SIZE_SESSION] = LAYOUT_SESSION_BYTES,
    [LAYOUT_SIZE_RARE] = LAYOUT_RARE_BYTES,
    [LAYOUT_SIZE_WHO] = LAYOUT_WHO_BYTES,
};

/* ---- whether it can be read ------------------------------------------------------------------ */

/* All zero where there is no /proc: then it is the same in all states of that machine. */
static void read_boot_id(uint8_t id[16])
{
    char text[40] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    memset(id, 0, 16);
    if (fd < 0)
        return;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    for (ssize_t i = 0, digits = 0; i < len && digits < 32; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | digit);
        digits++;
    }
}

static bool check_layout(const struct layout_header *header, struct err *err)
{
    if (header->layout != LAYOUT_NUMBER)
        return err_set(err,
                       "the state has layout %u, and this version reads layout %u: another "
                       "version has made it, and only one with the same layout can go on with it",
                       header->layout, LAYOUT_NUMBER);
    if (header->byte_order != BYTE_ORDER_MARK)
        return err_set(err, "the state has another byte order: a program for another kind of "
                            "processor has made it");
    for (int i = 0; i < LAYOUT_SIZES; i++) {
        if (header->sizes[i] != sizes[i])
            return err_set(err,
                           "in the state struct %d has %u bytes, in this version %u: a program "
                           "for another kind of processor, or another build, has made it",
                           i, header->sizes[i], sizes[i]);
    }
    return true;
}

/* Whatever its boot. */
static bool check_content(const struct region *region, struct err *err)
{
    static const char none[sizeof(((struct layout_header *)0)->magic)];
    const struct layout_header *header = (const struct layout_header *)region->base;
    if (region_next_used(region, 0) != 0 || memcmp(header->magic, none, sizeof(none)) == 0)
        return err_set(err, "the state is empty: who made it was killed before it was complete");
    if (memcmp(header->magic, LAYOUT_MAGIC, sizeof(header->magic)) != 0)
        return err_set(err, "the state does not begin as one of dtlsgate does: it is damaged");
    return check_layout(header, err);
}

static bool check(const struct region *region, struct err *err)
{
    const struct layout_header *header = (const struct layout_header *)region->base;
    uint8_t boot_id[16];
    if (!check_content(region, err))
        return false;
    read_boot_id(boot_id);
    if (memcmp(header->boot_id, boot_id, sizeof(boot_id)) != 0)
        return err_set(err, "the state was made before this machine was booted: times in it mean "
                            "nothing now");
    if (clock_now_ms() + (uint64_t)header->clock_offset_ms > CLOCK_MAX_MS)
        return err_set(err, "the clock of the state is off by %lld ms: it is damaged",
                       (long long)header->clock_offset_ms);
    return true;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static void begin(struct state *state)
{
    state->header = (struct layout_header *)state->region.base;
    pthread_mutex_init(&state->route_mutex, NULL);
}

bool state_look(struct state *state, int fd, struct err *err)
{
    *state = (struct state){0};
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return err_set(err, "descriptor %d of the state: %s", fd, strerror(errno));
    if (!region_map_read_only(&state->region, own, err)) {
        close(own);
        return false;
    }
    if (!check(&state->region, err)) {
        region_close(&state->region);
        return false;
    }
    begin(state);
    return true;
}

/* What is zero in it has no memory if it comes from a file; and its secrets are to be locked. */
static bool need_header(struct region *region, struct err *err)
{
    return region_need(region, 0, sizeof(struct layout_header)) ||
           err_set_passing(err, "out of memory for the state: %s", strerror(errno));
}

static bool fill(struct layout_header *header, struct err *err)
{
    uint32_t first;
    if (getrandom(header->cookie_master, sizeof(header->cookie_master), 0) !=
            sizeof(header->cookie_master) ||
        getrandom(&first, sizeof(first), 0) != sizeof(first))
        return err_set(err, "no random numbers for the state: %s", strerror(errno));
    header->layout = LAYOUT_NUMBER;
    header->byte_order = BYTE_ORDER_MARK;
    memcpy(header->sizes, sizes, sizeof(sizes));
    read_boot_id(header->boot_id);
    header->slot_first = first;
    order_stores();
    memcpy(header->magic, LAYOUT_MAGIC, sizeof(header->magic));
    return true;
}

bool state_create(struct state *state, struct err *err)
{
    *state = (struct state){.is_new = true};
    if (!region_create(&state->region, err))
        return false;
    begin(state);
    if (need_header(&state->region, err) && fill(state->header, err))
        return true;
    state_close(state);
    return false;
}

/* What is no number of ours can have been written by nobody but a fault; it is not followed. */
static void repair(struct layout_header *header)
{
    if (atomic_load(&header->counters_area) > 1)
        atomic_store(&header->counters_area, 0);
    if (atomic_load(&header->route_count) > LAYOUT_ROUTES_MAX)
        atomic_store(&header->route_count, 0);
    if (header->worker_count > LAYOUT_WORKERS_MAX)
        header->worker_count = 0;
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        struct layout_listener *listener = &header->listeners[i];
        listener->name[LAYOUT_NAME_MAX] = '\0';
        if (listener->use > LAYOUT_LISTENER_REMOVED)
            listener->use = LAYOUT_LISTENER_REMOVED;
        if (listener->addr_count > LAYOUT_LISTEN_MAX)
            listener->addr_count = 0;
    }
}

static void look_back(struct state *state)
{
    struct layout_header *header = state->header;
    state->before_count = header->worker_count;
    for (uint32_t i = 0; i < LAYOUT_WORKERS_MAX; i++) {
        struct layout_worker *worker = &header->workers[i];
        uint64_t number = atomic_load(&worker->last_number), mark = atomic_load(&worker->mark_sent);
        if (number > state->number_base && number < NUMBER_MAX)
            state->number_base = number;
        if (mark > state->mark_base && mark < MARK_MAX)
            state->mark_base = mark;
        state->marks_seen[i] = atomic_load(&worker->mark_seen);
    }
}

static bool adopt(struct state *state, int fd,
                  bool (*check_it)(const struct region *region, struct err *err), struct err *err)
{
    *state = (struct state){0};
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return err_set(err, "descriptor %d of the state: %s", fd, strerror(errno));
    if (!region_adopt(&state->region, own, err)) {
        close(own);
        return false;
    }
    if (!check_it(&state->region, err) || !need_header(&state->region, err)) {
        region_close(&state->region);
        return false;
    }
    close(fd);
    begin(state);
    repair(state->header);
    look_back(state);
    return true;
}

bool state_adopt(struct state *state, int fd, struct err *err)
{
    return adopt(state, fd, check, err);
}

/* One that was of another machine once, and was written again before its sessions were renewed,
 * stays so. */
static void note_copy(struct layout_header *header, bool is_same_machine)
{
    if (header->origin <= LAYOUT_ORIGIN_FILE)
        header->origin = is_same_machine ? LAYOUT_ORIGIN_FILE : LAYOUT_ORIGIN_OTHER;
}

/* The boot last: killed before that, the next start refuses the state for it. */
bool state_adopt_from_file(struct state *state, int fd, uint64_t now_ms, bool is_same_machine,
                           struct err *err)
{
    if (now_ms > CLOCK_MAX_MS)
        return err_set(err, "the clock of the state shows %llu ms: it is damaged",
                       (unsigned long long)now_ms);
    if (!adopt(state, fd, check_content, err))
        return false;
    note_copy(state->header, is_same_machine);
    state_set_clock(state, now_ms);
    order_stores();
    read_boot_id(state->header->boot_id);
    return true;
}

void state_note_renewed(struct state *state)
{
    order_stores();
    state->header->origin = LAYOUT_ORIGIN_MEMORY;
}

void state_close(struct state *state)
{
    if (state->header == NULL)
        return;
    pthread_mutex_destroy(&state->route_mutex);
    region_close(&state->region);
    state->header = NULL;
}

/* ---- the clock ------------------------------------------------------------------------------- */

uint64_t state_now_ms(const struct state *state)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return state_clock_ms(state, &now);
}

void state_set_clock(struct state *state, uint64_t now_ms)
{
    state->header->clock_offset_ms = (int64_t)(now_ms - clock_now_ms());
}

/* ---- workers --------------------------------------------------------------------------------- */

/* No mark counts as seen until each worker has looked at its slots: killed in between, the next
 * start finds some of them numbered anew and some not, and then waits for a mark once too often. */
void state_begin_workers(struct state *state, uint32_t count)
{
    for (uint32_t i = 0; i < LAYOUT_WORKERS_MAX; i++) {
        struct layout_worker *worker = &state->header->workers[i];
        atomic_store(&worker->mark_seen, 0);
        atomic_store(&worker->mark_sent, state->mark_base);
    }
    state->header->worker_count = count;
}

uint64_t state_first_number(const struct state *state, uint32_t worker)
{
    return state->number_base + 1 + worker;
}

bool state_mark_was_seen(const struct state *state, uint32_t bucket, uint64_t mark)
{
    return state->before_count != 0 && mark <= state->marks_seen[bucket % state->before_count];
}
