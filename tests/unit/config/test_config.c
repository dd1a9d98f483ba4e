#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config_load.h"
#include "config/config_print.h"
#include "config/config_table.h"

#define FILE_PATH "/etc/dtlsgate/gate.ini"

/* A listener with nothing wrong, four lines. */
#define GOOD                     \
    "[listener coaps]\n"         \
    "listen = 127.0.0.1:5684\n"  \
    "backend = 127.0.0.1:5683\n" \
    "psk_file = devices.psk\n"
#define SECOND(address)          \
    "[listener other]\n"         \
    "listen = " address "\n"     \
    "backend = 127.0.0.1:5683\n" \
    "psk_file = devices.psk\n"
#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X150 X50 X50 X50

struct loaded {
    struct config *config;
    struct problems problems;
};

/* With the size, for texts that contain NUL. */
static struct loaded load_bytes(const void *bytes, size_t size)
{
    struct loaded loaded;
    void *copy = malloc(size + !size);
    memcpy(copy, bytes, size);
    FILE *in = fmemopen(copy, size + !size, "r");
    assert_non_null(in);
    if (size == 0)
        assert_int_not_equal(fseek(in, 0, SEEK_END), -1);
    problems_init(&loaded.problems);
    loaded.config = config_load_stream(in, FILE_PATH, &loaded.problems);
    fclose(in);
    free(copy);
    return loaded;
}

static struct loaded load(const char *text)
{
    return load_bytes(text, strlen(text));
}

static void unload(struct loaded *loaded)
{
    config_free(loaded->config);
    problems_deinit(&loaded->problems);
}

static void fail_with(const struct problems *problems, const char *what, const char *text)
{
    for (uint32_t i = 0; i < problems->count; i++)
        print_message("  %s: %s\n", problems->is_warning[i] ? "warning" : "error",
                      problems->texts[i]);
    fail_msg("%s: %s", what, text);
}

static bool has_problem(const struct problems *problems, bool is_warning, const char *part)
{
    for (uint32_t i = 0; i < problems->count; i++) {
        if (problems->is_warning[i] == is_warning && strstr(problems->texts[i], part))
            return true;
    }
    return false;
}

/* Accepted, without any remark. */
static struct config *good(const char *text)
{
    struct loaded loaded = load(text);
    if (!loaded.config || loaded.problems.count)
        fail_with(&loaded.problems, "not accepted", text);
    problems_deinit(&loaded.problems);
    return loaded.config;
}

/* Refused with exactly one error, and no warning, that contains the part. */
static void expect_error(const char *text, const char *part)
{
    struct loaded loaded = load(text);
    if (loaded.config || loaded.problems.count != 1 || !has_problem(&loaded.problems, false, part))
        fail_with(&loaded.problems, part, text);
    unload(&loaded);
}

/* Accepted with exactly one warning that contains the part. */
static void expect_warning(const char *text, const char *part)
{
    struct loaded loaded = load(text);
    if (!loaded.config || loaded.problems.count != 1 || !has_problem(&loaded.problems, true, part))
        fail_with(&loaded.problems, part, text);
    unload(&loaded);
}

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_print(config, NULL, out);
    fclose(out);
    return text;
}

/* --- values --- */

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = good(GOOD);
    const struct listener_config *listener = &config->listeners[0];
    char text[ADDR_TEXT_MAX];
    assert_string_equal(config->path, FILE_PATH);
    assert_in_range(config->gate.workers, 1, 256);
    assert_string_equal(addr_format(&config->gate.metrics, text), "127.0.0.1:9684");
    assert_int_equal(config->gate.log_level, LOG_INFO);
    assert_int_equal(config->gate.log_format, LOG_LOGFMT);
    assert_string_equal(config->gate.user, "");
    assert_int_equal(config->gate.max_sessions, 100000);
    assert_int_equal(config->gate.backend_port, 0);
    assert_int_equal(config->gate.tombstone_ms, 247000);
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(listener->name, "coaps");
    assert_int_equal(listener->role, ROLE_SERVER_ONLY);
    assert_int_equal(listener->versions, CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3);
    assert_string_equal(listener->psk_file.at[0], "/etc/dtlsgate/devices.psk");
    assert_string_equal(listener->certificate, "");
    assert_string_equal(listener->private_key, "");
    assert_string_equal(listener->client_ca, "");
    assert_int_equal(listener->client_auth, CLIENT_AUTH_REQUIRED);
    assert_string_equal(listener->ciphers, "");
    assert_int_equal(listener->ticket_versions, CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3);
    assert_int_equal(listener->mtu_bytes, 1280);
    assert_int_equal(listener->retransmit_ms, 2000);
    assert_int_equal(listener->handshake_timeout_ms, 90000);
    assert_int_equal(listener->idle_timeout_ms, 3600000);
    assert_int_equal(listener->idle_timeout_cid_ms, 7 * 86400000);
    assert_int_equal(listener->cid_bytes, 8);
    assert_int_equal(listener->max_handshakes, 1000);
    config_free(config);
}

/* Every key with a value that is not its default. */
static const char everything[] = "[gate]\n"
                                 "workers = 3\n"
                                 "metrics =\n"
                                 "log_level = debug\n"
                                 "log_format = json\n"
                                 "user = dtlsgate\n"
                                 "sandbox = log\n"
                                 "max_sessions = 7\n"
                                 "backend_port = 45683\n"
                                 "tombstone = 5m\n"
                                 "metrics_sessions = on\n"
                                 "control = /run/dtlsgate/control.sock\n"
                                 "control_mode = 0600\n"
                                 "control_group = operators\n"
                                 "state_file = /var/lib/dtlsgate/state\n"
                                 "state_key_file = /keys/state.key\n"
                                 "state_max_age = 1d\n"
                                 "\n"
                                 "[listener a.b-c_D9]\n"
                                 "listen = 0.0.0.0:5684, [::]:5684\n"
                                 "backend = 127.0.3.4:61616\n"
                                 "role = server-only\n"
                                 "versions = 1.3\n"
                                 "psk_file = /keys/a.psk\n"
                                 "on_key_change = end\n"
                                 "certificate = /keys/server.pem\n"
                                 "private_key = /keys/server.key\n"
                                 "client_ca = /keys/ca.pem\n"
                                 "crl_file = /keys/a.crl, /keys/b.crl\n"
                                 "deny_file = /keys/deny\n"
                                 "client_auth = required\n"
                                 "ciphers = PSK-AES128-CCM-8:TLS13-AES128-GCM-SHA256\n"
                                 "tickets = off\n"
                                 "mtu = 256\n"
                                 "retransmit = 1500ms\n"
                                 "handshake_timeout = 1h\n"
                                 "idle_timeout = 365d\n"
                                 "idle_timeout_cid = 30d\n"
                                 "cid_length = 16\n"
                                 "sessions_per_identity = 1\n"
                                 "max_handshakes = 1000000\n"
                                 "handshakes_per_s = 500\n"
                                 "hellos_per_prefix_per_s = 50\n";

