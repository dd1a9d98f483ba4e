#include "net/steering.h"

#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/message.h"
#include "wire/record_header.h"

/* First bytes of records with a connection ID: all of it is a type, or the bits that do not matter
 * here are not looked at. */
enum {
    TYPE_MASK = 0xff,
    UNIFIED_CID = RECORD13_FIXED | RECORD13_HAS_CID,
    UNIFIED_CID_MASK = RECORD13_FIXED_MASK | RECORD13_HAS_CID,
};

/* Knuth's multiplicative hash: the golden ratio of 2^32. */
#define MULTIPLIER 2654435761u
enum {
    HASH_SHIFT = 32 - STEERING_BUCKET_BITS, /* its upper bits are the better ones */
    BUCKET_MASK = STEERING_BUCKETS - 1,
    CID_SHIFT = 16 - STEERING_BUCKET_BITS,
};

/* ---- in C ----------------------------------------------------------------------------------- */

/* In network byte order. */
static uint32_t read_word(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint32_t steering_bucket_of_addr(const struct addr *from)
{
    uint32_t hash = from->port * MULTIPLIER;
    uint32_t words = from->family == AF_INET ? 1 : 4;
    for (uint32_t i = 0; i < words; i++)
        hash = (hash ^ read_word(from->ip + 4 * i)) * MULTIPLIER;
    return hash >> HASH_SHIFT;
}

uint32_t steering_bucket_of_cid(const uint8_t *cid, size_t len)
{
    assert(len >= STEERING_CID_MIN);
    (void)len;
    return ((uint32_t)cid[0] << 8 | cid[1]) >> CID_SHIFT;
}

void steering_put_bucket(uint8_t *cid, uint32_t bucket)
{
    cid[0] = (uint8_t)(bucket << CID_SHIFT >> 8);
    cid[1] = (uint8_t)(bucket << CID_SHIFT | (cid[1] & ((1u << CID_SHIFT) - 1)));
}

uint32_t steering_bucket_of_backend(const struct addr *to)
{
    return read_word(to->ip) & BUCKET_MASK;
}

uint32_t steering_worker_of_bucket(uint32_t bucket, uint32_t worker_count)
{
    return bucket % worker_count;
}

uint32_t steering_bucket_of_worker(uint32_t bucket, uint32_t worker, uint32_t worker_count)
{
    uint32_t own = bucket - bucket % worker_count + worker;
    return own < STEERING_BUCKETS ? own : own - worker_count;
}

static bool has_cid(const struct steering *s, const uint8_t *data, size_t len, uint32_t mask,
                    uint32_t value, uint32_t at)
{
    return s->cid_length > 0 && len >= at + s->cid_length && (data[0] & mask) == value;
}

static uint32_t socket_of_worker(const struct steering *s, uint32_t worker)
{
    return worker << s->has_hello_sockets;
}

uint32_t steering_socket_of(const struct steering *s, const struct addr *from, const uint8_t *data,
                            size_t len)
{
    uint32_t n = s->worker_count;
    if (has_cid(s, data, len, TYPE_MASK, RECORD_TLS12_CID, RECORD_CID_AT))
        return socket_of_worker(
            s, steering_worker_of_bucket(
                   steering_bucket_of_cid(data + RECORD_CID_AT, s->cid_length), n));
    if (has_cid(s, data, len, UNIFIED_CID_MASK, UNIFIED_CID, RECORD13_CID_AT))
        return socket_of_worker(
            s, steering_worker_of_bucket(
                   steering_bucket_of_cid(data + RECORD13_CID_AT, s->cid_length), n));
    bool is_hello = s->has_hello_sockets && len > RECORD_HEADER_BYTES &&
                    data[0] == RECORD_HANDSHAKE && record_epoch(data) == 0 &&
                    data[RECORD_HEADER_BYTES] == HANDSHAKE_CLIENT_HELLO;
    return socket_of_worker(s, steering_worker_of_bucket(steering_bucket_of_addr(from), n)) +
           is_hello;
}

/* ---- in the kernel -------------------------------------------------------------------------- */

/* Offset 0 is the UDP payload, BPF_LEN its length; SKF_NET_OFF addresses the IP header. A load
 * beyond the end would end the program with 0, so each is behind a look at the length. */
#define IP_HEADER ((uint32_t)SKF_NET_OFF)
enum { CODE_MAX = 80 };
enum { IS_HELLO, NEXT_HEADER }; /* scratch words */

struct program {
    struct sock_filter code[CODE_MAX];
    unsigned short len;
};

static void emit(struct program *p, uint32_t operation, uint32_t k)
{
    assert(p->len < CODE_MAX);
    p->code[p->len++] = (struct sock_filter)BPF_STMT((uint16_t)operation, k);
}

/* Goes on only if A compares so with k; else to where skip_to_here() is called for it. */
static unsigned short emit_only_if(struct program *p, uint32_t comparison, uint32_t k)
{
    emit(p, BPF_JMP | comparison | BPF_K, k);
    return (unsigned short)(p->len - 1);
}

static void skip_to_here(struct program *p, const unsigned short *jumps, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        p->code[jumps[i]].jf = (uint8_t)(p->len - jumps[i] - 1);
}

/* A = the first socket of the worker of the bucket in A. */
static void emit_worker(struct program *p, const struct steering *s)
{
    emit(p, BPF_ALU | BPF_MOD | BPF_K, s->worker_count);
    emit(p, BPF_ALU | BPF_LSH | BPF_K, s->has_hello_sockets);
}

/* Returns the socket of the CID's worker, if the datagram begins with a record of this form. */
static void emit_cid(struct program *p, const struct steering *s, uint32_t mask, uint32_t value,
                     uint32_t at)
{
    unsigned short unless[2];
    emit(p, BPF_LD | BPF_W | BPF_LEN, 0);
    unless[0] = emit_only_if(p, BPF_JGE, at + s->cid_length);
    emit(p, BPF_LD | BPF_B | BPF_ABS, 0);
    emit(p, BPF_ALU | BPF_AND | BPF_K, mask);
    unless[1] = emit_only_if(p, BPF_JEQ, value);
    emit(p, BPF_LD | BPF_H | BPF_ABS, at);
    emit(p, BPF_ALU | BPF_RSH | BPF_K, CID_SHIFT);
    emit_worker(p, s);
    emit(p, BPF_RET | BPF_A, 0);
    skip_to_here(p, unless, 2);
}

/* The scratch word = 1 if the datagram is a hello for a socket of its own, else 0. */
static void emit_is_hello(struct program *p, const struct steering *s)
{
    unsigned short unless[4];
    emit(p, BPF_LD | BPF_IMM, 0);
    emit(p, BPF_ST, IS_HELLO);
    if (!s->has_hello_sockets)
        return;
    emit(p, BPF_LD | BPF_W | BPF_LEN, 0);
    unless[0] = emit_only_if(p, BPF_JGT, RECORD_HEADER_BYTES);
    emit(p, BPF_LD | BPF_B | BPF_ABS, 0);
    unless[1] = emit_only_if(p, BPF_JEQ, RECORD_HANDSHAKE);
    emit(p, BPF_LD | BPF_H | BPF_ABS, RECORD_EPOCH_AT);
    unless[2] = emit_only_if(p, BPF_JEQ, 0);
    emit(p, BPF_LD | BPF_B | BPF_ABS, RECORD_HEADER_BYTES);
    unless[3] = emit_only_if(p, BPF_JEQ, HANDSHAKE_CLIENT_HELLO);
    emit(p, BPF_LD | BPF_IMM, 1);
    emit(p, BPF_ST, IS_HELLO);
    skip_to_here(p, unless, 4);
}

/* A = source port. The length of an IPv4 header is its own, in words. */
static void emit_load_port_v4(struct program *p)
{
    emit(p, BPF_LD | BPF_B | BPF_ABS, IP_HEADER);
    emit(p, BPF_ALU | BPF_AND | BPF_K, 0x0f);
    emit(p, BPF_ALU | BPF_LSH | BPF_K, 2);
    emit(p, BPF_MISC | BPF_TAX, 0);
    emit(p, BPF_LD | BPF_H | BPF_IND, IP_HEADER);
}

/* A = source port, which is behind up to two extension headers (RFC 8200 section 4: each begins
 * with the type of the next and its own length, in units of 8 bytes less one). In a longer chain it
 * is two other bytes, the same ones each time. X = length of the headers passed. */
static void emit_load_port_v6(struct program *p)
{
    enum { HEADER_BYTES = 40, NEXT_HEADER_AT = 6, UDP = 17, EXTENSIONS_MAX = 2 };
    unsigned short unless[EXTENSIONS_MAX];
    emit(p, BPF_LDX | BPF_IMM, 0);
    emit(p, BPF_LD | BPF_B | BPF_ABS, IP_HEADER + NEXT_HEADER_AT);
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        emit(p, BPF_ALU | BPF_XOR | BPF_K, UDP);
        unless[i] = emit_only_if(p, BPF_JGT, 0);
        emit(p, BPF_LD | BPF_B | BPF_IND, IP_HEADER + HEADER_BYTES);
        emit(p, BPF_ST, NEXT_HEADER);
        emit(p, BPF_LD | BPF_B | BPF_IND, IP_HEADER + HEADER_BYTES + 1);
        emit(p, BPF_ALU | BPF_ADD | BPF_K, 1);
        emit(p, BPF_ALU | BPF_LSH | BPF_K, 3);
        emit(p, BPF_ALU | BPF_ADD | BPF_X, 0);
        emit(p, BPF_MISC | BPF_TAX, 0);
        emit(p, BPF_LD | BPF_MEM, NEXT_HEADER);
    }
    skip_to_here(p, unless, EXTENSIONS_MAX);
    emit(p, BPF_LD | BPF_H | BPF_IND, IP_HEADER + HEADER_BYTES);
}

