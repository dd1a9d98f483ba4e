/* Which paths are good, and in whose eyes: by RFC 5280 section 6.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "creds/certificate_path.h"
#include "gate/certificate_maker.h"

enum { NOW = 1800000000, DAY = 24 * 3600, SHOWN_MAX = CERTIFICATE_SHOWN_MAX };

enum { ROOT, INTER, DEVICE, OTHER, SECOND };

/* Usual ones, to be varied. */
static const struct recipe root = {
    .subject = "root", .issuer = "root", .key = ROOT, .signer = ROOT, .is_ca = true};
static const struct recipe inter = {
    .subject = "inter", .issuer = "root", .key = INTER, .signer = ROOT, .is_ca = true};
static const struct recipe device = {
    .subject = "device", .issuer = "inter", .key = DEVICE, .signer = INTER};
static const struct recipe direct = {
    .subject = "device", .issuer = "root", .key = DEVICE, .signer = ROOT};

/* A change of a usual one: with(device, .version = 1). */
#define with(usual, ...)               \
    ({                                 \
        struct recipe changed = usual; \
        WITH_EACH(__VA_ARGS__)         \
        changed;                       \
    })
#define WITH_EACH(assignment) changed assignment;

struct trial {
    struct certificate_anchors anchors;
    struct made shown[SHOWN_MAX];
    size_t shown_count;
    int64_t now;
    certificate_path_fn *also;
    void *also_context;
    struct certificate_verdict verdict;
};

static int set_up(void **state)
{
    static struct trial trial;
    memset(&trial, 0, sizeof(trial));
    trial.now = NOW;
    *state = &trial;
    return 0;
}

static int tear_down(void **state)
{
    struct trial *t = *state;
    certificate_anchors_deinit(&t->anchors);
    return 0;
}

static void trust(struct trial *t, struct recipe recipe)
{
    struct made made = certificate_make(&recipe);
    assert_int_equal(certificate_anchors_add(&t->anchors, der_of(&made)), ANCHOR_ADDED);
}

static void show(struct trial *t, struct recipe recipe)
{
    assert_true(t->shown_count < SHOWN_MAX);
    t->shown[t->shown_count++] = certificate_make(&recipe);
}

static enum certificate_flaw judge(struct trial *t)
{
    struct der shown[SHOWN_MAX];
    for (size_t i = 0; i < t->shown_count; i++)
        shown[i] = der_of(&t->shown[i]);
    const struct certificate_request request = {.anchors = &t->anchors,
                                                .shown = shown,
                                                .shown_count = t->shown_count,
                                                .now = t->now,
                                                .also = t->also,
                                                .also_context = t->also_context};
    certificate_path_check(&request, &t->verdict);
    return t->verdict.flaw;
}

/* A device with a certificate of its own, through one intermediate. */
static enum certificate_flaw judge_three(struct trial *t, struct recipe a, struct recipe b,
                                         struct recipe c)
{
    tear_down((void **)&t);
    t->shown_count = 0;
    trust(t, c);
    show(t, a);
    show(t, b);
    return judge(t);
}

static enum certificate_flaw judge_two(struct trial *t, struct recipe a, struct recipe b)
{
    tear_down((void **)&t);
    t->shown_count = 0;
    trust(t, b);
    show(t, a);
    return judge(t);
}

static void assert_refused(const struct trial *t, const char *subject)
{
    struct certificate_summary summary;
    certificate_summarise(&t->verdict.refused, &summary);
    assert_string_equal(summary.subject, subject);
}

static void good_paths(void **state)
{
    struct trial *t = *state;
    assert_int_equal(judge_two(t, direct, root), FLAW_NONE);
    assert_int_equal(judge_three(t, device, inter, root), FLAW_NONE);
    /* A trusted CA need not be self-signed (RFC 5280 section 6.1.1 (d)). */
    assert_int_equal(judge_two(t, device, inter), FLAW_NONE);
    /* A device may be trusted itself, if its certificate is one of a CA. */
    assert_int_equal(judge_two(t, root, root), FLAW_NONE);
}

