#include "gate/creds_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "config/config_load.h"

static char folder[64];

const char *creds_fixture_folder(void)
{
    return folder;
}

void creds_fixture_put_file(const char *name, const char *text, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, mode), 0);
}

int creds_fixture_make_keys(void **state)
{
    (void)state;
    char command[160];
    strcpy(folder, "/tmp/test_creds.XXXXXX");
    if (!mkdtemp(folder) || wolfSSL_Init() != WOLFSSL_SUCCESS)
        return -1;
    snprintf(command, sizeof(command), "scripts/make-test-keys %s", folder);
    if (system(command) != 0)
        return -1;
    creds_fixture_put_file("devices.psk", IDENTITY ":" KEY "\n" IDENTITY32 ":" KEY "\n", 0600);
    return 0;
}

int creds_fixture_remove_keys(void **state)
{
    (void)state;
    char command[160];
    wolfSSL_Cleanup();
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

int creds_fixture_set_up(void **state)
{
    struct creds_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    problems_init(&f->problems);
    *state = f;
    return 0;
}

static void clear(struct creds_fixture *f)
{
    creds_free(f->creds);
    config_free(f->config);
    problems_deinit(&f->problems);
    f->creds = NULL;
    f->config = NULL;
}

int creds_fixture_tear_down(void **state)
{
    clear(*state);
    free(*state);
    return 0;
}

void creds_fixture_load(struct creds_fixture *f, const char *settings)
{
    char text[2048], path[128];
    clear(f);
    snprintf(path, sizeof(path), "%s/gate.ini", folder);
    int size = snprintf(
        text, sizeof(text),
        "[gate]\n[listener x]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\n%s", settings);
    assert_true(size > 0 && (size_t)size < sizeof(text));
    FILE *in = fmemopen(text, (size_t)size, "r");
    assert_non_null(in);
    f->config = config_load_stream(in, path, &f->problems);
    fclose(in);
    assert_non_null(f->config);
    problems_deinit(&f->problems);
    f->creds = creds_load(f->config, &f->config->listeners[0], &f->problems);
    assert_true((f->creds == NULL) == (f->problems.error_count > 0));
}

bool creds_fixture_has_problem(const struct creds_fixture *f, bool is_warning, const char *part)
{
    for (uint32_t i = 0; i < f->problems.count; i++)
        if (f->problems.is_warning[i] == is_warning && strstr(f->problems.texts[i], part))
            return true;
    return false;
}
