/* What can be said to the control socket, as commands.def declares it: from words to a checked
 * request, and help on each. Knows no socket; both ends use it. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr_prefix.h"
#include "base/err.h"
#include "base/log.h"
#include "config/config.h"
#include "creds/psk.h"

enum {
    COMMAND_LINE_MAX = 1024, /* bytes of a line, without its newline */
    COMMAND_WORDS_MAX = 32,
    COMMAND_SECONDS_MAX = 3600, /* of a trace */
    COMMAND_SECONDS_USUAL = 60,
};

enum command {
#define COMMAND(member, ...) COMMAND_##member,
#include "run/commands.def"
    COMMAND_COUNT
};

enum command_option {
#define COMMAND_OPTION(member, ...) COMMAND_OPTION_##member,
#include "run/commands.def"
    COMMAND_OPTION_COUNT
};

/* A bit for each option. */
#define COMMAND_TAKES(member) (1u << COMMAND_OPTION_##member)

/* Members that were not given are zero; `given` tells, by option. */
struct command_request {
    enum command command;
    uint32_t given;
    uint8_t identity[PSK_IDENTITY_MAX];
    size_t identity_len;
    struct addr_prefix client;
    char listener[CONFIG_NAME_MAX + 1]; /* of --listener, or the argument; "" = none */
    struct addr backend_source;         /* of --backend-source, or the argument; port 0 = any */
    uint64_t session, limit, seconds;
    enum log_level level;
};

/* The name of a command, and whether it changes something. */
const char *command_name(enum command command);
bool command_is_change(enum command command);
/* False: there is none of that name. */
bool command_find(enum command *command, const char *name) MUST_USE;

/* Reads words; what is not given has its usual value. False with err: what is wrong, and what would
 * be right. */
bool command_parse(struct command_request *request, const char *const *words, size_t count,
                   struct err *err) MUST_USE;

/* Splits a line into words at blanks, in place; a word in double quotes may have blanks, and \" and
 * \\ for these two. words has room for COMMAND_WORDS_MAX. */
bool command_split(char *line, const char **words, size_t *count, struct err *err) MUST_USE;
/* The other way round, with a newline at the end. False: longer than COMMAND_LINE_MAX, or a word
 * has a control character. */
bool command_join(const char *const *words, size_t count, char line[COMMAND_LINE_MAX + 2],
                  struct err *err) MUST_USE;

/* What --help writes: of all commands in a line each, or of one. */
void command_list(FILE *to);
void command_help(enum command command, FILE *to);

#endif
