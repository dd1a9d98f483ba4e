#include "run/status_page.h"

#include "status_page_bytes.h"

const char *status_page_text(void)
{
    return (const char *)status_page_bytes;
}

const char *status_page_policy(void)
{
    return STATUS_PAGE_POLICY;
}

const char *status_page_etag(void)
{
    return STATUS_PAGE_ETAG;
}
