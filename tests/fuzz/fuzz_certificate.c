/* Certificates that a device may show, and CAs that it may be trusted by: whatever the bytes are,
 * the path check ends, reads nothing past their ends, and its words and names stay within their
 * bounds.
 *
 * First byte: how many of the certificates are trusted; then each behind its length in two bytes,
 * the trusted ones first. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "creds/certificate_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1795000000, CERTIFICATES_MAX = CERTIFICATE_SHOWN_MAX + 8 };

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* Each certificate in memory of its own, so that a sanitizer sees a read past its end. */
static size_t cut(const uint8_t *data, size_t size, struct der ders[CERTIFICATES_MAX])
{
    size_t count = 0;
    while (size >= 2 && count < CERTIFICATES_MAX) {
        size_t len = bytes_get16(data);
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        uint8_t *copy = malloc(len != 0 ? len : 1);
        if (copy == NULL)
            break;
        memcpy(copy, data, len);
        ders[count++] = (struct der){copy, len};
        data += len;
        size -= len;
    }
    return count;
}

static void check_words(const struct certificate *certificate)
{
    struct certificate_summary summary;
    uint8_t identity[CERTIFICATE_IDENTITY_MIN];
    certificate_summarise(certificate, &summary);
    must(memchr(summary.subject, '\0', sizeof(summary.subject)) != NULL);
    must(memchr(summary.issuer, '\0', sizeof(summary.issuer)) != NULL);
    must(memchr(summary.serial, '\0', sizeof(summary.serial)) != NULL);
    must(memchr(summary.not_after, '\0', sizeof(summary.not_after)) != NULL);
    must(certificate_identity(certificate, identity, sizeof(identity)) <= sizeof(identity));
}

static void check(const struct der *ders, size_t count, size_t trusted)
{
    struct certificate_anchors anchors = {0};
    struct certificate_verdict verdict;
    for (size_t i = 0; i < trusted; i++)
        (void)certificate_anchors_add(&anchors, ders[i]);
    must(anchors.count <= trusted);
    const struct certificate_request request = {
        .anchors = &anchors,
        .shown = ders + trusted,
        .shown_count =
            count - trusted < CERTIFICATE_SHOWN_MAX ? count - trusted : CERTIFICATE_SHOWN_MAX,
        .now = NOW,
    };
    certificate_path_check(&request, &verdict);
    must(verdict.flaw != FLAW_NONE ||
         (verdict.is_read && verdict.not_after >= NOW && anchors.count != 0));
    must(certificate_flaw_text(verdict.flaw) != NULL);
    must(verdict.flaw == FLAW_NONE || certificate_flaw_alert(verdict.flaw) != 0);
    if (verdict.is_read)
        check_words(&verdict.own);
    if (verdict.flaw != FLAW_NONE && verdict.is_read)
        check_words(&verdict.refused);
    certificate_anchors_deinit(&anchors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct der ders[CERTIFICATES_MAX];
    if (size == 0)
        return 0;
    size_t count = cut(data + 1, size - 1, ders);
    check(ders, count, count != 0 ? data[0] % (count + 1) : 0);
    for (size_t i = 0; i < count; i++)
        free((uint8_t *)ders[i].bytes);
    return 0;
}
