#include "run/state_choice.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "state/state_starts.h"

/* Takes fd. Memory of sessions that nobody will use: better lost than the start. */
static void put_aside(struct fd_list *aside, const char *name, int fd)
{
    struct err err = {0};
    struct named_fd *old = fd_list_find(aside, name);
    if (old != NULL) {
        close(old->fd);
        old->fd = fd;
    } else if (!fd_list_add(aside, name, fd, &err)) {
        close(fd);
    }
}

static void take_what_was_aside(struct fd_list *aside, struct handover *handover)
{
    static const char *const names[] = {STATE_CHOICE_REFUSED, STATE_CHOICE_CRASHED};
    for (int i = 0; i < 2; i++) {
        int fd = handover_take(handover, names[i]);
        if (fd >= 0)
            put_aside(aside, names[i], fd);
    }
}

/* Whether there is another program to go back to. */
static bool is_replaced(const struct handover *handover, int self)
{
    const struct named_fd *last_ready = fd_list_find(&handover->inherited, HANDOVER_BINARY);
    return last_ready != NULL && self >= 0 && !fd_list_is_same_file(last_ready->fd, self);
}

/* Of a state that was adopted. True: go on with it. */
static bool is_to_be_used(struct state *state, const char *build, struct fd_list *aside)
{
    uint32_t crashes = state_starts_crashes_within(state, build, STATE_CHOICE_WITHIN_MS);
    if (crashes < STATE_CHOICE_CRASHES_MAX)
        return true;
    log_text(LOG_ERROR, "state_crashed",
             "%u starts within a minute have not ended in good order; starting without the "
             "sessions, which are kept aside as %s",
             crashes, STATE_CHOICE_CRASHED);
    int fd = fcntl(state->region.fd, F_DUPFD_CLOEXEC, 0);
    state_close(state);
    if (fd >= 0)
        put_aside(aside, STATE_CHOICE_CRASHED, fd);
    return false;
}

static enum state_choice make_new(struct state *state, const char *build, struct err *err)
{
    if (!state_create(state, err))
        return STATE_CHOICE_FAILED;
    state_starts_note(state, build);
    return STATE_CHOICE_NEW;
}

/* Takes fd. */
static enum state_choice use(struct state *state, struct handover *handover, int fd,
                             const char *build, int self, struct fd_list *aside, struct err *err)
{
    if (!state_adopt(state, fd, err)) {
        if (err->may_pass) { /* another process has it, which must end first */
            close(fd);
            return STATE_CHOICE_FAILED;
        }
        log_text(LOG_ERROR, "state_refused", "%s; starting without the sessions, kept aside as %s",
                 err->text, STATE_CHOICE_REFUSED);
        put_aside(aside, STATE_CHOICE_REFUSED, fd);
        return make_new(state, build, err);
    }
    state_starts_note(state, build);
    uint32_t failed = state_starts_failed(state, build);
    if (failed >= STATE_CHOICE_FAILED_MAX && is_replaced(handover, self)) {
        log_text(LOG_ERROR, "gate_goes_back",
                 "%s has not become ready in %u starts; executing the program that was ready last",
                 build, failed);
        state_close(state);
        return STATE_CHOICE_GO_BACK;
    }
    return is_to_be_used(state, build, aside) ? STATE_CHOICE_TAKEN : make_new(state, build, err);
}

enum state_choice state_choice_make(struct state *state, struct handover *handover, int memory,
                                    const char *build, int self, struct fd_list *aside,
                                    struct err *err)
{
    take_what_was_aside(aside, handover);
    if (memory < 0)
        return make_new(state, build, err);
    return use(state, handover, memory, build, self, aside, err);
}
