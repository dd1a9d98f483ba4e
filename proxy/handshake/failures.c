#include "handshake/failures.h"

#include <stdio.h>
#include <string.h>

void failures_note(struct failures *failures, const struct handshake_subject *subject,
                   const struct handshake_failure *failure, const uint8_t *identity, size_t len,
                   uint64_t now_ms)
{
    struct failure *kept = &failures->at[failures->count++ % FAILURES_KEPT];
    *kept = (struct failure){
        .at_ms = now_ms,
        .client = *subject->client,
        .listener = subject->listener->number,
        .result = failure->result,
        .version = failure->version,
    };
    snprintf(kept->detail, sizeof(kept->detail), "%s", failure->detail);
    kept->identity_len = len;
    if (len != 0)
        memcpy(kept->identity, identity, len);
}

const struct failure *failures_newest(const struct failures *failures, uint32_t index)
{
    if (index >= FAILURES_KEPT || index >= failures->count)
        return NULL;
    return &failures->at[(failures->count - 1 - index) % FAILURES_KEPT];
}
