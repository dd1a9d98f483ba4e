#include "creds/certificate_constraints.h"

#include <string.h>

#include "creds/certificate_name.h"

/* GeneralName, the tags of its forms (RFC 5280 section 4.2.1.6). */
enum {
    FORM_EMAIL = DER_CONTEXT + 1,
    FORM_DNS = DER_CONTEXT + 2,
    FORM_DIRECTORY = DER_CONTEXT_CONSTRUCTED + 4,
    FORM_URI = DER_CONTEXT + 6,
    FORM_IP = DER_CONTEXT + 7,
};

/* So many names may be compared with a subtree: both lists come from outside. */
enum { COMPARISONS_MAX = 1 << 16 };

struct check {
    struct der permitted, excluded; /* GeneralSubtrees; empty: none */
    uint32_t comparisons;
};

struct name {
    uint8_t form;
    struct der value; /* of a directory name: content of the Name */
};

static bool is_one_of(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

static bool is_same_text(struct der a, struct der b)
{
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        if (lower(a.bytes[i]) != lower(b.bytes[i]))
            return false;
    return true;
}

static struct der end_of(struct der text, size_t size)
{
    return (struct der){text.bytes + text.size - size, size};
}

static bool ends_with(struct der text, struct der end)
{
    return text.size > end.size && is_same_text(end_of(text, end.size), end);
}

/* "example.com" also stands for all below, ".example.com" for these only. */
static bool is_dns_within(struct der name, struct der base)
{
    if (base.size == 0)
        return true;
    if (base.bytes[0] == '.')
        return ends_with(name, base);
    return is_same_text(name, base) ||
           (ends_with(name, base) && name.bytes[name.size - base.size - 1] == '.');
}

/* A host by itself, or ".domain" for all hosts within. */
static bool is_host_within(struct der host, struct der base)
{
    return base.size != 0 && base.bytes[0] == '.' ? ends_with(host, base)
                                                  : is_same_text(host, base);
}

static struct der after(struct der text, const uint8_t *at)
{
    size_t skipped = (size_t)(at + 1 - text.bytes);
    return (struct der){at + 1, text.size - skipped};
}

static bool is_email_within(struct der name, struct der base)
{
    const uint8_t *at = memrchr(name.bytes, '@', name.size);
    const uint8_t *base_at = base.size != 0 ? memrchr(base.bytes, '@', base.size) : NULL;
    if (at == NULL)
        return false;
    if (base_at == NULL)
        return is_host_within(after(name, at), base);
    struct der local = {name.bytes, (size_t)(at - name.bytes)};
    struct der base_local = {base.bytes, (size_t)(base_at - base.bytes)};
    return der_is_equal(local, base_local) && is_same_text(after(name, at), after(base, base_at));
}

/* The host of scheme://user@host:port/path; empty if there is none, or an address. */
static struct der host_of(struct der uri)
{
    const uint8_t *begin = memmem(uri.bytes, uri.size, "://", 3);
    if (begin == NULL)
        return (struct der){NULL, 0};
    struct der host = after(uri, begin + 2);
    for (size_t i = 0; i < host.size; i++)
        if (is_one_of(host.bytes[i], "/?#"))
            host.size = i;
    const uint8_t *at = host.size != 0 ? memrchr(host.bytes, '@', host.size) : NULL;
    if (at != NULL)
        host = after(host, at);
    const uint8_t *colon = host.size != 0 ? memchr(host.bytes, ':', host.size) : NULL;
    if (colon != NULL)
        host.size = (size_t)(colon - host.bytes);
    return host.size != 0 && host.bytes[0] == '[' ? (struct der){NULL, 0} : host;
}

static bool is_ip_within(struct der address, struct der base)
{
    if (base.size != 2 * address.size)
        return false; /* of the other family */
    for (size_t i = 0; i < address.size; i++)
        if (((address.bytes[i] ^ base.bytes[i]) & base.bytes[address.size + i]) != 0)
            return false;
    return true;
}

static bool is_within(const struct name *name, struct der base)
{
    struct der subtree;
    switch (name->form) {
    case FORM_EMAIL: return is_email_within(name->value, base);
    case FORM_DNS: return is_dns_within(name->value, base);
    case FORM_URI: return is_host_within(host_of(name->value), base);
    case FORM_IP: return is_ip_within(name->value, base);
    default:
        return der_take(&base, DER_SEQUENCE, &subtree) &&
               certificate_name_is_within(name->value, subtree);
    }
}

/* A form and a value that can be compared with a subtree of that form at all. */
static bool is_comparable(const struct name *name, struct der base)
{
    switch (name->form) {
    case FORM_EMAIL:
    case FORM_DNS:
    case FORM_DIRECTORY: return true;
    case FORM_URI: return host_of(name->value).size != 0;
    case FORM_IP:
        return (name->value.size == 4 || name->value.size == 16) &&
               (base.size == 8 || base.size == 32);
    default: return false;
    }
}

/* How a name stands to a list of subtrees. */
struct standing {
    bool has_form, is_within;
};

/* False if one cannot be compared. */
static bool compare(struct check *check, struct der subtrees, const struct name *name,
                    struct standing *standing)
{
    *standing = (struct standing){false, false};
    while (subtrees.size != 0) {
        struct der subtree;
        struct der_element base;
        if (!der_take(&subtrees, DER_SEQUENCE, &subtree) || !der_next(&subtree, &base) ||
            ++check->comparisons > COMPARISONS_MAX)
            return false;
        if (base.tag != name->form)
            continue;
        /* subtree: minimum and maximum, which nobody may use */
        if (subtree.size != 0 || !is_comparable(name, base.content))
            return false;
        standing->has_form = true;
        standing->is_within |= is_within(name, base.content);
    }
    return true;
}

static bool is_allowed(struct check *check, const struct name *name)
{
    struct standing permitted, excluded;
    return compare(check, check->permitted, name, &permitted) &&
           compare(check, check->excluded, name, &excluded) &&
           (!permitted.has_form || permitted.is_within) && !excluded.is_within;
}

static bool is_subject_allowed(struct check *check, const struct certificate *certificate)
{
    struct name name = {FORM_DIRECTORY, certificate->subject};
    struct certificate_name_walk walk = {.rest = certificate->subject};
    struct certificate_attribute attribute;
    if (certificate->subject.size == 0)
        return true;
    if (!is_allowed(check, &name))
        return false;
    while (certificate_name_next(&walk, &attribute)) {
        name = (struct name){FORM_EMAIL, attribute.value};
        if (certificate_attribute_is_email(&attribute) && !is_allowed(check, &name))
            return false;
    }
    return true;
}

static bool are_alt_names_allowed(struct check *check, struct der alt_names, bool *has_dns)
{
    struct der_element element;
    *has_dns = false;
    while (alt_names.size != 0) {
        if (!der_next(&alt_names, &element))
            return false;
        struct name name = {element.tag, element.content};
        if (element.tag == FORM_DIRECTORY && !der_take(&element.content, DER_SEQUENCE, &name.value))
            return false;
        *has_dns |= element.tag == FORM_DNS;
        if (!is_allowed(check, &name))
            return false;
    }
    return true;
}

/* Labels of letters, digits, '-' and '_', and at least one dot between two of them. */
static bool looks_like_dns(struct der text)
{
    bool has_dot = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.bytes[i];
        bool is_middle = i > 0 && i + 1 < text.size;
        if (c == '.') {
            if (!is_middle || is_one_of(text.bytes[i - 1], ".-") ||
                is_one_of(text.bytes[i + 1], ".-"))
                return false;
            has_dot = true;
        } else if (!(c == '-' && is_middle) && !(c >= '0' && c <= '9') && c != '_' &&
                   !(lower(c) >= 'a' && lower(c) <= 'z')) {
            return false;
        }
    }
    return has_dot;
}

bool certificate_constraints_allow(const struct certificate *issuer,
                                   const struct certificate *certificate, bool is_last)
{
    struct check check = {0};
    struct der constraints = issuer->name_constraints;
    bool has_permitted = der_take(&constraints, DER_CONTEXT_CONSTRUCTED + 0, &check.permitted);
    bool has_excluded = der_take(&constraints, DER_CONTEXT_CONSTRUCTED + 1, &check.excluded);
    bool has_dns;
    if (constraints.size != 0 || (!has_permitted && !has_excluded) ||
        !is_subject_allowed(&check, certificate) ||
        !are_alt_names_allowed(&check, certificate->alt_names, &has_dns))
        return false;
    struct name name = {FORM_DNS, certificate_name_common_name(certificate->subject)};
    return !is_last || has_dns || !looks_like_dns(name.value) || is_allowed(&check, &name);
}
