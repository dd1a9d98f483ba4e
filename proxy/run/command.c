#include "run/command.h"

#include <string.h>

#include "backend/slots.h"
#include "base/printable.h"
#include "base/similar.h"

/* Letters that a command may differ in to be meant. */
enum { SIMILAR_MAX = 2 };

struct option {
    const char *key, *value, *help;
};

struct description {
    const char *name, *argument, *help, *answer;
    uint32_t options;
    bool is_change;
};

static const struct option options[] = {
#define COMMAND_OPTION(member, ...) {__VA_ARGS__},
#include "run/commands.def"
};

static const struct description commands[] = {
#define COMMAND(member, name_text, argument_text, takes, changes, help_text, answer_text) \
    {name_text, argument_text, help_text, answer_text, takes, changes},
#include "run/commands.def"
};

const char *command_name(enum command command)
{
    return commands[command].name;
}

bool command_is_change(enum command command)
{
    return commands[command].is_change;
}

bool command_find(enum command *command, const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            *command = (enum command)i;
            return true;
        }
    }
    return false;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool parse_number(uint64_t *number, const char *what, const char *text, uint64_t max,
                         struct err *err)
{
    *number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && *number <= max; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (*number > (UINT64_MAX - digit) / 10)
            break;
        *number = *number * 10 + digit;
    }
    return (at != text && *at == '\0' && *number <= max) ||
           err_set(err, "%s: '%.40s' is no number from 0 to %llu", what, text,
                   (unsigned long long)max);
}

static bool parse_listener(struct command_request *request, const char *text, struct err *err)
{
    size_t len = strlen(text);
    if (len == 0 || len > CONFIG_NAME_MAX)
        return err_set(err, "'%.40s' is no name of a listener", text);
    memcpy(request->listener, text, len + 1);
    return true;
}

static bool parse_backend_source(struct command_request *request, const char *text, struct err *err)
{
    struct addr_prefix prefix;
    if (!addr_prefix_parse(&prefix, text, err))
        return false;
    request->backend_source = prefix.addr;
    return (prefix.bits == 32 && slots_number_of_addr(&prefix.addr) != SLOTS_NONE) ||
           err_set(err,
                   "'%.80s' is no address that a server sees sessions at: one of those in "
                   "127.0.0.0/8, with the port or without it; for that of a device there is "
                   "sessions --client",
                   text);
}

static bool parse_identity(struct command_request *request, const char *text, struct err *err)
{
    return (printable_parse(text, request->identity, sizeof(request->identity),
                            &request->identity_len) &&
            request->identity_len != 0) ||
           err_set(err,
                   "--identity: '%.80s' is none: 1 to %d bytes, with \\\\ for a backslash and "
                   "\\xHH for a byte that cannot be printed",
                   text, PSK_IDENTITY_MAX);
}

static bool parse_level(struct command_request *request, const char *text, struct err *err)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (strcmp(text, "warn") == 0) /* as log_level takes it */
        text = "warning";
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            request->level = (enum log_level)i;
            return true;
        }
    }
    return err_set(err, "'%.40s' is no level; there are error, warning, info and debug", text);
}

static bool parse_option(struct command_request *request, enum command_option option,
                         const char *value, struct err *err)
{
    const char *key = options[option].key;
    switch (option) {
    case COMMAND_OPTION_identity: return parse_identity(request, value, err);
    case COMMAND_OPTION_client: return addr_prefix_parse(&request->client, value, err);
    case COMMAND_OPTION_listener: return parse_listener(request, value, err);
    case COMMAND_OPTION_backend_source: return parse_backend_source(request, value, err);
    case COMMAND_OPTION_session:
        return parse_number(&request->session, key, value, UINT64_MAX, err);
    case COMMAND_OPTION_limit: return parse_number(&request->limit, key, value, UINT64_MAX, err);
    case COMMAND_OPTION_seconds:
        return parse_number(&request->seconds, key, value, COMMAND_SECONDS_MAX, err);
    case COMMAND_OPTION_farewell:
    case COMMAND_OPTION_COUNT: break;
    }
    return true;
}

