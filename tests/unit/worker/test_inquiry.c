/* worker/inquiry.c with session/session_report.c: what a worker is asked, and how much of its time
 * each answer takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "worker/datapath_tests.h"
#include "worker/inquiry.h"

static const char usual[] = "1.2 psk ccm-8, cid 8";

static unsigned wakes;

static void on_wake(void *context)
{
    (void)context;
    wakes++;
}

static struct inquiry *new_inquiry(enum inquiry_kind kind)
{
    struct inquiry *inquiry = inquiry_new(kind, on_wake, NULL);
    assert_non_null(inquiry);
    return inquiry;
}

/* One turn of the worker. */
static void ask(struct gate *gate, struct inquiry *inquiry)
{
    unsigned before = wakes;
    inquiry_ask(inquiry);
    assert_false(inquiry_is_answered(inquiry));
    inquiry_answer(inquiry, &gate->dp, gate->now_ms);
    assert_true(inquiry_is_answered(inquiry));
    assert_int_equal(wakes, before + 1);
}

/* Sessions whose devices fall silent for ever, so that there may be many. */
static void begin_many(struct gate *gate, uint32_t count)
{
    static const uint16_t first_port = 10000;
    for (uint32_t i = 0; i < count; i++) {
        struct device *device = gate_add(gate, gate_kind("1.2 psk ccm-8"));
        device->addr.port = (uint16_t)(first_port + i);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 1000));
        memory_client_free(device->client);
        gate->device_count--;
    }
    assert_int_equal(gate_session_count(&gate->dp), count);
}

/* A device with another name. */
static struct device *connect_other(struct gate *gate)
{
    static struct client_kind nameless;
    nameless = *gate_kind("1.3 certificate");
    nameless.certificate = "nameless";
    return gate_connected(gate, &nameless);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void a_session_is_told_of(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind(usual));
    gate->has_echo = true;
    gate_assert_echo(gate, device, "hello");
    gate_run(gate, 7000);
    struct inquiry *inquiry = new_inquiry(INQUIRY_SESSIONS);
    ask(gate, inquiry);
    assert_false(inquiry->is_more);
    assert_int_equal(inquiry->count, 1);
    const struct session_report *report = &inquiry->reports[0];
    struct addr source = gate_slot_addr_of(&gate->dp, &device->addr);
    uint8_t cid[GATE_CID_MAX];
    assert_int_equal(report->kind, REPORT_SESSION);
    assert_int_equal(report->number, 1);
    assert_int_equal(report->listener, 0);
    assert_true(addr_equal(&report->client, &device->addr) && report->is_proved);
    assert_true(addr_equal(&report->backend_source, &source));
    assert_int_equal(report->credential, CREDENTIAL_PSK);
    assert_int_equal(report->version, VERSION_1_2);
    assert_int_equal(report->suite, 0xc0a8);
    assert_int_equal(report->identity_len, strlen(device->client->kind->identity));
    assert_memory_equal(report->identity, device->client->kind->identity, report->identity_len);
    assert_int_equal(report->cid_len, 8);
    assert_int_equal(gate_copy_cid(&gate->dp, &device->addr, cid), 8);
    assert_memory_equal(report->cid, cid, 8);
    assert_int_equal(report->from_client, 1);
    assert_int_equal(report->from_backend, 1);
    assert_in_range(report->age_ms, 7000, 7999);
    assert_true(report->began_ms == gate->now_ms - report->age_ms);
    assert_in_range(report->unused_ms, 6900, report->age_ms);
    assert_true(inquiry_give_up(inquiry));
}

static uint32_t count_fitting(struct gate *gate, const struct session_filter *filter)
{
    struct inquiry *inquiry = new_inquiry(INQUIRY_SESSIONS);
    uint32_t count = 0;
    inquiry->filter = *filter;
    do {
        ask(gate, inquiry);
        count += inquiry->count;
    } while (inquiry->is_more);
    assert_true(inquiry_give_up(inquiry));
    return count;
}

