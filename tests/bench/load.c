/* Load generator: many devices in one thread, each with a source address of its own from
 * 127.200.0.1 on; all on one socket, or each on one of its own. Runs the phases it is told, one
 * after the other, and prints one JSON object for each. */
#include "phases.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: load --target ADDRESS:PORT [options] PHASE...\n"
    "  phases, in any order; or - to read them from standard input, one a line:\n"
    "    handshakes          of devices that are closed; handshakes:COUNT of some more\n"
    "    handshakes-at:RATE:SECONDS   of all in turn, which forget their session, so many a "
    "second\n"
    "    active:N            from now on, N devices drawn at random make the requests\n"
    "    active:N:FIRST      the same, of N devices in order, from that number on\n"
    "    requests:COUNT      in all, one in flight per device; requests:SECONDSs\n"
    "    requests-at:RATE:SECONDS     so many a second, whatever the answers do\n"
    "    paced:RATE:SECONDS  datagrams of all devices in turn, so many a second, each accounted "
    "for;\n"
    "                        a line on standard input ends it before its time\n"
    "    close               of all devices\n"
    "    reconnect           all devices forget their session and shake hands again\n"
    "    storm:MILLISECONDS  the same, all at once: they begin within this time\n"
    "    sleep               devices forget their session and are not heard of again\n"
    "    stall               devices that are closed fall silent after the cookie\n"
    "  --sessions N     devices, 1 to 3000000 (1)\n"
    "  --suite NAME     psk-ccm8, ...; a wrong one is answered with a list (psk-ccm8)\n"
    "  --plain          no DTLS\n"
    "  --own-sockets    each device has a socket of its own; else they share one\n"
    "  --cid            devices offer an empty connection ID\n"
    "  --save           devices are kept as exported sessions, 0.5 kB each (DTLS 1.2)\n"
    "  --psk HEX        key of every device; device N is bench- and 18 digits\n"
    "  --ca FILE        checks the server's certificate\n"
    "  --cert FILE --key FILE   the devices' own certificate\n"
    "  --concurrent N   handshakes at once, except in a storm (64)\n"
    "  --in-flight N    requests at once (all devices)\n"
    "  --payload BYTES  8 to 1152 (64)\n";

static bool parse_target(struct load *l, const char *text)
{
    char address[INET_ADDRSTRLEN];
    unsigned port;
    l->link.target.sin_family = AF_INET;
    if (sscanf(text, "%15[0-9.]:%u", address, &port) != 2 || port > 65535 ||
        inet_pton(AF_INET, address, &l->link.target.sin_addr) != 1) {
        return false;
    }
    l->link.target.sin_port = htons((uint16_t)port);
    return true;
}

static bool set_option(struct load *l, int option, const char *value)
{
    switch (option) {
    case 't': return parse_target(l, value);
    case 'n':
        l->sessions = (uint32_t)strtoul(value, NULL, 10);
        return l->sessions >= 1 && l->sessions <= PHASES_MAX_SESSIONS;
    case 's': l->group.suite = value; return true;
    case 'p': l->group.suite = "plain"; return true;
    case 'w': l->link.has_own_sockets = true; return true;
    case 'd': l->group.offers_cid = true; return true;
    case 'v': l->group.is_saving = true; return true;
    case 'f': l->in_flight = (uint32_t)strtoul(value, NULL, 10); return l->in_flight >= 1;
    case 'k': l->group.psk_hex = value; return true;
    case 'a': l->group.ca = value; return true;
    case 'c': l->group.certificate = value; return true;
    case 'y': l->group.private_key = value; return true;
    case 'o': l->concurrent = (uint32_t)strtoul(value, NULL, 10); return l->concurrent >= 1;
    case 'b':
        l->payload_bytes = strtoul(value, NULL, 10);
        return l->payload_bytes >= PHASES_PAYLOAD_MIN && l->payload_bytes <= PHASES_PAYLOAD_MAX;
    default: return false;
    }
}

static bool parse_options(struct load *l, int argc, char **argv)
{
    static const struct option options[] = {{"target", required_argument, NULL, 't'},
                                            {"sessions", required_argument, NULL, 'n'},
                                            {"suite", required_argument, NULL, 's'},
                                            {"plain", no_argument, NULL, 'p'},
                                            {"own-sockets", no_argument, NULL, 'w'},
                                            {"cid", no_argument, NULL, 'd'},
                                            {"save", no_argument, NULL, 'v'},
                                            {"in-flight", required_argument, NULL, 'f'},
                                            {"psk", required_argument, NULL, 'k'},
                                            {"ca", required_argument, NULL, 'a'},
                                            {"cert", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'y'},
                                            {"concurrent", required_argument, NULL, 'o'},
                                            {"payload", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    l->sessions = 1;
    l->concurrent = 64;
    l->in_flight = UINT32_MAX;
    l->payload_bytes = 64;
    l->group.suite = "psk-ccm8";
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!set_option(l, option, optarg)) {
            return false;
        }
    }
    return l->link.target.sin_port != 0 && optind < argc;
}

static bool run_phases_from_stdin(struct load *l)
{
    char line[64];
    l->reads_stdin = true;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!phases_run(l, line)) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct load load; /* too large for the stack */
    if (!parse_options(&load, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    load.group.devices = load.sessions;
    if (!device_group_init(&load.group)) {
        return 2;
    }
    phases_init(&load);
    bool ok = true;
    if (strcmp(argv[optind], "-") == 0) {
        ok = run_phases_from_stdin(&load);
    } else {
        for (int i = optind; ok && i < argc; i++) {
            ok = phases_run(&load, argv[i]);
        }
    }
    phases_deinit(&load);
    device_group_deinit(&load.group);
    return ok ? 0 : 1;
}
