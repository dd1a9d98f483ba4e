/* run/control_task.c with report_json.c, control_output.c and drains.c: commands whose workers are
 * the test's, which answer when they like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "gate/memory_generation.h"
#include "run/control_task.h"
#include "run/metrics_fixture.h"
#include "run/reload.h"

struct scene {
    struct fixture *gate; /* its counters, of two workers */
    struct generation *generation;
    struct drains drains;
    struct control_source source;
    struct control_output output;
    struct control_task task;
    struct inquiry *asked; /* that a worker has */
    uint32_t asked_worker, ask_count;
    bool is_deaf; /* no mail is taken: out of memory */
    unsigned wakes, actions;
    bool has_farewell;
};

static bool take_mail(void *context, uint32_t worker, struct inquiry *inquiry)
{
    struct scene *scene = context;
    if (scene->is_deaf)
        return false;
    assert_null(scene->asked);
    inquiry_ask(inquiry);
    scene->asked = inquiry;
    scene->asked_worker = worker;
    scene->ask_count++;
    return true;
}

static void on_wake(void *context)
{
    ((struct scene *)context)->wakes++;
}

static void on_reload(void *context, struct control_answer answer)
{
    (void)answer;
    ((struct scene *)context)->actions++;
}

static void on_stop(void *context, struct control_answer answer, bool with_farewell)
{
    (void)answer;
    ((struct scene *)context)->has_farewell = with_farewell;
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    void *fixture = NULL;
    assert_non_null(scene);
    metrics_fixture_set_up(&fixture);
    scene->gate = fixture;
    scene->generation = memory_generation(
        "[listener coaps]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = @psk\n"
        "[listener other]\nlisten = 127.0.0.1:5685\nbackend = 127.0.0.1:5683\npsk_file = @psk\n");
    scene->source = (struct control_source){
        .generation = &scene->generation,
        .workers = scene->gate->worker_pointers,
        .worker_count = WORKERS,
        .ask = take_mail,
        .context = scene,
        .drains = &scene->drains,
        .start = &scene->gate->start,
        .reloads = &scene->gate->swap.record,
        .is_ready = &scene->gate->is_ready,
        .actions = {.context = scene, .reload = on_reload, .stop = on_stop},
    };
    scene->task.source = &scene->source;
    scene->task.output = &scene->output;
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    void *fixture = scene->gate;
    control_task_drop(&scene->task);
    free(scene->asked);
    control_output_deinit(&scene->output);
    reload_release(scene->generation);
    metrics_fixture_tear_down(&fixture);
    free(scene);
    return 0;
}

/* ---- what a test does ----------------------------------------------------------------------- */

static void begin(struct scene *scene, const char *text)
{
    char line[COMMAND_LINE_MAX + 1];
    const char *words[COMMAND_WORDS_MAX];
    struct command_request request;
    struct err err;
    size_t count;
    snprintf(line, sizeof(line), "%s", text);
    assert_true(command_split(line, words, &count, &err));
    assert_true(command_parse(&request, words, count, &err));
    control_task_begin(&scene->task, &request, on_wake, scene, (struct control_answer){0});
}

/* The worker takes the inquiry and fills its answer. */
static struct inquiry *answering(struct scene *scene)
{
    assert_non_null(scene->asked);
    scene->asked->count = 0;
    scene->asked->is_more = false;
    return scene->asked;
}

/* As inquiry_answer() would. */
static void answer(struct scene *scene)
{
    struct inquiry *inquiry = scene->asked;
    enum { ANSWERED = 2 };
    scene->asked = NULL;
    atomic_store(&inquiry->state, ANSWERED);
    assert_true(inquiry_is_answered(inquiry));
    assert_true(control_task_is_answered(&scene->task));
    assert_true(control_task_go_on(&scene->task));
}

static void answer_with_nothing(struct scene *scene)
{
    (void)answering(scene);
    answer(scene);
}

/* What the client has been sent, and reads now. */
static const char *read_all(struct scene *scene)
{
    static char text[256 * 1024];
    size_t len = control_output_left(&scene->output);
    assert_in_range(len, 0, sizeof(text) - 1);
    memcpy(text, control_output_first(&scene->output), len);
    text[len] = '\0';
    control_output_took(&scene->output, len);
    assert_int_equal(control_output_left(&scene->output), 0);
    return text;
}

