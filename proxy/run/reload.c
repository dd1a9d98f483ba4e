#include "run/reload.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/secret.h"
#include "config/config_load.h"
#include "count/counters_area.h"
#include "handshake/dtls_prepare.h"
#include "run/host.h"
#include "run/privileges.h"
#include "run/sandbox.h"
#include "run/state_keep.h"
#include "state/state_listeners.h"

enum { COOKIE_MASTER_BYTES = 32 };

static struct generation *out_of_memory(struct generation *generation, struct problems *problems)
{
    problems_passing(problems, "out of memory while loading the settings");
    reload_release(generation);
    return NULL;
}

/* False if config_check.c has found the credentials wanting already. */
static bool names_credentials(const struct listener_config *config)
{
    bool has_certificate = config->certificate[0] != '\0';
    bool has_key = config->private_key[0] != '\0';
    return has_certificate == has_key && (has_certificate || config->psk_file.count != 0);
}

static void check_user(const struct config *config, struct problems *problems)
{
    const char *user = config->gate.user;
    struct err err;
    if (user[0] != '\0' && !privileges_check(user, &err))
        problems_error_of(problems, &err, "%s:%u: [gate] user = %s: %s", config->path,
                          config->gate.lines[GATE_user], user, err.text);
}

static void describe(const struct generation *generation, struct state_listener *described)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener_config *config = &generation->config->listeners[i];
        described[i] = (struct state_listener){
            .name = config->name,
            .addrs = config->listen.addrs,
            .addr_count = config->listen.count,
            .server = config->backend,
        };
    }
}

/* Without a state, in the order of the file. */
static void number_listeners(struct generation *generation)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        struct listener *listener = &generation->listeners[i];
        listener->number = i;
        listener->config = &generation->config->listeners[i];
        listener->generation = generation;
        generation->by_number[i] = listener;
    }
}

bool reload_plan(struct generation *generation, struct state *state, struct err *err)
{
    struct state_listener described[CONFIG_LISTENERS_MAX];
    uint32_t count = generation->config->listener_count;
    describe(generation, described);
    if (!state_listeners_plan(state, described, count, err))
        return false;
    memset(generation->by_number, 0, sizeof(generation->by_number));
    for (uint32_t i = 0; i < count; i++) {
        struct listener *listener = &generation->listeners[i];
        listener->number = described[i].number;
        listener->counts_anew = described[i].is_new;
        listener->creds->ticket_master = state_ticket_master(state, listener->number);
        generation->by_number[listener->number] = listener;
    }
    generation->cookie_master = state_cookie_master(state);
    return true;
}

static bool commit(const struct generation *generation, struct state *state, struct err *err)
{
    struct state_listener described[CONFIG_LISTENERS_MAX];
    uint32_t count = generation->config->listener_count;
    describe(generation, described);
    return state_listeners_plan(state, described, count, err) &&
           state_listeners_commit(state, described, count, generation->config->gate.tombstone_ms,
                                  err);
}

static bool make_secrets(struct generation *generation, struct problems *problems)
{
    if (!secret_new(&generation->kept_master, COOKIE_MASTER_BYTES)) {
        problems_passing(problems, "out of memory while loading the settings");
        return false;
    }
    generation->cookie_master = generation->kept_master.bytes;
    if (getrandom(generation->kept_master.bytes, COOKIE_MASTER_BYTES, 0) == COOKIE_MASTER_BYTES)
        return true;
    problems_passing(problems, "the kernel gave no random bytes for the cookie secret");
    return false;
}

static void load_credentials(struct generation *generation, struct problems *problems)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        struct listener *listener = &generation->listeners[i];
        if (names_credentials(listener->config))
            listener->creds = creds_load(generation->config, listener->config, problems);
        if (listener->creds != NULL)
            dtls_prepare(listener->creds, listener->config);
    }
}

struct generation *reload_build(const char *path, struct problems *problems)
{
    uint32_t errors_before = problems->error_count;
    struct generation *generation = calloc(1, sizeof(*generation));
    if (generation == NULL)
        return out_of_memory(NULL, problems);
    atomic_store(&generation->references, 1);
    generation->config = config_load_partly(path, problems);
    if (generation->config == NULL) {
        reload_release(generation);
        return NULL;
    }
    check_user(generation->config, problems);
    sandbox_check(generation->config, problems);
    host_fit(generation->config, "", problems);
    state_keep_load(generation, problems);
    uint32_t count = generation->config->listener_count;
    generation->listeners = calloc(count + 1, sizeof(*generation->listeners));
    if (generation->listeners == NULL)
        return out_of_memory(generation, problems);
    number_listeners(generation);
    if (!make_secrets(generation, problems)) {
        reload_release(generation);
        return NULL;
    }
    /* Credentials are looked at even if the settings have errors: all are to be reported at once.
     */
    load_credentials(generation, problems);
    if (problems->error_count > errors_before) {
        reload_release(generation);
        return NULL;
    }
    return generation;
}

static bool need_counters(const struct generation *generation, struct state *state, struct err *err)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        if (!counters_area_need(state, listener->number))
            return err_set_passing(err, "out of memory for the counters of listener %s",
                                   listener->config->name);
    }
    return true;
}

static void forget_counters_of_others(const struct generation *generation, struct state *state)
{
    struct worker_counters inherited = counters_area_of(state, COUNTERS_INHERITED);
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        if (listener->counts_anew)
            counters_reset(&inherited.by_listener[listener->number]);
    }
}

bool reload_begin_counters(const struct generation *generation, struct state *state,
                           struct err *err)
{
    if (!need_counters(generation, state, err))
        return false;
    forget_counters_of_others(generation, state);
    return true;
}

bool reload_enter_state(struct generation *generation, struct state *state, struct err *err)
{
    return reload_plan(generation, state, err) && commit(generation, state, err);
}

bool reload_follow(const struct generation *generation, struct state *state, struct err *err)
{
    if (!need_counters(generation, state, err) || !commit(generation, state, err))
        return false;
    forget_counters_of_others(generation, state);
    return true;
}

void reload_release(struct generation *generation)
{
    if (generation == NULL || atomic_fetch_sub(&generation->references, 1) != 1)
        return;
    for (uint32_t i = 0; generation->listeners != NULL && i < generation->config->listener_count;
         i++)
        creds_free(generation->listeners[i].creds);
    free(generation->listeners);
    config_free(generation->config);
    secret_free(&generation->kept_master);
    secret_free(&generation->state_key);
    free(generation);
}