static void filters_choose(void **state)
{
    struct gate *gate = *state;
    struct err err;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    connect_other(gate);
    struct addr source = gate_slot_addr_of(&gate->dp, &device->addr);
    struct session_filter filter = {0};
    assert_int_equal(count_fitting(gate, &filter), 2);
    filter.identity_len = strlen(device->client->kind->identity);
    memcpy(filter.identity, device->client->kind->identity, filter.identity_len);
    assert_int_equal(count_fitting(gate, &filter), 1);
    filter.identity_len--;
    assert_int_equal(count_fitting(gate, &filter), 0);
    filter = (struct session_filter){.backend_source = source};
    assert_int_equal(count_fitting(gate, &filter), 1);
    filter.backend_source.port++;
    assert_int_equal(count_fitting(gate, &filter), 0);
    filter.backend_source.port = 0; /* any */
    assert_int_equal(count_fitting(gate, &filter), 1);
    filter.identity_len = 1; /* the others count, too */
    assert_int_equal(count_fitting(gate, &filter), 0);
    filter = (struct session_filter){
        .backend_source = gate_slot_addr(&gate->dp, slots_number_of_addr(&source) ^ (1u << 20))};
    assert_int_equal(count_fitting(gate, &filter), 0);
    filter = (struct session_filter){.has_listener = true, .listener = 0};
    assert_int_equal(count_fitting(gate, &filter), 2);
    filter.listener = 1;
    assert_int_equal(count_fitting(gate, &filter), 0);
    filter = (struct session_filter){.has_number = true, .number = 2};
    assert_int_equal(count_fitting(gate, &filter), 1);
    filter.number = 0; /* of none, and not of all */
    assert_int_equal(count_fitting(gate, &filter), 0);
    filter = (struct session_filter){.client = {.addr = device->addr, .bits = 32}};
    assert_int_equal(count_fitting(gate, &filter), 1);
    filter.client.addr.port ^= 0x8000;
    assert_int_equal(count_fitting(gate, &filter), 0);
    assert_true(addr_prefix_parse(&filter.client, "203.0.113.0/24", &err));
    assert_int_equal(count_fitting(gate, &filter), 0);
}

/* However many sessions there are. */
static void a_backend_address_is_one_look(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    begin_many(gate, INQUIRY_REPORTS);
    struct inquiry *inquiry = new_inquiry(INQUIRY_SESSIONS);
    ask(gate, inquiry);
    struct addr last = inquiry->reports[INQUIRY_REPORTS - 1].backend_source;
    assert_false(inquiry_give_up(inquiry));
    inquiry_forget(inquiry, &gate->dp);
    inquiry = new_inquiry(INQUIRY_SESSIONS);
    inquiry->filter.backend_source = last;
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 1);
    assert_true(addr_equal(&inquiry->reports[0].backend_source, &last));
    assert_int_equal(inquiry->looks, 1);
    assert_false(inquiry->is_more);
    assert_true(inquiry_give_up(inquiry));
}

/* However many there are, and however few of them fit: no turn has more than its part. */
static void many_sessions_take_many_turns(void **state)
{
    enum { MANY = INQUIRY_LOOKS + 88 };
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    begin_many(gate, MANY);
    struct inquiry *inquiry = new_inquiry(INQUIRY_SESSIONS);
    uint32_t turns = 0, count = 0;
    uint64_t last = 0;
    do {
        ask(gate, inquiry);
        assert_in_range(inquiry->looks, 0, INQUIRY_REPORTS);
        for (uint32_t i = 0; i < inquiry->count; i++) {
            assert_true(inquiry->reports[i].number > last);
            last = inquiry->reports[i].number;
        }
        count += inquiry->count;
        turns++;
    } while (inquiry->is_more);
    assert_int_equal(count, MANY);
    assert_int_equal(turns, MANY / INQUIRY_REPORTS + 1);
    assert_true(inquiry_give_up(inquiry));

    inquiry = new_inquiry(INQUIRY_SESSIONS);
    inquiry->filter.has_number = true;
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 0);
    assert_int_equal(inquiry->looks, INQUIRY_LOOKS);
    assert_true(inquiry->is_more);
    ask(gate, inquiry);
    assert_int_equal(inquiry->looks, MANY - INQUIRY_LOOKS);
    assert_false(inquiry->is_more);
    assert_true(inquiry_give_up(inquiry));
}

static void closing_says_farewell(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, gate_kind(usual));
    struct device *other = gate_connected(gate, gate_kind("1.3 certificate"));
    struct inquiry *inquiry = new_inquiry(INQUIRY_CLOSE);
    inquiry->filter.has_number = true;
    inquiry->filter.number = 1;
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 1);
    assert_true(inquiry_give_up(inquiry));
    gate_run(gate, 100);
    assert_int_equal(device->client->state, CLIENT_CLOSED);
    assert_int_equal(other->client->state, CLIENT_UP);
    assert_int_equal(gate_closed(gate, CLOSE_closed_by_operator), 1);
    assert_int_equal(gate_session_count(&gate->dp), 1);
    assert_true(gate_is_reaped(&gate->dp));
}

