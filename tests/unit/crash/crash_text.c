#include "crash/crash_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TEXTS_MAX = 1 << 24 };

static uint32_t count;
static bool is_delivered[TEXTS_MAX];

const char *crash_text_new(void)
{
    static char text[CRASH_TEXT_BYTES];
    assert_true(++count < TEXTS_MAX);
    snprintf(text, sizeof(text), "message %u", count);
    return text;
}

void crash_text_note_delivered(const void *data, size_t len)
{
    char text[CRASH_TEXT_BYTES] = {0};
    uint32_t number;
    memcpy(text, data, len < sizeof(text) ? len : sizeof(text) - 1);
    if (sscanf(text, "message %u", &number) != 1 || number > count)
        fail_msg("the server got what nobody has sent: %s", text);
    if (is_delivered[number])
        fail_msg("the server got the same twice: %s", text);
    is_delivered[number] = true;
}
