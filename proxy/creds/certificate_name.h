/* Names of certificates: content of a Name, a sequence of attributes. Part of certificate.c; pure.
 */
#ifndef CERTIFICATE_NAME_H
#define CERTIFICATE_NAME_H

#include "base/der.h"

/* RFC 5280 section 7.1, as far as OpenSSL goes: letters of ASCII are compared without case, and
 * spaces as if there were one between words and none around. */
bool certificate_name_is_equal(struct der a, struct der b);

/* Gives `put` bytes that are the same for names that are equal, and others for others. */
typedef void certificate_name_put_fn(void *context, const uint8_t *bytes, size_t size);
void certificate_name_fold(struct der name, certificate_name_put_fn *put, void *context);

/* True if the name begins with all of the subtree, an empty one included. */
bool certificate_name_is_within(struct der name, struct der subtree);

/* One attribute of a name: walks them in their order. */
struct certificate_attribute {
    struct der oid;
    uint8_t tag;
    struct der value;
};

struct certificate_name_walk {
    struct der rest, set;
};

/* False at the end. What cannot be read is the end, too: certificate_name_is_whole(), which holds
 * for every name of a certificate that was parsed, says that there is nothing of that kind. */
bool certificate_name_next(struct certificate_name_walk *walk,
                           struct certificate_attribute *attribute);

bool certificate_name_is_whole(struct der name);

/* The last commonName, which is the most specific one, or bytes NULL. */
struct der certificate_name_common_name(struct der name);
bool certificate_attribute_is_email(const struct certificate_attribute *attribute);

/* As RFC 4514 writes it: "CN=device,O=example". What does not fit is cut and ends in "...". */
void certificate_name_text(struct der name, char *text, size_t size);

#endif
