#define _GNU_SOURCE
#include "fakes/fake_root.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[64];

int fake_root_set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/fake_root-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

int fake_root_tear_down(void **state)
{
    enum { DESCRIPTORS = 8 };
    (void)state;
    return nftw(root, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

const char *fake_root(void)
{
    return root;
}

void fake_root_put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)!mkdir(path, 0755); /* it may be there */
        *slash = '/';
    }
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}