/* RFC 8446 section 4.4.2: what is not needed, doubled or out of order. */
static void lists_that_are_not_in_order(void **state)
{
    struct trial *t = *state;
    trust(t, root);
    show(t, device);
    show(t, with(direct, .subject = "unrelated"));
    show(t, with(root, .key = OTHER)); /* of that name, not that key */
    show(t, with(device, .version = 1));
    show(t, root);
    show(t, inter);
    t->shown[6] = t->shown[0];
    t->shown[7] = t->shown[5];
    t->shown[8].size = 5; /* no certificate at all */
    t->shown_count = 9;
    assert_int_equal(judge(t), FLAW_NONE);
}

static void cross_signed(void **state)
{
    struct trial *t = *state;
    trust(t, with(root, .subject = "new root"; changed.key = SECOND));
    show(t, device);
    show(t, inter); /* by the old root, which nobody knows here */
    show(t, with(inter, .issuer = "new root"; changed.signer = SECOND));
    show(t, root);
    assert_int_equal(judge(t), FLAW_NONE);
}

/* Two CAs of one name, with and without key identifiers. */
static void key_rollover(void **state)
{
    struct trial *t = *state;
    for (int id = 0; id < 2; id++) {
        tear_down(state);
        t->shown_count = 0;
        trust(t, with(root, .key = OTHER; changed.signer = OTHER; changed.own_id = id * 1));
        trust(t, with(root, .own_id = id * 2));
        show(t, with(direct, .signer_id = id * 2));
        assert_int_equal(judge(t), FLAW_NONE);
        t->shown_count = 0;
        show(t, with(direct, .signer = OTHER; changed.signer_id = id * 1));
        assert_int_equal(judge(t), FLAW_NONE);
    }
    t->shown_count = 0;
    show(t, with(direct, .signer_id = 3));
    assert_int_equal(judge(t), FLAW_NO_ISSUER);
}

/* What one device shows is of no use to the next. */
static void nothing_is_kept(void **state)
{
    struct trial *t = *state;
    trust(t, root);
    show(t, device);
    assert_int_equal(judge(t), FLAW_NO_ISSUER);
    show(t, inter);
    assert_int_equal(judge(t), FLAW_NONE);
    t->shown_count = 1;
    assert_int_equal(judge(t), FLAW_NO_ISSUER);
    assert_refused(t, "CN=device");
}

static void forged_ones(void **state)
{
    struct trial *t = *state;
    assert_int_equal(judge_two(t, with(direct, .is_forged = true), root), FLAW_SIGNATURE);
    assert_int_equal(judge_three(t, device, with(inter, .is_forged = true), root), FLAW_SIGNATURE);
    assert_refused(t, "CN=inter");
    /* A device that makes itself an issuer: under any name, the root's own too. */
    struct recipe false_ca = with(direct, .subject = "inter"; changed.key = INTER);
    assert_int_equal(judge_three(t, device, false_ca, root), FLAW_NOT_A_CA);
    false_ca.has_no_constraints = true;
    assert_int_equal(judge_three(t, device, false_ca, root), FLAW_NOT_A_CA);
    struct recipe false_root = with(root, .is_ca = false; changed.key = OTHER);
    assert_int_equal(judge_three(t, with(direct, .signer = OTHER), false_root, root),
                     FLAW_NOT_A_CA);
    false_root.has_no_constraints = true;
    assert_int_equal(judge_three(t, with(direct, .signer = OTHER), false_root, root),
                     FLAW_NOT_A_CA);
    /* A CA that says so, but may not sign. */
    assert_int_equal(judge_three(t, device, with(inter, .key_usage = 0x80), root),
                     FLAW_NO_CERT_SIGN);
    assert_int_equal(judge_three(t, device, inter, with(root, .key_usage = 0x02)),
                     FLAW_NO_CERT_SIGN);
    assert_int_equal(judge_three(t, device, with(inter, .key_usage = 0x04), root), FLAW_NONE);
}

