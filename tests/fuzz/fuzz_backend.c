/* What arrives at the backend socket: datagrams of any content, length and sender to addresses of
 * sessions, of tombstones and of nobody. What a session is sent must reach its device byte for byte
 * and in order; nothing else may reach any device.
 *
 * Input: datagrams, each behind a byte that says to whom (and from whom) and its length of two
 * bytes. With FILLED it has that length but takes no bytes of the input. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "gate/fuzz_gate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum target { LIVE_12, LIVE_13, TOMBSTONE, OLD_TOMBSTONE, NEVER_A_SLOT, ANY_ADDRESS };
enum { TARGET_MASK = 7, OTHER_SENDER = 8, END_OF_BATCH = 16, OTHER_PORT = 32, FILLED = 64 };
enum { INPUT_MAX = 4096, EMPTY_MAX = 16 };
/* After so many runs, with at most INPUT_MAX / 3 records each, new sessions: no keys get worn. */
enum { DEVICES = 4, RUNS_MAX = 5000 };

static struct fuzz_gate gate;
static struct fuzz_device devices[DEVICES];
static struct addr sources[DEVICES]; /* toward the backend */
static uint32_t runs;
static uint32_t empty_count; /* datagrams since the sessions began */
static size_t plaintext_max[DEVICES];
static uint8_t filling[UDP_DATAGRAM_MAX];

/* What has gone into the batch. */
struct expected {
    uint32_t device; /* DEVICES: must not reach anybody */
    const uint8_t *data;
    size_t len;
};

static void close_device(uint32_t i, uint64_t after_ms)
{
    memory_client_close(devices[i].client);
    fuzz_device_settle(&devices[i]);
    gate.now_ms += after_ms;
}

static void open_all(void)
{
    for (size_t i = 0; i < sizeof(filling); i++)
        filling[i] = (uint8_t)(i * 31 + i / 251);
    fuzz_gate_open(&gate);
    empty_count = 0;
    for (uint32_t i = 0; i < DEVICES; i++) {
        fuzz_device_connect(&devices[i], &gate, i,
                            gate_kind(i == LIVE_13 ? "1.3 psk" : "1.2 psk ccm-8"));
        sources[i] = gate_slot_addr_of(&gate.dp, &devices[i].addr);
        plaintext_max[i] = gate_plaintext_max(&gate.dp, &devices[i].addr);
    }
    /* The device's acknowledgement of the last flight, and the time of early ACKs. */
    close_device(OLD_TOMBSTONE, 250000);
    close_device(TOMBSTONE, 1000);
    datapath_tick(&gate.dp, gate.now_ms);
    fuzz_device_settle(&devices[LIVE_13]);
    MUST(gate_session_count(&gate.dp) == 2);
}

static void close_all(void)
{
    for (uint32_t i = 0; i < DEVICES; i++)
        memory_client_free(devices[i].client);
    fuzz_gate_close(&gate);
}

static void forget_messages(struct memory_client *client)
{
    while (client->message_count > 0)
        free(client->messages[--client->message_count].data);
}

/* Devices get what the gate has sent, and find in it what they should. */
static void check_arrivals(const struct expected *expected, uint32_t count)
{
    uint32_t next[DEVICES] = {0}, sent_count = 0;
    for (uint32_t i = 0; i < fuzz_gate_sent_count(); i++) {
        const struct fuzz_sent *sent = fuzz_gate_sent(i);
        MUST(!sent->is_to_backend);
        struct addr listen = fuzz_gate_listen();
        MUST(addr_equal(&sent->from, &listen));
        uint32_t device = addr_equal(&sent->to, &devices[LIVE_12].addr) ? LIVE_12 : LIVE_13;
        MUST(addr_equal(&sent->to, &devices[device].addr));
        memory_client_receive(devices[device].client, sent->data, sent->len, gate.now_ms);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (expected[i].device == DEVICES)
            continue;
        sent_count++;
        if (expected[i].len == 0)
            continue; /* the device's library keeps an empty record to itself */
        struct memory_client *client = devices[expected[i].device].client;
        MUST(next[expected[i].device] < client->message_count);
        const struct client_message *message = &client->messages[next[expected[i].device]++];
        MUST(message->len == expected[i].len);
        MUST(memcmp(message->data, expected[i].data, message->len) == 0);
    }
    MUST(fuzz_gate_sent_count() == sent_count);
    for (uint32_t i = 0; i < 2; i++) {
        MUST(next[i] == devices[i].client->message_count);
        MUST(devices[i].client->state == CLIENT_UP);
        forget_messages(devices[i].client);
    }
    fuzz_gate_forget_sent();
}

static void run_batch(const struct expected *expected, uint32_t count)
{
    MUST(gate.in.count == count);
    fuzz_gate_run_from_backend(&gate);
    check_arrivals(expected, count);
    fuzz_gate_check(&gate);
}

static struct addr target_addr(uint8_t selector, const uint8_t *data, size_t len)
{
    uint32_t target = selector & TARGET_MASK;
    struct addr addr = sources[0];
    if (target < DEVICES)
        return sources[target];
    if (target == NEVER_A_SLOT)
        return gate_slot_addr(&gate.dp, slots_number(0, SLOTS_BUCKET_MAX - 1));
    if (target == ANY_ADDRESS && len >= 4)
        memcpy(addr.ip, data, 4);
    else
        memcpy(addr.ip, (uint8_t[]){127, 0, 0, 1}, 4);
    return addr;
}

static struct expected add(uint8_t selector, const uint8_t *data, size_t len)
{
    /* The devices' library ends a session over some dozens of empty records in a row. */
    if (len == 0 && ++empty_count > EMPTY_MAX)
        selector |= OTHER_SENDER;
    struct addr from = fuzz_gate_backend(), to = target_addr(selector, data, len);
    bool is_good = (selector & (OTHER_SENDER | OTHER_PORT)) == 0;
    if ((selector & OTHER_SENDER) != 0)
        from.ip[3] = 2;
    if ((selector & OTHER_PORT) != 0)
        from.port++;
    fuzz_gate_add(&gate, &from, &to, data, len);

    struct expected expected = {.device = DEVICES, .data = data, .len = len};
    for (uint32_t i = 0; i < 2 && is_good; i++) {
        MUST(gate_has_session_at(&gate.dp, &devices[i].addr));
        if (addr_equal(&to, &sources[i]) && len <= plaintext_max[i])
            expected.device = i;
    }
    return expected;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct expected expected[UDP_BATCH];
    uint32_t count = 0;
    if (size > INPUT_MAX)
        return 0;
    if (runs == RUNS_MAX) {
        close_all();
        runs = 0;
    }
    if (runs++ == 0)
        open_all();
    while (size >= 3) {
        uint8_t selector = data[0];
        size_t len = bytes_get16(data + 1);
        data += 3;
        size -= 3;
        if ((selector & FILLED) != 0) {
            expected[count++] =
                add(selector, filling, len < sizeof(filling) ? len : sizeof(filling));
        } else {
            len = len < size ? len : size;
            expected[count++] = add(selector, data, len);
            data += len;
            size -= len;
        }
        if (count == UDP_BATCH || (selector & END_OF_BATCH) != 0) {
            run_batch(expected, count);
            count = 0;
        }
    }
    run_batch(expected, count);
    fake_log_reset();
    return 0;
}
