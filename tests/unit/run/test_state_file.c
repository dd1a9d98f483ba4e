/* A state file is used once, whatever happens: read, removed, then used; what is refused stays as
 * it is; and a kill between any two steps, of writing and of reading, leads to no second use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/skip_because.h"
#include "run/state_file.h"
#include "run/state_key.h"
#include "run/state_seal.h"
#include "state/region.h"

/* ---- the kernel, with a fault ---------------------------------------------------------------- */

/* These take the place of the C library's in this program: the step of that number kills the
 * process, or fails. 0 = no step. */
static int steps, kill_at, fail_at;

static bool is_step_good(void)
{
    steps++;
    if (steps == kill_at)
        _exit(9);
    errno = EIO;
    return steps != fail_at;
}

int fsync(int fd)
{
    return is_step_good() ? (int)syscall(SYS_fsync, fd) : -1;
}

int unlinkat(int folder, const char *name, int flags)
{
    return is_step_good() ? (int)syscall(SYS_unlinkat, folder, name, flags) : -1;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return is_step_good() ? (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0) : -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return is_step_good() ? syscall(SYS_pwrite64, fd, bytes, size, offset) : -1;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    return is_step_good() ? syscall(SYS_write, fd, bytes, size) : -1;
}

static void set_fault(int kill, int fail)
{
    steps = 0;
    kill_at = kill;
    fail_at = fail;
}

/* ---- a folder and a state ------------------------------------------------------------------- */

static char folder[] = "/tmp/test_state_file.XXXXXX", path[64], new_path[64];
static const uint8_t key[STATE_KEY_BYTES] = "a key of thirty-two bytes",
                     other_key[STATE_KEY_BYTES] = "another";

