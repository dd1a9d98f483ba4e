/* A certificate in words: which one it is, and who its holder is. */
#include "creds/certificate.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hash.h>

#include "creds/certificate_name.h"

/* Forms of GeneralName, see RFC 5280 section 4.2.1.6. */
enum { FORM_EMAIL = DER_CONTEXT + 1, FORM_DNS = DER_CONTEXT + 2, FORM_URI = DER_CONTEXT + 6 };

const char *certificate_date_text(int64_t date, char text[CERTIFICATE_DATE_TEXT_MAX])
{
    time_t seconds = (time_t)date;
    struct tm tm;
    strftime(text, CERTIFICATE_DATE_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
    return text;
}

static void serial_text(struct der serial, char text[CERTIFICATE_SERIAL_TEXT_MAX])
{
    enum { SHOWN_MAX = 20 };
    text[0] = '\0';
    for (size_t i = 0; i < serial.size && i < SHOWN_MAX; i++)
        snprintf(text + 2 * i, 3, "%02x", serial.bytes[i]);
    if (serial.size > SHOWN_MAX)
        snprintf(text + 2 * SHOWN_MAX, CERTIFICATE_SERIAL_TEXT_MAX - 2 * SHOWN_MAX, "...");
}

void certificate_summarise(const struct certificate *certificate,
                           struct certificate_summary *summary)
{
    certificate_name_text(certificate->subject, summary->subject, sizeof(summary->subject));
    certificate_name_text(certificate->issuer, summary->issuer, sizeof(summary->issuer));
    serial_text(certificate->serial, summary->serial);
    certificate_date_text(certificate->not_after, summary->not_after);
}

static struct der first_alt_name(struct der alt_names, uint8_t form)
{
    struct der_element element;
    while (der_next(&alt_names, &element))
        if (element.tag == form && element.content.size != 0)
            return element.content;
    return (struct der){NULL, 0};
}

static size_t key_hash_text(const struct certificate *certificate, uint8_t *identity)
{
    static const char begin[] = "spki-sha256:";
    uint8_t hash[WC_SHA256_DIGEST_SIZE];
    char text[CERTIFICATE_IDENTITY_MIN + 1];
    if (wc_Sha256Hash(certificate->public_key_info.bytes, (word32)certificate->public_key_info.size,
                      hash) != 0)
        return 0;
    memcpy(text, begin, sizeof(begin));
    for (size_t i = 0; i < sizeof(hash); i++)
        snprintf(text + strlen(begin) + 2 * i, 3, "%02x", hash[i]);
    memcpy(identity, text, CERTIFICATE_IDENTITY_MIN);
    return CERTIFICATE_IDENTITY_MIN;
}

size_t certificate_identity(const struct certificate *certificate, uint8_t *identity, size_t room)
{
    static const uint8_t forms[] = {FORM_URI, FORM_DNS, FORM_EMAIL};
    struct der name = certificate_name_common_name(certificate->subject);
    for (size_t i = 0; name.size == 0 && i < sizeof(forms); i++)
        name = first_alt_name(certificate->alt_names, forms[i]);
    if (name.size == 0 || name.size > room)
        return key_hash_text(certificate, identity);
    memcpy(identity, name.bytes, name.size);
    return name.size;
}
