/* The sockets of a gate: opened, taken over whole or in part, shared on, and steered, in the real
 * kernel on the loopback interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fakes/caught_log.h"
#include "fakes/skip_because.h"
#include "gate/gate_wolfssl.h"
#include "gate/memory_generation.h"
#include "net/steering.h"
#include "net/udp_fixture.h"
#include "run/handover.h"
#include "run/reload.h"
#include "run/sockets.h"

enum { CID_BYTES = 8 };

struct scene {
    struct state state;
    struct caught_log log;
    struct udp_in in;
    uint16_t port;
    int family;
    const char *gate; /* the section [gate] of the settings */
    uid_t uid;        /* the user that it names */
};

static int set_up(void **at)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct err err = {0};
    *at = s;
    if (s == NULL || !state_create(&s->state, &err) || !udp_in_init(&s->in))
        return -1;
    s->gate = "";
    caught_log_begin(&s->log);
    return 0;
}

static int tear_down(void **at)
{
    struct scene *s = *at;
    caught_log_end(&s->log);
    udp_in_deinit(&s->in);
    state_close(&s->state);
    free(s);
    return 0;
}

/* From here on with another port, free on all addresses of the family. */
static void choose_port(struct scene *s, int family)
{
    struct udp_socket probe;
    udp_fixture_open_listener(&probe, family == AF_INET ? "0.0.0.0:1" : "[::]:1");
    s->port = probe.bound.port;
    s->family = family;
    udp_close(&probe);
    s->state.header->backend_port = 0;
}

static const char *loopback(const struct scene *s)
{
    return s->family == AF_INET ? "127.0.0.1" : "[::1]";
}

static const char *wildcard(const struct scene *s)
{
    return s->family == AF_INET ? "0.0.0.0" : "[::]";
}

/* Settings with one listener at that address. */
static struct generation *settings(const struct scene *s, const char *ip)
{
    char ini[512];
    snprintf(ini, sizeof(ini),
             "%s[listener coaps]\nlisten = %s:%u\nbackend = 127.0.0.1:5683\ncid_length = %d\n"
             "psk_file = @psk\n",
             s->gate, ip, s->port, CID_BYTES);
    return memory_generation(ini);
}

static struct sockets *try_to_open(struct scene *s, const char *ip, uint32_t workers,
                                   struct handover *handover, struct err *err)
{
    struct generation *generation = settings(s, ip);
    struct sockets *sockets = sockets_open(generation, &s->state, workers, true, handover, err);
    reload_release(generation);
    return sockets;
}

static struct sockets *open_them(struct scene *s, const char *ip, uint32_t workers,
                                 struct handover *handover)
{
    struct err err = {0};
    struct sockets *sockets = try_to_open(s, ip, workers, handover, &err);
    if (sockets == NULL)
        fail_msg("%s", err.text);
    return sockets;
}

static struct sockets *try_to_change(struct scene *s, struct sockets *before, const char *ip,
                                     struct err *err)
{
    struct generation *generation = settings(s, ip);
    struct sockets *sockets = sockets_change(before, generation, err);
    reload_release(generation);
    return sockets;
}

static struct sockets *change(struct scene *s, struct sockets *before, const char *ip)
{
    struct err err = {0};
    struct sockets *sockets = try_to_change(s, before, ip, &err);
    if (sockets == NULL)
        fail_msg("%s", err.text);
    return sockets;
}

/* As a process that ends leaves them to the next one. */
static void hand_over(struct sockets *sockets, struct handover *handover)
{
    struct err err = {0};
    struct fd_list *inherited = &handover->inherited;
    *handover = (struct handover){0};
    assert_true(sockets_list(sockets, inherited, &err));
    handover->at = calloc(inherited->count, sizeof(*handover->at));
    assert_non_null(handover->at);
    for (; handover->count < inherited->count; handover->count++) {
        struct named_fd *item = &inherited->items[handover->count];
        item->fd = fcntl(item->fd, F_DUPFD_CLOEXEC, 0);
        handover->at[handover->count] = *item;
        handover->at[handover->count].fd = fcntl(item->fd, F_DUPFD_CLOEXEC, 0);
    }
    sockets_close(sockets);
}