static bool parse_argument(struct command_request *request, const char *text, struct err *err)
{
    switch (request->command) {
    case COMMAND_session: return parse_backend_source(request, text, err);
    case COMMAND_drain:
    case COMMAND_undrain: return parse_listener(request, text, err);
    case COMMAND_log_level: return parse_level(request, text, err);
    default: return err_set(err, "%s takes no '%.40s'", command_name(request->command), text);
    }
}

/* ---- words ---------------------------------------------------------------------------------- */

static bool find_command(struct command_request *request, const char *name, struct err *err)
{
    if (command_find(&request->command, name))
        return true;
    const char *similar = NULL;
    size_t best = SIMILAR_MAX + 1;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        size_t distance = similar_distance(name, commands[i].name);
        if (distance < best) {
            best = distance;
            similar = commands[i].name;
        }
    }
    return err_set(err, "there is no command '%.40s'%s%s; dtlsgate ctl --help lists them", name,
                   similar != NULL ? "; is it " : "", similar != NULL ? similar : "");
}

/* COMMAND_OPTION_COUNT with err: the command has none of that name. */
static enum command_option find_option(const struct command_request *request, const char *key,
                                       struct err *err)
{
    const char *name = command_name(request->command);
    for (int i = 0; i < COMMAND_OPTION_COUNT; i++)
        if (strcmp(key, options[i].key) == 0 &&
            (commands[request->command].options & (1u << i)) != 0)
            return (enum command_option)i;
    err_set(err, "%s has no option '%.40s'; dtlsgate ctl %s --help lists them", name, key, name);
    return COMMAND_OPTION_COUNT;
}

/* What a command needs. */
static bool is_complete(const struct command_request *request, bool has_argument, struct err *err)
{
    const struct description *command = &commands[request->command];
    if (!has_argument && command->argument[0] != '\0' && command->argument[0] != '[')
        return err_set(err, "%s needs %s", command->name, command->argument);
    if (request->command == COMMAND_close && request->given == 0)
        return err_set(err, "close needs --identity, --session or --listener: it ends those "
                            "sessions that fit all that are given");
    if (request->command == COMMAND_trace && (request->given & COMMAND_TAKES(identity)) == 0 &&
        !((request->given & COMMAND_TAKES(seconds)) != 0 && request->seconds == 0))
        return err_set(err, "trace needs --identity, or --seconds 0 to end it");
    return true;
}

bool command_parse(struct command_request *request, const char *const *words, size_t count,
                   struct err *err)
{
    bool has_argument = false;
    *request = (struct command_request){.seconds = COMMAND_SECONDS_USUAL, .limit = UINT64_MAX};
    if (count == 0)
        return err_set(err, "no command; dtlsgate ctl --help lists them");
    if (!find_command(request, words[0], err))
        return false;
    for (size_t i = 1; i < count; i++) {
        if (words[i][0] != '-' || words[i][1] == '\0') {
            if (has_argument || commands[request->command].argument[0] == '\0')
                return err_set(err, "%s takes no '%.40s'", command_name(request->command),
                               words[i]);
            has_argument = true;
            if (!parse_argument(request, words[i], err))
                return false;
            continue;
        }
        enum command_option option = find_option(request, words[i], err);
        if (option == COMMAND_OPTION_COUNT)
            return false;
        bool has_value = options[option].value[0] != '\0';
        if ((request->given & (1u << option)) != 0)
            return err_set(err, "%s stands there twice", words[i]);
        if (has_value && i + 1 == count)
            return err_set(err, "%s needs %s", words[i], options[option].value);
        request->given |= 1u << option;
        if (!parse_option(request, option, has_value ? words[++i] : "", err))
            return false;
    }
    return is_complete(request, has_argument, err);
}

/* ---- lines ---------------------------------------------------------------------------------- */

static bool is_control(char c)
{
    return (c >= 0 && c < ' ') || c == 0x7f;
}

/* Behind the opening quote. Writes the word over the line, and leaves *at behind the closing one.
 */
