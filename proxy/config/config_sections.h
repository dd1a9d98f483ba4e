/* The sections of a configuration file that is being read: which one the next setting belongs to.
 */
#ifndef CONFIG_SECTIONS_H
#define CONFIG_SECTIONS_H

#include "base/problems.h"
#include "config/config_table.h"

/* The one that is being read. */
struct config_section {
    const struct config_table *table;                    /* NULL: none, or one that is not known */
    char title[sizeof("[listener ]") + CONFIG_NAME_MAX]; /* with brackets */
    void *values;                                        /* gate_config or listener_config */
    uint32_t *lines;
    uint64_t *rejected;
};

/* Bits as config_check.h has them: which settings of a section could not be read. */
struct config_sections {
    const char *path;
    struct problems *problems;
    struct config *config; /* new listeners are added to it */
    struct config_section current;
    uint32_t line; /* that is being read */
    bool has_begun;
    bool has_unread; /* there was a section that could not be told: it may have been a listener */
    uint64_t gate_rejected;
    uint64_t rejected[CONFIG_LISTENERS_MAX];
};

/* Reads the header of a section, whose `text` begins with the bracket and is changed. */
void config_sections_read_header(struct config_sections *sections, char *text);

/* The values that stand there if the file does not say otherwise. */
void config_sections_set_defaults(struct config_sections *sections,
                                  const struct config_table *table, void *values);

#endif
