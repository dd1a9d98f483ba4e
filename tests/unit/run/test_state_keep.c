/* What an operator hears of the state file, at the check, the start and the stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakes/fake_log.h"
#include "run/state_keep.h"
#include "state/state.h"

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"

struct scene {
    char folder[64], path[80], key_path[80];
    struct config config;
    struct generation generation;
    struct problems problems;
};

static void put_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    snprintf(s->folder, sizeof(s->folder), "/tmp/test_state_keep.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->path, sizeof(s->path), "%s/state", s->folder);
    snprintf(s->key_path, sizeof(s->key_path), "%s/key", s->folder);
    put_file(s->key_path, KEY, 0600);
    s->config.path = (char *)(uintptr_t) "gate.ini";
    s->config.gate.state_file = s->path;
    s->config.gate.state_key_file = s->key_path;
    s->config.gate.state_max_age_ms = 60000;
    s->generation.config = &s->config;
    problems_init(&s->problems);
    fake_log_reset();
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    secret_free(&s->generation.state_key);
    problems_deinit(&s->problems);
    unlink(s->path);
    unlink(s->key_path);
    rmdir(s->folder);
    free(s);
    fake_log_reset();
    return 0;
}

static void load(struct scene *s)
{
    state_keep_load(&s->generation, &s->problems);
    if (s->problems.count != 0)
        fail_msg("%s", s->problems.texts[0]);
}

static void write_state(struct scene *s, uint64_t deadline_ms)
{
    struct state state;
    struct err err;
    assert_true(state_create(&state, &err));
    state.header->boot_id[0] ^= 1; /* as if it were of the boot before */
    state_keep_write(&s->generation, state.region.fd, 5000, deadline_ms);
    state_close(&state);
}

/* As a start that inherits nothing: whether there is a state, which it adopts. */
static bool take(struct scene *s)
{
    struct state state;
    struct err err;
    int memory = state_keep_take(&s->generation, -1);
    if (memory < 0)
        return false;
    assert_true(state_adopt(&state, memory, &err));
    assert_in_range(state_now_ms(&state), 5000, 15000);
    assert_true(state_is_copy(&state) && state_is_of_this_machine(&state));
    state_close(&state);
    return true;
}

/* As one that inherits memory, which is all that it gets. */
static void inherit(struct scene *s)
{
    assert_int_equal(state_keep_take(&s->generation, 77), 77);
}

static void nothing_without_a_file_in_the_settings(void **state)
{
    struct scene *s = *state;
    s->config.gate.state_file = "";
    s->config.gate.state_key_file = "/no/such/key";
    load(s);
    assert_null(s->generation.state_key.bytes);
    assert_false(take(s));
    inherit(s);
    write_state(s, UINT64_MAX);
    state_keep_check(&s->generation);
    assert_int_equal(fake_log_count("", NULL), 0);
}

static void from_a_stop_to_the_next_start(void **state)
{
    struct scene *s = *state;
    load(s);
    assert_false(take(s));
    assert_int_equal(fake_log_count("level=info", "event=state_file_none", s->path, NULL), 1);
    write_state(s, UINT64_MAX);
    assert_int_equal(
        fake_log_count("level=info", "event=state_file_written", "bytes=", s->path, NULL), 1);
    assert_true(take(s));
    assert_int_equal(fake_log_count("level=info", "event=state_file_read", "machine=same",
                                    "lost=", s->path, NULL),
                     1);
    assert_false(take(s));
    assert_int_equal(fake_log_count("event=state_file_none", NULL), 2);
}

static void memory_wins(void **state)
{
    struct scene *s = *state;
    load(s);
    write_state(s, UINT64_MAX);
    inherit(s);
    assert_int_equal(fake_log_count("level=info", "event=state_file_removed", s->path, NULL), 1);
    assert_false(take(s));
    put_file(s->path, "somebody else's", 0600);
    fake_log_reset();
    inherit(s);
    assert_int_equal(fake_log_count("level=error", "event=state_file_left", s->path, NULL), 1);
}

static void a_refused_file_is_said(void **state)
{
    struct scene *s = *state;
    load(s);
    write_state(s, UINT64_MAX);
    s->generation.state_key.bytes[0] ^= 1;
    assert_false(take(s));
    assert_int_equal(fake_log_count("level=error", "event=state_file_refused", s->path,
                                    "another key", "lost", NULL),
                     1);
    assert_int_equal(access(s->path, F_OK), 0);
}

/* Whole, but its content is of another build. */
static void a_state_that_cannot_be_adopted_is_said(void **at)
{
    struct scene *s = *at;
    struct region region;
    struct err err;
    load(s);
    assert_true(region_create(&region, &err));
    state_keep_write(&s->generation, region.fd, 5000, UINT64_MAX);
    region_close(&region);
    assert_false(take(s));
    assert_int_equal(
        fake_log_count("level=error", "event=state_file_refused", "the state is empty", NULL), 1);
}

static void a_file_that_is_not_written_is_said(void **state)
{
    struct scene *s = *state;
    load(s);
    write_state(s, 0);
    assert_int_equal(fake_log_count("level=error", "event=state_file_failed", s->path,
                                    "no time left", "lost", NULL),
                     1);
    assert_int_not_equal(access(s->path, F_OK), 0);
}

static bool has_problem(const struct scene *s, bool is_warning, const char *part)
{
    for (uint32_t i = 0; i < s->problems.count; i++)
        if (s->problems.is_warning[i] == is_warning && strstr(s->problems.texts[i], part) != NULL)
            return true;
    return false;
}

static void the_check_says_what_is_wrong(void **state)
{
    struct scene *s = *state;
    put_file(s->key_path, "short", 0644);
    s->config.gate.state_file = "/no/such/folder/state";
    s->config.gate.lines[GATE_state_file] = 7;
    s->config.gate.lines[GATE_state_key_file] = 8;
    state_keep_load(&s->generation, &s->problems);
    assert_int_equal(s->problems.count, 3);
    assert_true(has_problem(s, false, "gate.ini:8: [gate] state_key_file: "));
    assert_true(has_problem(s, false, s->key_path));
    assert_true(has_problem(s, false, "has 5 bytes"));
    assert_true(has_problem(s, true, "gate.ini:7: [gate] state_file = /no/such/folder/state: "));
    assert_true(has_problem(s, true, "chmod 600"));
    assert_true(has_problem(s, true, "/no/such/folder"));
    state_keep_check(&s->generation);
    assert_int_equal(fake_log_count("level=warning", "event=state_file_unwritable", NULL), 1);
}

/* At the setting that is there. */
static void a_key_that_nobody_names(void **state)
{
    struct scene *s = *state;
    unsetenv("CREDENTIALS_DIRECTORY");
    s->config.gate.state_key_file = "";
    s->config.gate.lines[GATE_state_file] = 7;
    state_keep_load(&s->generation, &s->problems);
    assert_true(has_problem(s, false, "gate.ini:7: [gate] state_key_file: "));
    assert_true(has_problem(s, false, "LoadCredential"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_without_a_file_in_the_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_a_stop_to_the_next_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_file_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_state_that_cannot_be_adopted_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_not_written_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_check_says_what_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_nobody_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