static void many_are_closed_in_many_turns(void **state)
{
    enum { MANY = 3 * INQUIRY_ENDS };
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    begin_many(gate, MANY);
    struct inquiry *inquiry = new_inquiry(INQUIRY_CLOSE);
    for (uint32_t left = MANY; left > 0; left -= INQUIRY_ENDS) {
        ask(gate, inquiry);
        assert_int_equal(inquiry->count, INQUIRY_ENDS);
        assert_int_equal(gate_session_count(&gate->dp), left - INQUIRY_ENDS);
    }
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 0);
    assert_false(inquiry->is_more);
    assert_true(inquiry_give_up(inquiry));
}

/* A device that begins anew because of the command keeps its new session, in this turn, a later one
 * or at the worker that is asked next. */
static void what_begins_after_a_close_stays(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    begin_many(gate, INQUIRY_ENDS + 1);
    struct inquiry *inquiry = new_inquiry(INQUIRY_CLOSE);
    inquiry->filter.has_listener = true;
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, INQUIRY_ENDS);
    assert_true(inquiry->is_more);
    gate_run(gate, 1);
    struct device *device = gate_connected(gate, gate_kind(usual));
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 1);
    assert_false(inquiry->is_more);
    ask(gate, inquiry); /* as the next worker */
    assert_int_equal(inquiry->count, 0);
    assert_true(inquiry_give_up(inquiry));
    gate_run(gate, 100);
    assert_int_equal(device->client->state, CLIENT_UP);

    inquiry = new_inquiry(INQUIRY_CLOSE); /* another command */
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 1);
    assert_true(inquiry_give_up(inquiry));
}

/* ---- giving up ------------------------------------------------------------------------------ */

/* Who asks may go away at any time; nothing of the inquiry stays behind. The leak checker looks. */
static void who_asks_goes_away(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    begin_many(gate, INQUIRY_REPORTS + 1);
    assert_true(inquiry_give_up(NULL));
    assert_true(inquiry_give_up(new_inquiry(INQUIRY_SESSIONS))); /* was never mailed */

    struct inquiry *inquiry = new_inquiry(INQUIRY_SESSIONS); /* before its answer */
    unsigned before = wakes;
    inquiry_ask(inquiry);
    assert_true(inquiry_give_up(inquiry));
    inquiry_answer(inquiry, &gate->dp, gate->now_ms);
    assert_int_equal(wakes, before);

    inquiry = new_inquiry(INQUIRY_SESSIONS); /* amid a walk */
    ask(gate, inquiry);
    assert_true(inquiry->is_more);
    assert_false(inquiry_give_up(inquiry));
    inquiry_ask(inquiry);
    inquiry_answer(inquiry, &gate->dp, gate->now_ms);
    assert_null(gate->dp.sessions.cursors);

    inquiry = new_inquiry(INQUIRY_SESSIONS); /* amid a walk that goes on */
    ask(gate, inquiry);
    inquiry_ask(inquiry);
    assert_true(inquiry_give_up(inquiry));
    inquiry_answer(inquiry, &gate->dp, gate->now_ms);
    assert_null(gate->dp.sessions.cursors);

    inquiry = new_inquiry(INQUIRY_SESSIONS); /* and the worker has ended */
    ask(gate, inquiry);
    assert_false(inquiry_give_up(inquiry));
    inquiry_forget(inquiry, &gate->dp);
    assert_null(gate->dp.sessions.cursors);
}

static void each_has_its_turn(void **state)
{
    struct inquiries inquiries = {0};
    struct inquiry a, b, c;
    (void)state;
    assert_null(inquiries_take(&inquiries));
    inquiries_add(&inquiries, &a);
    inquiries_add(&inquiries, &b);
    assert_ptr_equal(inquiries_take(&inquiries), &a);
    inquiries_add(&inquiries, &c);
    assert_ptr_equal(inquiries_take(&inquiries), &b);
    assert_ptr_equal(inquiries_take(&inquiries), &c);
    assert_null(inquiries_take(&inquiries));
    inquiries_add(&inquiries, &a);
    assert_ptr_equal(inquiries_take(&inquiries), &a);
}

/* ---- backend addresses ---------------------------------------------------------------------- */

static struct session_report report_on(struct gate *gate, const struct addr *source)
{
    struct inquiry *inquiry = new_inquiry(INQUIRY_SOURCE);
    inquiry->source = *source;
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 1);
    struct session_report report = inquiry->reports[0];
    assert_true(inquiry_give_up(inquiry));
    assert_true(addr_equal(&report.backend_source, source));
    return report;
}

