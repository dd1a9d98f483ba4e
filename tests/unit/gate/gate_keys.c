#include "gate/gate_keys.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate/gate_fixture.h"

static const char folder[] = "build/test-keys";

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void write_psks(const char *in)
{
    char path[512], text[1024] = "";
    size_t len = 0;
    for (const char *c = KEY; *c != '\0'; c++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%02x", *c);
    char psks[2048];
    snprintf(psks, sizeof(psks), "%s:%s\n%s:%s\n", IDENTITY, text, OTHER_IDENTITY,
             "ffeeddccbbaa99887766554433221100");
    snprintf(path, sizeof(path), "%s/devices.psk", in);
    write_file(path, psks);
}

static bool is_up_to_date(void)
{
    struct stat made, script;
    return stat("build/test-keys/devices.psk", &made) == 0 &&
           stat("scripts/make-test-keys", &script) == 0 && made.st_mtime >= script.st_mtime;
}

static void make_keys(void)
{
    char new_folder[] = "build/test-keys.XXXXXX", command[256];
    assert_non_null(mkdtemp(new_folder));
    snprintf(command, sizeof(command), "scripts/make-test-keys %s", new_folder);
    assert_int_equal(system(command), 0);
    write_psks(new_folder);
    snprintf(command, sizeof(command), "rm -rf %s && mv %s %s", folder, new_folder, folder);
    assert_int_equal(system(command), 0);
}

/* Several test programs may come here at once: the first one makes the keys, the others wait. */
const char *gate_keys(void)
{
    static bool is_made;
    if (is_made)
        return folder;
    int lock = open("build/test-keys.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(lock >= 0);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    if (!is_up_to_date())
        make_keys();
    close(lock);
    is_made = true;
    return folder;
}

void gate_keys_write_ini(const char *text, char *path, size_t path_size)
{
    snprintf(path, path_size, "%s/%d.ini", gate_keys(), (int)getpid());
    write_file(path, text);
}