/* One got lost on the way. */
static void lose_name(struct handover *handover, const char *name)
{
    struct named_fd *item = fd_list_find(&handover->inherited, name);
    close(handover_take(handover, name));
    close(item->fd);
    fd_list_remove(&handover->inherited, item);
}

static void lose(struct handover *handover, uint32_t index)
{
    char name[FD_NAME_MAX];
    memcpy(name, handover->at[index].name, sizeof(name));
    lose_name(handover, name);
}

/* The process is ready: what it did not take is closed. */
static void settle(const struct sockets *sockets, struct handover *handover)
{
    struct fd_list in_use = {0};
    struct err err = {0};
    assert_true(sockets_list(sockets, &in_use, &err));
    assert_true(handover_keep(handover, &in_use));
    fd_list_free(&in_use);
    handover_close(handover);
}

static struct udp_socket *socket_number(const struct sockets *sockets, uint32_t number)
{
    struct sockets_pair *pair = &sockets->entries[0].address->pairs[number / 2];
    return number % 2 == 0 ? &pair->sessions : &pair->hellos;
}

/* What devices send arrives at the sockets that the rule names, and nowhere else. */
static void assert_steered(struct scene *s, const struct sockets *sockets)
{
    enum { DEVICES = 40 };
    static const uint8_t hello[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1};
    static const uint8_t data[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1};
    const struct steering steering = {.worker_count = sockets->worker_count,
                                      .cid_length = CID_BYTES,
                                      .has_hello_sockets = true,
                                      .is_v4 = s->family == AF_INET};
    char text[64];
    snprintf(text, sizeof(text), "%s:%u", loopback(s), s->port);
    struct addr to = udp_fixture_parse(text), from = to;
    from.port = 0;
    assert_int_equal(sockets->entries[0].address->pair_count, sockets->worker_count);
    for (int i = 0; i < DEVICES; i++) {
        const uint8_t *datagram = i % 2 == 0 ? hello : data;
        int device = udp_fixture_open_plain(from);
        struct addr source = udp_fixture_name_of(device);
        uint32_t number = steering_socket_of(&steering, &source, datagram, sizeof(hello));
        udp_fixture_send_plain(device, &to, datagram, sizeof(hello));
        udp_fixture_receive(socket_number(sockets, number), &s->in);
        assert_int_equal(s->in.count, 1);
        assert_true(addr_equal(&s->in.at[0].from, &source));
        close(device);
    }
}

static void assert_steered_from_backends(struct scene *s, const struct sockets *sockets)
{
    enum { SESSIONS = 40 };
    int server = udp_fixture_open_plain(udp_fixture_parse("127.0.0.1:1"));
    for (uint8_t i = 0; i < SESSIONS; i++) {
        struct addr to = {
            .family = AF_INET, .ip = {127, 1, i, i}, .port = sockets->backends[0].bound.port};
        uint32_t bucket = steering_bucket_of_backend(&to);
        uint32_t worker = steering_worker_of_bucket(bucket, sockets->worker_count);
        udp_fixture_send_plain(server, &to, "answer", 6);
        udp_fixture_receive(&sockets->backends[worker], &s->in);
        assert_int_equal(s->in.count, 1);
        assert_true(addr_equal(&s->in.at[0].to, &to));
    }
    close(server);
}

static const int families[] = {AF_INET, AF_INET6};
#define EACH_FAMILY(s) \
    for (int family_ = 0; family_ < 2 && (choose_port(s, families[family_]), true); family_++)

/* ---- from the process before ---------------------------------------------------------------- */