static void test_every_value(void **state)
{
    (void)state;
    struct config *config = good(everything);
    const struct listener_config *listener = &config->listeners[0];
    char text[ADDR_TEXT_MAX];
    assert_int_equal(config->gate.workers, 3);
    assert_int_equal(config->gate.metrics.family, 0);
    assert_int_equal(config->gate.log_level, LOG_DEBUG);
    assert_int_equal(config->gate.log_format, LOG_JSON);
    assert_int_equal(config->gate.sandbox, SANDBOX_LOG);
    assert_string_equal(config->gate.user, "dtlsgate");
    assert_int_equal(config->gate.max_sessions, 7);
    assert_int_equal(config->gate.backend_port, 45683);
    assert_int_equal(config->gate.tombstone_ms, 300000);
    assert_true(config->gate.metrics_sessions);
    assert_string_equal(config->gate.control, "/run/dtlsgate/control.sock");
    assert_int_equal(config->gate.control_mode, S_IRUSR | S_IWUSR);
    assert_string_equal(config->gate.control_group, "operators");
    assert_string_equal(config->gate.state_file, "/var/lib/dtlsgate/state");
    assert_string_equal(config->gate.state_key_file, "/keys/state.key");
    assert_int_equal(config->gate.state_max_age_ms, 86400000);
    assert_string_equal(listener->name, "a.b-c_D9");
    assert_int_equal(listener->line, 19);
    assert_int_equal(listener->lines[LISTENER_listen], 20);
    assert_int_equal(listener->listen.count, 2);
    assert_string_equal(addr_format(&listener->listen.addrs[0], text), "0.0.0.0:5684");
    assert_string_equal(addr_format(&listener->listen.addrs[1], text), "[::]:5684");
    assert_string_equal(addr_format(&listener->backend, text), "127.0.3.4:61616");
    assert_int_equal(listener->versions, CONFIG_VERSION_1_3);
    assert_string_equal(listener->psk_file.at[0], "/keys/a.psk");
    assert_string_equal(listener->certificate, "/keys/server.pem");
    assert_string_equal(listener->private_key, "/keys/server.key");
    assert_string_equal(listener->client_ca, "/keys/ca.pem");
    assert_int_equal(listener->on_key_change, KEY_CHANGE_END);
    assert_int_equal(listener->crl_file.count, 2);
    assert_string_equal(listener->crl_file.at[0], "/keys/a.crl");
    assert_string_equal(listener->crl_file.at[1], "/keys/b.crl");
    assert_string_equal(listener->deny_file, "/keys/deny");
    assert_string_equal(listener->ciphers, "PSK-AES128-CCM-8:TLS13-AES128-GCM-SHA256");
    assert_int_equal(listener->ticket_versions, 0);
    assert_int_equal(listener->mtu_bytes, 256);
    assert_int_equal(listener->retransmit_ms, 1500);
    assert_int_equal(listener->handshake_timeout_ms, 3600000);
    assert_true(listener->idle_timeout_ms == UINT64_C(31536000000));
    assert_true(listener->idle_timeout_cid_ms == UINT64_C(2592000000));
    assert_int_equal(listener->cid_bytes, 16);
    assert_int_equal(listener->sessions_per_identity, 1);
    assert_int_equal(listener->max_handshakes, 1000000);
    assert_int_equal(listener->handshakes_per_s, 500);
    assert_int_equal(listener->hellos_per_prefix_per_s, 50);
    config_free(config);
}

/* `everything` has to grow with config.def. */
static void test_every_key_is_set_somewhere(void **state)
{
    (void)state;
    struct config *config = good(everything);
    for (size_t i = 0; i < GATE_SETTING_COUNT; i++)
        assert_int_not_equal(config->gate.lines[i], 0);
    for (size_t i = 0; i < LISTENER_SETTING_COUNT; i++)
        assert_int_not_equal(config->listeners[0].lines[i], 0);
    config_free(config);
}

static void test_print_is_read_back_to_the_same(void **state)
{
    (void)state;
    struct config *config = good(everything);
    char *text = printed(config);
    assert_string_equal(text, everything);
    free(text);
    config_free(config);

    config = good(GOOD SECOND("127.0.0.1:5685"));
    char *first = printed(config);
    config_free(config);
    assert_non_null(strstr(first, "\nidle_timeout = 1h\n"));
    assert_non_null(strstr(first, "\npsk_file = /etc/dtlsgate/devices.psk\n"));
    config = good(first);
    char *second = printed(config);
    config_free(config);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void test_print_of_the_suites_that_are_offered(void **state)
{
    (void)state;
    struct config *config = good(GOOD SECOND("127.0.0.1:5685") "ciphers = -B\n");
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_print(config, (const char *const[]){"A:B", "C"}, out);
    fclose(out);
    assert_non_null(strstr(text, "\nciphers = A:B\n"));
    assert_non_null(strstr(text, "\nciphers = C\n"));
    assert_null(strstr(text, "-B"));
    free(text);
    config_free(config);
}

static void test_print_says_what_cannot_be_read_back(void **state)
{
    (void)state;
    char text[] = GOOD;
    FILE *in = fmemopen(text, strlen(text), "r");
    struct problems problems;
    problems_init(&problems);
    struct config *config = config_load_stream(in, "/etc/gate #1/gate.ini", &problems);
    fclose(in);
    assert_non_null(config);
    char *all = printed(config);
    assert_non_null(strstr(all, "; the next line cannot be read back: the value contains a #; a "
                                "comment after a value begins with a space and a semicolon\n"
                                "psk_file = /etc/gate #1/devices.psk"));
    free(all);
    config_free(config);
    problems_deinit(&problems);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {{"1000ms", 1000},       {"1s", 1000},
                 {"61s", 61000},         {"1m", 60000},
                 {"2h", 7200000},        {"1d", 86400000},
                 {"007s", 7000},         {"365d", 31536000000},
                 {"8760h", 31536000000}, {"31536000000ms", 31536000000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), GOOD "idle_timeout = %s\n", cases[i].text);
        struct config *config = good(text);
        assert_true(config->listeners[0].idle_timeout_ms == cases[i].ms);
        config_free(config);
    }
}