/* Returns the socket of the source's worker. A = hash, X = next word. */
static void emit_source(struct program *p, const struct steering *s)
{
    uint32_t source_at = IP_HEADER + (s->is_v4 ? 12 : 8);
    uint32_t words = s->is_v4 ? 1 : 4;
    if (s->is_v4)
        emit_load_port_v4(p);
    else
        emit_load_port_v6(p);
    emit(p, BPF_ALU | BPF_MUL | BPF_K, MULTIPLIER);
    for (uint32_t i = 0; i < words; i++) {
        emit(p, BPF_MISC | BPF_TAX, 0);
        emit(p, BPF_LD | BPF_W | BPF_ABS, source_at + 4 * i);
        emit(p, BPF_ALU | BPF_XOR | BPF_X, 0);
        emit(p, BPF_ALU | BPF_MUL | BPF_K, MULTIPLIER);
    }
    emit(p, BPF_ALU | BPF_RSH | BPF_K, HASH_SHIFT);
    emit_worker(p, s);
    emit(p, BPF_LDX | BPF_MEM, IS_HELLO);
    emit(p, BPF_ALU | BPF_ADD | BPF_X, 0);
    emit(p, BPF_RET | BPF_A, 0);
}

static bool attach(int fd, struct program *program, struct err *err)
{
    struct sock_fprog code = {.len = program->len, .filter = program->code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &code, sizeof(code)) != 0)
        return err_set(err, "steering datagrams in the kernel: %s", strerror(errno));
    return true;
}

