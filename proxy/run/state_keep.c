#include "run/state_keep.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/state_key.h"
#include "state/state.h"

static const char *path_of(const struct generation *generation)
{
    return generation->config->gate.state_file;
}

static bool is_on(const struct generation *generation)
{
    return path_of(generation)[0] != '\0';
}

void state_keep_load(struct generation *generation, struct problems *problems)
{
    const struct config *config = generation->config;
    const uint32_t *lines = config->gate.lines;
    bool has_key_file = config->gate.state_key_file[0] != '\0';
    uint32_t mode = 0;
    struct err err;
    if (!is_on(generation))
        return;
    if (!state_key_read(&generation->state_key, config->gate.state_key_file, &mode, &err))
        problems_error(problems, "%s:%" PRIu32 ": [gate] state_key_file: %s", config->path,
                       lines[has_key_file ? GATE_state_key_file : GATE_state_file], err.text);
    if ((mode & 077) != 0 && has_key_file)
        problems_warning(problems,
                         "%s: its mode %04" PRIo32 " lets other users read the key of the state "
                         "file; run: chmod 600 %s",
                         config->gate.state_key_file, mode, config->gate.state_key_file);
    if (!state_file_check(path_of(generation), &err))
        problems_warning(problems,
                         "%s:%" PRIu32 ": [gate] state_file = %s: %s; it could not be written at "
                         "the stop",
                         config->path, lines[GATE_state_file], path_of(generation), err.text);
}

bool state_keep_is_possible(const struct generation *generation)
{
    struct err err;
    return is_on(generation) && state_file_check(path_of(generation), &err);
}

void state_keep_check(const struct generation *generation)
{
    struct err err;
    if (is_on(generation) && !state_file_check(path_of(generation), &err))
        log_text(LOG_WARNING, "state_file_unwritable",
                 "%s: %s; at the stop all sessions would be lost", path_of(generation), err.text);
}

/* ---- start ---------------------------------------------------------------------------------- */

static bool open_file(const struct generation *generation, struct state_file *file, struct err *err)
{
    *file = (struct state_file){.path = path_of(generation),
                                .key = generation->state_key.bytes,
                                .layout = LAYOUT_NUMBER,
                                .max_age_ms = generation->config->gate.state_max_age_ms};
    return state_host_read(&file->host, err);
}

static void forget(const char *path)
{
    struct err err;
    switch (state_file_forget(path, &err)) {
    case STATE_FILE_NONE: break;
    case STATE_FILE_TAKEN:
        log_text(LOG_INFO, "state_file_removed",
                 "%s: unread; the memory that the process before left is newer", path);
        break;
    case STATE_FILE_REFUSED:
        log_text(LOG_ERROR, "state_file_left",
                 "%s: the memory that the process before left is newer and in use, but the file "
                 "cannot be removed: %s. Remove it: a start that used it would use record numbers "
                 "a second time",
                 path, err.text);
        break;
    }
}

static void log_taken(const char *path, const struct state_taken *taken)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "state_file_read");
    log_add_ms(&line, "age_s", taken->age_ms);
    log_add_u64(&line, "bytes", taken->file_bytes);
    log_add(&line, "machine", taken->is_same_machine ? "same" : "other");
    log_add(&line, "lost",
            "datagrams of that time; devices and servers repeat what needs an answer");
    log_add(&line, "path", path);
    log_end(&line);
}

/* It becomes one of this boot, so that the next process can inherit it as any other. */
static bool settle(int memory, const struct state_taken *taken, struct err *err)
{
    struct state state;
    int copy = fcntl(memory, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return err_set(err, "no descriptor is free: %s", strerror(errno));
    if (state_adopt_from_file(&state, copy, taken->gate_ms + taken->age_ms, taken->is_same_machine,
                              err)) {
        state_close(&state);
        return true;
    }
    close(copy);
    return false;
}

static enum state_file_found take_and_settle(const struct state_file *file,
                                             struct state_taken *taken, struct err *err)
{
    enum state_file_found found = state_file_take(file, taken, err);
    if (found != STATE_FILE_TAKEN || settle(taken->memory, taken, err))
        return found;
    close(taken->memory);
    taken->memory = -1;
    return STATE_FILE_REFUSED;
}

/* The descriptor of its memory; -1 = none. */
static int take(const struct state_file *file)
{
    struct state_taken taken = {.memory = -1};
    struct err err;
    switch (take_and_settle(file, &taken, &err)) {
    case STATE_FILE_TAKEN: log_taken(file->path, &taken); break;
    case STATE_FILE_NONE:
        log_text(LOG_INFO, "state_file_none",
                 "%s: there is none; if sessions were established before, they are lost, and their "
                 "devices must shake hands again",
                 file->path);
        break;
    case STATE_FILE_REFUSED:
        log_text(
            LOG_ERROR, "state_file_refused",
            "%s: not used: %s. The sessions in it are lost, and their devices must shake hands "
            "again",
            file->path, err.text);
        break;
    }
    return taken.memory;
}

int state_keep_take(const struct generation *generation, int memory)
{
    struct state_file file;
    struct err err;
    if (!is_on(generation))
        return memory;
    if (memory >= 0) {
        forget(path_of(generation));
        return memory;
    }
    if (open_file(generation, &file, &err))
        return take(&file);
    log_text(LOG_ERROR, "state_file_refused", "%s: not read: %s", file.path, err.text);
    return -1;
}

/* ---- stop ----------------------------------------------------------------------------------- */

void state_keep_write(const struct generation *generation, int memory, uint64_t gate_ms,
                      uint64_t deadline_ms)
{
    struct state_file file;
    struct log_line line;
    struct err err;
    uint64_t bytes, begun_ms = clock_now_ms();
    if (!is_on(generation))
        return;
    if (!open_file(generation, &file, &err) ||
        !state_file_write(&file, memory, gate_ms, deadline_ms, &bytes, &err)) {
        log_text(
            LOG_ERROR, "state_file_failed",
            "%s: not written: %s. Sessions are lost, and their devices must shake hands again, "
            "unless the next process inherits the memory",
            file.path, err.text);
        return;
    }
    log_begin(&line, LOG_INFO, "state_file_written");
    log_add_u64(&line, "bytes", bytes);
    log_add_ms(&line, "duration_s", clock_now_ms() - begun_ms);
    log_add(&line, "path", file.path);
    log_end(&line);
}
