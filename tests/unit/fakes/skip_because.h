/* A test that cannot run here says why; scripts/run-unit-tests shows it, and counts the test as
 * skipped. */
#ifndef SKIP_BECAUSE_H
#define SKIP_BECAUSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define skip_because(why)                             \
    do {                                              \
        print_message("skipped because %s\n", (why)); \
        skip();                                       \
    } while (0)

#endif
