/* What arrives for established sessions: authentic records of any type, changed, cut, replayed, in
 * any company and from any address. Only what a device has sealed reaches the backend, as it was
 * and once; nothing but an authentic record ends a session.
 *
 * Input: operations, each a byte and what it needs. They make a datagram bit by bit, send it, let
 * time pass, or let the backend speak. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "gate/fuzz_gate.h"
#include "gate/nonce_watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEVICE_MASK = 3, ACTION_SHIFT = 2, ACTION_MASK = 7, ELSEWHERE = 32 };
enum action {
    SEAL,    /* type, length, content: one more record of the device in the datagram */
    RAW,     /* length, bytes: these as they are */
    CHANGE,  /* place (2), mask: some bits of the datagram */
    CUT,     /* length (2): no more than that of the datagram */
    DELIVER, /* the datagram goes to the gate; with ELSEWHERE from another address */
    AGAIN,   /* the datagram of the last DELIVER once more */
    WAIT,    /* tenths of a second (2) */
    ANSWER,  /* length: the backend speaks to the device's session */
};
enum { DEVICES = 4, SEALED_MAX = 64, DATAGRAM_MAX = 4096, OPERATIONS_MAX = 400 };
enum { TYPE_HANDSHAKE = 22, TYPE_APPLICATION_DATA = 23, ELSEWHERE_NUMBER = 100 };
enum { WAIT_MAX_MS = 1800000 }; /* in all; no session gets idle */

struct sealed {
    uint8_t content[256];
    size_t len;
    bool is_delivered; /* to the backend */
};

struct victim {
    struct fuzz_device device;
    struct addr source; /* toward the backend */
    struct sealed sealed[SEALED_MAX];
    uint32_t sealed_count;
    bool has_only_data; /* all records that it sealed are application data */
};

static struct fuzz_gate gate;
static struct victim victims[DEVICES];
static uint8_t datagram[DATAGRAM_MAX], last[DATAGRAM_MAX];
static size_t datagram_len, last_len;
static uint64_t waited_ms;
static struct { /* the other address */
    uint64_t received_bytes, sent_bytes;
    uint32_t datagrams; /* received */
} elsewhere;

/* ---- what may be seen ------------------------------------------------------------------------ */

/* Plaintext of a device comes from its address, as it was sealed, and once. */
static void check_to_backend(const struct fuzz_sent *sent)
{
    struct addr backend = fuzz_gate_backend();
    MUST(addr_equal(&sent->to, &backend));
    for (uint32_t v = 0; v < DEVICES; v++) {
        struct victim *victim = &victims[v];
        if (!addr_equal(&sent->from, &victim->source))
            continue;
        for (uint32_t i = 0; i < victim->sealed_count; i++) {
            struct sealed *s = &victim->sealed[i];
            if (s->is_delivered || s->len != sent->len ||
                memcmp(s->content, sent->data, s->len) != 0)
                continue;
            s->is_delivered = true;
            return;
        }
    }
    fuzz_gate_fail(__FILE__, __LINE__, "it is what the device has sealed");
}

/* Elsewhere only cookies go, for hellos, and what a session says, if a record with a connection ID
 * may have come from there: before a second one can have come only what is protected, and little of
 * it (RFC 9146 section 6). */
static void check_to_elsewhere(const struct fuzz_sent *sent)
{
    const uint8_t *d = sent->data;
    struct addr other = fuzz_gate_client(ELSEWHERE_NUMBER);
    bool is_plaintext = (d[0] & 0xe0) == 0 && bytes_get16(d + 3) == 0;
    MUST(addr_equal(&sent->to, &other));
    MUST(!is_plaintext || d[0] == TYPE_HANDSHAKE || elsewhere.datagrams >= 2);
    elsewhere.sent_bytes += sent->len;
    MUST(elsewhere.datagrams >= 2 || elsewhere.sent_bytes <= 3 * elsewhere.received_bytes);
}

static void check_to_client(const struct fuzz_sent *sent)
{
    for (uint32_t v = 0; v < DEVICES; v++) {
        if (addr_equal(&sent->to, &victims[v].device.addr))
            return;
    }
    check_to_elsewhere(sent);
}

static bool has_session(const struct victim *victim)
{
    return gate_has_session_from(&gate.dp, &victim->source);
}

