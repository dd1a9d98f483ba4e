#include "run/metrics_line.h"

void metrics_line_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_line_label_value(FILE *out, const char *value)
{
    fputc('"', out);
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            fputs("\\n", out);
            continue;
        }
        if (*value == '"' || *value == '\\')
            fputc('\\', out);
        fputc(*value, out);
    }
    fputc('"', out);
}

void metrics_line_listener(FILE *out, const char *name, const char *listener)
{
    fprintf(out, "%s{listener=", name);
    metrics_line_label_value(out, listener);
}

void metrics_line_u64(FILE *out, uint64_t value)
{
    fprintf(out, " %llu\n", (unsigned long long)value);
}

void metrics_line_thousandths(FILE *out, uint64_t value)
{
    fprintf(out, " %llu.%03u\n", (unsigned long long)(value / 1000), (unsigned)(value % 1000));
}
