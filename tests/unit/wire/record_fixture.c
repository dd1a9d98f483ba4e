#include "wire/record_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct aead_work *record_work;
const uint8_t record_cid[RECORD_CID_MAX] = "a connection ID of 32 bytes, yes";

int record_set_up(void **state)
{
    (void)state;
    record_work = aead_work_new();
    return record_work == NULL;
}

int record_tear_down(void **state)
{
    (void)state;
    aead_work_free(record_work);
    record_work = NULL;
    return 0;
}

void record_assert_opened(const struct record_vector *vector, enum record_verdict verdict,
                          const struct record_content *content)
{
    if (verdict != RECORD_OPENED)
        fail_msg("%s: %d", vector->name, verdict);
    assert_int_equal(content->record_len, vector->record_len);
    assert_int_equal(content->epoch, vector->version == 12 ? 1 : 3);
    assert_int_equal(content->number, vector->number);
    assert_int_equal(content->type, vector->type);
    assert_int_equal(content->data_len, vector->plaintext_len);
    assert_memory_equal(content->data, vector->plaintext, vector->plaintext_len);
}
