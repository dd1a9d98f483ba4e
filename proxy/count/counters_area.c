#include "count/counters_area.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* At the beginning of an area. Offsets are from there. */
struct head {
    uint32_t name_count, block_count; /* the first block has what was inherited */
    uint64_t block_at, block_bytes;
    uint64_t entry_at,
        entry_bytes; /* in a block: of the first listener; behind the last one: none */
};

enum {
    PAGE_BYTES = 4096,
    NAMES_AT = PAGE_BYTES,
    NAMES_MAX = 2048,
    BLOCKS_AT = NAMES_AT + NAMES_MAX * LAYOUT_COUNTERS_NAME_BYTES,
    ENTRIES = LAYOUT_LISTENERS_MAX + 1,
    /* The part that is of no listener, then the entries. */
    BLOCK_BYTES =
        (PAGE_BYTES + ENTRIES * sizeof(struct counters) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES,
    BLOCKS_MAX = LAYOUT_WORKERS_MAX + 1,
    ENTRY_BYTES_MAX = 65536,
};

_Static_assert(sizeof(struct whole_counters) <= PAGE_BYTES, "it has a page");
_Static_assert(BLOCKS_AT + (uint64_t)BLOCKS_MAX * BLOCK_BYTES <= LAYOUT_COUNTERS_BYTES,
               "an area has room for all");

/* ---- names ----------------------------------------------------------------------------------- */

struct names {
    struct counters_name at[NAMES_MAX];
    uint32_t count;
};

static PRINTF_LIKE(3, 4) struct counters_name *add(struct names *names, size_t offset,
                                                   const char *format, ...)
{
    struct counters_name *name = &names->at[names->count++];
    va_list args;
    assert(names->count <= NAMES_MAX);
    *name = (struct counters_name){.offset = (uint32_t)offset};
    va_start(args, format);
    int len = vsnprintf(name->name, sizeof(name->name), format, args);
    va_end(args);
    assert(len > 0 && (size_t)len < sizeof(name->name));
    return name;
}

#define OFFSET(member) offsetof(struct counters, member)

static void add_datagrams(struct names *names)
{
    add(names, OFFSET(client_received), "client_received");
    add(names, OFFSET(backend_received), "backend_received");
    add(names, OFFSET(client_bytes_received), "client_bytes_received");
    add(names, OFFSET(client_bytes_sent), "client_bytes_sent");
    add(names, OFFSET(backend_bytes_received), "backend_bytes_received");
    add(names, OFFSET(backend_bytes_sent), "backend_bytes_sent");
    for (unsigned i = 0; i < CLIENT_OUTCOME_COUNT; i++)
        add(names, OFFSET(client[i]), "client/%s", client_outcome_name(i));
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        add(names, OFFSET(backend[i]), "backend/%s", backend_outcome_name(i));
    for (unsigned i = 0; i < LATE_REASON_COUNT; i++)
        add(names, OFFSET(late[i]), "late/%s", late_reason_name(i));
}

static void add_handshakes(struct names *names)
{
    static const unsigned bounds_ms[] = {HANDSHAKE_BUCKETS_MS};
    for (unsigned v = 0; v < VERSION_COUNT; v++) {
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++) {
            const char *version = dtls_version_name(v), *credential = credential_name(c);
            for (unsigned r = 0; r < HANDSHAKE_RESULT_COUNT; r++)
                add(names, OFFSET(handshakes[v][c][r]), "handshakes/%s/%s/%s", version, credential,
                    handshake_result_name(r));
            add(names, OFFSET(resumptions[v][c]), "resumptions/%s/%s", version, credential);
        }
    }
    for (unsigned i = 0; i < HANDSHAKE_BUCKET_COUNT; i++)
        add(names, OFFSET(handshake_ms_bucket[i]), "handshake_ms/%u", bounds_ms[i]);
    add(names, OFFSET(handshake_ms_bucket[HANDSHAKE_BUCKET_COUNT]), "handshake_ms/inf");
    add(names, OFFSET(handshake_ms_sum), "handshake_ms_sum");
}