static void path_lengths(void **state)
{
    struct trial *t = *state;
    assert_int_equal(judge_three(t, device, inter, with(root, .path_length = 1)), FLAW_PATH_LENGTH);
    assert_refused(t, "CN=root");
    assert_int_equal(judge_three(t, device, inter, with(root, .path_length = 2)), FLAW_NONE);
    assert_int_equal(judge_three(t, device, with(inter, .path_length = 1), root), FLAW_NONE);
    /* One that is issued to its own name does not count. */
    assert_int_equal(judge_three(t, with(direct, .signer = OTHER), with(root, .key = OTHER),
                                 with(root, .path_length = 1)),
                     FLAW_NONE);
    /* Four in a path, and the one in the middle says that it is the last. */
    trust(t, root);
    t->shown_count = 0;
    show(t, with(device, .issuer = "third"; changed.signer = OTHER));
    show(t, with(inter, .subject = "third"; changed.key = OTHER; changed.issuer = "inter";
                 changed.signer = INTER));
    show(t, with(inter, .path_length = 1));
    assert_int_equal(judge(t), FLAW_PATH_LENGTH);
    assert_refused(t, "CN=inter");
}

static void dates(void **state)
{
    struct trial *t = *state;
    struct recipe *all[] = {&(struct recipe){0}, &(struct recipe){0}, &(struct recipe){0}};
    for (int i = 0; i < 3; i++) {
        *all[0] = device;
        *all[1] = inter;
        *all[2] = root;
        all[i]->not_before = NOW - 2 * DAY;
        all[i]->not_after = NOW - DAY;
        assert_int_equal(judge_three(t, *all[0], *all[1], *all[2]), FLAW_EXPIRED);
        all[i]->not_after = NOW;
        assert_int_equal(judge_three(t, *all[0], *all[1], *all[2]), FLAW_NONE);
        assert_int_equal(t->verdict.not_after, NOW);
        /* The anchors stay; it is the time that changes. */
        t->now = NOW - 3 * DAY;
        assert_int_equal(judge(t), FLAW_NOT_YET);
        t->now = NOW - DAY;
        assert_int_equal(judge(t), FLAW_NONE);
        t->now = NOW;
    }
}

static void purposes(void **state)
{
    struct trial *t = *state;
    static const char clients[] = "\2", servers[] = "\1";
    assert_int_equal(judge_two(t, with(direct, .purpose = clients), root), FLAW_NONE);
    assert_int_equal(judge_two(t, with(direct, .purpose = servers), root), FLAW_PURPOSE);
    assert_int_equal(judge_three(t, device, with(inter, .purpose = servers), root), FLAW_PURPOSE);
    assert_refused(t, "CN=inter");
    assert_int_equal(judge_three(t, device, with(inter, .purpose = clients), root), FLAW_NONE);
    assert_int_equal(judge_two(t, with(direct, .key_usage = 0x80), root), FLAW_NONE);
    assert_int_equal(judge_two(t, with(direct, .key_usage = 0x20), root),
                     FLAW_NO_DIGITAL_SIGNATURE);
    assert_int_equal(judge_two(t, with(direct, .key_usage = -1), root), FLAW_NO_DIGITAL_SIGNATURE);
}

static void what_is_not_supported(void **state)
{
    struct trial *t = *state;
    assert_int_equal(judge_two(t, with(direct, .version = 1), root), FLAW_VERSION);
    assert_int_equal(judge_two(t, with(direct, .has_unknown_critical = true), root),
                     FLAW_CRITICAL_EXTENSION);
    assert_int_equal(judge_two(t, with(direct, .has_unknown = true), root), FLAW_NONE);
    assert_int_equal(judge_three(t, device, with(inter, .has_unknown_critical = true), root),
                     FLAW_CRITICAL_EXTENSION);
    assert_int_equal(judge_three(t, device, inter, with(root, .has_unknown_critical = true)),
                     FLAW_CRITICAL_EXTENSION);
    assert_int_equal(judge_two(t, with(direct, .is_sha1 = true), root), FLAW_WEAK_SIGNATURE);
    assert_int_equal(judge_two(t, with(direct, .has_foreign_curve = true), root),
                     FLAW_UNKNOWN_CURVE);
    assert_int_equal(judge_three(t, device, with(inter, .has_foreign_curve = true), root),
                     FLAW_UNKNOWN_CURVE);
}

