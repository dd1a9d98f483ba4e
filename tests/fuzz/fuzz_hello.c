/* What strangers send, through the whole datapath: datagrams of any content at a listener with a
 * PSK and a certificate.
 *
 * Input: a byte of flags, then datagrams, each behind its length of two bytes. With
 * RETURN_COOKIES a hello that is answered with a cookie is sent again with that cookie, so that the
 * datagrams behind it reach a handshake in progress; without, nothing but cookies may be sent.
 * Afterwards a good device's hello must be answered, and nothing of it all be left in memory. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "gate/fuzz_gate.h"
#include "gate/nonce_watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RETURN_COOKIES = 1, ONE_BATCH = 2, TIME_BETWEEN = 4 };
enum { RECORD_HEADER = 13, HANDSHAKE_HEADER = 12, HELLO_BODY = 25, DATAGRAMS_MAX = 32 };
enum { HELLO_VERIFY_REQUEST = 3, SERVER_HELLO = 2, COOKIE_EXTENSION = 44 };

static struct fuzz_gate gate;
static uint64_t start_ms, blocks_before;

/* The first hello of a real device. */
static uint8_t good_hello[2048];
static size_t good_hello_len;

static void keep_good_hello(void *context, const uint8_t *datagram, size_t len)
{
    (void)context;
    MUST(len <= sizeof(good_hello));
    memcpy(good_hello, datagram, len);
    good_hello_len = len;
}

static void give_back_spare(void)
{
    gate_forget_spare(&gate.dp);
}

static void open_once(void)
{
    if (good_hello_len != 0)
        return;
    fuzz_gate_open(&gate);
    start_ms = gate.now_ms;
    struct memory_client *client =
        memory_client_new(gate_kind("1.2 psk ccm-8"), "", keep_good_hello, NULL);
    MUST(client != NULL);
    memory_client_connect(client, start_ms);
    memory_client_free(client);
    blocks_before = fuzz_gate_library_blocks();
}

/* ---- what may be sent ----------------------------------------------------------------------- */

static bool is_cookie_reply(const struct fuzz_sent *sent)
{
    const uint8_t *d = sent->data;
    return sent->len > HELLO_BODY && d[0] == 22 && d[3] == 0 && d[4] == 0 &&
           bytes_get16(d + 11) == sent->len - RECORD_HEADER &&
           (d[RECORD_HEADER] == HELLO_VERIFY_REQUEST ||
            (d[RECORD_HEADER] == SERVER_HELLO && d[HELLO_BODY + 2] == 0xcf &&
             d[HELLO_BODY + 3] == 0x21 && d[HELLO_BODY + 33] == 0x9c));
}

static void check_is_of_a_server(const struct fuzz_sent *sent)
{
    const uint8_t *d = sent->data;
    MUST(sent->len > RECORD_HEADER);
    bool is_plaintext = (d[0] & 0xe0) == 0 && bytes_get16(d + 3) == 0;
    MUST(!is_plaintext || (d[0] >= 20 && d[0] <= 22) || d[0] == 26);
    MUST(!is_plaintext || d[0] != 22 || d[RECORD_HEADER] >= SERVER_HELLO);
}

/* Devices that have proved their address so far. */
static uint64_t proved_count(void)
{
    const struct counters *c = &gate.dp.counters.by_listener[0];
    return counter_get(&c->client[CLIENT_handshake_begun]) +
           counter_get(&c->client[CLIENT_handshake_failed]);
}

/* Everything sent since `first`, in answer to so many bytes in so many datagrams. */
static void check_sent(uint32_t first, size_t bytes, size_t datagrams, bool is_stranger)
{
    size_t sent_bytes = 0;
    for (uint32_t i = first; i < fuzz_gate_sent_count(); i++) {
        const struct fuzz_sent *sent = fuzz_gate_sent(i);
        MUST(!sent->is_to_backend);
        check_is_of_a_server(sent);
        MUST(!is_stranger || is_cookie_reply(sent));
        sent_bytes += sent->len;
    }
    MUST(!is_stranger || fuzz_gate_sent_count() - first <= datagrams);
    MUST(!is_stranger || sent_bytes <= 3 * bytes);
}

/* ---- the cookie, returned ------------------------------------------------------------------- */

/* Inserts bytes into a hello and mends the lengths of message and record. */
static size_t insert(uint8_t *hello, size_t len, size_t at, const uint8_t *bytes, size_t size)
{
    memmove(hello + at + size, hello + at, len - at);
    memcpy(hello + at, bytes, size);
    size_t body = bytes_get24(hello + RECORD_HEADER + 1) + size;
    size_t record = bytes_get16(hello + 11) + size;
    hello[11] = (uint8_t)(record >> 8);
    hello[12] = (uint8_t)record;
    for (int i = 0; i < 2; i++) { /* length and fragment_length */
        uint8_t *length = hello + RECORD_HEADER + (i == 0 ? 1 : 9);
        length[0] = (uint8_t)(body >> 16);
        length[1] = (uint8_t)(body >> 8);
        length[2] = (uint8_t)body;
    }
    return len + size;
}

/* Where the vector at `at` ends; 0 if that is not before `end`. */
static size_t skip(const uint8_t *bytes, size_t at, size_t end, size_t length_bytes)
{
    if (at == 0 || at + length_bytes > end)
        return 0;
    at += length_bytes + (length_bytes == 1 ? bytes[at] : bytes_get16(bytes + at));
    return at < end ? at : 0;
}

