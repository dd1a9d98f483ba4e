/* Settings, as one immutable value: config_load.h reads and checks it. config.def declares each
 * setting once; the structs below, the parser, --print-config and the table in the documents are
 * made from it. */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"

#define CONFIG_LISTENERS_MAX 64
#define CONFIG_LISTEN_MAX 8 /* addresses of one listener */
#define CONFIG_PATHS_MAX 8  /* files of one setting */
#define CONFIG_NAME_MAX 32  /* bytes of a listener's name */
#define CONFIG_BACKENDS_MAX 64
#define CONFIG_CID_MAX 32 /* bytes; what other stacks take, and more than anybody needs */
#define CONFIG_CID_MIN 2  /* bytes, if not 0: net/steering.h */
#define CONFIG_CID_GOOD 6 /* bytes, 36 bits of them random; with fewer there is a warning */
/* Of a line of the file, and of a value that several lines make up, which a message repeats in
 * part. */
#define CONFIG_LINE_MAX_BYTES 8000

enum role { ROLE_SERVER_ONLY };

enum client_auth {
    CLIENT_AUTH_REQUIRED, /* a certificate suite needs a client certificate */
    CLIENT_AUTH_OPTIONAL, /* asked for, may be missing */
    CLIENT_AUTH_NONE,     /* not asked for */
};

/* What becomes of the sessions of an identity whose key is another one after a reload. */
enum key_change {
    KEY_CHANGE_KEEP, /* they go on: LwM2M changes keys over the running session */
    KEY_CHANGE_END,
};

/* Whether the process confines itself: run/sandbox.h. */
enum sandbox {
    SANDBOX_ON,
    SANDBOX_LOG, /* nothing is refused; the kernel logs what would be */
    SANDBOX_OFF,
};

/* Bits of listener_config.versions. */
enum { CONFIG_VERSION_1_2 = 1, CONFIG_VERSION_1_3 = 2 };

struct addr_list {
    struct addr addrs[CONFIG_LISTEN_MAX];
    uint32_t count;
};

/* The C type of each kind of setting, for config.def. Strings are owned by struct config; paths
 * are absolute; both are "" if not set, never NULL. Durations are in milliseconds. */
typedef const char *config_string;
struct config_paths {
    config_string at[CONFIG_PATHS_MAX];
    uint32_t count;
};

/* One index per entry of config.def: GATE_workers, LISTENER_psk_file. */
enum gate_setting {
#define GATE_SETTING(key, kind, ctype, member, ...) GATE_##member,
#include "config/config.def"
    GATE_SETTING_COUNT
};

enum listener_setting {
#define LISTENER_SETTING(key, kind, ctype, member, ...) LISTENER_##member,
#include "config/config.def"
    LISTENER_SETTING_COUNT
};

/* [gate] and [listener NAME]: one member per entry of config.def. `line` is that of the section's
 * header (0: there is none), `lines` those of the settings (0: not in the file, the default). */
struct gate_config {
    uint32_t line;
    uint32_t lines[GATE_SETTING_COUNT];
#define GATE_SETTING(key, kind, ctype, member, ...) ctype member;
#include "config/config.def"
};

struct listener_config {
    char name[CONFIG_NAME_MAX + 1];
    uint32_t line;
    uint32_t lines[LISTENER_SETTING_COUNT];
#define LISTENER_SETTING(key, kind, ctype, member, ...) ctype member;
#include "config/config.def"
};

struct config {
    char *path; /* of the file, as it was given */
    struct gate_config gate;
    struct listener_config *listeners;
    uint32_t listener_count;
};

#endif