static void add_durations(struct names *names, size_t offset, const char *name)
{
    static const unsigned bounds_us[] = {DURATION_BUCKETS_US};
    size_t bucket = offset + offsetof(struct durations, bucket);
    for (unsigned i = 0; i < DURATION_BUCKET_COUNT; i++, bucket += sizeof(counter))
        add(names, bucket, "%s/%u", name, bounds_us[i])->is_whole = true;
    add(names, bucket, "%s/inf", name)->is_whole = true;
    add(names, offset + offsetof(struct durations, ns_sum), "%s_ns", name)->is_whole = true;
}

static void add_minimum(struct names *names, size_t offset, const char *name)
{
    struct counters_name *added = add(names, offset, "%s", name);
    added->is_whole = true;
    added->is_minimum = true;
}

static void make_names(struct names *names)
{
    names->count = 0;
    add_datagrams(names);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        add(names, OFFSET(closed[i]), "closed/%s", close_reason_name(i));
    add_handshakes(names);
#define COUNTER(name, help) add(names, OFFSET(name), #name);
#define MINIMUM(name, help) add_minimum(names, offsetof(struct whole_counters, name), #name);
#define DURATION(name, help) add_durations(names, offsetof(struct whole_counters, name), #name);
#include "count/counters_each.h"
}

/* ---- an area --------------------------------------------------------------------------------- */

static struct head *head_of(const struct state *state, uint32_t area)
{
    return (struct head *)(state->region.base + LAYOUT_COUNTERS_AT(area));
}

static uint32_t area_in_use(const struct state *state)
{
    return atomic_load(&state->header->counters_area);
}

static bool need(struct state *state, uint32_t area, uint64_t at, uint64_t bytes)
{
    return region_need(&state->region, LAYOUT_COUNTERS_AT(area) + at, bytes);
}

static uint64_t entry_at(const struct head *head, uint32_t block, uint32_t listener)
{
    return head->block_at + block * head->block_bytes + head->entry_at +
           listener * head->entry_bytes;
}

static bool need_listener(struct state *state, uint32_t area, uint32_t listener)
{
    const struct head *head = head_of(state, area);
    for (uint32_t block = 0; block < head->block_count; block++) {
        if (!need(state, area, entry_at(head, block, listener), head->entry_bytes))
            return false;
    }
    return true;
}

/* Whether any of it has memory: what is only looked at would be given some. The rest may have none,
 * in a state that comes from a file. */
static bool is_there(const struct state *state, uint32_t area, uint64_t at, uint64_t bytes)
{
    uint64_t from = LAYOUT_COUNTERS_AT(area) + at;
    return region_next_used(&state->region, from - from % PAGE_BYTES) < from + bytes;
}

static void give_back(struct state *state, uint32_t area)
{
    uint64_t end = LAYOUT_COUNTERS_AT(area) + LAYOUT_COUNTERS_BYTES;
    uint64_t at = LAYOUT_COUNTERS_AT(area);
    while ((at = region_next_used(&state->region, at)) < end) {
        uint64_t next = region_next_unused(&state->region, at);
        next = next < end ? next : end;
        region_give(&state->region, at, next - at);
        at = next;
    }
}

static bool make(struct state *state, uint32_t area, const struct names *names,
                 uint32_t worker_count)
{
    struct head *head = head_of(state, area);
    give_back(state, area);
    if (!need(state, area, 0, BLOCKS_AT))
        return false;
    *head = (struct head){
        .name_count = names->count,
        .block_count = 1 + worker_count,
        .block_at = BLOCKS_AT,
        .block_bytes = BLOCK_BYTES,
        .entry_at = PAGE_BYTES,
        .entry_bytes = sizeof(struct counters),
    };
    memcpy((uint8_t *)head + NAMES_AT, names->at, names->count * sizeof(names->at[0]));
    for (uint32_t block = 0; block < head->block_count; block++) {
        if (!need(state, area, head->block_at + block * head->block_bytes, PAGE_BYTES))
            return false;
    }
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        if (state->header->listeners[i].use != LAYOUT_LISTENER_NEVER &&
            !need_listener(state, area, i))
            return false;
    }
    return need_listener(state, area, LAYOUT_LISTENERS_MAX);
}