/* As after net.core.rmem_max was raised and the gate started again. */
static void hello_sockets_that_are_taken_over_get_what_the_kernel_allows_now(void **state)
{
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        struct handover handover;
        struct sockets *before = open_them(s, wildcard(s), 2, NULL);
        int small = 5000, got = 0;
        socklen_t size = sizeof(got);
        const struct udp_socket *hellos = &before->entries[0].address->pairs[1].hellos;
        assert_int_equal(setsockopt(hellos->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
        hand_over(before, &handover);
        struct sockets *sockets = open_them(s, wildcard(s), 2, &handover);
        settle(sockets, &handover);
        hellos = &sockets->entries[0].address->pairs[1].hellos;
        assert_int_equal(getsockopt(hellos->fd, SOL_SOCKET, SO_RCVBUF, &got, &size), 0);
        assert_int_equal(got / 2, udp_try_receive_buffer(UDP_HELLO_BUFFER_BYTES));
        sockets_close(sockets);
    }
}

static void all_are_taken_over(void **state)
{
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        struct handover handover;
        struct sockets *before = open_them(s, wildcard(s), 3, NULL);
        assert_steered(s, before);
        hand_over(before, &handover);
        struct sockets *sockets = open_them(s, wildcard(s), 3, &handover);
        for (uint32_t i = 0; i < handover.count; i++)
            assert_int_equal(handover.at[i].fd, -1);
        settle(sockets, &handover);
        assert_true(sockets->entries[0].address->is_inherited);
        assert_steered(s, sockets);
        sockets_close(sockets);
    }
}

static void more_workers_or_fewer(void **state)
{
    static const uint32_t counts[] = {2, 4, 1, 3};
    struct scene *s = *state;
    struct err err = {0};
    EACH_FAMILY(s)
    {
        struct sockets *sockets = open_them(s, loopback(s), 2, NULL);
        for (size_t i = 1; i < sizeof(counts) / sizeof(counts[0]); i++) {
            struct handover handover;
            hand_over(sockets, &handover);
            sockets = open_them(s, loopback(s), counts[i], &handover);
            assert_true(sockets->entries[0].address->is_inherited);
            assert_true(sockets_give_waiting(sockets, NULL, &err)); /* nothing waits */
            settle(sockets, &handover);
            assert_int_equal(sockets->backend_count, counts[i]);
            assert_steered(s, sockets);
            assert_steered_from_backends(s, sockets);
        }
        sockets_close(sockets);
    }
}

/* Whichever is missing: the kernel counts the new ones only. */
static void an_incomplete_set_is_opened_anew(void **state)
{
    enum { WORKERS = 2, OF_A_WORKER = 3 }; /* with the one toward backends */
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        for (uint32_t lost = 0; lost < WORKERS * OF_A_WORKER; lost++) {
            struct handover handover;
            if (lost % OF_A_WORKER == 0)
                continue; /* see below */
            hand_over(open_them(s, loopback(s), WORKERS, NULL), &handover);
            lose(&handover, lost);
            struct sockets *sockets = open_them(s, loopback(s), WORKERS, &handover);
            assert_non_null(strstr(caught_log_text(&s->log), "event=sockets_incomplete"));
            assert_false(sockets->entries[0].address->is_inherited);
            settle(sockets, &handover);
            assert_steered(s, sockets);
            sockets_close(sockets);
        }
    }
}

/* Nor may the port change: by it servers know the devices. */
static void incomplete_sockets_toward_backends_are_opened_anew(void **state)
{
    enum { WORKERS = 3 };
    struct scene *s = *state;
    choose_port(s, AF_INET);
    for (uint32_t lost = 0; lost < WORKERS; lost++) {
        struct handover handover;
        struct sockets *sockets = open_them(s, loopback(s), WORKERS, NULL);
        uint16_t port = sockets->backends[0].bound.port;
        char name[FD_NAME_MAX];
        hand_over(sockets, &handover);
        snprintf(name, sizeof(name), "backend-%u", lost);
        lose_name(&handover, name);
        sockets = open_them(s, loopback(s), WORKERS, &handover);
        const char *text = caught_log_text(&s->log);
        /* Without the last one the others are in their places. */
        assert_int_equal(strstr(text, "event=sockets_incomplete") != NULL, lost < WORKERS - 1);
        assert_null(strstr(text, "event=backend_port_lost"));
        settle(sockets, &handover);
        assert_int_equal(sockets->backends[0].bound.port, port);
        assert_steered_from_backends(s, sockets);
        assert_steered(s, sockets);
        sockets_close(sockets);
    }
}

static void *close_late(void *fd)
{
    nanosleep(&(struct timespec){.tv_nsec = 200 * 1000000L}, NULL);
    close(*(int *)fd);
    return NULL;
}

