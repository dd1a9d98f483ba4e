/* Settings that are read once, at the start: what they were then, so that each reload can say which
 * of them wait for a restart. Main thread. */
#ifndef START_SETTINGS_H
#define START_SETTINGS_H

#include "base/problems.h"
#include "config/config.h"

/* Longer than the path of a socket, or the name of a user or a group, can be. */
enum { START_SETTINGS = 8, START_SETTING_MAX = 264 };

struct start_settings {
    struct start_setting {
        const char *key;
        char text[START_SETTING_MAX];
    } at[START_SETTINGS];
};

void start_settings_note(struct start_settings *start, const struct gate_config *gate);

/* Warns of those that are others in the settings now. path: of the file. */
void start_settings_compare(const struct start_settings *start, const struct gate_config *gate,
                            const char *path, struct problems *problems);

#endif
