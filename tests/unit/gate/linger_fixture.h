/* For datapath_linger.c and datapath_linger_end.c: sessions whose device has closed them, while
 * data that it sent before is still on its way (RFC 9147 section 5.10). */
#ifndef LINGER_FIXTURE_H
#define LINGER_FIXTURE_H

#include "gate/gate_fixture.h"

enum { LINGER_HELD_MAX = 3 };

/* A session that its device has closed, and what it sent before: the network has delivered all but
 * that. */
struct linger_closed {
    struct device *device;
    struct addr source;
    struct packet late[LINGER_HELD_MAX];
    uint32_t to_device, to_backend; /* datagrams so far */
};

/* They ask for a connection ID. */
extern const char *const linger_kinds_with_cid[2];
/* All of gate_kinds, then those; NULL behind the last. */
const struct client_kind *linger_kind_at(unsigned i);
/* The same, and calls gate_doing(). */
const struct client_kind *linger_doing_kind_at(unsigned i);

/* A record that the device makes now, and that the network does not deliver. */
struct packet linger_hold_back(struct device *device, const char *text);

/* A session in use, of which `held` datagrams are on their way: "deregister 0" and so on. */
struct linger_closed linger_live_session(struct gate *gate, const struct client_kind *kind,
                                         unsigned held);
/* The device closes it, and the gate has been told. */
void linger_close_now(struct gate *gate, struct linger_closed *closed);
/* Both. */
struct linger_closed linger_closed_session(struct gate *gate, const struct client_kind *kind,
                                           unsigned held);

enum client_outcome linger_arrives(struct gate *gate, const struct packet *packet);

/* It arrives, and the backend gets that text from the session's address; the device gets nothing.
 */
void linger_assert_delivered(struct gate *gate, struct linger_closed *closed,
                             const struct packet *packet, const char *text);
/* It arrives, and is what it would be after any other end of a session. */
void linger_assert_ignored(struct gate *gate, const struct linger_closed *closed,
                           const struct addr *from, const void *data, size_t len);
void linger_assert_gone(struct gate *gate, const struct linger_closed *closed,
                        const struct packet *packet);

#endif