bool steering_attach(int fd, const struct steering *steering, struct err *err)
{
    struct program program = {.len = 0};
    if (steering->cid_length > 0) {
        emit_cid(&program, steering, TYPE_MASK, RECORD_TLS12_CID, RECORD_CID_AT);
        emit_cid(&program, steering, UNIFIED_CID_MASK, UNIFIED_CID, RECORD13_CID_AT);
    }
    emit_is_hello(&program, steering);
    emit_source(&program, steering);
    return attach(fd, &program, err);
}

bool steering_attach_backend(int fd, uint32_t worker_count, struct err *err)
{
    enum { DESTINATION_AT = 16 };
    struct program program = {.len = 0};
    emit(&program, BPF_LD | BPF_W | BPF_ABS, IP_HEADER + DESTINATION_AT);
    emit(&program, BPF_ALU | BPF_AND | BPF_K, BUCKET_MASK);
    emit(&program, BPF_ALU | BPF_MOD | BPF_K, worker_count);
    emit(&program, BPF_RET | BPF_A, 0);
    return attach(fd, &program, err);
}

bool steering_is_possible(struct err *err)
{
    const struct steering probe = {
        .worker_count = 2, .cid_length = 3, .has_hello_sockets = true, .is_v4 = true};
    struct sockaddr_in any_port = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_good;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&any_port, sizeof(any_port)) != 0)
        is_good = err_set(err, "a socket to try steering with: %s", strerror(errno));
    else
        is_good = steering_attach(fd, &probe, err);
    if (fd >= 0)
        close(fd);
    return is_good;
}
