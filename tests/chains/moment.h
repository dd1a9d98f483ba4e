/* The time of day that the library and the gate's code see in this program. Each thread has its
 * own. */
#ifndef MOMENT_H
#define MOMENT_H

#include <time.h>

void moment_set(time_t now);

#endif
