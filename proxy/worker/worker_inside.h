/* What a worker is made of: for the files worker*.c and listening.c only. All of it is the worker's
 * thread's, but for the mailbox, the watchers of type ev_async and what is said to be of others. */
#ifndef WORKER_INSIDE_H
#define WORKER_INSIDE_H

#include <ev.h>
#include <pthread.h>

#include "worker/datapath.h"
#include "worker/hello_share.h"
#include "worker/inquiry.h"
#include "worker/mailbox.h"
#include "worker/worker_settings.h"

/* One address. What arrives at either socket is answered from the first, which sessions keep. */
struct listening {
    ev_io watcher, hello_watcher;
    struct worker *worker;
    struct udp_socket socket;       /* fd = -1: this place is free */
    struct udp_socket hello_socket; /* fd = -1: hellos arrive at the other one */
    uint32_t listener;
    bool is_leaving; /* the settings have it no more; what waits in it is still read */
    uint32_t rounds_left;
};

/* All of the old settings and all of the new ones may be there at once. */
enum { LISTENING_MAX = 2 * CONFIG_LISTENERS_MAX * CONFIG_LISTEN_MAX };

struct worker {
    struct ev_loop *loop;
    ev_io backend_watcher;
    ev_check woken;     /* runs first of all when the loop has waited ... */
    ev_prepare waiting; /* ... and last of all before it waits */
    uint64_t woken_ns;  /* 0 = waiting */
    ev_timer timer;
    ev_timer beat_timer; /* see WORKER_BEAT_MS */
    ev_timer end_timer;
    ev_async asked_watcher, mail_watcher;
    struct mailbox mailbox;        /* others write, this one takes */
    struct inquiries asked;        /* they wait for their turn */
    struct worker *const *workers; /* all of them, by index; borrowed */
    ev_timer hello_timer;          /* active while hellos pause */
    struct hello_share hello_share;
    unsigned hello_turn; /* of the event loop, that hello_quota is for */
    uint32_t hello_quota;
    _Atomic bool holds_hellos;   /* until the end; the main thread writes */
    struct listening *listening; /* LISTENING_MAX of them; owned */
    uint32_t listening_count;    /* behind it all places are free */
    struct worker_swap *swap;    /* in progress, or NULL; the main thread's */
    ev_timer swap_timer;
    uint64_t timer_due_ms; /* what `timer` is set to; TIMERS_NONE = not set */
    struct udp_in in;
    struct datapath datapath;
    pthread_t thread;
    void (*confine)(void); /* called by it first; or NULL */
    bool is_started;
    _Atomic int asked_to_end; /* enum worker_end, 0 = not yet; the main thread writes */
    uint32_t index, count;
    uint32_t backend_wakes;
};

#endif
