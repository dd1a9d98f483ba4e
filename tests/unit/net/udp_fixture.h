/* For tests of udp.c: real sockets on the loopback interface. What fails ends the test. */
#ifndef UDP_FIXTURE_H
#define UDP_FIXTURE_H

#include "net/udp.h"

/* The batch buffers are some megabytes each. */
struct udp_fixture {
    struct udp_in in;
    struct udp_out out;
};

/* For cmocka: *state is a struct udp_fixture. */
int udp_fixture_set_up(void **state);
int udp_fixture_tear_down(void **state);
#define WITH_BUFFERS(test) \
    cmocka_unit_test_setup_teardown(test, udp_fixture_set_up, udp_fixture_tear_down)

/* As a source address: the kernel's choice. */
extern const struct addr udp_fixture_unset;

struct addr udp_fixture_parse(const char *text);
struct addr udp_fixture_name_of(int fd);

/* A plain socket, bound to the address; its port is the kernel's choice. A receive that lasts too
 * long fails. */
int udp_fixture_open_plain(struct addr addr);
void udp_fixture_send_plain(int fd, const struct addr *to, const void *data, size_t len);
/* Returns the length; the sender is in *from. */
size_t udp_fixture_receive_plain(int fd, void *data, size_t size, struct addr *from);
bool udp_fixture_has_arrived(int fd);

/* A listener on a free port of that address. */
void udp_fixture_open_listener(struct udp_socket *listener, const char *ip_and_any_port);
void udp_fixture_open_backend(struct udp_socket *backend);
/* Waits for a batch: on loopback a datagram has arrived when its sending returns, but the machine
 * may be busy. */
void udp_fixture_receive(struct udp_socket *socket, struct udp_in *in);
void udp_fixture_queue(struct udp_out *out, const struct udp_socket *from, const struct addr *local,
                       const struct addr *to, const void *data, size_t len, bool *failed);

#endif
