#include <unistd.h>

#include "base/log.h"
#include "net/udp.h"
#include "run/host.h"

static void log_root(const struct config *config)
{
    if (geteuid() == 0 && config->gate.user[0] == '\0')
        log_text(LOG_WARNING, "runs_as_root",
                 "it stays root, and needs nothing of that once it listens: set user = NAME in "
                 "[gate], or start it as an ordinary user");
}

static void log_receive_buffer(void)
{
    int got = udp_try_receive_buffer(UDP_HELLO_BUFFER_BYTES);
    char text[256];
    struct log_line line;
    if (got < 0 || got >= UDP_HELLO_BUFFER_BYTES)
        return;
    snprintf(text, sizeof(text),
             "the kernel cuts the receive buffers: when many devices come at once, datagrams are "
             "lost; run: sysctl -w net.core.rmem_max=%d, and see docs/install.md",
             UDP_HELLO_BUFFER_BYTES);
    log_begin(&line, LOG_WARNING, "receive_buffer");
    log_add_u64(&line, "wanted_bytes", UDP_HELLO_BUFFER_BYTES);
    log_add_u64(&line, "got_bytes", (uint64_t)got);
    log_add(&line, "text", text);
    log_end(&line);
}

void host_log_warnings(const struct config *config)
{
    log_root(config);
    log_receive_buffer();
}