static void assert_over(struct scene *scene, const char *last_line)
{
    const char *text = read_all(scene);
    size_t len = strlen(text), last = strlen(last_line);
    assert_int_equal(scene->task.state, TASK_NONE);
    assert_false(scene->output.has_failed);
    if (len < last + 1 || strncmp(text + len - last - 1, last_line, last) != 0)
        fail_msg("'%s' does not end with '%s'", text, last_line);
}

static void fill_sessions(struct inquiry *inquiry, uint32_t count)
{
    inquiry->count = count;
    for (uint32_t i = 0; i < count; i++)
        inquiry->reports[i] = (struct session_report){
            .kind = REPORT_SESSION,
            .number = i + 1,
            .listener = 0,
            .identity = "dev\x01",
            .identity_len = 4,
            .credential = CREDENTIAL_PSK,
            .version = VERSION_1_3,
            .suite = 0xc0a8,
            .cid = {0xab, 0xcd},
            .cid_len = 2,
            .age_ms = 1500,
            .client = {.family = AF_INET, .ip = {192, 0, 2, 1}, .port = 7},
            .backend_source = {.family = AF_INET, .ip = {127, 1, 2, 3}, .port = 8}};
}

/* ---- walks ---------------------------------------------------------------------------------- */

static void every_worker_is_asked(void **state)
{
    struct scene *scene = *state;
    uint32_t worker;
    begin(scene, "sessions --identity dev --client 192.0.2.0/24");
    assert_true(control_task_waits(&scene->task, &worker));
    assert_int_equal(worker, 0);
    assert_int_equal(scene->asked->filter.identity_len, 3);
    assert_int_equal(scene->asked->filter.client.bits, 24);
    assert_false(control_task_go_on(&scene->task));
    fill_sessions(answering(scene), 1);
    answer(scene);
    assert_string_equal(
        read_all(scene),
        "{\"state\":\"established\",\"backend_source\":\"127.1.2.3:8\",\"listener\":\"coaps\","
        "\"session\":1,\"identity\":\"dev\\u0001\",\"credential\":\"psk\","
        "\"client\":\"192.0.2.1:7\",\"client_proved\":false,\"cid\":\"abcd\",\"version\":\"1.3\","
        "\"suite\":\"TLS_PSK_WITH_AES_128_CCM_8\",\"since_s\":1.5,\"last_used_s\":0.0,\"from_"
        "client\":0,"
        "\"from_backend\":0}\n");
    assert_int_equal(scene->asked_worker, 1);
    fill_sessions(answering(scene), 2);
    answer(scene);
    assert_over(scene, "{\"count\":3,\"done\":true,\"ok\":true}");
}

/* The same worker is asked until it has told all; no further than the limit. */
static void walks_go_on_and_end_at_the_limit(void **state)
{
    struct scene *scene = *state;
    begin(scene, "sessions --limit 5");
    for (int i = 0; i < 2; i++) {
        struct inquiry *inquiry = answering(scene);
        assert_int_equal(scene->asked_worker, 0);
        fill_sessions(inquiry, 2);
        inquiry->is_more = true;
        answer(scene);
    }
    struct inquiry *inquiry = answering(scene);
    fill_sessions(inquiry, 2);
    inquiry->is_more = true;
    answer(scene);
    assert_over(scene, "{\"count\":5,\"done\":true,\"ok\":true}");
    assert_ptr_equal(scene->asked, inquiry); /* mailed once more, to be freed by the worker */
    assert_int_equal(scene->ask_count, 4);
}

/* Who does not read is told no more, and no worker is asked for it. */
static void a_walk_waits_for_its_reader(void **state)
{
    struct scene *scene = *state;
    uint32_t worker;
    begin(scene, "sessions");
    uint32_t turns = 0;
    for (; scene->asked != NULL; turns++) {
        struct inquiry *inquiry = answering(scene);
        fill_sessions(inquiry, INQUIRY_REPORTS);
        inquiry->is_more = true;
        answer(scene);
        assert_in_range(turns, 0, 20);
    }
    assert_in_range(control_output_left(&scene->output), CONTROL_OUTPUT_ENOUGH,
                    2 * CONTROL_OUTPUT_ENOUGH);
    assert_false(control_task_waits(&scene->task, &worker));
    assert_false(control_task_go_on(&scene->task));
    read_all(scene);
    assert_true(control_task_go_on(&scene->task));
    assert_non_null(scene->asked);
    answer_with_nothing(scene);
    answer_with_nothing(scene);
    assert_int_equal(scene->task.state, TASK_NONE);
}

