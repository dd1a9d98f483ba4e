/* What wolfCrypt's AEADs alone need for a round trip of application data: a record opened and one
 * sealed, the set-up of both keys included, under the keys of as many sessions as a gate has. No
 * record header is parsed, no window kept. Prints one JSON object. */
#include "random.h"
#include "rounds.h"
#include "wire/aead.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/cpuid.h>

static const char usage[] =
    "usage: crypto --suite NAME [options]\n"
    "  --sessions N    whose keys are drawn at random (1000)\n"
    "  --cid BYTES     length of the connection ID in the device's records; 0: none (8)\n"
    "  --payload BYTES 1 to 1152 (64)\n"
    "  --rounds N      of which the median is told (20)\n"
    "  --without-aes   as on a CPU that has no instructions for AES\n";

enum {
    SESSION_BYTES = 384, /* what a gate may keep of a session: so far apart are the keys */
    LINE_BYTES = 64,
    RECORDS = 16384, /* in a round */
    BATCH = 64,      /* as many as the gate takes at once; between two readings of the clock */
    CID_MAX = 32,
    PAYLOAD_MAX = 1152,
    AAD_MAX = 23 + CID_MAX,
    RECORD_MAX = PAYLOAD_MAX + 1 + AEAD_TAG_MAX
};

struct suite {
    const char *name; /* as in device.c */
    enum aead aead;
    bool is_1_3;
};

static const struct suite suites[] = {
    {"psk-ccm8", AEAD_AES_128_CCM_8, false},
    {"ecdhe-gcm", AEAD_AES_128_GCM, false},
    {"tls13-gcm", AEAD_AES_128_GCM, true},
    {"psk-ccm8-256", AEAD_AES_256_CCM_8, false},
    {"psk-chacha20", AEAD_CHACHA20_POLY1305, false},
    {"tls13-psk-gcm", AEAD_AES_128_GCM, true},
    {"tls13-psk-chacha20", AEAD_CHACHA20_POLY1305, true},
    {"tls13-gcm-256", AEAD_AES_256_GCM, true},
};

/* A session's keys; what else the gate keeps of it follows, up to SESSION_BYTES. Those of 128 bits
 * share a line of the cache, as in the gate. */
union session {
    struct {
        uint8_t iv[2][AEAD_NONCE_BYTES];
        uint8_t keys[2 * AEAD_KEY_MAX];
    };
    uint8_t bytes[SESSION_BYTES];
};

enum direction { FROM_DEVICE, TO_DEVICE };

struct record {
    uint32_t session, number;
    uint8_t bytes[RECORD_MAX];
};

struct bench {
    const struct suite *suite;
    uint32_t session_count;
    size_t cid_bytes, payload_bytes;
    unsigned rounds;
    bool is_without_aes;
    struct aead_work *work;  /* owned */
    union session *sessions; /* owned */
    struct record *records;  /* owned: RECORDS that the devices have sealed */
    struct record batch[BATCH];
    uint8_t answer[RECORD_MAX];
    uint64_t random;
};

static void fail(const char *what)
{
    fprintf(stderr, "crypto: %s\n", what);
    exit(1);
}

/* False if this build has no such instructions, or the CPU has none. */
static bool uses_aes_instructions(bool is_without)
{
#if defined(HAVE_CPUID_INTEL)
    cpuid_flags_t aes = CPUID_AESNI;
#elif defined(HAVE_CPUID_AARCH64)
    cpuid_flags_t aes = CPUID_AES | CPUID_PMULL;
#endif
#ifdef HAVE_CPUID
    cpuid_flags_t flags = cpuid_get_flags();
    if (is_without) {
        cpuid_clear_flag(aes); /* before the first AEAD looks */
    }
    return !is_without && (flags & aes) != 0;
#else
    (void)is_without;
    return false;
#endif
}

/* What stands in front of the payload, or behind it, and is counted by the AEAD. With a connection
 * ID (RFC 9146 section 5) or in DTLS 1.3 the type of the content is encrypted along with it. */
static struct aead_text text_of(const struct bench *b, enum direction direction)
{
    static const uint8_t aad[AAD_MAX];
    size_t cid_bytes = direction == FROM_DEVICE ? b->cid_bytes : 0; /* devices get none */
    bool is_1_3 = b->suite->is_1_3;
    size_t aad_of_1_2 = cid_bytes > 0 ? 23 + cid_bytes : 13;
    return (struct aead_text){
        .aad = aad,
        .aad_len = is_1_3 ? 5 + cid_bytes : aad_of_1_2,
        .in_len = b->payload_bytes + (is_1_3 || cid_bytes > 0),
    };
}

/* Makes text one of this session's records, in this direction. The nonce is written to nonce. */
static void aim(const struct bench *b, struct aead_text *text, uint32_t number,
                enum direction direction, uint32_t record_number, uint8_t nonce[AEAD_NONCE_BYTES])
{
    const union session *session = &b->sessions[number];
    memcpy(nonce, session->iv[direction], AEAD_NONCE_BYTES);
    uint32_t low;
    memcpy(&low, nonce + AEAD_NONCE_BYTES - sizeof low, sizeof low);
    low ^= record_number;
    memcpy(nonce + AEAD_NONCE_BYTES - sizeof low, &low, sizeof low);
    text->nonce = nonce;
    text->key = session->keys + direction * aead_key_bytes(b->suite->aead);
}