static void serial_numbers(void **state)
{
    struct trial *t = *state;
    assert_int_equal(judge_two(t, direct, with(root, .serial = "\0"; changed.serial_size = 1)),
                     FLAW_NONE);
    assert_int_equal(judge_two(t, with(direct, .serial = "\0"; changed.serial_size = 1), root),
                     FLAW_SERIAL);
    /* Others are to be borne (RFC 5280 section 4.1.2.2). */
    assert_int_equal(judge_two(t, with(direct, .serial = "\x80"; changed.serial_size = 1), root),
                     FLAW_NONE);
    static const char too_long[21] = "\1";
    assert_int_equal(judge_two(t, with(direct, .serial = too_long; changed.serial_size = 21), root),
                     FLAW_NONE);
}

static void name_constraints(void **state)
{
    static const struct {
        const char *permitted, *excluded, *name; /* see certificate_maker.h */
        bool is_allowed;
    } rows[] = {
        {"\x82"
         "example.com",
         NULL,
         "\x82"
         "a.example.com",
         true},
        {"\x82"
         "example.com",
         NULL,
         "\x82"
         "EXAMPLE.com",
         true},
        {"\x82"
         "example.com",
         NULL,
         "\x82"
         "badexample.com",
         false},
        {"\x82"
         "example.com",
         NULL,
         "\x82"
         "example.com.evil",
         false},
        {"\x82"
         ".example.com",
         NULL,
         "\x82"
         "example.com",
         false},
        {"\x82"
         "example.com",
         NULL,
         "\x86"
         "coap://else.where/",
         true},
        {NULL,
         "\x82"
         "example.com",
         "\x82"
         "x.example.com",
         false},
        {NULL,
         "\x82"
         "example.com",
         "\x82"
         "example.org",
         true},
        {"\x81"
         "example.com",
         NULL,
         "\x81"
         "me@example.com",
         true},
        {"\x81"
         "example.com",
         NULL,
         "\x81"
         "me@a.example.com",
         false},
        {"\x81"
         ".example.com",
         NULL,
         "\x81"
         "me@a.example.com",
         true},
        {"\x81"
         "me@example.com",
         NULL,
         "\x81"
         "you@example.com",
         false},
        {"\x86"
         "example.com",
         NULL,
         "\x86"
         "coaps://u@example.com:5684/x",
         true},
        {"\x86"
         "example.com",
         NULL,
         "\x86"
         "coaps://example.com.evil/",
         false},
        {"\x86"
         "example.com",
         NULL,
         "\x86"
         "urn:dev:1",
         false},
        {"\x87"
         "\x0a\x01\x01\x01\xff\x01\x01\x01",
         NULL,
         "\x87"
         "\x0a\x01\x01\x01",
         true},
        {"\x87"
         "\x0a\x01\x01\x01\xff\x01\x01\x01",
         NULL,
         "\x87"
         "\x0b\x01\x01\x01",
         false},
        {NULL, "\xa4", "\x82x.y", false}, /* all directory names, and so its subject */
        {"\xa4"
         "Device",
         NULL, "\x82x.y", true}, /* its subject is "device" */
        {"\xa4"
         "another",
         NULL, "\x82x.y", false},
        {"\x88\x2a", NULL, "\x82x.y", true},   /* a form that it has no name of */
        {"\x88\x2a", NULL, "\x88\x2a", false}, /* and one that is not supported */
    };
    struct trial *t = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum certificate_flaw wanted = rows[i].is_allowed ? FLAW_NONE : FLAW_NAME_CONSTRAINTS;
        struct recipe narrow = with(inter, .permitted = rows[i].permitted);
        narrow.excluded = rows[i].excluded;
        if (judge_three(t, with(device, .alt_name = rows[i].name), narrow, root) != wanted)
            fail_msg("row %zu: %s", i, certificate_flaw_text(t->verdict.flaw));
        narrow = with(root, .permitted = rows[i].permitted);
        narrow.excluded = rows[i].excluded;
        assert_int_equal(judge_two(t, with(direct, .alt_name = rows[i].name), narrow), wanted);
    }
    /* A common name that looks like a DNS name is measured if there is no other. */
    struct recipe narrow = with(inter, .permitted = "\x82"
                                                    "example.com");
    assert_int_equal(judge_three(t, with(device, .subject = "a.example.org"), narrow, root),
                     FLAW_NAME_CONSTRAINTS);
    assert_int_equal(judge_three(t, device, narrow, root), FLAW_NONE);
}

