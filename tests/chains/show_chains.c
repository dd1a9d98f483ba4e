/* Asks the gate about chains of certificates: each is shown to it in a handshake. Cases come on
 * stdin, one a line:
 *
 *   NAME VERSION MOMENT CONFIG CHAIN KEY
 *
 * VERSION is 1.2 or 1.3, MOMENT the time of day in seconds, the others are files. An answer a case,
 * in their order, its parts separated by tabs:
 *
 *   NAME VERSION accept|refuse|config|broken RESULT ALERT IDENTITY DETAIL
 *
 * config: the gate does not start with these settings. Cases of one config share its contexts, as
 * all devices of a listener do.
 *
 *   show-chains [THREADS] [START]
 *
 * START: the time of day at which the configs are loaded; without it, that of the first case that
 * needs them. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake/dtls.h"
#include "meeting.h"
#include "moment.h"
#include "run/reload.h"

enum { NAME_MAX_LEN = 160, PATH_MAX_LEN = 512, THREADS_MAX = 16 };

struct gate {
    char path[PATH_MAX_LEN];
    struct generation *generation; /* NULL: it does not start */
    char problem[MEETING_TEXT_MAX];
    struct gate *next;
};

struct case_line {
    char name[NAME_MAX_LEN];
    enum dtls_version version;
    long long moment;
    char config[PATH_MAX_LEN], chain[PATH_MAX_LEN], key[PATH_MAX_LEN];
    const struct gate *gate; /* borrowed */
    struct meeting_result result;
};

struct run {
    struct case_line *cases;
    size_t count;
    struct gate *gates; /* owned */
};

/* One thread's share: each `step`th case from `first` on. */
struct share {
    const struct run *run;
    size_t first, step;
    pthread_t thread;
};

static void *need(void *memory)
{
    if (memory == NULL) {
        fputs("show-chains: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *in = fopen(path, "rb");
    size_t room = 1 << 18;
    uint8_t *bytes = need(malloc(room));
    if (in == NULL) {
        fprintf(stderr, "show-chains: %s cannot be read\n", path);
        exit(1);
    }
    *len = fread(bytes, 1, room, in);
    fclose(in);
    return bytes;
}

static void load(struct gate *gate)
{
    struct problems problems;
    problems_init(&problems);
    gate->generation = reload_build(gate->path, &problems);
    for (uint32_t i = 0; i < problems.count && gate->problem[0] == '\0'; i++)
        if (!problems.is_warning[i])
            snprintf(gate->problem, sizeof(gate->problem), "%s", problems.texts[i]);
    problems_deinit(&problems);
}

static const struct gate *gate_of(struct run *run, const char *path)
{
    for (struct gate *gate = run->gates; gate != NULL; gate = gate->next)
        if (strcmp(gate->path, path) == 0)
            return gate;
    struct gate *gate = need(calloc(1, sizeof(*gate)));
    snprintf(gate->path, sizeof(gate->path), "%s", path);
    load(gate);
    gate->next = run->gates;
    run->gates = gate;
    return gate;
}

static void read_cases(struct run *run, const char *start)
{
    char line[2048], version[8];
    size_t room = 0;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (run->count == room) {
            room = room > 0 ? 2 * room : 256;
            run->cases = need(realloc(run->cases, room * sizeof(*run->cases)));
        }
        struct case_line *one = &run->cases[run->count++];
        memset(one, 0, sizeof(*one));
        if (sscanf(line, "%159s %7s %lld %511s %511s %511s", one->name, version, &one->moment,
                   one->config, one->chain, one->key) != 6) {
            fprintf(stderr, "show-chains: not a case: %s", line);
            exit(2);
        }
        one->version = strcmp(version, "1.2") == 0 ? VERSION_1_2 : VERSION_1_3;
        moment_set(start != NULL ? (time_t)strtoll(start, NULL, 10) : (time_t)one->moment);
        one->gate = gate_of(run, one->config);
    }
}

static void meet(struct case_line *one)
{
    struct meeting_device device;
    device.chain = read_file(one->chain, &device.chain_len);
    device.key = read_file(one->key, &device.key_len);
    moment_set((time_t)one->moment);
    meeting_hold(one->gate->generation, &device, one->version, &one->result);
    free(device.chain);
    free(device.key);
}

static void *work(void *context)
{
    const struct share *share = context;
    for (size_t i = share->first; i < share->run->count; i += share->step)
        if (share->run->cases[i].gate->generation != NULL)
            meet(&share->run->cases[i]);
    return NULL;
}

static void print(const struct case_line *one)
{
    static const char *const ends[] = {"accept", "refuse", "broken"};
    const struct meeting_result *result = &one->result;
    const char *version = one->version == VERSION_1_2 ? "1.2" : "1.3";
    if (one->gate->generation == NULL) {
        printf("%s\t%s\tconfig\t-\t-1\t\t%s\n", one->name, version, one->gate->problem);
        return;
    }
    printf("%s\t%s\t%s\t%s\t%d\t%s\t%s\n", one->name, version, ends[result->end],
           result->end == MEETING_REFUSED ? handshake_result_name(result->reason) : "-",
           result->alert, result->identity, result->detail);
}

static void end(struct run *run)
{
    while (run->gates != NULL) {
        struct gate *gate = run->gates;
        run->gates = gate->next;
        reload_release(gate->generation);
        free(gate);
    }
    free(run->cases);
}

int main(int argc, char **argv)
{
    struct run run = {0};
    struct share shares[THREADS_MAX];
    size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    if (threads < 1 || threads > THREADS_MAX || argc > 3 || !dtls_library_init()) {
        fputs("usage: show-chains [THREADS] [START]\n", stderr);
        return 2;
    }
    read_cases(&run, argc > 2 ? argv[2] : NULL);
    for (size_t i = 0; i < threads; i++) {
        shares[i] = (struct share){.run = &run, .first = i, .step = threads};
        if (pthread_create(&shares[i].thread, NULL, work, &shares[i]) != 0)
            return 1;
    }
    for (size_t i = 0; i < threads; i++)
        pthread_join(shares[i].thread, NULL);
    for (size_t i = 0; i < run.count; i++)
        print(&run.cases[i]);
    end(&run);
    dtls_library_deinit();
    return 0;
}
