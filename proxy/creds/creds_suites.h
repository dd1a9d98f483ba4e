/* The cipher suites that a listener offers, in order of preference. Part of creds.c; pure. */
#ifndef CREDS_SUITES_H
#define CREDS_SUITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "creds/certificate.h"

/* Enough for all suites. */
#define CREDS_SUITES_TEXT_MAX 1024

/* What a listener has to make suites work. */
struct suite_means {
    uint32_t versions; /* bits CONFIG_VERSION_x */
    bool has_psk;
    bool has_certificate;     /* one that some device may use */
    enum certificate_key key; /* its key; KEY_UNKNOWN: any */
};

/* The names that wolfSSL takes, separated by colons, into text. `ciphers` empty: the default list.
 * Else those of `ciphers` (separated by colons, commas or spaces, wolfSSL's or IANA's names), in
 * its order; or, if each has a - before it, the default list without them. Only those that work
 * with the means. False if a name is unknown or refused, if some have a - and others have not, or
 * if none is left. */
bool creds_suites_choose(const char *ciphers, const struct suite_means *means,
                         char text[CREDS_SUITES_TEXT_MAX], struct err *err) MUST_USE;

/* Those that `ciphers` names, and that do not work with the means, in the same form; empty: none,
 * or it names what the default list is to go without. Returns text. */
const char *creds_suites_left_out(const char *ciphers, const struct suite_means *means,
                                  char text[CREDS_SUITES_TEXT_MAX]);

/* The versions, bits CONFIG_VERSION_x, that the suites in a text as creds_suites_choose() makes it
 * are of. */
uint32_t creds_suites_versions(const char *text);

/* True if one of the suites in a text as creds_suites_choose() makes it can use a certificate with
 * a key of that kind. */
bool creds_suites_serve(const char *text, enum certificate_key key);

/* The same names, by their codes. Returns text. */
const char *creds_suites_text(const uint16_t *codes, size_t count,
                              char text[CREDS_SUITES_TEXT_MAX]);

/* IANA's name of a suite that `ciphers` may name, by its code there; "unknown" for another one. */
const char *creds_suites_name(uint16_t code);

/* Every suite that `ciphers` may name, separated by colons, into text; returns text. */
const char *creds_suites_all(char text[CREDS_SUITES_TEXT_MAX]);

#endif
