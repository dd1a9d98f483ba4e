/* How the latest upgrade went, for who asks for the status. Zeroed = there was none. The main
 * thread writes, any thread reads. */
#ifndef UPGRADE_RECORD_H
#define UPGRADE_RECORD_H

#include <stdatomic.h>
#include <stdint.h>

enum upgrade_result {
    UPGRADE_NONE,
    UPGRADE_DONE,    /* this is the new version */
    UPGRADE_FAILED,  /* the new version has; this is the one before, once more */
    UPGRADE_REFUSED, /* nothing was touched, and the process has gone on */
};

struct upgrade_record {
    char from[64];        /* UPGRADE_DONE began this process: the version before; else empty */
    _Atomic int result;   /* enum upgrade_result */
    _Atomic int64_t at_s; /* seconds since 1970 */
};

/* What has begun this process, before any other thread reads. from: of UPGRADE_DONE. */
void upgrade_record_begin(struct upgrade_record *record, enum upgrade_result result,
                          const char *from);

/* Another one was refused. */
void upgrade_record_refused(struct upgrade_record *record);

/* For operators, as "done". */
const char *upgrade_record_result(const struct upgrade_record *record);

#endif
