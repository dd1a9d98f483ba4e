#include "run/upgrade_record.h"

#include <stdio.h>
#include <time.h>

static void note(struct upgrade_record *record, enum upgrade_result result)
{
    atomic_store(&record->at_s, (int64_t)time(NULL));
    atomic_store(&record->result, result);
}

void upgrade_record_begin(struct upgrade_record *record, enum upgrade_result result,
                          const char *from)
{
    snprintf(record->from, sizeof(record->from), "%s", result == UPGRADE_DONE ? from : "");
    if (result != UPGRADE_NONE)
        note(record, result);
}

void upgrade_record_refused(struct upgrade_record *record)
{
    note(record, UPGRADE_REFUSED);
}

const char *upgrade_record_result(const struct upgrade_record *record)
{
    static const char *const names[] = {[UPGRADE_NONE] = "none",
                                        [UPGRADE_DONE] = "done",
                                        [UPGRADE_FAILED] = "failed",
                                        [UPGRADE_REFUSED] = "refused"};
    return names[atomic_load(&record->result)];
}
