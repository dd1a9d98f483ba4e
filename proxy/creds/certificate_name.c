#include "creds/certificate_name.h"

#include <string.h>

#include "base/bytes.h"

static const uint8_t email_oid[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1};
static const uint8_t user_id_oid[] = {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1};
static const uint8_t domain_oid[] = {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25};

static const struct {
    struct der oid;
    const char *name;
} kinds[] = {
    {{(const uint8_t[]){0x55, 4, 3}, 3}, "CN"},
    {{(const uint8_t[]){0x55, 4, 5}, 3}, "serialNumber"},
    {{(const uint8_t[]){0x55, 4, 6}, 3}, "C"},
    {{(const uint8_t[]){0x55, 4, 7}, 3}, "L"},
    {{(const uint8_t[]){0x55, 4, 8}, 3}, "ST"},
    {{(const uint8_t[]){0x55, 4, 10}, 3}, "O"},
    {{(const uint8_t[]){0x55, 4, 11}, 3}, "OU"},
    {{user_id_oid, sizeof(user_id_oid)}, "UID"},
    {{domain_oid, sizeof(domain_oid)}, "DC"},
    {{email_oid, sizeof(email_oid)}, "emailAddress"},
};

bool certificate_name_next(struct certificate_name_walk *walk,
                           struct certificate_attribute *attribute)
{
    struct der sequence;
    struct der_element value;
    while (walk->set.size == 0)
        if (!der_take(&walk->rest, DER_SET, &walk->set))
            return false;
    if (!der_take(&walk->set, DER_SEQUENCE, &sequence) ||
        !der_take(&sequence, DER_OID, &attribute->oid) || !der_next(&sequence, &value))
        return false;
    attribute->tag = value.tag;
    attribute->value = value.content;
    return true;
}

bool certificate_name_is_whole(struct der name)
{
    struct certificate_name_walk walk = {.rest = name};
    struct certificate_attribute attribute;
    while (certificate_name_next(&walk, &attribute)) {
    }
    return walk.rest.size == 0 && walk.set.size == 0;
}

static bool is_text(uint8_t tag)
{
    return tag == DER_UTF8 || tag == DER_PRINTABLE || tag == DER_IA5;
}

static struct der without_outer_spaces(struct der text)
{
    while (text.size != 0 && text.bytes[0] == ' ')
        text = (struct der){text.bytes + 1, text.size - 1};
    while (text.size != 0 && text.bytes[text.size - 1] == ' ')
        text.size--;
    return text;
}

