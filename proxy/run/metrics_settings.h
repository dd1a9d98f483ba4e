/* What the metrics tell of the settings and credentials in force. */
#ifndef METRICS_SETTINGS_H
#define METRICS_SETTINGS_H

#include <stdio.h>

#include "creds/generation.h"

void metrics_settings_put(FILE *out, const struct generation *generation);

#endif