/* The store of a service manager has copies, and lets go of them when it gets round to it. */
static void an_incomplete_set_that_somebody_closes_late(void **state)
{
    struct scene *s = *state;
    struct err err = {0};
    struct handover handover;
    pthread_t store;
    choose_port(s, AF_INET);
    hand_over(open_them(s, loopback(s), 2, NULL), &handover);
    int copy =
        fcntl(fd_list_find(&handover.inherited, handover.at[1].name)->fd, F_DUPFD_CLOEXEC, 0);
    lose(&handover, 2);
    assert_int_equal(pthread_create(&store, NULL, close_late, &copy), 0);
    struct sockets *sockets = open_them(s, loopback(s), 2, &handover);
    assert_int_equal(pthread_join(store, NULL), 0);
    settle(sockets, &handover);
    assert_steered(s, sockets);

    hand_over(sockets, &handover);
    copy = fcntl(fd_list_find(&handover.inherited, handover.at[1].name)->fd, F_DUPFD_CLOEXEC, 0);
    lose(&handover, 2);
    assert_null(try_to_open(s, loopback(s), 2, &handover, &err)); /* for ever: the start fails */
    assert_non_null(strstr(err.text, "in use"));
    close(copy);
    sockets = open_them(s, loopback(s), 2, &handover); /* and the next one has nothing in its way */
    settle(sockets, &handover);
    assert_steered(s, sockets);
    sockets_close(sockets);
}

/* ---- another address ------------------------------------------------------------------------ */

/* One of the addresses takes in the other, so both have the port for a while. */
static void a_restart_with_another_address(void **state)
{
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        for (int to_wildcard = 0; to_wildcard < 2; to_wildcard++) {
            const char *first = to_wildcard ? loopback(s) : wildcard(s);
            const char *second = to_wildcard ? wildcard(s) : loopback(s);
            struct handover handover;
            hand_over(open_them(s, first, 3, NULL), &handover);
            struct sockets *sockets = open_them(s, second, 3, &handover);
            settle(sockets, &handover);
            assert_steered(s, sockets);
            sockets_close(sockets);
        }
    }
}

static void a_reload_with_another_address(void **state)
{
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        struct sockets *sockets = open_them(s, loopback(s), 3, NULL);
        for (int i = 0; i < 4; i++) {
            struct sockets *next = change(s, sockets, i % 2 == 0 ? wildcard(s) : loopback(s));
            sockets_close(sockets);
            sockets = next;
            assert_steered(s, sockets);
        }
        sockets_close(sockets);
    }
}

static void a_reload_with_the_same_address(void **state)
{
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        struct sockets *before = open_them(s, loopback(s), 2, NULL);
        struct sockets *sockets = change(s, before, loopback(s));
        assert_ptr_equal(sockets->entries[0].address, before->entries[0].address);
        sockets_close(before);
        assert_steered(s, sockets);
        sockets_close(sockets);
    }
}

/* ---- another program ------------------------------------------------------------------------ */

