/* What became of a flight, from what the device sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "handshake/progress.h"

#define HELLO "\x16\xfe\xfd\0\0\0\0\0\0\0\1\0\x14\1\0\0\0\0\0\0\0\0"
#define KEY_EXCHANGE "\x16\xfe\xfd\0\0\0\0\0\0\0\2\0\x14\x10\0\0\0\0\0\0\0\0"
#define PROTECTED_1_2 "\x16\xfe\xfd\0\1\0\0\0\0\0\0\0\x14\1\0\0\0\0\0\0\0\0"
#define PLAIN_ACK "\x1a\xfe\xfd\0\0\0\0\0\0\0\2\0\2\0\0"
#define PROTECTED_1_3 "\x2e\0\0\0\x11\1\2\3\4\5\6\7\x08\x09"

enum { DISCARDED = 1, IS_ACK = 2 };

static void come(struct progress *p, const char *bytes, size_t len, unsigned how)
{
    progress_on_feed(p, (const uint8_t *)bytes, len);
    progress_on_fed(p, (how & DISCARDED) != 0, (how & IS_ACK) != 0);
}
#define COME(p, bytes, how) come((p), (bytes), sizeof(bytes) - 1, (how))

static void assert_story(const struct progress *p, bool has_unreadable, unsigned flight,
                         const char *came_back)
{
    struct progress_story story = progress_tell(p, has_unreadable);
    assert_int_equal(story.flight, flight);
    assert_string_equal(story.came_back, came_back);
    assert_true(strlen(story.words) > 0 && strlen(story.words) < 160);
}

/* Each thing that comes says more than the one before, and what says less changes nothing. */
static void test_what_says_most_is_told(void **state)
{
    struct progress p = {0};
    (void)state;
    progress_on_flight(&p);
    assert_story(&p, false, 4, "none");
    COME(&p, PROTECTED_1_3, DISCARDED); /* anybody's */
    COME(&p, PROTECTED_1_3, DISCARDED | IS_ACK);
    assert_story(&p, false, 4, "none");
    COME(&p, HELLO, DISCARDED);
    assert_story(&p, false, 4, "hello");
    COME(&p, PROTECTED_1_3, IS_ACK);
    COME(&p, HELLO, 0);
    assert_story(&p, false, 4, "ack");
    COME(&p, PROTECTED_1_3, 0);
    COME(&p, PROTECTED_1_3, IS_ACK);
    progress_on_flight(&p);
    assert_story(&p, false, 5, "part");
    assert_story(&p, true, 5, "unreadable");
}

static void test_answers_of_both_versions(void **state)
{
    (void)state;
    struct progress p = {.sent = 1};
    COME(&p, KEY_EXCHANGE, 0);
    assert_story(&p, false, 5, "part");
    p = (struct progress){.sent = 1};
    COME(&p, PROTECTED_1_2, DISCARDED); /* what goes before it was lost */
    assert_story(&p, false, 5, "part");
    p = (struct progress){.sent = 1};
    COME(&p, PLAIN_ACK, 0);
    assert_story(&p, false, 4, "ack");
}

/* A hello in fragments: what comes of it is no answer. */
static void test_hello_in_fragments(void **state)
{
    struct progress p = {0};
    (void)state;
    COME(&p, HELLO, 0);
    assert_story(&p, false, 3, "part");
    progress_on_flight(&p);
    assert_story(&p, false, 4, "none");
}

/* Records share datagrams; the largest datagram counts, not the sum of all. */
static void test_sizes(void **state)
{
    struct progress p = {0};
    (void)state;
    progress_on_record(&p, 500, false);
    progress_on_record(&p, 300, true);
    progress_on_record(&p, 200, true);
    progress_on_record(&p, 500, false);
    progress_on_record(&p, 40, true);
    progress_on_flight(&p);
    assert_int_equal(p.largest_bytes, 1000);
    assert_int_equal(p.sent, 1);
    p.sent = UINT16_MAX;
    progress_on_flight(&p);
    assert_int_equal(p.sent, UINT16_MAX);
}

/* Advice that fits: a smaller mtu helps only where something larger than needed was sent. */
static void test_words(void **state)
{
    struct progress p = {.sent = 2, .largest_bytes = 1280};
    (void)state;
    COME(&p, HELLO, 0);
    assert_non_null(strstr(progress_tell(&p, false).words, "try a smaller mtu"));
    p.largest_bytes = 300;
    assert_null(strstr(progress_tell(&p, false).words, "smaller mtu"));
    p.came_back = 0;
    assert_non_null(strstr(progress_tell(&p, false).words, "fell silent"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_says_most_is_told),
        cmocka_unit_test(test_answers_of_both_versions),
        cmocka_unit_test(test_hello_in_fragments),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