static void check_sent(void)
{
    for (uint32_t i = 0; i < fuzz_gate_sent_count(); i++) {
        const struct fuzz_sent *sent = fuzz_gate_sent(i);
        if (sent->is_to_backend)
            check_to_backend(sent);
        else
            check_to_client(sent);
    }
    fuzz_gate_forget_sent();
    fuzz_gate_check(&gate);
    for (uint32_t v = 0; v < DEVICES; v++) {
        MUST(!victims[v].has_only_data || has_session(&victims[v]));
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

static void seal(struct victim *victim, uint8_t type, const uint8_t *content, size_t len)
{
    enum { OVERHEAD_MAX = 128 };
    if (victim->sealed_count == SEALED_MAX || datagram_len + len + OVERHEAD_MAX > DATAGRAM_MAX)
        return;
    /* Behind an encrypted content a type of 0 is padding: the content would end with the type. */
    if (type == 0)
        return;
    if (type == TYPE_APPLICATION_DATA) {
        struct sealed *s = &victim->sealed[victim->sealed_count++];
        memcpy(s->content, content, len);
        s->len = len;
        s->is_delivered = false;
    } else {
        victim->has_only_data = false;
    }
    datagram_len += memory_client_seal(victim->device.client, type, content, len,
                                       datagram + datagram_len, DATAGRAM_MAX - datagram_len);
}

static void deliver(const struct victim *victim, bool is_elsewhere)
{
    struct addr to = fuzz_gate_listen();
    struct addr from = is_elsewhere ? fuzz_gate_client(ELSEWHERE_NUMBER) : victim->device.addr;
    if (is_elsewhere) {
        elsewhere.received_bytes += datagram_len;
        elsewhere.datagrams++;
    }
    fuzz_gate_add(&gate, &from, &to, datagram, datagram_len);
    fuzz_gate_run_from_client(&gate);
    check_sent();
    memcpy(last, datagram, datagram_len);
    last_len = datagram_len;
    datagram_len = 0;
}

static void wait_ms(uint64_t ms)
{
    waited_ms += ms;
    if (waited_ms > WAIT_MAX_MS)
        return;
    gate.now_ms += ms;
    datapath_tick(&gate.dp, gate.now_ms);
    check_sent();
}

static void answer(const struct victim *victim, size_t len)
{
    static const uint8_t text[256] = "answer";
    struct addr backend = fuzz_gate_backend();
    fuzz_gate_add(&gate, &backend, &victim->source, text, len);
    fuzz_gate_run_from_backend(&gate);
    check_sent();
}

/* Returns how many bytes of the input it took; 0 at the end. */
static size_t operate(const uint8_t *data, size_t size)
{
    struct victim *victim = &victims[(data[0] & DEVICE_MASK) % DEVICES];
    enum action action = data[0] >> ACTION_SHIFT & ACTION_MASK;
    if (size < 4) /* what the largest operation needs, but for content */
        return 0;
    size_t left = size - (action == SEAL ? 3 : 2);
    size_t len = action == SEAL ? data[2] : data[1], number = bytes_get16(data + 1);
    len = len < left ? len : left;
    switch (action) {
    case SEAL: seal(victim, data[1], data + 3, len); return 3 + len;
    case RAW:
        len = len < DATAGRAM_MAX - datagram_len ? len : DATAGRAM_MAX - datagram_len;
        memcpy(datagram + datagram_len, data + 2, len);
        datagram_len += len;
        return 2 + len;
    case CHANGE:
        if (datagram_len > 0)
            datagram[number % datagram_len] ^= data[3];
        return 4;
    case CUT: datagram_len = number < datagram_len ? number : datagram_len; return 3;
    case DELIVER: deliver(victim, (data[0] & ELSEWHERE) != 0); return 1;
    case AGAIN:
        memcpy(datagram, last, last_len);
        datagram_len = last_len;
        return 1;
    case WAIT: wait_ms(number * 100); return 3;
    case ANSWER: answer(victim, data[1]); return 2;
    }
    return 0;
}

/* ---- one input ------------------------------------------------------------------------------- */

static void connect_victim(struct victim *victim, uint32_t number, const struct client_kind *kind)
{
    memset(victim, 0, sizeof(*victim));
    fuzz_device_connect(&victim->device, &gate, number, kind);
    MUST(gate_has_session_at(&gate.dp, &victim->device.addr));
    victim->source = gate_slot_addr_of(&gate.dp, &victim->device.addr);
    victim->has_only_data = true;
}

/* Its session is as good as before, and then it ends. */
static void part_from(struct victim *victim)
{
    if (victim->has_only_data) {
        victim->sealed_count = 0;
        datagram_len = 0;
        seal(victim, TYPE_APPLICATION_DATA, (const uint8_t *)"still here", 10);
        deliver(victim, false);
        MUST(victim->sealed[0].is_delivered);
        memory_client_close(victim->device.client);
        victim->has_only_data = false;
        fuzz_gate_run_from_client(&gate);
    }
    gate_end_session_from(&gate.dp, &victim->source);
    memory_client_free(victim->device.client);
}

static void begin(void)
{
    memset(&gate.dp.counters.by_listener[0], 0, sizeof(gate.dp.counters.by_listener[0]));
    fake_system_seed(1);
    nonce_watch_reset(); /* random numbers begin anew, and keys with them */
    gate_forget_spare(&gate.dp);
    datagram_len = last_len = 0;
    waited_ms = 0;
    memset(&elsewhere, 0, sizeof(elsewhere));
    connect_victim(&victims[0], 0, gate_kind("1.2 psk ccm-8"));
    connect_victim(&victims[1], 1, gate_kind("1.3 psk"));
    connect_victim(&victims[2], 2, gate_kind("1.2 psk ccm-8, cid"));
    connect_victim(&victims[3], 3, gate_kind("1.3 psk, cid 3"));
    fuzz_gate_forget_sent();
}

static void end(void)
{
    for (uint32_t v = 0; v < DEVICES; v++)
        part_from(&victims[v]);
    /* What is kept of sessions whose devices have closed them goes. */
    gate.now_ms += GATE_CLOSING_MS;
    datapath_tick(&gate.dp, gate.now_ms);
    MUST(gate_is_empty(&gate.dp));
    MUST(gate_next_timer_ms(&gate.dp) == TIMERS_NONE);
    gate_forget_spare(&gate.dp);
    fuzz_gate_forget_sent();
    fake_log_reset();
}

/* What the library allocates when something happens for the first time, and keeps, is no leak. */
static void open_gate(void)
{
    fuzz_gate_open(&gate);
    begin();
    wait_ms(60000);
    end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (gate.generation == NULL)
        open_gate();
    uint64_t blocks_before = fuzz_gate_library_blocks();
    begin();
    for (int i = 0; i < OPERATIONS_MAX && size > 0; i++) {
        size_t taken = operate(data, size);
        if (taken == 0)
            break;
        data += taken;
        size -= taken;
    }
    end();
    MUST(fuzz_gate_library_blocks() == blocks_before);
    return 0;
}
