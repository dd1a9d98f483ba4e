/* Arguments: what the program is asked for. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/config_load.h"
#include "handshake/dtls.h"
#include "run/check.h"
#include "run/ctl.h"
#include "run/gate.h"
#include "run/keeper.h"
#include "run/privileges.h"
#include "run/program.h"
#include "run/upgrade_check.h"
#include "version.h"

/* Read by jemalloc, which the program is linked with. Handshakes that end in their thousands give
 * back memory: to the system, within seconds, and without holding up a worker, as the C library's
 * allocator cannot (it gives back only what lies at the end of its heap, and a few pieces hold all
 * of that). */
extern const char *const malloc_conf;
const char *const malloc_conf = "background_thread:true,dirty_decay_ms:3000,muzzy_decay_ms:0";

static const char HELP[] =
    "Usage: dtlsgate [-c FILE] [OPTION]\n"
    "       dtlsgate ctl COMMAND     asks or tells a running gate; dtlsgate ctl --help\n"
    "DTLS in front of plaintext CoAP and LwM2M servers.\n"
    "Runs in the foreground and logs to stderr.\n"
    "\n"
    "  -c, --config FILE    the settings; without it " CONFIG_PATH "\n"
    "      --keeper         start the gate as a child, keep its sessions and sockets, and start\n"
    "                       it again when it dies; for containers\n"
    "      --fd-store       the service manager keeps descriptors: for systemd before 254, which\n"
    "                       does not say so\n"
    "  -t, --check-config   check the settings and credentials, report every problem, and end\n"
    "      --as USER        check as this user, who will run the gate; needs root\n"
    "      --print-config   print the effective settings, and end\n"
    "  -V, --version        print the versions of dtlsgate and wolfSSL, and end\n"
    "  -h, --help           print this, and end\n"
    "\n"
    "Signals: TERM and INT end the program; devices are told, unless the next one goes on with\n"
    "their sessions. HUP: reads settings and credentials anew. USR2: goes on as the program that\n"
    "is installed now.\n"
    "Exit status: 0; 2 if somebody must change the settings or the command line; 1 at any other\n"
    "error: it may be over at the next try.\n";

enum action { ACTION_RUN, ACTION_KEEP, ACTION_CHECK_HANDOVER, ACTION_CHECK, ACTION_PRINT };

struct arguments {
    const char *config_path;
    enum action action;
    const char *as_user; /* NULL: as who it is */
    bool wants_store;
    const char *state; /* descriptor, of ACTION_CHECK_HANDOVER */
};

static void print_version(void)
{
    printf("dtlsgate %s\nwolfSSL %s: %s\n", DTLSGATE_VERSION, dtls_library_version(),
           dtls_library_features());
}

static int usage_error(const char *text, const char *argument)
{
    fprintf(stderr, "dtlsgate: %s%s; dtlsgate --help shows the options\n", text, argument);
    return EXIT_USAGE;
}

/* Returns -1 to go on, or the exit status. */
static int parse_arguments(struct arguments *arguments, int argc, char **argv)
{
    enum { OPTION_PRINT = 256, OPTION_AS, OPTION_KEEPER, OPTION_FD_STORE, OPTION_CHECK_HANDOVER };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 't'},
        {"as", required_argument, NULL, OPTION_AS},
        {"keeper", no_argument, NULL, OPTION_KEEPER},
        {"fd-store", no_argument, NULL, OPTION_FD_STORE},
        {UPGRADE_CHECK_OPTION, required_argument, NULL, OPTION_CHECK_HANDOVER},
        {"print-config", no_argument, NULL, OPTION_PRINT},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    *arguments = (struct arguments){.action = ACTION_RUN, .config_path = CONFIG_PATH};
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":c:thV", options, NULL)) != -1) {
        switch (option) {
        case 'c': arguments->config_path = optarg; break;
        case 't': arguments->action = ACTION_CHECK; break;
        case OPTION_AS: arguments->as_user = optarg; break;
        case OPTION_KEEPER: arguments->action = ACTION_KEEP; break;
        case OPTION_CHECK_HANDOVER:
            arguments->action = ACTION_CHECK_HANDOVER;
            arguments->state = optarg;
            break;
        case OPTION_FD_STORE: arguments->wants_store = true; break;
        case OPTION_PRINT: arguments->action = ACTION_PRINT; break;
        case 'V': print_version(); return EXIT_SUCCESS;
        case 'h': fputs(HELP, stdout); return EXIT_SUCCESS;
        case ':': return usage_error("a value is missing after ", argv[optind - 1]);
        default: return usage_error("unknown option ", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return usage_error("unexpected argument ", argv[optind]);
    if (arguments->as_user != NULL && arguments->action <= ACTION_KEEP)
        return usage_error("--as goes with --check-config; to run as another user: user = ",
                           arguments->as_user);
    return -1;
}

/* SIGPIPE of a closed stderr, and signals that would end a program for nothing. */
static void ignore_stray_signals(void)
{
    static const int signals[] = {SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_IGN);
}

/* What asks a running gate for something would end one that is not ready to hear it yet: reading a
 * million keys takes a while. They wait until it is. TERM and INT may end it at any time. */
static void hold_requests(void)
{
    sigset_t requests;
    sigemptyset(&requests);
    sigaddset(&requests, SIGHUP);
    sigaddset(&requests, SIGUSR1);
    sigaddset(&requests, SIGUSR2);
    sigprocmask(SIG_BLOCK, &requests, NULL);
}

static int run(const struct arguments *arguments, const struct program *program)
{
    if (arguments->action == ACTION_KEEP)
        return keeper_run(program); /* needs nothing of the library */
    if (!dtls_library_init()) {
        fputs("dtlsgate: wolfSSL's self-initialisation failed\n", stderr);
        return EXIT_RUN_TIME;
    }
    int status = EXIT_RUN_TIME;
    switch (arguments->action) {
    case ACTION_RUN:
        status = gate_run(arguments->config_path, program, arguments->wants_store);
        break;
    case ACTION_CHECK_HANDOVER:
        status = upgrade_check_run(arguments->config_path, arguments->state);
        break;
    case ACTION_CHECK:
    case ACTION_PRINT:
        status = check_run(arguments->config_path, arguments->as_user,
                           arguments->action == ACTION_PRINT);
        break;
    case ACTION_KEEP: break; /* see above */
    }
    log_stop();
    dtls_library_deinit();
    return status;
}

int main(int argc, char **argv)
{
    static struct program program;
    struct arguments arguments;
    if (argc > 1 && strcmp(argv[1], "ctl") == 0)
        return ctl_run(argc - 1, argv + 1);
    int status = parse_arguments(&arguments, argc, argv);
    if (status >= 0)
        return status;
    if (arguments.action == ACTION_RUN || arguments.action == ACTION_KEEP)
        hold_requests();
    privileges_forbid_core_dumps();
    ignore_stray_signals();
    program_init(&program, argv);
    return run(&arguments, &program);
}