static void test_tickets(void **state)
{
    static const struct {
        const char *text, *printed;
        uint32_t versions;
    } cases[] = {{"on", "on", CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3},
                 {"off", "off", 0},
                 {"1.2", "1.2", CONFIG_VERSION_1_2},
                 {"1.3", "1.3", CONFIG_VERSION_1_3},
                 {"1.3, 1.2", "on", CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), GOOD "tickets = %s\n", cases[i].text);
        struct config *config = good(text);
        assert_int_equal(config->listeners[0].ticket_versions, cases[i].versions);
        char *all = printed(config);
        snprintf(text, sizeof(text), "\ntickets = %s\n", cases[i].printed);
        assert_non_null(strstr(all, text));
        free(all);
        config_free(config);
    }
    expect_warning(GOOD "versions = 1.3\ntickets = 1.2\n",
                   ":6: [listener coaps] tickets = 1.2: gives no device a ticket");
    config_free(good(GOOD "versions = 1.3\ntickets = 1.2, 1.3\n"));
    config_free(good(GOOD "versions = 1.3\ntickets = off\n"));
}

static void a_removed_setting_is_a_warning_that_says_what_to_do(void **state)
{
    (void)state;
    expect_warning("[gate]\npark_after = 30s\n" GOOD,
                   "/etc/dtlsgate/gate.ini:2: [gate] park_after = 30s: is no setting any more; "
                   "remove it: sessions need no parking");
    expect_warning(
        "[gate]\nworkers = 2\nlive_sessions = 20000\n" GOOD,
        "/etc/dtlsgate/gate.ini:3: [gate] live_sessions = 20000: is no setting any more; "
        "remove it: sessions need no parking");
    /* Its value means nothing any more. */
    expect_warning("[gate]\npark_after = soon\n" GOOD,
                   ":2: [gate] park_after = soon: is no setting");
    expect_warning("[gate]\npark_after =\n" GOOD, ":2: [gate] park_after =: is no setting");
}

/* Where it never was one, it is as unknown as any other key. */
static void a_removed_setting_is_unknown_in_another_section(void **state)
{
    (void)state;
    expect_error(GOOD "park_after = 30s\n", ":5: [listener coaps] park_after = 30s: unknown key");
    expect_error("[gate]\npark_afte = 30s\n" GOOD, ":2: [gate] park_afte = 30s: unknown key");
}

static void a_removed_setting_is_not_printed(void **state)
{
    (void)state;
    struct loaded loaded = load("[gate]\npark_after = 30s\n" GOOD);
    assert_non_null(loaded.config);
    char *text = printed(loaded.config);
    assert_null(strstr(text, "park_after"));
    free(text);
    unload(&loaded);
}

static void test_bad_values(void **state)
{
    (void)state;
#define LISTENER_CASE(line, why)                              \
    {                                                         \
        GOOD line "\n", ":5: [listener coaps] " line ": " why \
    }
#define GATE_CASE(line, why)                                   \
    {                                                          \
        "[gate]\n" line "\n" GOOD, ":2: [gate] " line ": " why \
    }
    static const struct {
        const char *text, *part;
    } cases[] = {
        LISTENER_CASE("mtu = 255", "out of range; it can be from 256 to 16384"),
        LISTENER_CASE("mtu = 16385", "out of range"),
        LISTENER_CASE("mtu = 99999999999999999999999", "out of range"),
        LISTENER_CASE("mtu = -1280", "not a whole number; it can be from 256 to 16384"),
        LISTENER_CASE("mtu = 1280.5", "not a whole number"),
        LISTENER_CASE("mtu = 0x500", "not a whole number"),
        LISTENER_CASE("mtu = 1 280", "not a whole number"),
        LISTENER_CASE("mtu =", "not a whole number"),
        LISTENER_CASE("max_handshakes = 0", "out of range"),
        LISTENER_CASE("tickets = yes",
                      "'yes' is not a DTLS version that the gate speaks; it can be "
                      "on, off, 1.2, 1.3, or both"),
        LISTENER_CASE("tickets = 1.2, on", "'on' is not a DTLS version"),
        LISTENER_CASE("tickets = 1.3, 1.3", "1.3 stands there twice"),
        LISTENER_CASE("tickets =", "'' is not a DTLS version"),
        LISTENER_CASE("on_key_change = drop", "not one of the choices; it can be keep, end"),
        LISTENER_CASE("crl_file = a.crl,, b.crl", "a path between commas is missing"),
        LISTENER_CASE("crl_file = a,b,c,d,e,f,g,h,i", "more than 8 files"),
        LISTENER_CASE("crl_file = a, b, /etc/dtlsgate/a",
                      "/etc/dtlsgate/a stands there twice; name each file once"),
        GATE_CASE("metrics_sessions = yes", "not one of the choices; it can be on, off"),
        GATE_CASE("control_mode = rw", "not permission bits; write three octal digits"),
        GATE_CASE("control_mode = 4755", "not permission bits"),
        LISTENER_CASE("cid_length = 33", "out of range; it can be from 0 to 32"),
        LISTENER_CASE("idle_timeout = 3600",
                      "durations need a unit (ms, s, m, h, d); write 3600s if seconds were meant"),
        LISTENER_CASE("idle_timeout = 0", "durations need a unit"),
        LISTENER_CASE("idle_timeout = 5 s", "' s' is not a unit"),
        LISTENER_CASE("idle_timeout = 5sec", "'sec' is not a unit"),
        LISTENER_CASE("idle_timeout = 5M", "'M' is not a unit"),
        LISTENER_CASE("idle_timeout = 1.5h", "'.5h' is not a unit"),
        LISTENER_CASE("idle_timeout = 1h30m", "'h30m' is not a unit"),
        LISTENER_CASE("idle_timeout = -1s", "not a duration"),
        LISTENER_CASE("idle_timeout = never", "not a duration; it is a whole number with a unit "
                                              "(ms, s, m, h, d), from 1s to 365d"),
        LISTENER_CASE("idle_timeout =", "not a duration"),
        LISTENER_CASE("idle_timeout = 999ms", "out of range; it can be from 1s to 365d"),
        LISTENER_CASE("idle_timeout = 366d", "out of range"),
        /* 2^64 ms and a little */
        LISTENER_CASE("idle_timeout = 213503982336d", "out of range"),
        LISTENER_CASE("idle_timeout = 99999999999999999999d", "out of range"),
        LISTENER_CASE("retransmit = 499ms", "out of range; it can be from 500ms to 1m"),
        LISTENER_CASE("versions = 1.1", "'1.1' is not a DTLS version"),
        LISTENER_CASE("versions = 1.2, 1.2", "1.2 stands there twice"),
        LISTENER_CASE("versions = 1.2,", "'' is not a DTLS version"),
        LISTENER_CASE("versions = 1.2 1.3", "'1.2 1.3' is not a DTLS version"),
        LISTENER_CASE("versions =", "'' is not a DTLS version"),
        LISTENER_CASE("client_auth = maybe",
                      "not one of the choices; it can be required, optional, none"),
        LISTENER_CASE("client_auth = Required", "not one of the choices"),
        LISTENER_CASE("role = client", "the gate is only ever the DTLS server: it never begins a "
                                       "handshake toward a device"),
        LISTENER_CASE("role = both", "the gate is only ever the DTLS server"),
        LISTENER_CASE("role =", "the gate is only ever the DTLS server"),
        GATE_CASE("workers = 0", "out of range; it can be from 1 to 256"),
        GATE_CASE("workers = 257", "out of range"),
        GATE_CASE("workers = many", "neither auto nor a number"),
        GATE_CASE("workers = 2x", "not a whole number"),
        GATE_CASE("workers =", "neither auto nor a number"),
        GATE_CASE("metrics = 19684", "a port without an address; write it like 127.0.0.1:19684"),
        GATE_CASE("metrics = :19684", "a port without an address; write it like 127.0.0.1:19684"),
        GATE_CASE("metrics = localhost:9684",
                  "names are not resolved, not even localhost; write 127.0.0.1:9684"),
        GATE_CASE("metrics = localhost",
                  "names are not resolved, not even localhost; write 127.0.0.1:9684"),
        GATE_CASE("metrics = http://127.0.0.1:9684/metrics",
                  "http:// does not belong here; write only the address and the port, such as "
                  "127.0.0.1:9684"),
        GATE_CASE("metrics = metrics.example:9684", "'metrics.example' is not an IP address"),
        GATE_CASE("log_level = verbose",
                  "not one of the choices; it can be error, warning, info, debug"),
        GATE_CASE("log_format = yaml", "not one of the choices; it can be logfmt, json"),
        GATE_CASE("max_sessions = 8000001", "out of range"),
        GATE_CASE("tombstone = 247", "durations need a unit"),
    };
#undef LISTENER_CASE
#undef GATE_CASE
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(cases[i].text, cases[i].part);
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *listen, *why;
    } cases[] = {
        {"", "empty; this key needs a value"},
        {"5684", "a port without an address"},
        {"127.0.0.1:5684,", "an address between commas is missing"},
        {",127.0.0.1:5684", "an address between commas is missing"},
        {"127.0.0.1:5684 127.0.0.2:5684", "several addresses are separated by commas"},
        {"5684", "a port without an address; write it like 0.0.0.0:5684"},
        {"coaps://0.0.0.0:5684", "coaps:// does not belong here"},
        {"127.0.0.1:5684, localhost:5685", "write 127.0.0.1:5685"},
        {"127.0.0.1:5684, ::1:5684", "stands in brackets"},
        {"127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4,127.0.0.1:5,127.0.0.1:6,127.0.0.1:7,"
         "127.0.0.1:8,127.0.0.1:9",
         "more than 8 addresses"},
        {"224.0.1.187:5684", "is no address of one host"},
        {"255.255.255.255:5684", "is no address of one host"},
        {"[ff02::fd%1]:5684", "only a link-local address"},
        {"[ff05::fd]:5684", "is no address of one host"},
        {"[::ffff:127.0.0.1]:5684", "is an IPv4 address in IPv6 form"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text),
                 "[listener coaps]\nbackend = 127.0.0.1:5683\npsk_file = a\nlisten = %s\n",
                 cases[i].listen);
        expect_error(text, cases[i].why);
    }
}

