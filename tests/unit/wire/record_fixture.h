/* What test_record12.c and test_record13.c share. */
#ifndef RECORD_FIXTURE_H
#define RECORD_FIXTURE_H

#include "wire/record.h"
#include "wire/record_vectors.h"

/* Between record_set_up() and record_tear_down(), which are for cmocka. */
extern struct aead_work *record_work;
int record_set_up(void **state);
int record_tear_down(void **state);

extern const uint8_t record_cid[RECORD_CID_MAX];

/* The vector was opened, and this is what came of it. */
void record_assert_opened(const struct record_vector *vector, enum record_verdict verdict,
                          const struct record_content *content);

#endif
