/* Which places of the file system a confined gate has left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config_load.h"
#include "run/sandbox_paths.h"

/* A folder with files of settings, and settings that name them. */
struct scene {
    char folder[PATH_MAX];
    struct config *config;
    struct sandbox_paths paths;
    struct problems problems;
};

static const char *in(const struct scene *s, const char *name)
{
    static char text[2 * PATH_MAX];
    snprintf(text, sizeof(text), "%s/%s", s->folder, name);
    return text;
}

static void make_file(const struct scene *s, const char *name, const char *text)
{
    int fd = open(in(s, name), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void make_folder(const struct scene *s, const char *name)
{
    assert_int_equal(mkdir(in(s, name), 0700), 0);
}

/* gate, listener: lines of these sections. */
static void load(struct scene *s, const char *gate, const char *listener)
{
    char text[4096], path[2 * PATH_MAX];
    snprintf(text, sizeof(text),
             "[gate]\n%s[listener coaps]\nlisten = 127.9.9.9:5684\nbackend = 127.0.0.1:5683\n%s",
             gate, listener);
    make_file(s, "conf/gate.ini", text);
    snprintf(path, sizeof(path), "%s", in(s, "conf/gate.ini"));
    uint32_t errors_before = s->problems.error_count;
    config_free(s->config);
    s->config = config_load_partly(path, &s->problems);
    assert_non_null(s->config);
    assert_int_equal(s->problems.error_count, errors_before);
}

static void note(struct scene *s, const char *program)
{
    sandbox_paths_free(&s->paths);
    sandbox_paths_of_settings(&s->paths, s->config, program);
    assert_false(s->paths.is_incomplete);
}

static uint32_t count_refused(struct scene *s)
{
    uint32_t before = s->problems.error_count;
    sandbox_paths_check(&s->paths, s->config, &s->problems);
    return s->problems.error_count - before;
}

static unsigned may_at(const struct scene *s, const char *path)
{
    unsigned may = 0;
    for (uint32_t i = 0; i < s->paths.count; i++)
        if (strcmp(s->paths.at[i].path, path) == 0)
            may |= s->paths.at[i].may;
    return may;
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    char folder[] = "/tmp/dtlsgate-test-sandbox-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_non_null(realpath(folder, s->folder));
    problems_init(&s->problems);
    make_folder(s, "conf");
    make_folder(s, "keys");
    make_folder(s, "run");
    make_file(s, "keys/a.psk", "a:00112233445566778899aabbccddeeff\n");
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    char name[2 * PATH_MAX];
    static const char *const files[] = {
        "conf/gate.ini", "conf/a.psk",    "conf/link", "keys/a.psk", "elsewhere/a",
        "keys/deep/a",   "elsewhere",     "keys/deep", "conf",       "keys",
        "run",           "keysafe/a.psk", "keysafe"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(name, sizeof(name), "%s", in(s, files[i]));
        if (unlink(name) != 0)
            (void)rmdir(name);
    }
    assert_int_equal(rmdir(s->folder), 0);
    sandbox_paths_free(&s->paths);
    problems_deinit(&s->problems);
    config_free(s->config);
    free(s);
    return 0;
}

static void folders_of_the_settings(void **state)
{
    struct scene *s = *state;
    load(s, "control = ../run/control.sock\nstate_file = ../run/state\n",
         "psk_file = ../keys/a.psk\n");
    note(s, "");
    assert_int_equal(may_at(s, in(s, "conf")), SANDBOX_READ);
    assert_int_equal(may_at(s, in(s, "keys")), SANDBOX_READ);
    assert_int_equal(may_at(s, in(s, "run")), SANDBOX_READ | SANDBOX_KEEP | SANDBOX_SOCKET);
    assert_int_equal(may_at(s, s->folder), 0);
    assert_int_equal(count_refused(s), 0);
}

static void where_links_lead(void **state)
{
    struct scene *s = *state;
    char target[2 * PATH_MAX];
    make_folder(s, "elsewhere");
    make_file(s, "elsewhere/a", "a:00112233445566778899aabbccddeeff\n");
    snprintf(target, sizeof(target), "%s", in(s, "elsewhere/a"));
    assert_int_equal(symlink(target, in(s, "conf/link")), 0);
    load(s, "", "psk_file = link\n");
    note(s, "");
    assert_int_equal(may_at(s, in(s, "elsewhere")), SANDBOX_READ);
    assert_int_equal(count_refused(s), 0);
}

static void the_program(void **state)
{
    struct scene *s = *state;
    char program[2 * PATH_MAX];
    load(s, "", "psk_file = ../keys/a.psk\n");
    snprintf(program, sizeof(program), "%s", in(s, "run/dtlsgate"));
    note(s, program);
    assert_int_equal(may_at(s, in(s, "run")), SANDBOX_READ | SANDBOX_EXECUTE);
    assert_int_equal(may_at(s, in(s, "conf")), SANDBOX_READ);
}

/* Only the dynamic loader besides, with the libraries beside it: no folder of programs. */
static void what_may_be_executed(void **state)
{
    struct scene *s = *state;
    uint32_t count = 0;
    load(s, "", "psk_file = ../keys/a.psk\n");
    note(s, "");
    for (uint32_t i = 0; i < s->paths.count; i++)
        if ((s->paths.at[i].may & SANDBOX_EXECUTE) != 0) {
            const char *path = s->paths.at[i].path;
            assert_true(strncmp(path, "/usr/lib", 8) == 0 || strncmp(path, "/lib", 4) == 0);
            assert_string_not_equal(path, "/usr/lib");
            count++;
        }
    assert_int_equal(count, 1);
}

/* The folder of the file would be everything. */
static void a_file_at_the_root(void **state)
{
    struct scene *s = *state;
    load(s, "", "psk_file = /etc/../dtlsgate-test-absent.psk\n");
    note(s, "");
    assert_int_equal(may_at(s, "/"), 0);
}

static void other_folders_are_refused(void **state)
{
    struct scene *s = *state;
    load(s, "", "psk_file = a.psk\n");
    note(s, "");
    load(s, "", "psk_file = ../keys/a.psk\n");
    assert_int_equal(count_refused(s), 1);
    const char *text = s->problems.texts[s->problems.count - 1];
    assert_non_null(strstr(text, "keys/a.psk: sandbox = on allows only the folders"));
    assert_non_null(strstr(text, in(s, "conf")));
    load(s, "state_file = ../run/state\ncontrol = ../run/control.sock\n", "psk_file = a.psk\n");
    assert_int_equal(count_refused(s), 2);
}

/* /x/keysafe is not below /x/keys. */
static void names_that_begin_alike(void **state)
{
    struct scene *s = *state;
    make_folder(s, "keysafe");
    make_file(s, "keysafe/a.psk", "a:00112233445566778899aabbccddeeff\n");
    make_folder(s, "keys/deep");
    make_file(s, "keys/deep/a", "a:00112233445566778899aabbccddeeff\n");
    load(s, "", "psk_file = ../keys/a.psk\n");
    note(s, "");
    load(s, "", "psk_file = ../keys/deep/a\n");
    assert_int_equal(count_refused(s), 0);
    load(s, "", "psk_file = ../keysafe/a.psk\n");
    assert_int_equal(count_refused(s), 1);
}

static void what_is_missing_is_not_refused(void **state)
{
    struct scene *s = *state;
    load(s, "", "psk_file = a.psk\n");
    note(s, "");
    load(s, "", "psk_file = /nowhere/at/all.psk\n");
    assert_int_equal(count_refused(s), 0);
}

static void as_text_and_back(void **state)
{
    struct scene *s = *state;
    load(s, "control = ../run/control.sock\n", "psk_file = ../keys/a.psk\n");
    note(s, "/bin/sh");
    char *text = sandbox_paths_text(&s->paths);
    struct sandbox_paths again;
    sandbox_paths_parse(&again, text);
    char *text_again = sandbox_paths_text(&again);
    assert_string_equal(text, text_again);
    assert_int_equal(again.count, s->paths.count);
    free(text);
    free(text_again);
    sandbox_paths_free(&again);
}

static void text_of_nobody(void **state)
{
    static const char *const texts[] = {"", "\n", "r", "r ", "z /x\n", "r x\n", "/\n", "rx\n/etc"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sandbox_paths paths;
        sandbox_paths_parse(&paths, texts[i]);
        assert_int_equal(paths.count, 0);
        sandbox_paths_free(&paths);
    }
}

static void the_next_one_has_no_more(void **state)
{
    struct scene *s = *state;
    struct sandbox_paths outer;
    sandbox_paths_parse(&outer, "r /usr\nrk /var/lib/gate\n");
    sandbox_paths_parse(&s->paths,
                        "r /usr/share\nrx /usr/bin\nr /var/lib/gate\nr /home\nks /var/lib/gate\n");
    sandbox_paths_limit(&s->paths, &outer);
    char *text = sandbox_paths_text(&s->paths);
    assert_string_equal(text, "r /usr/share\nr /var/lib/gate\n");
    free(text);
    sandbox_paths_free(&outer);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(folders_of_the_settings),
        SCENE(where_links_lead),
        SCENE(the_program),
        SCENE(what_may_be_executed),
        SCENE(a_file_at_the_root),
        SCENE(other_folders_are_refused),
        SCENE(names_that_begin_alike),
        SCENE(what_is_missing_is_not_refused),
        SCENE(as_text_and_back),
        SCENE(text_of_nobody),
        SCENE(the_next_one_has_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