/* ---- from the old one to the new ------------------------------------------------------------- */

/* False: damaged, and nothing of it is followed. */
static bool is_sound(const struct head *head)
{
    return head->name_count <= NAMES_MAX && head->block_count <= BLOCKS_MAX &&
           head->entry_bytes <= ENTRY_BYTES_MAX && head->entry_at <= ENTRY_BYTES_MAX &&
           head->block_at <= LAYOUT_COUNTERS_BYTES && head->block_bytes <= LAYOUT_COUNTERS_BYTES &&
           head->entry_at % sizeof(counter) == 0 && head->entry_bytes % sizeof(counter) == 0 &&
           head->block_at % sizeof(counter) == 0 && head->block_bytes % sizeof(counter) == 0 &&
           head->entry_at + ENTRIES * head->entry_bytes <= head->block_bytes &&
           head->block_at + head->block_count * head->block_bytes <= LAYOUT_COUNTERS_BYTES;
}

/* Of an old counter and the new one of the same name: where they are. */
struct pair {
    uint32_t from, to;
    bool is_minimum;
};

struct pairs {
    struct pair at[NAMES_MAX];
    uint32_t count;
};

static const struct counters_name *find_name(const struct head *head, const struct names *names,
                                             uint32_t number)
{
    const struct counters_name *old = (const void *)((const uint8_t *)head + NAMES_AT);
    const struct counters_name *new = &names->at[number];
    uint64_t room = new->is_whole ? head->entry_at : head->entry_bytes;
    for (uint32_t n = 0; n < head->name_count; n++) {
        /* Most are where they were. */
        uint32_t i = (number + n) % head->name_count;
        if (strncmp(old[i].name, new->name, sizeof(new->name)) == 0 &&
            old[i].is_whole == new->is_whole && old[i].offset % sizeof(counter) == 0 &&
            old[i].offset + sizeof(counter) <= room)
            return &old[i];
    }
    return NULL;
}

static void find_pairs(struct pairs *pairs, const struct head *head, const struct names *names,
                       bool is_whole)
{
    pairs->count = 0;
    for (uint32_t i = 0; i < names->count; i++) {
        if (names->at[i].is_whole != is_whole)
            continue;
        const struct counters_name *old = find_name(head, names, i);
        if (old != NULL)
            pairs->at[pairs->count++] = (struct pair){.from = old->offset,
                                                      .to = names->at[i].offset,
                                                      .is_minimum = names->at[i].is_minimum};
    }
}

static void add_all(void *to, const void *from, const struct pairs *pairs)
{
    for (uint32_t i = 0; i < pairs->count; i++) {
        const struct pair *pair = &pairs->at[i];
        counter *sum = (counter *)((uint8_t *)to + pair->to);
        uint64_t value = counter_get((const counter *)((const uint8_t *)from + pair->from));
        if (!pair->is_minimum)
            counter_add(sum, value);
        else if (value != 0)
            counter_lower(sum, value);
    }
}

static uint64_t sum_of(const counter *counters, unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += counter_get(&counters[i]);
    return sum;
}

/* The process before may have been killed while it counted, and may have known outcomes that are
 * none any more. What it received and did not come to count is lost with it. */
static void settle(struct counters *c)
{
    uint64_t late = sum_of(c->late, LATE_REASON_COUNT),
             known = counter_get(&c->backend[BACKEND_late]);
    if (late < known)
        counter_add(&c->late[LATE_UNKNOWN], known - late);
    else
        counter_add(&c->backend[BACKEND_late], late - known);
    c->client_received = sum_of(c->client, CLIENT_OUTCOME_COUNT);
    c->backend_received = sum_of(c->backend, BACKEND_OUTCOME_COUNT);
}

