#include "config/config_value.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "config/config_explain.h"
#include "config/config_item.h"
#include "config/config_paths.h"

/* Texts of the kinds that are a choice, in the order of their enums; NULL ends. */
static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARNING] = "warning",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
    NULL,
};
static const char *const format_names[] = {[LOG_LOGFMT] = "logfmt", [LOG_JSON] = "json", NULL};
static const char *const role_names[] = {[ROLE_SERVER_ONLY] = "server-only", NULL};
static const char *const client_auth_names[] = {
    [CLIENT_AUTH_REQUIRED] = "required",
    [CLIENT_AUTH_OPTIONAL] = "optional",
    [CLIENT_AUTH_NONE] = "none",
    NULL,
};
static const char *const key_change_names[] = {"keep", "end", NULL};
static const char *const sandbox_names[] = {"on", "log", "off", NULL};
/* In the order of the bits CONFIG_VERSION_x. */
static const char *const version_names[] = {"1.2", "1.3", NULL};
enum { ALL_VERSIONS = CONFIG_VERSION_1_2 | CONFIG_VERSION_1_3 };

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
enum { UNIT_COUNT = sizeof(units) / sizeof(units[0]) };

/* --- numbers and durations --- */

/* Reads leading digits; *end is what follows them. False if there are none or the number is too
 * large for any setting. */
static bool parse_digits(const char *text, uint64_t *value, const char **end)
{
    size_t len = strspn(text, "0123456789");
    *end = text + len;
    if (len == 0 || len > 15)
        return false;
    *value = strtoull(text, NULL, 10);
    return true;
}

static bool parse_u32(const struct setting *setting, const char *text, uint32_t *member,
                      struct err *err)
{
    uint64_t value = 0;
    const char *end;
    bool is_readable = parse_digits(text, &value, &end);
    if (end == text || *end != '\0')
        return err_set(err, "not a whole number; it can be from %" PRIu64 " to %" PRIu64,
                       setting->min, setting->max);
    if (!is_readable || value < setting->min || value > setting->max)
        return err_set(err, "out of range; it can be from %" PRIu64 " to %" PRIu64, setting->min,
                       setting->max);
    *member = (uint32_t)value;
    return true;
}

/* CPUs that this process may run on. */
static uint64_t permitted_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (uint64_t)CPU_COUNT(&set);
    /* The kernel's set is larger than cpu_set_t. */
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint64_t)online : 1;
}

/* The same, of which a control group may give it the time of fewer, in parts too. */
static uint64_t usable_cpus(void)
{
    struct cgroup_limits limits;
    cgroup_read("", &limits);
    uint64_t cpus = permitted_cpus(), quota = (limits.cpu_milli + 999) / 1000;
    return quota != 0 && quota < cpus ? quota : cpus;
}

static bool parse_workers(const struct setting *setting, const char *text, uint32_t *member,
                          struct err *err)
{
    if (strcmp(text, "auto") == 0) {
        uint64_t cpus = usable_cpus();
        *member = (uint32_t)(cpus < setting->max ? cpus : setting->max);
        return true;
    }
    if (!isdigit((unsigned char)text[0]))
        return err_set(err,
                       "neither auto nor a number; it can be auto, or from %" PRIu64 " to %" PRIu64,
                       setting->min, setting->max);
    return parse_u32(setting, text, member, err);
}

/* The largest unit that leaves no remainder; 0 has none. */
static const char *format_duration(uint64_t ms, char *text, size_t size)
{
    size_t unit = 0;
    while (unit < UNIT_COUNT - 1 && ms % units[unit].ms != 0)
        unit++;
    snprintf(text, size, "%" PRIu64 "%s", ms / units[unit].ms, ms != 0 ? units[unit].name : "");
    return text;
}

static bool parse_duration(const struct setting *setting, const char *text, uint64_t *member,
                           struct err *err)
{
    uint64_t value = 0;
    const char *end;
    bool is_readable = parse_digits(text, &value, &end);
    char least[32], most[32];
    format_duration(setting->min, least, sizeof(least));
    format_duration(setting->max, most, sizeof(most));

    if (end == text)
        return err_set(err,
                       "not a duration; it is a whole number with a unit (ms, s, m, h, d), "
                       "from %s to %s",
                       least, most);
    if (*end == '\0' && value == 0 && setting->min == 0) {
        *member = 0;
        return true;
    }
    if (*end == '\0')
        return err_set(err,
                       "durations need a unit (ms, s, m, h, d); write %.20ss if seconds were "
                       "meant",
                       text);
    size_t unit = 0;
    while (unit < UNIT_COUNT && strcmp(units[unit].name, end) != 0)
        unit++;
    if (unit == UNIT_COUNT)
        return err_set(err,
                       "'%.20s' is not a unit; a duration is a whole number with a unit right "
                       "after it (ms, s, m, h, d)",
                       end);
    /* Compared before the multiplication, which could overflow. */
    if (!is_readable || value > setting->max / units[unit].ms ||
        value * units[unit].ms < setting->min)
        return err_set(err, "out of range; it can be from %s to %s", least, most);
    *member = value * units[unit].ms;
    return true;
}

