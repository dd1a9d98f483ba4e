/* Whether a device's certificate leads to a CA that is trusted: finds a path through what the
 * device shows and checks it by itself (RFC 5280 section 6.1). Keeps nothing: what one device shows
 * is of no use to another. Pure but for memory; any thread. */
#ifndef CERTIFICATE_PATH_H
#define CERTIFICATE_PATH_H

#include "creds/certificate.h"

enum {
    /* Certificates that a device may show, those that it needs not included. */
    CERTIFICATE_SHOWN_MAX = 16,
    /* Certificates of a path, the trusted one included. */
    CERTIFICATE_PATH_MAX = 10,
    /* Signatures that are verified for one device at most, whatever it shows. */
    CERTIFICATE_VERIFICATIONS_MAX = 32,
};

/* The certificates that are trusted: CAs, self-signed or not. Immutable when loaded, read by all
 * workers. */
struct certificate_anchors {
    struct certificate *certificates; /* owned, with the DER that they point into */
    size_t count;
};

enum anchor_added {
    ANCHOR_ADDED,
    ANCHOR_KNOWN,
    ANCHOR_UNREADABLE,
    ANCHOR_NOT_A_CA,
    ANCHOR_NO_MEMORY
};

/* Adds a copy of a certificate, whatever the time is: dates count when a path is checked. */
enum anchor_added certificate_anchors_add(struct certificate_anchors *anchors, struct der der);
/* When the first of them expires, seconds since 1970; there must be one. */
int64_t certificate_anchors_not_after(const struct certificate_anchors *anchors);
/* Leaves it empty. */
void certificate_anchors_deinit(struct certificate_anchors *anchors);

/* A path: the device's own certificate first, the trusted one last. */
struct certificate_path {
    const struct certificate *certificates[CERTIFICATE_PATH_MAX];
    size_t count;
};

/* Looks at a path that is good otherwise, e.g. for revocation. FLAW_NONE, or why not this path,
 * with the place of the certificate in it. */
typedef enum certificate_flaw certificate_path_fn(const struct certificate_path *path, size_t *at,
                                                  void *context);

struct certificate_request {
    const struct certificate_anchors *anchors;
    const struct der *shown; /* by the device, its own first */
    size_t shown_count;
    int64_t now;               /* seconds since 1970 */
    certificate_path_fn *also; /* NULL: a path that is good is good */
    void *also_context;
};

struct certificate_verdict {
    enum certificate_flaw flaw; /* FLAW_NONE: the device may enter */
    bool is_read;               /* the device's own certificate could be parsed */
    struct certificate own;     /* if so */
    struct certificate refused; /* with a flaw: whose it is; its version is 0 if it was not read */
    int64_t not_after;          /* without a flaw: the earliest in the path */
    int verifications;          /* signatures that were verified, which is what all this costs */
};

/* What the verdict names points into `shown` and the anchors. */
void certificate_path_check(const struct certificate_request *request,
                            struct certificate_verdict *verdict);

/* The alert that a device is sent for a flaw (RFC 8446 section 6.2). */
uint8_t certificate_flaw_alert(enum certificate_flaw flaw);

#endif