static void whose_backend_address_it_is(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE "tombstone = 100s\n" LISTENER PSK);
    struct device *device = gate_connected(gate, gate_kind(usual));
    struct addr source = gate_slot_addr_of(&gate->dp, &device->addr);
    struct addr other = gate_slot_addr(&gate->dp, slots_number_of_addr(&source) ^ (1u << 20));
    assert_int_equal(report_on(gate, &other).kind, REPORT_NOBODY);
    struct session_report report = report_on(gate, &source);
    assert_int_equal(report.kind, REPORT_SESSION);
    assert_int_equal(report.number, 1);
    struct addr other_port = source;
    other_port.port++;
    assert_int_equal(report_on(gate, &other_port).kind, REPORT_NOBODY);

    device_close(device);
    gate_run(gate, 30000);
    report = report_on(gate, &source);
    assert_int_equal(report.kind, REPORT_TOMBSTONE);
    assert_int_equal(report.reason, CLOSE_closed_by_client);
    assert_int_equal(report.listener, 0);
    assert_int_equal(report.identity_len, 0);
    assert_in_range(report.silent_ms, 29000, 30000);
    assert_true(report.began_ms == gate->now_ms - report.silent_ms);
    assert_int_equal(report.silent_ms + report.rest_ms, 100000);

    gate_inject_from_backend(gate, &source, "late", 4); /* the time begins anew */
    report = report_on(gate, &source);
    assert_int_equal(report.kind, REPORT_TOMBSTONE);
    assert_int_equal(report.silent_ms, 0);

    gate_run(gate, 110000);
    assert_int_equal(report_on(gate, &source).kind, REPORT_NOBODY);
}

/* ---- handshakes ----------------------------------------------------------------------------- */

static void failures_are_kept(void **state)
{
    struct gate *gate = *state;
    struct client_kind stranger = *gate_kind("1.2 psk ccm-8");
    gate_open(gate, USUAL);
    struct inquiry *inquiry = new_inquiry(INQUIRY_FAILURES);
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 0);
    stranger.identity = "nobody";
    struct device *device = gate_add(gate, &stranger);
    device_connect(device);
    gate_run(gate, 100);
    ask(gate, inquiry);
    assert_int_equal(inquiry->count, 1);
    const struct failure *failure = &inquiry->failures[0];
    assert_int_equal(failure->result, HANDSHAKE_unknown_identity);
    assert_int_equal(failure->version, VERSION_1_2);
    assert_int_equal(failure->listener, 0);
    assert_true(addr_equal(&failure->client, &device->addr));
    assert_int_equal(failure->identity_len, 6);
    assert_memory_equal(failure->identity, "nobody", 6);
    assert_in_range(inquiry->now_ms - failure->at_ms, 50, 100);
    assert_true(inquiry_give_up(inquiry));
}

/* The newest ones, the newest first. */
static void failures_are_bounded(void **state)
{
    struct failures *failures = calloc(1, sizeof(*failures));
    const struct listener listener = {.number = 3};
    const struct addr client = {.family = AF_INET};
    const struct handshake_subject subject = {.listener = &listener, .client = &client};
    char detail[2 * FAILURE_DETAIL_MAX];
    (void)state;
    assert_non_null(failures);
    memset(detail, 'x', sizeof(detail));
    detail[sizeof(detail) - 1] = '\0';
    const struct handshake_failure failure = {.result = HANDSHAKE_timeout, .detail = detail};
    for (uint64_t i = 1; i <= 3 * FAILURES_KEPT; i++) {
        failures_note(failures, &subject, &failure, NULL, 0, i);
        assert_true(failures_newest(failures, 0)->at_ms == i);
    }
    for (uint32_t i = 0; i < FAILURES_KEPT; i++)
        assert_true(failures_newest(failures, i)->at_ms == 3 * FAILURES_KEPT - i);
    assert_null(failures_newest(failures, FAILURES_KEPT));
    assert_int_equal(failures_newest(failures, 0)->listener, 3);
    assert_int_equal(strlen(failures_newest(failures, 0)->detail), FAILURE_DETAIL_MAX - 1);
    free(failures);
}

static void set_drain(struct gate *gate, uint32_t listener, bool is_draining)
{
    struct inquiry *inquiry = new_inquiry(INQUIRY_DRAIN);
    inquiry->is_draining[listener] = is_draining;
    ask(gate, inquiry);
    assert_true(inquiry_give_up(inquiry));
}