static void closing_counts(void **state)
{
    struct scene *scene = *state;
    begin(scene, "close --session 7 --listener coaps");
    assert_int_equal(scene->asked->kind, INQUIRY_CLOSE);
    assert_true(scene->asked->filter.has_number && scene->asked->filter.number == 7);
    assert_true(scene->asked->filter.has_listener && scene->asked->filter.listener == 0);
    answering(scene)->count = 1;
    answer(scene);
    answer_with_nothing(scene);
    assert_over(scene, "{\"count\":1,\"done\":true,\"ok\":true}");
    begin(scene, "close --identity x");
    answer_with_nothing(scene);
    answer_with_nothing(scene);
    assert_over(scene, "{\"count\":0,\"done\":true,\"ok\":false,\"error\":\"there is no such "
                       "session\"}");
}

/* ---- one worker ----------------------------------------------------------------------------- */

static void the_worker_of_an_address_is_asked(void **state)
{
    struct scene *scene = *state;
    for (unsigned last = 0; last < 4; last++) {
        char text[40];
        snprintf(text, sizeof(text), "session 127.1.0.%u", last);
        begin(scene, text);
        assert_int_equal(scene->asked_worker, last % WORKERS);
        struct inquiry *inquiry = answering(scene);
        inquiry->count = 1;
        inquiry->reports[0] =
            (struct session_report){.kind = REPORT_TOMBSTONE,
                                    .listener = 9,
                                    .reason = CLOSE_idle,
                                    .silent_ms = 2000,
                                    .rest_ms = 3000,
                                    .backend_source = scene->task.request.backend_source};
        answer(scene);
        assert_over(scene, "\"listener\":\"#9\",\"reason\":\"idle\",\"silent_s\":2.0,"
                           "\"reserved_s\":3.0}\n{\"done\":true,\"ok\":true}");
    }
    begin(scene, "session 127.1.0.0");
    answering(scene)->count = 1; /* nobody */
    scene->asked->reports[0] = (struct session_report){.kind = REPORT_NOBODY};
    answer(scene);
    assert_over(scene, "\"ok\":false,\"error\":\"nobody has that backend address\"}");
    begin(scene, "session 127.1.0.0:7");
    assert_int_equal(scene->asked->source.port, 7);
    answering(scene)->count = 1;
    scene->asked->reports[0] = (struct session_report){.kind = REPORT_NOBODY};
    answer(scene);
    begin(scene, "sessions --backend-source 127.1.0.1:9");
    assert_int_equal(scene->asked_worker, 1);
    assert_int_equal(slots_number_of_addr(&scene->asked->filter.backend_source), 0x010001);
    assert_int_equal(scene->asked->filter.backend_source.port, 9);
    answer_with_nothing(scene);
    assert_over(scene, "{\"count\":0,\"done\":true,\"ok\":true}");
}

static void failures_are_chosen(void **state)
{
    struct scene *scene = *state;
    begin(scene, "failures --identity dev --listener coaps --limit 2");
    struct inquiry *inquiry = answering(scene);
    inquiry->count = 4;
    inquiry->now_ms = 5000;
    for (uint32_t i = 0; i < 4; i++)
        inquiry->failures[i] = (struct failure){.at_ms = 4000,
                                                .listener = i == 0,
                                                .result = HANDSHAKE_wrong_key,
                                                .identity = "dev",
                                                .identity_len = i == 1 ? 2 : 3,
                                                .version = VERSION_1_2,
                                                .detail = "a \xff b"};
    answer(scene);
    assert_over(scene, "{\"ago_s\":1.0,\"listener\":\"coaps\",\"client\":\"\","
                       "\"identity\":\"dev\",\"reason\":\"wrong_key\",\"detail\":\"a \\\\xff b\","
                       "\"version\":\"1.2\"}\n{\"count\":2,\"done\":true,\"ok\":true}");
}

/* ---- what is set ---------------------------------------------------------------------------- */

static void drains_are_told_to_all(void **state)
{
    struct scene *scene = *state;
    begin(scene, "drain coaps");
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(scene->asked->kind, INQUIRY_DRAIN);
        assert_true(scene->asked->is_draining[0] && !scene->asked->is_draining[1]);
        answer_with_nothing(scene);
    }
    assert_over(scene, "{\"done\":true,\"ok\":true}");
    assert_false(atomic_load(&scene->drains.are_all));
    begin(scene, "drain");
    answer_with_nothing(scene);
    assert_true(atomic_load(&scene->drains.are_all));
    assert_true(scene->asked->is_draining[0] && scene->asked->is_draining[1]);
    drains_set(&scene->drains, scene->generation, NULL, false); /* by another client, meanwhile */
    control_task_drop(&scene->task);
    free(scene->asked);
    scene->asked = NULL;
    begin(scene, "drain nobody");
    assert_over(scene, "\"ok\":false,\"error\":\"there is no listener 'nobody'; status lists "
                       "them\"}");
}

