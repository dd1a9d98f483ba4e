#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/metrics_fixture.h"

int metrics_fixture_set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->listener_configs[0] = (struct listener_config){
        .name = "coaps",
        .versions = CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3,
        .psk_file = {{"/devices.psk"}, 1},
        .certificate = "/server.pem",
        .client_auth = CLIENT_AUTH_REQUIRED,
        .ticket_versions = CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3,
    };
    f->listener_configs[1] = (struct listener_config){
        .name = "a\"b\\c",
        .versions = CONFIG_VERSION_1_2,
        .certificate = "/server.pem",
        .client_auth = CLIENT_AUTH_NONE,
    };
    f->config = (struct config){.listeners = f->listener_configs, .listener_count = LISTENERS};
    f->generation.config = &f->config;
    f->generation.listeners = f->listeners;
    f->generation.references = 1;
    for (uint32_t i = 0; i < LISTENERS; i++)
        f->listeners[i] = (struct listener){.config = &f->listener_configs[i], .number = i};
    swap_init(&f->swap, &f->generation);
    for (int w = 0; w < WORKERS; w++) {
        f->workers[w].listener_count = LISTENERS;
        f->workers[w].by_listener = f->counters[w];
        f->workers[w].whole = &f->whole[w];
        f->worker_pointers[w] = &f->workers[w];
    }
    f->listen_fd = -1;
    f->start = (struct report_start){.state = "taken_over", .count = 3, .sessions = {.torn = 2}};
    f->source = (struct metrics_source){
        .start = &f->start,
        .workers = f->worker_pointers,
        .worker_count = WORKERS,
        .swap = &f->swap,
        .tls_library_version = "5.9.2",
        .is_ready = &f->is_ready,
        .drains = &f->drains,
    };
    *state = f;
    return 0;
}

int metrics_fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    metrics_close(f->metrics);
    if (f->listen_fd >= 0)
        close(f->listen_fd);
    assert_int_equal(f->generation.references, 1);
    free(f);
    return 0;
}

bool metrics_fixture_has_line(const char *text, const char *line)
{
    size_t size = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[size] == '\n')
            return true;
    return false;
}