static void test_odd_values(void **state)
{
    (void)state;
    expect_error("[gate]\nuser =;nobody\n" GOOD,
                 ":2: [gate] user = ;nobody: the value contains a "
                 "semicolon; a comment after a value needs a space");
    expect_error("[gate]\nuser = nobody # me\n" GOOD, "user = nobody # me: the value contains a #");
    expect_error("[gate]\nuser = #nobody\n" GOOD, "the value contains a #");
    expect_error("[gate]\nuser = nobody\t# me\n" GOOD, "the value contains a #");
    expect_error("[gate]\nuser = \"nobody\"\n" GOOD, "the value is in quotes");
    expect_error("[gate]\nuser = 'nobody'\n" GOOD, "the value is in quotes");
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *file, *folder;
    } cases[] = {{"/a.ini", ""}, {"/etc/a.ini", "/etc"}, {"/etc/x y/a.ini", "/etc/x y"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[256], text[] = GOOD;
        FILE *in = fmemopen(text, strlen(text), "r");
        struct problems problems;
        problems_init(&problems);
        struct config *config = config_load_stream(in, cases[i].file, &problems);
        fclose(in);
        assert_non_null(config);
        snprintf(expected, sizeof(expected), "%s/devices.psk", cases[i].folder);
        assert_string_equal(config->listeners[0].psk_file.at[0], expected);
        config_free(config);
        problems_deinit(&problems);
    }
}

static void test_paths_relative_to_the_current_folder(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_config.XXXXXX", before[4096], expected[256];
    assert_non_null(mkdtemp(folder));
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(folder), 0);
    static const struct {
        const char *file, *between;
    } cases[] = {{"a.ini", ""}, {"conf/a.ini", "/conf"}, {"../a.ini", "/.."}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[] = GOOD;
        FILE *in = fmemopen(text, strlen(text), "r");
        struct problems problems;
        problems_init(&problems);
        struct config *config = config_load_stream(in, cases[i].file, &problems);
        fclose(in);
        assert_non_null(config);
        snprintf(expected, sizeof(expected), "%s%s/devices.psk", folder, cases[i].between);
        assert_string_equal(config->listeners[0].psk_file.at[0], expected);
        config_free(config);
        problems_deinit(&problems);
    }
    assert_int_equal(chdir("/"), 0);
    char text[] = GOOD;
    FILE *in = fmemopen(text, strlen(text), "r");
    struct problems problems;
    problems_init(&problems);
    struct config *config = config_load_stream(in, "a.ini", &problems);
    fclose(in);
    assert_string_equal(config->listeners[0].psk_file.at[0], "/devices.psk");
    config_free(config);
    problems_deinit(&problems);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* --- lines --- */

static void test_comments(void **state)
{
    (void)state;
    struct config *config =
        good("; one\n# two\n   ; three\n\n[gate] ; four\n"
             "user = nobody ; five\nmax_sessions = 5\t;six\nmetrics = ; off\n" GOOD
             "; seven " X150 X150 "\n# eight [gate\n");
    assert_string_equal(config->gate.user, "nobody");
    assert_int_equal(config->gate.max_sessions, 5);
    assert_int_equal(config->gate.metrics.family, 0);
    config_free(config);
}

