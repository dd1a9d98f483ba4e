/* What is known of the latest upgrade. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "run/upgrade_record.h"

static void assert_record(const struct upgrade_record *record, const char *result, const char *from)
{
    assert_string_equal(upgrade_record_result(record), result);
    assert_string_equal(record->from, from);
}

static void test_none(void **state)
{
    struct upgrade_record record = {0};
    (void)state;
    assert_record(&record, "none", "");
    upgrade_record_begin(&record, UPGRADE_NONE, "");
    assert_record(&record, "none", "");
    assert_int_equal(record.at_s, 0);
}

static void test_what_has_begun_the_process(void **state)
{
    struct upgrade_record record = {0};
    int64_t before = (int64_t)time(NULL);
    (void)state;
    upgrade_record_begin(&record, UPGRADE_FAILED, "why it failed is no version");
    assert_record(&record, "failed", "");
    upgrade_record_begin(&record, UPGRADE_DONE, "1.2.3");
    assert_record(&record, "done", "1.2.3");
    assert_true(record.at_s >= before && record.at_s <= (int64_t)time(NULL));
}

/* Where it has come from it knows all the same. */
static void test_another_one_is_refused(void **state)
{
    struct upgrade_record record = {0};
    (void)state;
    upgrade_record_begin(&record, UPGRADE_DONE, "1.2.3");
    record.at_s = 1;
    upgrade_record_refused(&record);
    assert_record(&record, "refused", "1.2.3");
    assert_true(record.at_s > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_what_has_begun_the_process),
        cmocka_unit_test(test_another_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
