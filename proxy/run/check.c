#include "run/check.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_print.h"
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
    for (uint32_t i = 0; i < problems.count; i++)
        fprintf(stderr, "%s: %s\n", problems.is_warning[i] ? "warning" : "error",
                problems.texts[i]);
    int status = check_status(&problems);
    if (generation != NULL && is_print) {
        config_print(generation->config, stdout);
    } else if (generation != NULL) {
        printf("%s: good, ", path);
        print_who(generation->config, stdout);
    } else {
        print_who(NULL, stderr);
    }
    reload_release(generation);
    problems_deinit(&problems);
    return status;
}