/* inih takes a semicolon for a comment only after white space: one inside a value stays. */
static void test_semicolon_inside_a_value(void **state)
{
    (void)state;
    struct config *config = good("[gate]\nuser = a;b ;c ;d\n" GOOD);
    assert_string_equal(config->gate.user, "a;b");
    config_free(config);
}

static void test_indentation(void **state)
{
    (void)state;
    struct config *config =
        good("[gate]\n  user = nobody\n\tmax_sessions = 5\n  workers = 1\n" GOOD);
    assert_string_equal(config->gate.user, "nobody");
    assert_int_equal(config->gate.max_sessions, 5);
    assert_int_equal(config->gate.workers, 1);
    config_free(config);
    /* inih would give the second line to the key of the first. */
    expect_error("[gate]\nuser = nobody\n  , nogroup\n" GOOD, ":3: , nogroup: not a setting");
    expect_error("[gate]\nuser = nobody\n  user = root\n" GOOD,
                 ":3: [gate] user = root: repeats the key of line 2");
}

/* Of a list in several lines that is too long the key is that of its first line. */
static void test_a_list_that_is_too_long(void **state)
{
    static const char line[] = "    ff02::1234:5678:9abc:def0/128,\n";
    char text[300 * sizeof(line)] = "[listener a]\nlisten =\n";
    (void)state;
    for (int i = 0; i < 260; i++)
        strncat(text, line, sizeof(text) - strlen(text) - 1);
    strncat(text, "backend = 127.0.0.1:1\npsk_file = d.psk\n", sizeof(text) - strlen(text) - 1);
    expect_error(text, ": too long; a setting can have 8000 bytes");
}

static void test_not_text(void **state)
{
    (void)state;
    static const char nul[] = "[gate]\nuser = no\0body\n" GOOD;
    struct loaded loaded = load_bytes(nul, sizeof(nul) - 1);
    assert_null(loaded.config);
    assert_int_equal(loaded.problems.count, 1);
    assert_true(has_problem(&loaded.problems, false, ":2: the byte in column 10 is not text"));
    unload(&loaded);

    static const char utf16[] = "[\0g\0a\0t\0e\0]\0\n\0";
    loaded = load_bytes(utf16, sizeof(utf16) - 1);
    assert_null(loaded.config);
    assert_true(has_problem(&loaded.problems, false, ":1: the file is UTF-16; save it as UTF-8"));
    assert_int_equal(loaded.problems.count, 1);
    unload(&loaded);

    expect_error("\xff\xfe[", ":1: the file is UTF-16; save it as UTF-8");
    expect_error("\xfe\xff", ":1: the file is UTF-16; save it as UTF-8");

    expect_error("[gate]\nuser = \x1b[31mred\n" GOOD, ":2: the byte in column 8 is not text");
    expect_error("[gate]\nuser = a\x7f\n" GOOD, ":2: the byte in column 9 is not text");
    expect_error("[gate]\nuser = a\rb\n" GOOD, ":2: the byte in column 9 is not text");
    expect_error("[gate]\nuser = a\r\r\n" GOOD, ":2: the byte in column 9 is not text");
    expect_error("[gate]\n; \x01\n" GOOD, ":2: the byte in column 3 is not text");
    /* It is not called missing besides. */
    expect_error(
        "[listener a]\nlisten = 127.0.0.1:5684\1\nbackend = 127.0.0.1:1\npsk_file = d.psk\n",
        ":2: the byte in column 24 is not text");
}

static void test_junk_ends_early(void **state)
{
    (void)state;
    char *junk = malloc(500000);
    for (size_t i = 0; i < 500000; i++)
        junk[i] = i % 2 ? '\n' : 'x';
    struct loaded loaded = load_bytes(junk, 500000);
    assert_null(loaded.config);
    assert_int_equal(loaded.problems.count, 101);
    assert_true(has_problem(&loaded.problems, false, ":100: too many problems"));
    unload(&loaded);
    free(junk);

    char *large = malloc((1 << 20) + 1);
    memset(large, ';', (1 << 20) + 1);
    loaded = load_bytes(large, (1 << 20) + 1);
    assert_null(loaded.config);
    assert_int_equal(loaded.problems.count, 1);
    assert_true(has_problem(&loaded.problems, false, "larger than 1 MiB"));
    unload(&loaded);
    free(large);
}

static void test_line_ends(void **state)
{
    (void)state;
    struct config *config = good(GOOD "mtu = 1400"); /* no newline at the end */
    assert_int_equal(config->listeners[0].mtu_bytes, 1400);
    config_free(config);
    config = good("[gate]\r\nuser = nobody\r\n\r\n" GOOD "mtu = 1400\r");
    assert_string_equal(config->gate.user, "nobody");
    assert_int_equal(config->listeners[0].mtu_bytes, 1400);
    config_free(config);
    config = good(GOOD "[gate]"); /* a section without keys */
    assert_int_equal(config->gate.line, 5);
    config_free(config);
}

static void test_byte_order_mark(void **state)
{
    (void)state;
    struct config *config = good("\xef\xbb\xbf[gate]\nuser = nobody\n" GOOD);
    assert_string_equal(config->gate.user, "nobody");
    config_free(config);
    config = good("\xef\xbb\xbf; " X150 "\n" GOOD);
    config_free(config);
    expect_error("[gate]\n\xef\xbb\xbfuser = nobody\n" GOOD,
                 ":2: [gate] \xef\xbb\xbfuser = nobody: "
                 "unknown key; did you mean");
}

static void test_not_a_setting(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "user", "user nobody", "= nobody", "user ; = nobody", "user: nobody", ": x = y", "user:x=y",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[512], part[128];
        snprintf(text, sizeof(text), "[gate]\n%s\n" GOOD, lines[i]);
        snprintf(part, sizeof(part), ":2: %s: not a setting; write key = value", lines[i]);
        expect_error(text, part);
    }
    expect_error(GOOD "last ; = line", ":5: last ; = line: not a setting");
}

/* The key that could not be read is not called missing too. */
static void test_unread_key_is_not_missing(void **state)
{
    (void)state;
    expect_error(
        "[listener coaps]\nlisten: 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = a\n",
        ":2: listen: 127.0.0.1:5684: not a setting");
}

/* --- sections and keys --- */