/* --- lists --- */

static bool parse_addr(const struct setting *setting, const char *text, struct addr *member,
                       struct err *err)
{
    const char *example = setting->default_text ? setting->default_text : "127.0.0.1:5683";
    if (text[0] == '\0' || (setting->default_text && strcmp(text, "off") == 0)) {
        *member = (struct addr){0};
        return true;
    }
    return config_explain_addr(text, example, false, err) && addr_parse(member, text, err);
}

static bool parse_addrs(const char *text, struct addr_list *member, struct err *err)
{
    struct addr_list list = {0};
    for (const char *rest = text; rest;) {
        char item[256];
        if (!config_item_take(&rest, item, sizeof(item)))
            return err_set(err, "an address is too long; write it like 192.0.2.1:5684");
        if (item[0] == '\0')
            return err_set(err, "an address between commas is missing; addresses are separated by "
                                "one comma each");
        if (list.count == CONFIG_LISTEN_MAX)
            return err_set(err, "more than %d addresses; put the others into another listener",
                           CONFIG_LISTEN_MAX);
        if (!config_explain_addr(item, "0.0.0.0:5684", true, err) ||
            !addr_parse(&list.addrs[list.count], item, err))
            return false;
        list.count++;
    }
    *member = list;
    return true;
}

/* also: what else the setting can be, to be told with an error. */
static bool parse_versions(const char *text, const char *also, uint32_t *member, struct err *err)
{
    uint32_t versions = 0;
    for (const char *rest = text; rest;) {
        char item[32] = "";
        if (!config_item_take(&rest, item, sizeof(item)))
            snprintf(item, sizeof(item), "%.25s...", text);
        unsigned i = 0;
        while (version_names[i] && strcmp(version_names[i], item) != 0)
            i++;
        if (!version_names[i])
            return err_set(err,
                           "'%s' is not a DTLS version that the gate speaks; it can be %s1.2, "
                           "1.3, or both with a comma between",
                           item, also);
        if (versions & (1u << i))
            return err_set(err, "%s stands there twice; name each version once", item);
        versions |= 1u << i;
    }
    *member = versions;
    return true;
}

static bool parse_tickets(const char *text, uint32_t *member, struct err *err)
{
    bool is_on = strcmp(text, "on") == 0;
    if (!is_on && strcmp(text, "off") != 0)
        return parse_versions(text, "on, off, ", member, err);
    *member = is_on ? ALL_VERSIONS : 0;
    return true;
}

/* --- choices --- */

/* The place of `text` in names; -1 with err if it is not there. */
static int find_choice(const char *const *names, const char *text, struct err *err)
{
    char all[128] = "";
    size_t len = 0;
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "", names[i]);
        assert(len < sizeof(all));
    }
    (void)err_set(err, "not one of the choices; it can be %s", all);
    return -1;
}

static bool parse_role(const char *text, enum role *member, struct err *err)
{
    if (strcmp(text, role_names[ROLE_SERVER_ONLY]) != 0)
        return err_set(err, "the gate is only ever the DTLS server: it never begins a handshake "
                            "toward a device, because a device whose session has ended could not "
                            "answer one; the only role is server-only");
    *member = ROLE_SERVER_ONLY;
    return true;
}

static bool parse_switch(const char *text, bool *member, struct err *err)
{
    bool is_on = strcmp(text, "on") == 0;
    if (!is_on && strcmp(text, "off") != 0)
        return err_set(err, "not one of the choices; it can be on, off");
    *member = is_on;
    return true;
}

static bool parse_mode(const char *text, uint32_t *member, struct err *err)
{
    size_t len = strlen(text);
    if (len < 3 || len > 4 || strspn(text, "01234567") != len || (len == 4 && text[0] != '0'))
        return err_set(err, "not permission bits; write three octal digits, such as 660: of the "
                            "owner, the group and everybody else");
    *member = (uint32_t)strtoul(text, NULL, 8);
    return true;
}

/* --- all kinds --- */

bool config_value_is_list(const struct setting *setting)
{
    static const enum setting_kind lists[] = {SETTING_ADDRS, SETTING_VERSIONS, SETTING_TICKETS,
                                              SETTING_PATHS, SETTING_NAMES};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        if (setting->kind == lists[i])
            return true;
    return false;
}