static struct state_file some_file(void)
{
    struct state_file file = {.path = path, .key = key, .layout = 3, .max_age_ms = 60000};
    struct err err;
    assert_true(state_host_read(&file.host, &err));
    return file;
}

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/state", folder);
    snprintf(new_path, sizeof(new_path), "%s/state.new", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int clean(void **state)
{
    (void)state;
    set_fault(0, 0);
    unlink(path);
    unlink(new_path);
    return 0;
}

static bool is_there(const char *name)
{
    return access(name, F_OK) == 0;
}

static bool try_to_write(const char *text, struct err *err)
{
    struct state_file file = some_file();
    struct region region;
    uint64_t bytes;
    assert_true(region_create(&region, err));
    assert_true(region_need(&region, 5 << 20, 4096));
    memcpy(region.base + (5 << 20), text, strlen(text));
    bool is_written = state_file_write(&file, region.fd, 1000, UINT64_MAX, &bytes, err);
    region_close(&region);
    return is_written;
}

static void write_state(const char *text)
{
    struct err err;
    if (!try_to_write(text, &err))
        fail_msg("%s", err.text);
}

static void assert_holds(int memory, const char *text)
{
    char found[64] = "";
    assert_int_equal(pread(memory, found, strlen(text), 5 << 20), strlen(text));
    assert_string_equal(found, text);
}

static void assert_takes(const char *text)
{
    struct state_file file = some_file();
    struct state_taken taken;
    struct err err;
    if (state_file_take(&file, &taken, &err) != STATE_FILE_TAKEN)
        fail_msg("%s", err.text);
    assert_holds(taken.memory, text);
    close(taken.memory);
}

static void assert_refuses(const struct state_file *file, const char *why)
{
    struct state_taken taken;
    struct err err = {0};
    assert_int_equal(state_file_take(file, &taken, &err), STATE_FILE_REFUSED);
    assert_int_equal(taken.memory, -1);
    if (strstr(err.text, why) == NULL)
        fail_msg("\"%s\" does not say: %s", err.text, why);
}

static enum state_file_found forget(void)
{
    struct err err;
    return state_file_forget(path, &err);
}

/* ---- once ----------------------------------------------------------------------------------- */

static void a_state_is_read_once(void **state)
{
    struct state_file file = some_file();
    struct state_taken taken;
    struct stat info;
    struct err err;
    (void)state;
    assert_int_equal(state_file_take(&file, &taken, &err), STATE_FILE_NONE);
    write_state("once");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_false(is_there(new_path));
    file = some_file();
    file.host.since_boot_ms += 7000;
    assert_int_equal(state_file_take(&file, &taken, &err), STATE_FILE_TAKEN);
    assert_false(is_there(path));
    assert_holds(taken.memory, "once");
    assert_int_equal(taken.gate_ms, 1000);
    assert_in_range(taken.age_ms, 7000, 17000);
    assert_true(taken.is_same_boot && taken.is_same_machine);
    assert_int_equal(taken.file_bytes, info.st_size);
    /* The next process maps it, as it does with memory that it inherits. */
    struct region region;
    assert_true(region_adopt(&region, taken.memory, &err));
    assert_memory_equal(region.base + (5 << 20), "once", 4);
    region_close(&region);
    assert_int_equal(state_file_take(&file, &taken, &err), STATE_FILE_NONE);
}

static void a_second_name_of_a_file_that_was_read_is_no_second_state(void **state)
{
    struct state_file file = some_file();
    char second[80];
    (void)state;
    write_state("once");
    snprintf(second, sizeof(second), "%s.again", path);
    assert_int_equal(link(path, second), 0);
    assert_takes("once");
    assert_int_equal(rename(second, path), 0);
    assert_refuses(&file, "read before");
    assert_false(is_there(path));
}

static void the_newest_state_takes_the_place_of_one_that_was_refused(void **state)
{
    struct state_file file = some_file();
    (void)state;
    write_state("older");
    file.key = other_key;
    assert_refuses(&file, "another key");
    write_state("newer");
    assert_takes("newer");
}

static void another_machine_is_told(void **state)
{
    struct state_file file = some_file();
    struct state_taken taken;
    struct err err;
    (void)state;
    write_state("moved");
    file.host.wall_ms += 5000;
    memset(file.host.boot_id, 1, STATE_HOST_ID_BYTES);
    memset(file.host.machine_id, 2, STATE_HOST_ID_BYTES);
    assert_int_equal(state_file_take(&file, &taken, &err), STATE_FILE_TAKEN);
    assert_false(taken.is_same_boot || taken.is_same_machine);
    assert_in_range(taken.age_ms, 1000, 5000);
    close(taken.memory);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void what_does_not_fit_is_refused_and_stays(void **state)
{
    struct state_file file = some_file();
    (void)state;
    write_state("kept");
    file.layout = 4;
    assert_refuses(&file, "its layout is 3, this version reads layout 4");
    file = some_file();
    file.key = other_key;
    assert_refuses(&file, "another key");
    file = some_file();
    file.host.since_boot_ms += 61000;
    assert_refuses(&file, "state_max_age is 60 s");
    file = some_file();
    memset(file.host.boot_id, 1, STATE_HOST_ID_BYTES);
    file.host.wall_ms -= 3600000;
    assert_refuses(&file, "from the future");
    file = some_file();
    assert_int_equal(truncate(path, 500), 0);
    assert_refuses(&file, "is torn");
    assert_true(is_there(path));
}

static void a_state_of_another_size_is_refused(void **state)
{
    struct state_file file = some_file();
    struct state_facts facts = {.layout = 3, .memory_bytes = 4096, .host = file.host};
    struct err err;
    uint64_t bytes;
    int memory = memfd_create("test", MFD_CLOEXEC);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    (void)state;
    assert_true(memory >= 0 && fd >= 0);
    assert_true(state_seal_write(fd, memory, key, &facts, UINT64_MAX, &bytes, &err));
    close(memory);
    close(fd);
    assert_refuses(&file, "its state is 4096 bytes");
    assert_true(is_there(path));
}

static void a_file_that_another_gate_has_is_refused(void **state)
{
    struct state_file file = some_file();
    (void)state;
    write_state("held");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_refuses(&file, "another gate");
    close(fd);
    assert_takes("held");
}

/* A path that is wrong costs nobody a file. */
static void a_file_of_somebody_else_stays(void **state)
{
    struct state_file file = some_file();
    struct err err;
    (void)state;
    FILE *text = fopen(path, "w");
    assert_non_null(text);
    fputs("this is a text of 24 bytes", text);
    assert_int_equal(fclose(text), 0);
    assert_refuses(&file, "no state file");
    assert_int_equal(forget(), STATE_FILE_REFUSED);
    assert_false(try_to_write("x", &err));
    assert_non_null(strstr(err.text, "no state file"));
    assert_false(state_file_check(path, &err)); /* known before it is needed */
    assert_non_null(strstr(err.text, "no state file"));
    assert_true(is_there(path));
}

static void a_link_is_not_followed(void **state)
{
    struct state_file file = some_file();
    (void)state;
    write_state("target");
    assert_int_equal(rename(path, new_path), 0);
    assert_int_equal(symlink(new_path, path), 0);
    assert_refuses(&file, "cannot be opened");
}

static void a_folder_that_is_not_there_is_said(void **state)
{
    struct state_file file = some_file();
    struct err err;
    (void)state;
    file.path = "/no/such/folder/state";
    assert_refuses(&file, "its folder /no/such/folder cannot be opened");
    assert_int_equal(state_file_forget(file.path, &err), STATE_FILE_NONE);
    assert_false(state_file_check(file.path, &err));
    assert_true(state_file_check(path, &err));
}

/* Root may write everywhere: so as somebody else. */
static void assert_as_nobody(void (*run)(void))
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setegid(65534) != 0 || seteuid(65534) != 0)
            _exit(1);
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void check_nothing_can_be_removed(void)
{
    struct state_file file = some_file();
    struct err err;
    assert_refuses(&file, "nothing can be written to its folder, or removed from it");
    assert_false(state_file_check(path, &err));
    assert_false(try_to_write("x", &err));
}

static void check_what_cannot_be_removed_is_marked(void)
{
    assert_int_equal(forget(), STATE_FILE_TAKEN);
}

static void a_file_that_cannot_be_removed_is_not_used(void **state)
{
    struct state_file file = some_file();
    (void)state;
    if (geteuid() != 0)
        skip_because("only root can become a user that may not remove the file");
    write_state("stays");
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    assert_as_nobody(check_nothing_can_be_removed);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_takes("stays"); /* and it has not been touched */
    write_state("again");
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    assert_as_nobody(check_what_cannot_be_removed_is_marked);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_refuses(&file, "read before");
}

/* ---- memory that was inherited -------------------------------------------------------------- */

static void memory_makes_the_file_worthless(void **state)
{
    struct state_file file = some_file();
    struct state_taken taken;
    struct err err;
    (void)state;
    assert_int_equal(forget(), STATE_FILE_NONE);
    write_state("older than the memory");
    assert_int_equal(forget(), STATE_FILE_TAKEN);
    assert_false(is_there(path));
    assert_int_equal(state_file_take(&file, &taken, &err), STATE_FILE_NONE);
}

/* ---- killed, and failing -------------------------------------------------------------------- */

/* What the child does before it is killed, if it comes so far. */
enum { DONE = 0, USED = 1, NOT_USED = 2, KILLED = 9 };

static int in_child(int (*run)(void), int kill, int fail)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        set_fault(kill, fail);
        _exit(run());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int take_and_use(void)
{
    struct state_file file = some_file();
    struct state_taken taken;
    struct err err;
    return state_file_take(&file, &taken, &err) == STATE_FILE_TAKEN ? USED : NOT_USED;
}

static int write_new(void)
{
    struct err err;
    return try_to_write("new", &err) ? DONE : NOT_USED;
}

static int forget_file(void)
{
    return forget() == STATE_FILE_TAKEN ? DONE : NOT_USED;
}

/* A start that is killed, or whose disk fails, and starts after it: one use at most, and exactly
 * one if it was killed before the mark. */
static void reading_is_killed_at_every_step(void **state)
{
    int killed = 0, used_later = 0;
    (void)state;
    for (int step = 1, result = KILLED; result == KILLED; step++) {
        write_state("once");
        result = in_child(take_and_use, step, 0);
        int uses = result == USED;
        for (int start = 0; start < 3; start++) {
            bool is_used = in_child(take_and_use, 0, 0) == USED;
            uses += is_used;
            used_later += is_used;
        }
        assert_in_range(uses, 0, 1);
        killed += result == KILLED;
        clean(NULL);
    }
    assert_in_range(killed, 5, 20); /* the state's bytes, mark, sync, removal, sync */
    assert_in_range(used_later, 2, killed - 2);
}

static void reading_fails_at_every_step(void **state)
{
    int refused = 0;
    (void)state;
    for (int step = 1, result = NOT_USED; result == NOT_USED; step++) {
        write_state("once");
        result = in_child(take_and_use, 0, step);
        int uses = result == USED;
        for (int start = 0; start < 3; start++)
            uses += in_child(take_and_use, 0, 0) == USED;
        assert_in_range(uses, 0, 1);
        refused += result == NOT_USED;
        clean(NULL);
    }
    assert_in_range(refused, 5, 20);
}

/* Either the file of before is there, whole, or the new one. */
static void writing_is_killed_at_every_step(void **state)
{
    int killed = 0, old_left = 0;
    struct state_file file;
    struct state_taken taken;
    struct err err;
    (void)state;
    for (int step = 1, result = KILLED; result == KILLED; step++) {
        write_state("old");
        result = in_child(write_new, step, 0);
        file = some_file();
        assert_int_equal(state_file_take(&file, &taken, &err), STATE_FILE_TAKEN);
        char found[4] = "";
        assert_int_equal(pread(taken.memory, found, 3, 5 << 20), 3);
        assert_true(strcmp(found, "old") == 0 || strcmp(found, "new") == 0);
        old_left += strcmp(found, "old") == 0;
        killed += result == KILLED;
        close(taken.memory);
        write_state("the one after it"); /* over what the killed one left */
        assert_takes("the one after it");
    }
    assert_in_range(killed, 5, 20);
    assert_in_range(old_left, 4, killed);
}

static void writing_fails_at_every_step(void **state)
{
    int failed = 0;
    (void)state;
    for (int step = 1, result = NOT_USED; result == NOT_USED; step++) {
        result = in_child(write_new, 0, step);
        failed += result == NOT_USED;
        assert_false(is_there(new_path));
        /* Who was told that there is no file goes on with the memory, so that there must be none.
         */
        assert_int_equal(is_there(path), result == DONE);
        assert_int_equal(in_child(take_and_use, 0, 0), result == DONE ? USED : NOT_USED);
        clean(NULL);
    }
    assert_in_range(failed, 5, 20);
}

/* The memory is in use from then on: no start may use the file. */
static void forgetting_fails_at_every_step(void **state)
{
    (void)state;
    for (int step = 1; step <= 5; step++) {
        write_state("old");
        assert_int_equal(in_child(forget_file, 0, step), DONE);
        assert_int_equal(in_child(take_and_use, 0, 0), NOT_USED);
        clean(NULL);
    }
}

/* ---- time ----------------------------------------------------------------------------------- */

static void a_disk_that_is_too_slow_leaves_nothing(void **state)
{
    struct state_file file = some_file();
    struct region region;
    struct err err;
    uint64_t bytes;
    (void)state;
    assert_true(region_create(&region, &err));
    assert_false(state_file_write(&file, region.fd, 0, 0, &bytes, &err));
    assert_non_null(strstr(err.text, "no time left"));
    assert_false(is_there(path) || is_there(new_path));
    region_close(&region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_state_is_read_once, clean),
        cmocka_unit_test_teardown(a_second_name_of_a_file_that_was_read_is_no_second_state, clean),
        cmocka_unit_test_teardown(the_newest_state_takes_the_place_of_one_that_was_refused, clean),
        cmocka_unit_test_teardown(another_machine_is_told, clean),
        cmocka_unit_test_teardown(what_does_not_fit_is_refused_and_stays, clean),
        cmocka_unit_test_teardown(a_state_of_another_size_is_refused, clean),
        cmocka_unit_test_teardown(a_file_that_another_gate_has_is_refused, clean),
        cmocka_unit_test_teardown(a_file_of_somebody_else_stays, clean),
        cmocka_unit_test_teardown(a_link_is_not_followed, clean),
        cmocka_unit_test_teardown(a_folder_that_is_not_there_is_said, clean),
        cmocka_unit_test_teardown(a_file_that_cannot_be_removed_is_not_used, clean),
        cmocka_unit_test_teardown(memory_makes_the_file_worthless, clean),
        cmocka_unit_test_teardown(reading_is_killed_at_every_step, clean),
        cmocka_unit_test_teardown(reading_fails_at_every_step, clean),
        cmocka_unit_test_teardown(writing_is_killed_at_every_step, clean),
        cmocka_unit_test_teardown(writing_fails_at_every_step, clean),
        cmocka_unit_test_teardown(forgetting_fails_at_every_step, clean),
        cmocka_unit_test_teardown(a_disk_that_is_too_slow_leaves_nothing, clean),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