static bool take_listener(struct state *state, uint32_t old, uint32_t new, uint32_t listener,
                          const struct pairs *pairs)
{
    const struct head *head = head_of(state, old);
    uint64_t to = entry_at(head_of(state, new), 0, listener);
    bool is_any = false;
    for (uint32_t block = 0; block < head->block_count; block++) {
        uint64_t from = entry_at(head, block, listener);
        if (!is_there(state, old, from, head->entry_bytes))
            continue;
        if (!need(state, old, from, head->entry_bytes) ||
            (!is_any && !need(state, new, to, sizeof(struct counters))))
            return false;
        is_any = true;
        add_all((uint8_t *)head_of(state, new) + to, (const uint8_t *)head + from, pairs);
    }
    if (is_any)
        settle((struct counters *)((uint8_t *)head_of(state, new) + to));
    return true;
}

static bool take_all(struct state *state, uint32_t old, uint32_t new, const struct names *names)
{
    const struct head *head = head_of(state, old);
    struct pairs pairs;
    if (!is_there(state, old, 0, BLOCKS_AT))
        return true;
    if (!need(state, old, 0, BLOCKS_AT))
        return false;
    if (!is_sound(head))
        return true;
    find_pairs(&pairs, head, names, true);
    for (uint32_t block = 0; block < head->block_count; block++) {
        uint64_t at = head->block_at + block * head->block_bytes;
        if (!is_there(state, old, at, head->entry_at))
            continue;
        if (!need(state, old, at, head->entry_at))
            return false;
        add_all((uint8_t *)head_of(state, new) + BLOCKS_AT, (const uint8_t *)head + at, &pairs);
    }
    find_pairs(&pairs, head, names, false);
    for (uint32_t listener = 0; listener < ENTRIES; listener++) {
        if (!take_listener(state, old, new, listener, &pairs))
            return false;
    }
    return true;
}

bool counters_area_adopt(struct state *state, uint32_t worker_count, struct err *err)
{
    uint32_t old = area_in_use(state), new = 1 - old;
    struct names names;
    make_names(&names);
    if (!make(state, new, &names, worker_count) || !take_all(state, old, new, &names))
        return err_set(err, "out of memory for the counters of %u workers", worker_count);
    atomic_store_explicit(&state->header->counters_area, new, memory_order_release);
    give_back(state, old);
    return true;
}

/* ---- in use ---------------------------------------------------------------------------------- */

bool counters_area_need(struct state *state, uint32_t listener)
{
    return need_listener(state, area_in_use(state), listener);
}

struct worker_counters counters_area_of(struct state *state, uint32_t worker)
{
    struct head *head = head_of(state, area_in_use(state));
    uint32_t block = worker == COUNTERS_INHERITED ? 0 : 1 + worker;
    assert(block < head->block_count);
    uint8_t *at = (uint8_t *)head + head->block_at + block * head->block_bytes;
    return (struct worker_counters){
        .listener_count = LAYOUT_LISTENERS_MAX,
        .by_listener = (struct counters *)(at + head->entry_at),
        .whole = (struct whole_counters *)at,
    };
}

void counters_reset(struct counters *counters)
{
    struct counters kept = {0};
#define GAUGE(name, help) kept.name = counter_get(&counters->name);
#include "count/counters_each.h"
    for (unsigned i = 0; i < sizeof(kept.sessions_by) / sizeof(counter); i++)
        (&kept.sessions_by[0][0][0])[i] = counter_get(&(&counters->sessions_by[0][0][0])[i]);
    const counter *from = (const counter *)&kept;
    counter *to = (counter *)counters;
    for (size_t i = 0; i < sizeof(kept) / sizeof(counter); i++)
        atomic_store_explicit(&to[i], from[i], memory_order_release);
}