static bool take_quoted(char **at, struct err *err)
{
    char *to = *at;
    const char *from = *at;
    while (*from != '"') {
        if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
            from++;
        if (*from == '\0')
            return err_set(err, "a word has no closing quote");
        *to++ = *from++;
    }
    *at += from + 1 - *at;
    if (**at != '\0' && **at != ' ')
        return err_set(err, "behind a closing quote must be a blank");
    *to = '\0'; /* upon the closing quote, or before it */
    return true;
}

bool command_split(char *line, const char **words, size_t *count, struct err *err)
{
    *count = 0;
    for (const char *c = line; *c != '\0'; c++)
        if (is_control(*c))
            return err_set(err, "a line has no control characters; write \\xHH in an identity");
    for (char *at = line + strspn(line, " "); *at != '\0'; at += strspn(at, " ")) {
        if (*count == COMMAND_WORDS_MAX)
            return err_set(err, "more than %d words", COMMAND_WORDS_MAX);
        if (*at == '"') {
            words[(*count)++] = ++at;
            if (!take_quoted(&at, err))
                return false;
        } else {
            words[(*count)++] = at;
            at += strcspn(at, " ");
        }
        if (*at == ' ')
            *at++ = '\0';
    }
    return true;
}

static bool needs_quotes(const char *word)
{
    return word[0] == '\0' || word[0] == '"' || strchr(word, ' ') != NULL;
}

/* What is longer than the line is lost, but counted. */
static void append(char line[COMMAND_LINE_MAX + 2], size_t *len, char c)
{
    if (*len < COMMAND_LINE_MAX)
        line[*len] = c;
    (*len)++;
}

static void append_word(char line[COMMAND_LINE_MAX + 2], size_t *len, const char *word)
{
    bool is_quoted = needs_quotes(word);
    if (is_quoted)
        append(line, len, '"');
    for (const char *c = word; *c != '\0'; c++) {
        if (is_quoted && (*c == '"' || *c == '\\'))
            append(line, len, '\\');
        append(line, len, *c);
    }
    if (is_quoted)
        append(line, len, '"');
}

bool command_join(const char *const *words, size_t count, char line[COMMAND_LINE_MAX + 2],
                  struct err *err)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        for (const char *c = words[i]; *c != '\0'; c++)
            if (is_control(*c))
                return err_set(err, "'%.40s' has a control character; in an identity write \\xHH",
                               words[i]);
        if (i > 0)
            append(line, &len, ' ');
        append_word(line, &len, words[i]);
    }
    if (len > COMMAND_LINE_MAX)
        return err_set(err, "the command is too long: with its quotes it has more than %d bytes",
                       COMMAND_LINE_MAX);
    line[len++] = '\n';
    line[len] = '\0';
    return true;
}

/* ---- help ----------------------------------------------------------------------------------- */

void command_list(FILE *to)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        char name[40];
        snprintf(name, sizeof(name), "%s %s", commands[i].name, commands[i].argument);
        fprintf(to, "  %-24s %s\n", name, commands[i].help);
    }
}

void command_help(enum command command, FILE *to)
{
    const struct description *c = &commands[command];
    fprintf(to, "Usage: dtlsgate ctl [-c FILE | --socket PATH] [--json] %s%s%s%s\n%s\n", c->name,
            c->options != 0 ? " [OPTION]..." : "", c->argument[0] != '\0' ? " " : "", c->argument,
            c->help);
    if (c->options != 0)
        fputc('\n', to);
    for (int i = 0; i < COMMAND_OPTION_COUNT; i++) {
        char key[40];
        if ((c->options & (1u << i)) == 0)
            continue;
        snprintf(key, sizeof(key), "%s %s", options[i].key, options[i].value);
        fprintf(to, "  %-26s %s\n", key, options[i].help);
    }
    fprintf(to,
            "\nAnswer with --json: %s; in the end {\"done\": true, \"ok\": true or false}.\n"
            "Exit status: 0 done; 1 the gate says no; 2 wrong usage; 3 no gate answers there.\n",
            c->answer);
}