static void make_keys(struct bench *b)
{
    b->sessions = aligned_alloc(LINE_BYTES, b->session_count * sizeof *b->sessions);
    b->records = malloc(RECORDS * sizeof *b->records);
    b->work = aead_work_new();
    if (!b->sessions || !b->records || !b->work) {
        fail("out of memory");
    }
    for (uint32_t i = 0; i < b->session_count; i++) {
        for (size_t at = 0; at < SESSION_BYTES; at += sizeof(uint64_t)) {
            uint64_t random = random_next(&b->random);
            memcpy(b->sessions[i].bytes + at, &random, sizeof random);
        }
    }
}

/* The devices' side: other sessions, drawn at random, in every round. */
static void seal_records(struct bench *b)
{
    static const uint8_t payload[PAYLOAD_MAX + 1];
    struct aead_text text = text_of(b, FROM_DEVICE);
    text.in = payload;
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct record *record = &b->records[i];
        uint8_t nonce[AEAD_NONCE_BYTES];
        record->session = (uint32_t)(random_next(&b->random) % b->session_count);
        record->number = i;
        aim(b, &text, record->session, FROM_DEVICE, i, nonce);
        text.out = record->bytes;
        if (!aead_seal(b->work, b->suite->aead, &text)) {
            fail("cannot seal");
        }
    }
}

/* Reads all that a gate has of its sessions: of a million no key is in the cache any more because
 * seal_records() has used it; of a thousand all are. */
static void sweep(const struct bench *b)
{
    const volatile uint8_t *bytes = b->sessions->bytes;
    size_t size = b->session_count * sizeof *b->sessions;
    for (size_t at = 0; at < size; at += LINE_BYTES) {
        (void)bytes[at];
    }
}

/* The server's side of a batch: each record is opened in its place, and what it held sealed. */
static void answer(struct bench *b)
{
    struct aead_text in = text_of(b, FROM_DEVICE), out = text_of(b, TO_DEVICE);
    in.in_len += aead_tag_bytes(b->suite->aead);
    for (unsigned i = 0; i < BATCH; i++) {
        struct record *record = &b->batch[i];
        uint8_t nonce[AEAD_NONCE_BYTES];
        aim(b, &in, record->session, FROM_DEVICE, record->number, nonce);
        in.in = in.out = record->bytes;
        if (!aead_open(b->work, b->suite->aead, &in)) {
            fail("cannot open");
        }
        aim(b, &out, record->session, TO_DEVICE, record->number, nonce);
        out.in = record->bytes;
        out.out = b->answer;
        if (!aead_seal(b->work, b->suite->aead, &out)) {
            fail("cannot seal");
        }
    }
}

/* As the kernel: the datagrams of a batch have just been written when they are looked at. */
static void receive(struct bench *b, const struct record *records)
{
    size_t size = text_of(b, FROM_DEVICE).in_len + aead_tag_bytes(b->suite->aead);
    for (unsigned i = 0; i < BATCH; i++) {
        b->batch[i].session = records[i].session;
        b->batch[i].number = records[i].number;
        memcpy(b->batch[i].bytes, records[i].bytes, size);
    }
}

/* Reading the clock is a system call: what it costs is taken away. */
static double round_us(void *context)
{
    struct bench *b = context;
    uint64_t passed_ns = 0, clock_ns = 0;
    seal_records(b);
    sweep(b);
    for (uint32_t i = 0; i < RECORDS; i += BATCH) {
        receive(b, b->records + i);
        uint64_t begin_ns = rounds_cpu_ns();
        uint64_t begun_ns = rounds_cpu_ns();
        answer(b);
        passed_ns += rounds_cpu_ns() - begun_ns;
        clock_ns += begun_ns - begin_ns;
    }
    return passed_ns > clock_ns ? (double)(passed_ns - clock_ns) / 1e3 / RECORDS : 0;
}

static const struct suite *find_suite(const char *name)
{
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        if (strcmp(suites[i].name, name) == 0) {
            return &suites[i];
        }
    }
    return NULL;
}

static bool set_option(struct bench *b, int option, const char *value)
{
    switch (option) {
    case 's': b->suite = find_suite(value); return b->suite;
    case 'n': b->session_count = (uint32_t)strtoul(value, NULL, 10); return b->session_count >= 1;
    case 'd': b->cid_bytes = strtoul(value, NULL, 10); return b->cid_bytes <= CID_MAX;
    case 'b':
        b->payload_bytes = strtoul(value, NULL, 10);
        return b->payload_bytes >= 1 && b->payload_bytes <= PAYLOAD_MAX;
    case 'r': b->rounds = (unsigned)strtoul(value, NULL, 10); return b->rounds >= 1;
    case 'w': b->is_without_aes = true; return true;
    default: return false;
    }
}

static bool parse_options(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {{"suite", required_argument, NULL, 's'},
                                            {"sessions", required_argument, NULL, 'n'},
                                            {"cid", required_argument, NULL, 'd'},
                                            {"payload", required_argument, NULL, 'b'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"without-aes", no_argument, NULL, 'w'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!set_option(b, option, optarg)) {
            return false;
        }
    }
    return b->suite && optind == argc;
}

int main(int argc, char **argv)
{
    static struct bench bench = {
        .session_count = 1000, .cid_bytes = 8, .payload_bytes = 64, .rounds = 20};
    struct bench *b = &bench; /* too large for the stack */
    if (!parse_options(b, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    bool uses_aes = uses_aes_instructions(b->is_without_aes);
    make_keys(b);
    printf("{\"suite\": \"%s\", \"sessions\": %u, \"aes_instructions\": %s, "
           "\"round_trip_us\": %.3f}\n",
           b->suite->name, b->session_count, uses_aes ? "true" : "false",
           rounds_median(b->rounds, round_us, b));
    aead_work_free(b->work);
    free(b->sessions);
    free(b->records);
    return 0;
}