bool config_value_parse(const struct setting *setting, const char *text, const char *folder,
                        void *member, struct err *err)
{
    int choice;

    if (text[0] == '\0' && !setting->default_text)
        return err_set(err, "empty; this key needs a value");
    switch (setting->kind) {
    case SETTING_U32: return parse_u32(setting, text, member, err);
    case SETTING_WORKERS: return parse_workers(setting, text, member, err);
    case SETTING_DURATION: return parse_duration(setting, text, member, err);
    case SETTING_ADDR: return parse_addr(setting, text, member, err);
    case SETTING_ADDRS: return parse_addrs(text, member, err);
    case SETTING_NAMES:
    case SETTING_STRING: return config_string_parse(text, member, err);
    case SETTING_PATH: return config_path_parse(text, folder, member, err);
    case SETTING_LEVEL:
        choice = find_choice(level_names, strcmp(text, "warn") == 0 ? "warning" : text, err);
        if (choice >= 0)
            *(enum log_level *)member = (enum log_level)choice;
        return choice >= 0;
    case SETTING_FORMAT:
        choice = find_choice(format_names, text, err);
        if (choice >= 0)
            *(enum log_format *)member = (enum log_format)choice;
        return choice >= 0;
    case SETTING_ROLE: return parse_role(text, member, err);
    case SETTING_VERSIONS: return parse_versions(text, "", member, err);
    case SETTING_CLIENT_AUTH:
        choice = find_choice(client_auth_names, text, err);
        if (choice >= 0)
            *(enum client_auth *)member = (enum client_auth)choice;
        return choice >= 0;
    case SETTING_TICKETS: return parse_tickets(text, member, err);
    case SETTING_PATHS: return config_paths_parse(text, folder, member, err);
    case SETTING_SWITCH: return parse_switch(text, member, err);
    case SETTING_MODE: return parse_mode(text, member, err);
    case SETTING_KEY_CHANGE:
        choice = find_choice(key_change_names, text, err);
        if (choice >= 0)
            *(enum key_change *)member = (enum key_change)choice;
        return choice >= 0;
    case SETTING_SANDBOX:
        choice = find_choice(sandbox_names, text, err);
        if (choice >= 0)
            *(enum sandbox *)member = (enum sandbox)choice;
        return choice >= 0;
    }
    assert(false);
    return false;
}

static void format_addrs(const struct addr_list *list, char *text, size_t size)
{
    size_t len = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        char one[ADDR_TEXT_MAX];
        len += (size_t)snprintf(text + len, size - len, "%s%s", i ? ", " : "",
                                addr_format(&list->addrs[i], one));
    }
}

static void format_versions(uint32_t versions, char *text, size_t size)
{
    size_t len = 0;
    for (unsigned i = 0; version_names[i]; i++) {
        if (versions & (1u << i))
            len +=
                (size_t)snprintf(text + len, size - len, "%s%s", len ? ", " : "", version_names[i]);
    }
}

static void format_tickets(uint32_t versions, char *text, size_t size)
{
    if (versions == 0 || versions == ALL_VERSIONS)
        snprintf(text, size, "%s", versions == 0 ? "off" : "on");
    else
        format_versions(versions, text, size);
}

const char *config_value_format(const struct setting *setting, const void *member,
                                char text[CONFIG_VALUE_TEXT_MAX])
{
    const size_t size = CONFIG_VALUE_TEXT_MAX;

    text[0] = '\0';
    switch (setting->kind) {
    case SETTING_U32:
    case SETTING_WORKERS: snprintf(text, size, "%" PRIu32, *(const uint32_t *)member); break;
    case SETTING_DURATION: format_duration(*(const uint64_t *)member, text, size); break;
    case SETTING_ADDR: addr_format(member, text); break;
    case SETTING_ADDRS: format_addrs(member, text, size); break;
    case SETTING_NAMES:
    case SETTING_STRING:
    case SETTING_PATH: snprintf(text, size, "%s", *(const config_string *)member); break;
    case SETTING_LEVEL:
        snprintf(text, size, "%s", level_names[*(const enum log_level *)member]);
        break;
    case SETTING_FORMAT:
        snprintf(text, size, "%s", format_names[*(const enum log_format *)member]);
        break;
    case SETTING_ROLE: snprintf(text, size, "%s", role_names[*(const enum role *)member]); break;
    case SETTING_VERSIONS: format_versions(*(const uint32_t *)member, text, size); break;
    case SETTING_CLIENT_AUTH:
        snprintf(text, size, "%s", client_auth_names[*(const enum client_auth *)member]);
        break;
    case SETTING_TICKETS: format_tickets(*(const uint32_t *)member, text, size); break;
    case SETTING_PATHS: config_paths_format(member, text, size); break;
    case SETTING_SWITCH: snprintf(text, size, "%s", *(const bool *)member ? "on" : "off"); break;
    case SETTING_MODE: snprintf(text, size, "%04" PRIo32, *(const uint32_t *)member); break;
    case SETTING_KEY_CHANGE:
        snprintf(text, size, "%s", key_change_names[*(const enum key_change *)member]);
        break;
    case SETTING_SANDBOX:
        snprintf(text, size, "%s", sandbox_names[*(const enum sandbox *)member]);
        break;
    }
    return text;
}

void config_value_free(const struct setting *setting, void *member)
{
    if (setting->kind == SETTING_PATHS)
        config_paths_free(member);
    else if (setting->kind == SETTING_STRING || setting->kind == SETTING_PATH ||
             setting->kind == SETTING_NAMES)
        config_string_free(member);
}