/* The cookie extension of a HelloRetryRequest. */
static const uint8_t *find_cookie_extension(const struct fuzz_sent *reply, size_t *size)
{
    const uint8_t *d = reply->data;
    size_t at = skip(d, HELLO_BODY + 34, reply->len, 1); /* session id */
    if (at == 0)
        return NULL;
    at += 2 + 1 + 2; /* suite, compression method, length of the extensions */
    while (at + 4 <= reply->len) {
        *size = 4u + bytes_get16(d + at + 2);
        if (bytes_get16(d + at) == COOKIE_EXTENSION && *size <= reply->len - at)
            return d + at;
        at += *size;
    }
    return NULL;
}

/* Makes the hello with the cookie; 0 if the hello has no place for it. */
static size_t add_cookie(uint8_t *hello, size_t len, const struct fuzz_sent *reply)
{
    size_t size = 0;
    const uint8_t *extension = NULL;
    size_t at = skip(hello, HELLO_BODY + 34, len, 1);
    if (at == 0)
        return 0;
    hello[RECORD_HEADER + 5] = 1; /* message_seq */
    if (reply->data[RECORD_HEADER] == HELLO_VERIFY_REQUEST) {
        const uint8_t *cookie = reply->data + HELLO_BODY + 2;
        if (hello[at] != 0 || cookie + 1 + cookie[0] > reply->data + reply->len)
            return 0;
        hello[at] = cookie[0];
        return insert(hello, len, at + 1, cookie + 1, cookie[0]);
    }
    at = skip(hello, at, len, 1); /* cookie of 1.2 */
    at = skip(hello, at, len, 2); /* suites */
    at = skip(hello, at, len, 1); /* compression methods */
    extension = find_cookie_extension(reply, &size);
    if (at == 0 || at + 2 > len || extension == NULL)
        return 0;
    size_t extensions = bytes_get16(hello + at) + size;
    hello[at] = (uint8_t)(extensions >> 8);
    hello[at + 1] = (uint8_t)extensions;
    return insert(hello, len, at + 2, extension, size);
}

/* ---- one input ------------------------------------------------------------------------------ */

static void run_batch(size_t bytes, size_t datagrams)
{
    uint32_t first = fuzz_gate_sent_count();
    bool was_stranger = proved_count() == 0;
    fuzz_gate_run_from_client(&gate);
    check_sent(first, bytes, datagrams, was_stranger && proved_count() == 0);
    fuzz_gate_check(&gate);
}

static void send_datagram(const uint8_t *datagram, size_t len)
{
    struct addr from = fuzz_gate_client(1), to = fuzz_gate_listen();
    fuzz_gate_add(&gate, &from, &to, datagram, len);
}

static void send_and_return_cookie(const uint8_t *datagram, size_t len)
{
    static uint8_t second[65536 + 1024];
    uint32_t first = fuzz_gate_sent_count();
    send_datagram(datagram, len);
    run_batch(len, 1);
    if (fuzz_gate_sent_count() != first + 1 || !is_cookie_reply(fuzz_gate_sent(first)))
        return;
    memcpy(second, datagram, len);
    size_t second_len = add_cookie(second, len, fuzz_gate_sent(first));
    if (second_len == 0 || second_len > UDP_DATAGRAM_MAX)
        return;
    send_datagram(second, second_len);
    run_batch(second_len, 1);
}

static void let_time_pass(uint64_t ms)
{
    uint32_t first = fuzz_gate_sent_count();
    gate.now_ms += ms;
    datapath_tick(&gate.dp, gate.now_ms);
    check_sent(first, 0, 0, proved_count() == 0);
    fuzz_gate_check(&gate);
}

static void send_all(const uint8_t *data, size_t size)
{
    uint8_t flags = data[0];
    size_t batch_bytes = 0, batch_count = 0;
    data++;
    size--;
    for (int i = 0; i < DATAGRAMS_MAX && size >= 2; i++) {
        size_t len = bytes_get16(data);
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        if ((flags & RETURN_COOKIES) != 0) {
            send_and_return_cookie(data, len);
        } else {
            send_datagram(data, len);
            batch_bytes += len;
            batch_count++;
        }
        if (batch_count > 0 && (flags & ONE_BATCH) == 0) {
            run_batch(batch_bytes, batch_count);
            batch_bytes = batch_count = 0;
        }
        if ((flags & TIME_BETWEEN) != 0)
            let_time_pass(2000);
        data += len;
        size -= len;
    }
    if (batch_count > 0)
        run_batch(batch_bytes, batch_count);
    MUST((flags & RETURN_COOKIES) != 0 || gate_handshake_count(&gate.dp) == 0);
}

static void check_good_device(void)
{
    struct addr from = fuzz_gate_client(2), to = fuzz_gate_listen();
    fuzz_gate_forget_sent();
    fuzz_gate_add(&gate, &from, &to, good_hello, good_hello_len);
    fuzz_gate_run_from_client(&gate);
    MUST(fuzz_gate_sent_count() == 1);
    const struct fuzz_sent *sent = fuzz_gate_sent(0);
    MUST(is_cookie_reply(sent) && addr_equal(&sent->to, &from) && addr_equal(&sent->from, &to));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    open_once();
    struct counters *c = &gate.dp.counters.by_listener[0];
    memset(c, 0, sizeof(*c));
    fake_system_seed(1);
    nonce_watch_reset(); /* random numbers begin anew, and keys with them */
    gate.now_ms = start_ms;
    gate_forget_refusals(&gate.dp); /* of the input before */

    send_all(data, size);
    check_good_device();
    let_time_pass(gate.generation->listeners[0].config->handshake_timeout_ms);
    MUST(gate_is_empty(&gate.dp));
    MUST(gate_next_timer_ms(&gate.dp) == TIMERS_NONE);
    check_good_device();
    give_back_spare();
    MUST(fuzz_gate_library_blocks() == blocks_before);
    fuzz_gate_forget_sent();
    fake_log_reset();
    return 0;
}