static void test_sections(void **state)
{
    (void)state;
    expect_error("user = nobody\n" GOOD, ":1: user = nobody: stands before any section");
    expect_error("[gates]\nuser = nobody\n" GOOD,
                 ":1: [gates]: unknown section; did you mean [gate]?");
    expect_error("[Gate]\n" GOOD, ":1: [Gate]: unknown section; did you mean [gate]?");
    expect_error("[metrics]\nport = 1\n" GOOD,
                 ":1: [metrics]: unknown section; there are [gate] and [listener NAME]");
    expect_error("[]\n" GOOD, ":1: []: unknown section");
    expect_error("[gate\n" GOOD, ":1: [gate: not a section");
    expect_error("[gate] user = nobody\n" GOOD, ":1: [gate] user = nobody: not a section");
    expect_error("[gate x]\n" GOOD, ":1: [gate x]: takes no name");
    expect_error("[gate]\n[gate]\n" GOOD, ":2: [gate]: repeats the section of line 1");
    struct config *config = good("[  gate  ]\nuser = a\n[ listener \t b ]\nlisten = 127.0.0.1:1\n"
                                 "backend = 127.0.0.1:5683\npsk_file = a\n");
    assert_string_equal(config->listeners[0].name, "b");
    config_free(config);
}

/* The keys of a section with a wrong name are checked all the same. */
static void test_keys_below_a_wrong_section_name(void **state)
{
    (void)state;
    struct loaded loaded = load("[gat]\nuserr = a\n[listner x]\nlisten = 1\nbackend = 127.0.0.1:1\n"
                                "psk_file = a\n");
    assert_int_equal(loaded.problems.error_count, 4);
    assert_true(has_problem(&loaded.problems, false, ":2: [gate] userr = a: unknown key"));
    assert_true(has_problem(&loaded.problems, false,
                            ":3: [listner x]: unknown section; did you mean "
                            "[listener NAME]?"));
    assert_true(has_problem(&loaded.problems, false,
                            ":4: [listener x] listen = 1: a port without an address"));
    unload(&loaded);
}

static void test_listener_names(void **state)
{
    (void)state;
#define NAMED(name) \
    "[listener " name "]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = a\n"
    expect_error("[listener]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = a\n",
                 ":1: [listener]: the listener has no name");
    expect_error(NAMED("a b"), ":1: [listener a b]: not a name");
    expect_error(NAMED("a\"b"), ":1: [listener a\"b]: not a name");
    expect_error(NAMED("\xc3\xa9"), "not a name");
    expect_error(NAMED(X10 X10 X10 "xyz"), "not a name; it can have 1 to 32 of");
    struct config *config = good(NAMED(X10 X10 X10 "xy"));
    assert_int_equal(strlen(config->listeners[0].name), 32);
    config_free(config);
    expect_error(GOOD
                 "[listener coaps]\nlisten = 127.0.0.1:1\nbackend = 127.0.0.1:2\npsk_file = a\n",
                 ":5: [listener coaps]: repeats the name of the listener in line 1");
#undef NAMED
}

static void test_unknown_keys(void **state)
{
    (void)state;
    expect_error("[gate]\nworker = 1\n" GOOD,
                 ":2: [gate] worker = 1: unknown key; did you mean workers?");
    expect_error("[gate]\nlog-level = info\n" GOOD, "did you mean log_level?");
    expect_error("[gate]\nWORKERS = 1\n" GOOD, "unknown key; conf/dtlsgate.ini names every key");
    expect_error("[gate]\nmtu = 1280\n" GOOD, "unknown key; it belongs in [listener NAME]");
    expect_error(GOOD "metrics =\n", "unknown key; it belongs in [gate]");
    expect_error(GOOD "handshake_timout = 9s\n", "did you mean handshake_timeout?");
    expect_error(GOOD "cypher = x\n", "did you mean ciphers?");
    expect_error(GOOD "frobnicate = x\n", "frobnicate = x: unknown key; conf/dtlsgate.ini");
    expect_error(GOOD "mtu 1280 = 3\n", "a setting is written key = value");
    expect_error(GOOD X50 X50 " = 3\n", "unknown key");
}

static void test_repeated_key(void **state)
{
    (void)state;
    expect_error("[gate]\nworkers = 1\nworkers = 1\n" GOOD,
                 ":3: [gate] workers = 1: repeats the key of line 2; keep one of them");
    expect_error(GOOD "mtu = 1280\nmtu = 1300\n", ":6: [listener coaps] mtu = 1300: repeats");
    /* The same key in two listeners is no repetition. */
    config_free(good(GOOD SECOND("127.0.0.1:5685")));
}

static void test_missing_keys(void **state)
{
    (void)state;
    expect_error("[listener coaps]\nbackend = 127.0.0.1:5683\npsk_file = a\n",
                 ":1: [listener coaps] listen: missing");
    expect_error("[listener coaps]\nlisten = 127.0.0.1:5684\npsk_file = a\n",
                 ":1: [listener coaps] backend: missing");
    expect_error("[gate]\n", FILE_PATH ": no listener; add a section [listener NAME]");
    expect_error("", FILE_PATH ": no listener");
}

static void test_too_many_listeners(void **state)
{
    (void)state;
    char *text = malloc(65 * 128);
    size_t len = 0;
    for (int i = 0; i < 65; i++) {
        if (i == 64)
            config_free(good(text));
        len += (size_t)sprintf(text + len,
                               "[listener l%d]\nlisten = 127.0.0.1:%d\nbackend = 127.0.0.1:99\n"
                               "psk_file = a\n",
                               i, 1000 + i);
    }
    expect_error(text, ":257: [listener l64]: more than 64 listeners");
    free(text);
}

/* --- settings that contradict each other --- */

static void test_two_listeners_on_one_address(void **state)
{
    (void)state;
    expect_error(GOOD SECOND("127.0.0.1:5684"),
                 ":6: [listener other] listen = 127.0.0.1:5684: 127.0.0.1:5684 is already taken by "
                 "127.0.0.1:5684 of [listener coaps] (line 2); give each listener");
    expect_error(GOOD SECOND("0.0.0.0:5684"),
                 "0.0.0.0:5684 stands for every address and so covers 127.0.0.1:5684 of");
    expect_error(SECOND("0.0.0.0:5684") GOOD,
                 "127.0.0.1:5684 is already covered by 0.0.0.0:5684 of [listener other]");
    expect_error(GOOD SECOND("[::1]:5684, [::]:5684"),
                 "[::]:5684 stands for every address and so covers [::1]:5684 in the same list");
    expect_error(GOOD SECOND("127.0.0.9:1,127.0.0.9:1"), "127.0.0.9:1 is already taken by");
    config_free(good(GOOD SECOND("127.0.0.2:5684")));
    config_free(good(GOOD SECOND("127.0.0.1:5685")));
    config_free(good(GOOD SECOND("[::]:5684")));
    config_free(good(GOOD SECOND("0.0.0.0:5685, [::]:5685, [::]:5684")));
}

/* HTTP is TCP. */
static void test_metrics_on_the_port_of_a_listener(void **state)
{
    (void)state;
    config_free(good("[gate]\nmetrics = 127.0.0.1:5684\n" GOOD));
}

