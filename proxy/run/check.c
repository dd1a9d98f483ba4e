#include "run/check.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_print.h"
#include "creds/certificate_name.h"
#include "creds/creds_suites.h"
#include "run/bind_check.h"
#include "run/privileges.h"
#include "run/reload.h"

int check_status(const struct problems *problems)
{
    if (problems->error_count == 0)
        return EXIT_SUCCESS;
    return problems->lasting_count > 0 ? EXIT_USAGE : EXIT_RUN_TIME;
}

static bool is_self(const char *user)
{
    const struct passwd *entry = getpwnam(user);
    return entry != NULL && entry->pw_uid == geteuid();
}

static bool become(const char *user, struct err *err)
{
    if (user == NULL || is_self(user))
        return true;
    if (geteuid() != 0)
        return err_set(err, "only root can check as another user; run this as root, or as %.100s",
                       user);
    return privileges_drop(user, err);
}

/* What another user is denied, root does not notice. */
static void print_who(const struct config *config, FILE *out)
{
    const struct passwd *entry = getpwuid(geteuid());
    if (entry != NULL)
        fprintf(out, "checked as %s", entry->pw_name);
    else
        fprintf(out, "checked as the user %u", (unsigned)geteuid());
    if (geteuid() != 0)
        fprintf(out, "\n");
    else if (config != NULL && config->gate.user[0] != '\0')
        fprintf(out, ", which the gate is until it has read its files and becomes %s\n",
                config->gate.user);
    else
        fprintf(out,
                "; if the gate runs as another user, --as USER checks what that one may read\n");
}

static void print_count(FILE *out, const char *path, size_t count, const char *one,
                        const char *several)
{
    fprintf(out, "  %s: %zu %s\n", path, count, count == 1 ? one : several);
}

static void print_crl(const struct crl_of_ca *crl, FILE *out)
{
    char name[CERTIFICATE_NAME_TEXT_MAX], date[CERTIFICATE_DATE_TEXT_MAX];
    certificate_name_text(crl->name, name, sizeof(name));
    fprintf(out, "  CRL of %s: %zu revoked, %s%s\n", name, crl->revoked.count,
            crl->next_update != CRL_NEVER ? "good until " : "without an end",
            crl->next_update != CRL_NEVER ? certificate_date_text(crl->next_update, date) : "");
}

/* What was read from each file whose content is counted: a file that was cut, or is another one
 * than was meant, shows here. */
static void print_credentials(const struct listener *listener, FILE *out)
{
    const struct listener_config *config = listener->config;
    const struct creds *creds = listener->creds;
    for (uint32_t i = 0; i < config->psk_file.count; i++)
        print_count(out, config->psk_file.at[i], psk_count_of_file(creds->psks, i), "identity",
                    "identities");
    if (creds->anchors.count != 0)
        print_count(out, config->client_ca, creds->anchors.count, "CA", "CAs");
    for (size_t i = 0; i < creds->crls.count; i++)
        print_crl(&creds->crls.crls[i], out);
    if (creds->deny != NULL)
        print_count(out, config->deny_file,
                    deny_identity_count(creds->deny) + deny_key_count(creds->deny), "denied device",
                    "denied devices");
}

static void print_all_credentials(const struct generation *generation, FILE *out)
{
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        fprintf(out, "[listener %s]\n", generation->listeners[i].config->name);
        print_credentials(&generation->listeners[i], out);
    }
}

/* The suites of each listener as they are offered, not as they are asked for. */
static void print_settings(const struct generation *generation, FILE *out)
{
    char texts[CONFIG_LISTENERS_MAX][CREDS_SUITES_TEXT_MAX];
    const char *ciphers[CONFIG_LISTENERS_MAX];
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct creds *creds = generation->listeners[i].creds;
        ciphers[i] = creds_suites_text(creds->suites, creds->suite_count, texts[i]);
    }
    config_print(generation->config, ciphers, out);
}

int check_run(const char *path, const char *as_user, bool is_print)
{
    struct problems problems;
    struct err err = {0};
    if (!become(as_user, &err)) {
        fprintf(stderr, "dtlsgate: --as %s: %s\n", as_user, err.text);
        return EXIT_RUN_TIME;
    }
    problems_init(&problems);
    struct generation *generation = reload_build(path, &problems);
    if (generation != NULL && !is_print)
        bind_check(generation->config, "", &problems);
    for (uint32_t i = 0; i < problems.count; i++)
        fprintf(stderr, "%s: %s\n", problems.is_warning[i] ? "warning" : "error",
                problems.texts[i]);
    int status = check_status(&problems);
    if (generation != NULL && is_print) {
        print_settings(generation, stdout);
    } else if (generation != NULL) {
        printf("%s: good, ", path);
        print_who(generation->config, stdout);
        print_all_credentials(generation, stdout);
    } else {
        print_who(NULL, stderr);
    }
    reload_release(generation);
    problems_deinit(&problems);
    return status;
}