/* Fourteen CAs of one name and one key, each of which could have signed each. */
static void hostile_list_is_bounded(void **state)
{
    struct trial *t = *state;
    static const char serials[] = "\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0e";
    trust(t, root);
    show(t, with(device, .issuer = "mesh"; changed.signer = OTHER));
    for (int i = 0; i < 14; i++)
        show(t,
             with(inter, .subject = "mesh"; changed.issuer = "mesh"; changed.key = OTHER;
                  changed.signer = OTHER; changed.serial = &serials[i]; changed.serial_size = 1));
    assert_int_equal(judge(t), FLAW_TOO_MANY);
    assert_int_equal(t->verdict.verifications, 0); /* all these keys are a stranger's */
    /* The way out is among them, and found. */
    show(t, with(inter, .subject = "mesh"; changed.key = OTHER));
    assert_int_equal(judge(t), FLAW_NONE);
    assert_int_equal(t->verdict.verifications, 2);
}

/* What is asked of each path that is good otherwise. */
struct revocation {
    const char *revoked;
    int asked;
};

static enum certificate_flaw look_for_revoked(const struct certificate_path *path, size_t *at,
                                              void *context)
{
    struct revocation *revocation = context;
    revocation->asked++;
    for (size_t i = 0; i < path->count; i++) {
        struct certificate_summary summary;
        certificate_summarise(path->certificates[i], &summary);
        *at = i;
        if (strcmp(summary.issuer, revocation->revoked) == 0)
            return FLAW_REVOKED;
    }
    return FLAW_NONE;
}

static void another_path_may_do(void **state)
{
    struct trial *t = *state;
    struct revocation revocation = {.revoked = "CN=root"};
    t->also = look_for_revoked;
    t->also_context = &revocation;
    trust(t, root);
    show(t, device);
    show(t, inter);
    assert_int_equal(judge(t), FLAW_REVOKED);
    assert_refused(t, "CN=inter");
    trust(t, with(root, .subject = "new root"; changed.issuer = "new root"; changed.key = SECOND));
    show(t, with(inter, .issuer = "new root"; changed.signer = SECOND));
    assert_int_equal(judge(t), FLAW_NONE);
    assert_int_equal(revocation.asked, 3);
}

static void earliest_end_counts(void **state)
{
    struct trial *t = *state;
    assert_int_equal(judge_three(t, device, with(inter, .not_after = NOW + 7), root), FLAW_NONE);
    assert_int_equal(t->verdict.not_after, NOW + 7);
    assert_int_equal(judge_three(t, with(device, .not_after = NOW + 5), inter, root), FLAW_NONE);
    assert_int_equal(t->verdict.not_after, NOW + 5);
}

static void anchors_that_are_none(void **state)
{
    struct trial *t = *state;
    struct made made = certificate_make(&direct);
    assert_int_equal(certificate_anchors_add(&t->anchors, der_of(&made)), ANCHOR_NOT_A_CA);
    made = certificate_make(&root);
    assert_int_equal(certificate_anchors_add(&t->anchors, der_of(&made)), ANCHOR_ADDED);
    assert_int_equal(certificate_anchors_add(&t->anchors, der_of(&made)), ANCHOR_KNOWN);
    made.size--;
    assert_int_equal(certificate_anchors_add(&t->anchors, der_of(&made)), ANCHOR_UNREADABLE);
    assert_int_equal(t->anchors.count, 1);
}

static void nothing_is_shown(void **state)
{
    struct trial *t = *state;
    trust(t, root);
    assert_int_equal(judge(t), FLAW_UNREADABLE);
    assert_false(t->verdict.is_read);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(good_paths),
        TEST(lists_that_are_not_in_order),
        TEST(cross_signed),
        TEST(key_rollover),
        TEST(nothing_is_kept),
        TEST(forged_ones),
        TEST(path_lengths),
        TEST(dates),
        TEST(purposes),
        TEST(what_is_not_supported),
        TEST(serial_numbers),
        TEST(name_constraints),
        TEST(hostile_list_is_bounded),
        TEST(another_path_may_do),
        TEST(earliest_end_counts),
        TEST(anchors_that_are_none),
        TEST(nothing_is_shown),
    };
    return cmocka_run_group_tests(tests, certificate_maker_begin, certificate_maker_end);
}
