#include "run/metrics_settings.h"

#include "backend/slots.h"
#include "run/metrics_line.h"

/* 0 = there is no such limit, and so there is no series. */
static void put_limit(FILE *out, const char *listener, const char *limit, uint64_t value)
{
    if (value == 0)
        return;
    metrics_line_listener(out, "dtlsgate_limit", listener);
    fprintf(out, ",name=\"%s\"}", limit);
    metrics_line_u64(out, value);
}

static void put_limits(FILE *out, const struct config *config)
{
    metrics_line_family(out, "dtlsgate_limit", "gauge",
                        "Limits in force: settings by their name, and backend_addresses, which "
                        "sessions get theirs from; under listener - those of all together.");
    put_limit(out, "-", "max_sessions", config->gate.max_sessions);
    put_limit(out, "-", "backend_addresses", slots_pool(config->gate.max_sessions));
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        put_limit(out, listener->name, "max_handshakes", listener->max_handshakes);
        put_limit(out, listener->name, "handshakes_per_s", listener->handshakes_per_s);
        put_limit(out, listener->name, "hellos_per_prefix_per_s",
                  listener->hellos_per_prefix_per_s);
        put_limit(out, listener->name, "sessions_per_identity", listener->sessions_per_identity);
    }
}

static void put_identities(FILE *out, const struct generation *generation)
{
    const char *name = "dtlsgate_psk_identities";
    metrics_line_family(out, name, "gauge", "Identities in the files of psk_file.");
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        metrics_line_listener(out, name, listener->config->name);
        fputc('}', out);
        metrics_line_u64(out, listener->creds != NULL ? creds_psk_count(listener->creds) : 0);
    }
}

static void put_not_after(FILE *out, const struct listener *listener, const char *file,
                          int64_t not_after)
{
    metrics_line_listener(out, "dtlsgate_certificate_not_after_timestamp_seconds",
                          listener->config->name);
    fprintf(out, ",file=\"%s\"} %lld\n", file, (long long)not_after);
}

static void put_certificates(FILE *out, const struct generation *generation)
{
    metrics_line_family(out, "dtlsgate_certificate_not_after_timestamp_seconds", "gauge",
                        "When the first certificate of a file expires, in seconds since 1970.");
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        const struct creds *creds = listener->creds;
        if (creds == NULL)
            continue;
        if (creds->certificate_key != KEY_UNKNOWN)
            put_not_after(out, listener, "certificate", creds->certificate_not_after);
        if (creds->anchors.count != 0)
            put_not_after(out, listener, "client_ca",
                          certificate_anchors_not_after(&creds->anchors));
    }
}

static void put_crls(FILE *out, const struct generation *generation)
{
    const char *name = "dtlsgate_crl_next_update_timestamp_seconds";
    metrics_line_family(out, name, "gauge",
                        "When the first CRL of a listener expires, in seconds since 1970.");
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        int64_t next_update = listener->creds != NULL ? creds_crl_next_update(listener->creds) : 0;
        if (next_update == 0)
            continue;
        metrics_line_listener(out, name, listener->config->name);
        fprintf(out, "} %lld\n", (long long)next_update);
    }
}

void metrics_settings_put(FILE *out, const struct generation *generation)
{
    put_limits(out, generation->config);
    put_identities(out, generation);
    put_certificates(out, generation);
    put_crls(out, generation);
}