static void test_backend(void **state)
{
    (void)state;
#define BACKEND(address) \
    "[listener coaps]\nlisten = 0.0.0.0:5684, [::]:5684\npsk_file = a\nbackend = " address "\n"
    expect_error(BACKEND("192.0.2.1:5683"), ":4: [listener coaps] backend = 192.0.2.1:5683: not in "
                                            "127.0.0.0/8; for now a backend must be on this host");
    expect_error(BACKEND("[::1]:5683"), "an IPv6 address; a backend must have one of 127.0.0.0/8, "
                                        "because each session gets a source address of its own");
    expect_error(BACKEND("coap://127.0.0.1:5683"), "coap:// does not belong here; write only the "
                                                   "address and the port, such as 127.0.0.1:5683");
    expect_error(BACKEND("127.0.0.1:5683, 127.0.0.1:5685"), "more than one address");
    expect_error(BACKEND("127.0.0.1:5683 127.0.0.1:5685"), "a space within an address");
    expect_error(BACKEND("localhost:5683"),
                 "names are not resolved, not even localhost; write 127.0.0.1:5683");
    expect_error(BACKEND("5683"), "a port without an address; write it like 127.0.0.1:5683");
    expect_error(BACKEND("0.0.0.0:5683"), "not in 127.0.0.0/8");
    expect_error(BACKEND("128.0.0.1:5683"), "not in 127.0.0.0/8");
    expect_error(BACKEND("127.0.0.0:5683"), "are no hosts; write for example 127.0.0.1:5683");
    expect_error(BACKEND("127.255.255.255:5683"), "are no hosts");
    expect_error(BACKEND(""), ":4: [listener coaps] backend =: empty; this key needs a value");
    expect_error(BACKEND("127.0.0.1"), "no port");
    expect_error(BACKEND("127.0.0.1:5684"), "the gate itself listens there ([listener coaps], line "
                                            "2); name the address of the plaintext server");
    config_free(good(BACKEND("127.0.255.254:5683")));
    config_free(good(BACKEND("127.1.0.1:5683")));
    expect_error("[listener a]\nlisten = 127.0.0.1:1\nbackend = 127.0.0.1:2\npsk_file = a\n"
                 "[listener b]\nlisten = 127.0.0.1:2\nbackend = 127.0.0.1:3\npsk_file = a\n",
                 ":3: [listener a] backend = 127.0.0.1:2: the gate itself listens there "
                 "([listener b], line 6)");
#undef BACKEND
}

#define BARE "[listener coaps]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\n"
#define PSK "psk_file = a.psk\n"
#define CERT "certificate = a.pem\nprivate_key = a.key\n"
#define CA "client_ca = ca.pem\n"

static void test_credentials(void **state)
{
    (void)state;
    expect_error(BARE, ":1: [listener coaps]: no credentials, so no device could enter; set");
    expect_error(BARE "psk_file =\n", "no credentials");
    expect_error(BARE "psk_file = 'a'\n", "the value is in quotes"); /* and nothing of none */
    expect_error(BARE "certificate = a.pem\n",
                 ":4: [listener coaps] certificate = /etc/dtlsgate/a.pem: no private_key");
    expect_error(BARE PSK "certificate = a.pem\n", "no private_key");
    expect_error(BARE "private_key = a.key\n",
                 ":4: [listener coaps] private_key = /etc/dtlsgate/a.key: no certificate");
    expect_error(BARE CERT,
                 ":1: [listener coaps] client_auth = required (default): no device could "
                 "enter, because client_ca and psk_file are empty");
    expect_warning(BARE PSK CERT, "client_auth = required (default): no device can enter with a "
                                  "certificate, because client_ca is empty");
    expect_warning(BARE PSK CA, ":5: [listener coaps] client_ca = /etc/dtlsgate/ca.pem: not used");
    expect_warning(BARE PSK "crl_file = a.crl\n",
                   "crl_file = /etc/dtlsgate/a.crl: not used, because the listener checks no");
    config_free(good(BARE PSK));
    config_free(good(BARE CERT CA));
    config_free(good(BARE PSK CERT CA));
}

static void test_client_auth(void **state)
{
    (void)state;
    expect_warning(BARE CERT "client_auth = none\n",
                   ":6: [listener coaps] client_auth = none: any device may enter, without PSK and "
                   "without certificate");
    expect_warning(BARE CERT CA "client_auth = optional\n",
                   "client_auth = optional: any device may enter, also one without PSK and "
                   "certificate; only a certificate that a device does send is checked; required");
    expect_warning(BARE CERT "client_auth = optional\n", "without client_ca none is accepted");
    /* Without certificate suites nobody enters without a key. */
    config_free(good(BARE PSK "client_auth = none\n"));
    config_free(good(BARE PSK "client_auth = optional\n"));
    /* Nothing is concluded from a value that could not be read. */
    expect_error(BARE CERT "client_auth = nobody\n", "not one of the choices");

    struct loaded loaded = load(BARE CERT CA "client_auth = none\ncrl_file = a.crl\n");
    assert_non_null(loaded.config);
    assert_int_equal(loaded.problems.count, 3);
    assert_true(has_problem(&loaded.problems, true, "crl_file = /etc/dtlsgate/a.crl: not used"));
    assert_true(has_problem(&loaded.problems, true, "client_ca = /etc/dtlsgate/ca.pem: not used"));
    unload(&loaded);
}

static void test_backend_port(void **state)
{
    (void)state;
    static const char part[] = ":2: [gate] backend_port = 5683: [listener coaps] has this port";
#define GATE_AT_5683 "[gate]\nbackend_port = 5683\n"
#define AT(listen, backend) \
    "[listener coaps]\nlisten = " listen "\nbackend = " backend "\npsk_file = a\n"
    expect_error(GATE_AT_5683 AT("192.0.2.1:5684", "127.0.0.1:5683"), part);
    expect_error(GATE_AT_5683 AT("[::]:5684, 192.0.2.1:5683", "127.0.0.1:5685"), part);
    config_free(good(GATE_AT_5683 AT("[::]:5683", "127.0.0.1:5685")));
    config_free(good("[gate]\nbackend_port = 0\n" AT("192.0.2.1:5684", "127.0.0.1:5683")));
    expect_error("[gate]\nbackend_port = 65536\n" GOOD, "out of range");
}

static void test_times(void **state)
{
    (void)state;
    expect_error(GOOD "cid_length = 1\n",
                 ":5: [listener coaps] cid_length = 1: too short: the first 12 bits");
    expect_warning(GOOD "cid_length = 2\n", "too short to be unguessable");
    expect_warning(GOOD "cid_length = 5\n", "too short to be unguessable");
    config_free(good(GOOD "cid_length = 0\n"));
    config_free(good(GOOD "cid_length = 6\n"));
    config_free(good(GOOD "cid_length = 32\n"));
    expect_warning(GOOD "retransmit = 10s\nhandshake_timeout = 10s\n",
                   ":5: [listener coaps] retransmit = 10s: nothing is ever sent again");
    config_free(good(GOOD "retransmit = 10s\nhandshake_timeout = 11s\n"));
}