static void a_drain_holds_while_generations_change(void **state)
{
    struct scene *scene = *state;
    static struct generation other;
    other = *scene->generation;
    drains_set(&scene->drains, scene->generation, scene->generation->by_number[1], true);
    other.by_number[0] = NULL;
    drains_recount(&scene->drains, &other);
    assert_true(atomic_load(&scene->drains.are_all));
    other.by_number[1] = NULL; /* removed: forgotten */
    drains_recount(&scene->drains, &other);
    drains_recount(&scene->drains, scene->generation);
    assert_false(atomic_load(&scene->drains.is_draining[1]));
    assert_false(atomic_load(&scene->drains.are_all));
}

static void a_trace_begins_and_ends(void **state)
{
    struct scene *scene = *state;
    begin(scene, "trace --identity dev --seconds 9");
    assert_int_equal(scene->asked->trace.len, 3);
    assert_true(scene->asked->trace.for_ms == 9000);
    answer_with_nothing(scene);
    answer_with_nothing(scene);
    assert_over(scene, "{\"done\":true,\"ok\":true}");
    begin(scene, "trace --identity dev --seconds 0");
    assert_int_equal(scene->asked->trace.len, 0);
}

static void status_has_no_identities(void **state)
{
    struct scene *scene = *state;
    scene->gate->counters[0][0].sessions = 2;
    scene->gate->counters[1][0].sessions = 3;
    begin(scene, "status");
    const char *text = read_all(scene);
    assert_non_null(strstr(text, "\"listener\":\"coaps\""));
    assert_non_null(strstr(text, "\"listener\":\"other\""));
    assert_non_null(strstr(text, "\"sessions\":5,\"handshakes_in_progress\":0"));
    assert_non_null(strstr(text, "\"workers\":2"));
    assert_null(strstr(text, "\"identity\""));
}

static void actions_are_the_gates(void **state)
{
    struct scene *scene = *state;
    uint32_t worker;
    begin(scene, "reload");
    assert_int_equal(scene->actions, 1);
    assert_int_equal(scene->task.state, TASK_ACTION);
    assert_false(control_task_waits(&scene->task, &worker));
    assert_false(control_task_go_on(&scene->task));
    begin(scene, "stop --farewell");
    assert_true(scene->has_farewell);
    begin(scene, "upgrade");
    assert_over(scene, "\"ok\":false,\"error\":\"this gate cannot do that\"}");
}

/* ---- what goes wrong ------------------------------------------------------------------------ */

static void no_memory_for_mail(void **state)
{
    struct scene *scene = *state;
    scene->is_deaf = true;
    begin(scene, "sessions");
    assert_over(scene, "\"ok\":false,\"error\":\"out of memory\"}");
    scene->is_deaf = false;
    begin(scene, "sessions");
    (void)answering(scene);
    scene->is_deaf = true;
    answer(scene);
    assert_over(scene, "\"ok\":false,\"error\":\"out of memory\"}");
}

static void the_client_goes_away(void **state)
{
    struct scene *scene = *state;
    begin(scene, "sessions");
    control_task_drop(&scene->task);
    assert_int_equal(scene->task.state, TASK_NONE);
    assert_false(inquiry_is_answered(scene->asked)); /* the worker's, to be freed */
    assert_false(control_task_go_on(&scene->task));
    control_task_drop(&scene->task);
}

#define TASK_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TASK_TEST(every_worker_is_asked),
        TASK_TEST(walks_go_on_and_end_at_the_limit),
        TASK_TEST(a_walk_waits_for_its_reader),
        TASK_TEST(closing_counts),
        TASK_TEST(the_worker_of_an_address_is_asked),
        TASK_TEST(failures_are_chosen),
        TASK_TEST(drains_are_told_to_all),
        TASK_TEST(a_drain_holds_while_generations_change),
        TASK_TEST(a_trace_begins_and_ends),
        TASK_TEST(status_has_no_identities),
        TASK_TEST(actions_are_the_gates),
        TASK_TEST(no_memory_for_mail),
        TASK_TEST(the_client_goes_away),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