static uint8_t folded(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* The next character, with a run of spaces taken for one. */
static uint8_t take_folded(struct der *text)
{
    uint8_t c = folded(text->bytes[0]);
    do {
        text->bytes++;
        text->size--;
    } while (c == ' ' && text->size != 0 && text->bytes[0] == ' ');
    return c;
}

static bool is_equal_text(struct der a, struct der b)
{
    a = without_outer_spaces(a);
    b = without_outer_spaces(b);
    while (a.size != 0 && b.size != 0)
        if (take_folded(&a) != take_folded(&b))
            return false;
    return a.size == 0 && b.size == 0;
}

static bool is_equal_attribute(struct der *a, struct der *b)
{
    struct der in_a, in_b, oid_a, oid_b;
    struct der_element value_a, value_b;
    if (!der_take(a, DER_SEQUENCE, &in_a) || !der_take(b, DER_SEQUENCE, &in_b) ||
        !der_take(&in_a, DER_OID, &oid_a) || !der_take(&in_b, DER_OID, &oid_b) ||
        !der_is_equal(oid_a, oid_b) || !der_next(&in_a, &value_a) || !der_next(&in_b, &value_b))
        return false;
    return is_text(value_a.tag) && is_text(value_b.tag)
               ? is_equal_text(value_a.content, value_b.content)
               : der_is_equal(value_a.whole, value_b.whole);
}

static bool is_equal_set(struct der a, struct der b)
{
    while (a.size != 0 && b.size != 0)
        if (!is_equal_attribute(&a, &b))
            return false;
    return a.size == 0 && b.size == 0;
}

bool certificate_name_is_within(struct der name, struct der subtree)
{
    struct der in_name, in_subtree;
    while (subtree.size != 0)
        if (!der_take(&subtree, DER_SET, &in_subtree) || !der_take(&name, DER_SET, &in_name) ||
            !is_equal_set(in_name, in_subtree))
            return false;
    return true;
}

bool certificate_name_is_equal(struct der a, struct der b)
{
    return der_is_equal(a, b) ||
           (certificate_name_is_within(a, b) && certificate_name_is_within(b, a));
}

static void put_size(size_t size, certificate_name_put_fn *put, void *context)
{
    uint8_t bytes[4];
    bytes_put32(bytes, (uint32_t)size);
    put(context, bytes, sizeof(bytes));
}

static void fold_text(struct der text, certificate_name_put_fn *put, void *context)
{
    struct der left = without_outer_spaces(text);
    size_t size = 0;
    for (struct der counted = left; counted.size != 0; size++)
        (void)take_folded(&counted);
    put_size(size, put, context);
    while (left.size != 0) {
        uint8_t c = take_folded(&left);
        put(context, &c, 1);
    }
}

void certificate_name_fold(struct der name, certificate_name_put_fn *put, void *context)
{
    struct certificate_name_walk walk = {.rest = name};
    struct certificate_attribute attribute;
    uint8_t is_first = 1; /* of its RelativeDistinguishedName */
    while (certificate_name_next(&walk, &attribute)) {
        /* The tag of a text does not count. */
        uint8_t tag = is_text(attribute.tag) ? DER_UTF8 : attribute.tag;
        put(context, &is_first, 1);
        put_size(attribute.oid.size, put, context);
        put(context, attribute.oid.bytes, attribute.oid.size);
        put(context, &tag, 1);
        if (is_text(attribute.tag)) {
            fold_text(attribute.value, put, context);
        } else {
            put_size(attribute.value.size, put, context);
            put(context, attribute.value.bytes, attribute.value.size);
        }
        is_first = walk.set.size == 0;
    }
}

static bool is_kind(const struct certificate_attribute *attribute, const uint8_t *oid, size_t size)
{
    return der_is_equal(attribute->oid, (struct der){oid, size});
}

struct der certificate_name_common_name(struct der name)
{
    struct certificate_name_walk walk = {.rest = name};
    struct certificate_attribute attribute;
    struct der found = {NULL, 0};
    while (certificate_name_next(&walk, &attribute))
        if (is_kind(&attribute, kinds[0].oid.bytes, kinds[0].oid.size) &&
            (is_text(attribute.tag) || attribute.tag == DER_T61))
            found = attribute.value;
    return found;
}

bool certificate_attribute_is_email(const struct certificate_attribute *attribute)
{
    return is_kind(attribute, email_oid, sizeof(email_oid));
}

/* A text that grows up to its size; what does not fit is left out. */
struct text {
    char *bytes;
    size_t size, used;
    bool is_cut;
};

static void put(struct text *text, const char *bytes, size_t size)
{
    size_t room = text->size - 1 - text->used;
    if (size > room) {
        size = room;
        text->is_cut = true;
    }
    memcpy(text->bytes + text->used, bytes, size);
    text->used += size;
}

static void put_kind(struct text *text, const struct certificate_attribute *attribute)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (der_is_equal(attribute->oid, kinds[i].oid)) {
            put(text, kinds[i].name, strlen(kinds[i].name));
            return;
        }
    put(text, "?", 1);
}

static void put_attribute(struct text *text, const struct certificate_attribute *attribute)
{
    put_kind(text, attribute);
    put(text, "=", 1);
    for (size_t i = 0; i < attribute->value.size && !text->is_cut; i++) {
        char c = (char)attribute->value.bytes[i];
        if (c == ',' || c == '+' || c == '\\')
            put(text, "\\", 1);
        put(text, &c, 1);
    }
}

/* More attributes than this are shown from the front. */
enum { SHOWN_MAX = 16 };

void certificate_name_text(struct der name, char *bytes, size_t size)
{
    struct certificate_name_walk walk = {.rest = name};
    struct certificate_attribute attributes[SHOWN_MAX];
    size_t count = 0;
    while (count < SHOWN_MAX && certificate_name_next(&walk, &attributes[count]))
        count++;
    struct text text = {.bytes = bytes, .size = size};
    while (count-- > 0) { /* the most specific one stands last in a name */
        if (text.used != 0)
            put(&text, ",", 1);
        put_attribute(&text, &attributes[count]);
    }
    /* What is not printable stays: the log escapes it. A NUL would end the text, though. */
    for (size_t i = 0; i < text.used; i++)
        if (bytes[i] == '\0')
            bytes[i] = '?';
    bytes[text.used] = '\0';
    if (text.is_cut) {
        char *end = bytes + size - 4;
        while (end > bytes && (*end & 0xc0) == 0x80)
            end--; /* it would end within a character of UTF-8 */
        memcpy(end, "...", 4);
    }
}