/* --- the whole file --- */

static void test_all_problems_in_one_run(void **state)
{
    (void)state;
    struct loaded loaded = load("[gate]\n"
                                "workers = 0\n"
                                "tombstone = 247\n"
                                "lgo_level = info\n"
                                "[listener a]\n"
                                "listen = 0.0.0.0:5684\n"
                                "backend = 10.0.0.1:5683\n"
                                "role = client\n"
                                "[listener b]\n"
                                "listen = 127.0.0.1:5684\n"
                                "mtu = 1280\n"
                                "mtu = 1280\n"
                                "certificate = x\n");
    static const char *const expected[] = {
        ":2: [gate] workers = 0: out of range",
        ":3: [gate] tombstone = 247: durations need a unit",
        ":4: [gate] lgo_level = info: unknown key; did you mean log_level?",
        ":7: [listener a] backend = 10.0.0.1:5683: not in 127.0.0.0/8",
        ":8: [listener a] role = client: the gate is only ever the DTLS server",
        ":5: [listener a]: no credentials",
        ":10: [listener b] listen = 127.0.0.1:5684: 127.0.0.1:5684 is already covered",
        ":12: [listener b] mtu = 1280: repeats the key of line 11",
        ":9: [listener b] backend: missing",
        ":13: [listener b] certificate = /etc/dtlsgate/x: no private_key",
    };
    size_t count = sizeof(expected) / sizeof(expected[0]);
    for (size_t i = 0; i < count; i++) {
        char part[256];
        snprintf(part, sizeof(part), FILE_PATH "%s", expected[i]);
        if (!has_problem(&loaded.problems, false, part))
            fail_with(&loaded.problems, "missing", expected[i]);
    }
    assert_null(loaded.config);
    assert_int_equal(loaded.problems.count, count);
    assert_int_equal(loaded.problems.error_count, count);
    unload(&loaded);
}

static void test_earlier_problems_do_not_count(void **state)
{
    (void)state;
    char text[] = GOOD;
    FILE *in = fmemopen(text, strlen(text), "r");
    struct problems problems;
    problems_init(&problems);
    problems_error(&problems, "of another file");
    struct config *config = config_load_stream(in, FILE_PATH, &problems);
    fclose(in);
    assert_non_null(config);
    assert_int_equal(problems.count, 1);
    config_free(config);
    problems_deinit(&problems);
}

static void test_unreadable_files(void **state)
{
    (void)state;
    static const struct {
        const char *path, *part;
    } cases[] = {
        {"/nonexistent/gate.ini", "/nonexistent/gate.ini: cannot be opened: No such file"},
        {"/tmp", "/tmp: cannot be read: Is a directory"},
        {"/dev/zero", "/dev/zero: larger than 1 MiB"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct problems problems;
        problems_init(&problems);
        assert_null(config_load(cases[i].path, &problems));
        assert_int_equal(problems.count, 1);
        if (!has_problem(&problems, false, cases[i].part))
            fail_with(&problems, "missing", cases[i].part);
        problems_deinit(&problems);
    }
}

static void test_load_of_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, GOOD, strlen(GOOD)), strlen(GOOD));
    close(fd);
    struct problems problems;
    problems_init(&problems);
    struct config *config = config_load(path, &problems);
    unlink(path);
    assert_non_null(config);
    assert_string_equal(config->path, path);
    assert_string_equal(config->listeners[0].psk_file.at[0], "/tmp/devices.psk");
    config_free(config);
    problems_deinit(&problems);
}

/* Run from the top folder, as `make unit` does. */
static void test_files_of_conf(void **state)
{
    (void)state;
    static const char *const paths[] = {"conf/dtlsgate.ini", "conf/demo.ini"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct problems problems;
        problems_init(&problems);
        struct config *config = config_load(paths[i], &problems);
        if (!config || problems.count)
            fail_with(&problems, "not accepted", paths[i]);
        config_free(config);
        problems_deinit(&problems);
    }
}

static void test_where(void **state)
{
    (void)state;
    char text[256], small[16];
    struct config *config = good(GOOD);
    const struct listener_config *listener = &config->listeners[0];
    assert_string_equal(config_where(config, listener, "psk_file", text, sizeof(text)),
                        FILE_PATH ":4: [listener coaps] psk_file = /etc/dtlsgate/devices.psk");
    assert_string_equal(config_where(config, listener, "mtu", text, sizeof(text)),
                        FILE_PATH ":1: [listener coaps] mtu = 1280 (default)");
    assert_string_equal(config_where(config, listener, "client_ca", text, sizeof(text)),
                        FILE_PATH ":1: [listener coaps] client_ca = (default)");
    assert_string_equal(config_where(config, listener, "mtu", small, sizeof(small)),
                        "/etc/dtlsgate/g");
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_value),
        cmocka_unit_test(test_every_key_is_set_somewhere),
        cmocka_unit_test(test_print_is_read_back_to_the_same),
        cmocka_unit_test(test_print_of_the_suites_that_are_offered),
        cmocka_unit_test(test_print_says_what_cannot_be_read_back),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_tickets),
        cmocka_unit_test(a_removed_setting_is_a_warning_that_says_what_to_do),
        cmocka_unit_test(a_removed_setting_is_unknown_in_another_section),
        cmocka_unit_test(a_removed_setting_is_not_printed),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_paths_relative_to_the_current_folder),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_semicolon_inside_a_value),
        cmocka_unit_test(test_indentation),
        cmocka_unit_test(test_a_list_that_is_too_long),
        cmocka_unit_test(test_not_text),
        cmocka_unit_test(test_junk_ends_early),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_not_a_setting),
        cmocka_unit_test(test_unread_key_is_not_missing),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_keys_below_a_wrong_section_name),
        cmocka_unit_test(test_listener_names),
        cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_repeated_key),
        cmocka_unit_test(test_missing_keys),
        cmocka_unit_test(test_too_many_listeners),
        cmocka_unit_test(test_two_listeners_on_one_address),
        cmocka_unit_test(test_metrics_on_the_port_of_a_listener),
        cmocka_unit_test(test_backend),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_client_auth),
        cmocka_unit_test(test_backend_port),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_all_problems_in_one_run),
        cmocka_unit_test(test_earlier_problems_do_not_count),
        cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_load_of_a_file),
        cmocka_unit_test(test_files_of_conf),
        cmocka_unit_test(test_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