/* Hellos are not answered, sessions go on, and who is amid a handshake finishes it. */
static void a_drained_listener_begins_nothing(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    gate->has_echo = true;
    struct device *device = gate_connected(gate, gate_kind(usual));
    struct device *amid = gate_add(gate, gate_kind("1.2 certificate"));
    device_connect(amid);
    while (gate_handshake_count(&gate->dp) == 0)
        gate_run(gate, 1);
    set_drain(gate, 0, true);
    struct device *late = gate_add(gate, gate_kind(usual));
    device_connect(late);
    assert_false(gate_run_until_up(gate, late, 5000));
    assert_int_equal(amid->client->state, CLIENT_UP);
    assert_int_equal(late->client->state, CLIENT_CONNECTING);
    assert_true(gate_client_outcomes(gate, CLIENT_draining) > 1);
    assert_int_equal(gate_session_count(&gate->dp), 2);
    gate_assert_echo(gate, device, "still here");
    set_drain(gate, 1, true); /* and the first one is not, any more */
    assert_true(gate_run_until_up(gate, late, 60000));
}

/* ---- trace ---------------------------------------------------------------------------------- */

static void trace(struct gate *gate, const char *identity, uint64_t for_ms)
{
    struct inquiry *inquiry = new_inquiry(INQUIRY_TRACE);
    inquiry->trace.len = strlen(identity);
    inquiry->trace.for_ms = for_ms;
    memcpy(inquiry->trace.identity, identity, inquiry->trace.len);
    ask(gate, inquiry);
    assert_true(inquiry_give_up(inquiry));
}

static void one_identity_is_traced(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    gate->has_echo = true;
    struct device *other = connect_other(gate);
    trace(gate, gate_kind(usual)->identity, 60000);
    struct device *device = gate_connected(gate, gate_kind(usual));
    assert_int_equal(
        fake_log_count("event=trace_handshake", "result=established", "version=1.2", NULL), 1);
    gate_assert_echo(gate, other, "other");
    assert_int_equal(fake_log_count("event=trace_datagram", NULL), 0);
    gate_assert_echo(gate, device, "hello");
    assert_int_equal(fake_log_count("level=debug event=trace_record", "session=2", "record=1:1",
                                    "is=data", "plaintext_bytes=5", NULL),
                     1);
    assert_int_equal(fake_log_count("level=debug event=trace_datagram", "session=2", "from=client",
                                    "outcome=forwarded", NULL),
                     1);
    assert_int_equal(fake_log_count("level=debug event=trace_datagram", "session=2",
                                    "from=backend bytes=5 outcome=forwarded record=1:1", NULL),
                     1);
    assert_int_equal(fake_log_count("event=trace_record", NULL), 1);
}

static void a_trace_ends(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    gate->has_echo = true;
    struct device *device = gate_connected(gate, gate_kind(usual));
    trace(gate, device->client->kind->identity, 10000);
    gate_assert_echo(gate, device, "1");
    assert_int_equal(fake_log_count("event=trace_record", NULL), 1);
    gate_run(gate, 10001);
    assert_int_equal(gate->dp.sessions.trace.identity_len, 0); /* by itself */
    gate_assert_echo(gate, device, "2");
    assert_int_equal(fake_log_count("event=trace_record", NULL), 1);
    trace(gate, device->client->kind->identity, 10000);
    gate_assert_echo(gate, device, "3");
    trace(gate, "", 10000);
    gate_assert_echo(gate, device, "4");
    assert_int_equal(fake_log_count("event=trace_record", NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(a_session_is_told_of),
        GATE_TEST(filters_choose),
        GATE_TEST(a_backend_address_is_one_look),
        GATE_TEST(many_sessions_take_many_turns),
        GATE_TEST(closing_says_farewell),
        GATE_TEST(many_are_closed_in_many_turns),
        GATE_TEST(what_begins_after_a_close_stays),
        GATE_TEST(who_asks_goes_away),
        cmocka_unit_test(each_has_its_turn),
        GATE_TEST(whose_backend_address_it_is),
        GATE_TEST(failures_are_kept),
        cmocka_unit_test(failures_are_bounded),
        GATE_TEST(a_drained_listener_begins_nothing),
        GATE_TEST(one_identity_is_traced),
        GATE_TEST(a_trace_ends),
    };
    return cmocka_run_group_tests_name("inquiries", tests, gate_wolfssl_set_up,
                                       gate_wolfssl_tear_down);
}