static int open_foreign(const struct scene *s, const char *ip, bool is_shared)
{
    char text[64];
    snprintf(text, sizeof(text), "%s:%u", ip, s->port);
    struct addr addr = udp_fixture_parse(text);
    struct sockaddr_storage name;
    socklen_t size = addr_to_sockaddr(&addr, &name);
    int fd = socket(addr.family, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    if (addr.family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
    if (is_shared)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    return fd;
}

static void a_start_where_another_program_is(void **state)
{
    struct scene *s = *state;
    EACH_FAMILY(s)
    {
        for (int i = 0; i < 8; i++) {
            struct err err = {0};
            int foreign = open_foreign(s, i & 1 ? wildcard(s) : loopback(s), (i & 2) != 0);
            assert_null(try_to_open(s, i & 4 ? wildcard(s) : loopback(s), 2, NULL, &err));
            assert_non_null(strstr(err.text, "another program"));
            close(foreign);
        }
    }
}

/* Also if it would share, and beside sockets of the gate's own, which must go on. */
static void a_reload_to_where_another_program_is(void **state)
{
    struct scene *s = *state;
    choose_port(s, AF_INET);
    struct sockets *sockets = open_them(s, "127.0.0.1", 2, NULL);
    for (int is_shared = 0; is_shared < 2; is_shared++) {
        struct err err = {0};
        int foreign = open_foreign(s, "127.0.0.2", is_shared);
        assert_null(try_to_change(s, sockets, "0.0.0.0", &err));
        assert_non_null(strstr(err.text, "another program"));
        assert_steered(s, sockets);
        close(foreign);
    }
    struct sockets *next = change(s, sockets, "0.0.0.0");
    sockets_close(sockets);
    assert_steered(s, next);
    sockets_close(next);
}

static void a_restart_to_where_another_program_is(void **state)
{
    struct scene *s = *state;
    struct handover handover;
    struct err err = {0};
    choose_port(s, AF_INET);
    hand_over(open_them(s, "127.0.0.1", 2, NULL), &handover);
    int foreign = open_foreign(s, "127.0.0.2", true);
    assert_null(try_to_open(s, "0.0.0.0", 2, &handover, &err));
    assert_non_null(strstr(err.text, "another program"));
    close(foreign);
    struct sockets *sockets = open_them(s, "0.0.0.0", 2, &handover);
    settle(sockets, &handover);
    assert_steered(s, sockets);
    sockets_close(sockets);
}

/* ---- a gate that is started as root, and becomes another user -------------------------------- */

/* In a process of that user: whether a reload to all addresses succeeds, and a next process that
 * was handed the sockets there and has more workers. */
static int act_as_nobody(struct scene *s, struct sockets *sockets)
{
    struct handover handover;
    struct err err = {0};
    if (setresuid(s->uid, s->uid, s->uid) != 0 || prctl(PR_SET_DUMPABLE, 1) != 0)
        return 1;
    struct sockets *next = try_to_change(s, sockets, wildcard(s), &err);
    if (next == NULL) {
        print_message("%s\n", err.text);
        return 2;
    }
    sockets_close(sockets);
    hand_over(next, &handover);
    if (!state_create(&s->state, &err)) /* a child has not got the memory of the other one */
        return 3;
    if (try_to_open(s, wildcard(s), 3, &handover, &err) != NULL)
        return 0;
    print_message("%s\n", err.text);
    return 4;
}

static void the_user_that_it_becomes_may_join_its_sockets(void **state)
{
    struct scene *s = *state;
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || nobody == NULL)
        skip_because("only root can become another user");
    s->gate = "[gate]\nuser = nobody\n";
    s->uid = nobody->pw_uid;
    EACH_FAMILY(s)
    {
        struct sockets *sockets = open_them(s, loopback(s), 2, NULL);
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(act_as_nobody(s, sockets));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);

        /* A start as root, whose sockets a gate of root alone has left, and the other way round. */
        for (int i = 0; i < 2; i++) {
            struct handover handover;
            hand_over(sockets, &handover);
            s->gate = i == 0 ? "" : "[gate]\nuser = nobody\n";
            sockets = open_them(s, i == 0 ? wildcard(s) : loopback(s), 3, &handover);
            settle(sockets, &handover);
            assert_steered(s, sockets);
            assert_steered_from_backends(s, sockets);
        }
        sockets_close(sockets);
    }
    assert_int_equal(setfsuid((uid_t)-1), 0); /* it is root again */
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(hello_sockets_that_are_taken_over_get_what_the_kernel_allows_now),
        ONE(all_are_taken_over),
        ONE(more_workers_or_fewer),
        ONE(an_incomplete_set_is_opened_anew),
        ONE(incomplete_sockets_toward_backends_are_opened_anew),
        ONE(an_incomplete_set_that_somebody_closes_late),
        ONE(a_restart_with_another_address),
        ONE(a_reload_with_another_address),
        ONE(a_reload_with_the_same_address),
        ONE(a_start_where_another_program_is),
        ONE(a_reload_to_where_another_program_is),
        ONE(a_restart_to_where_another_program_is),
        ONE(the_user_that_it_becomes_may_join_its_sockets),
    };
    return cmocka_run_group_tests_name("sockets", tests, gate_wolfssl_set_up,
                                       gate_wolfssl_tear_down);
}
