/* CRLs out of PEM files, verified, with what is wrong with them said in words. Part of creds.c. */
#ifndef CREDS_CRL_H
#define CREDS_CRL_H

#include "base/problems.h"
#include "config/config.h"
#include "creds/certificate_path.h"
#include "creds/crl_set.h"

/* Adds the CRLs of all files to the set. Each must be of one of the CAs that are trusted, and each
 * of these must have one. A CA in between, which devices show themselves, may have its certificate
 * in one of the files beside its CRL: this verifies the CRL, and makes nobody trusted. All errors
 * and warnings are added; `where` names the setting. */
void creds_crl_load(struct crl_set *set, const struct certificate_anchors *trusted,
                    const struct config_paths *paths, const char *where, struct problems *problems);

#endif
