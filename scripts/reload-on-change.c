/* For a container beside the gate's, on the same image: has the gate read its settings anew when
 * files change. dtlsgate-reload-on-change CONTROL-SOCKET PATH... looks at the paths every ten
 * seconds ($DTLSGATE_INTERVAL_S), so it needs no inotify, which some file systems lack; a path may
 * be a link or a folder, such as ..data of a Kubernetes volume, which is another folder after each
 * change. When they have changed, and are the same at the next look, it asks for `reload`. What the
 * gate says about it stands in the gate's log; a gate that does not answer is asked again. Stands
 * alone and is linked statically. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* What changes when a file is written in place or replaced; zeros for one that is not there. */
struct look {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

static void look_at(char **paths, int count, struct look *looks)
{
    memset(looks, 0, (size_t)count * sizeof *looks); /* padding too: they are compared as bytes */
    for (int i = 0; i < count; i++) {
        struct stat now;
        if (stat(paths[i], &now) != 0)
            continue;
        looks[i].device = now.st_dev;
        looks[i].inode = now.st_ino;
        looks[i].size = now.st_size;
        looks[i].changed = now.st_ctim;
    }
}

/* Prints the gate's answer: one JSON object a line, the last one of which has "done". */
static bool pass_on_answer(int fd)
{
    char answer[8192];
    size_t len = 0;
    ssize_t got;
    while (len < sizeof answer - 1 &&
           (got = recv(fd, answer + len, sizeof answer - 1 - len, 0)) > 0) {
        len += (size_t)got;
        answer[len] = '\0';
        if (answer[len - 1] == '\n' && strstr(answer, "\"done\"") != NULL)
            break;
    }
    fprintf(stderr, "asked for a reload: %.*s%s", (int)len, answer, len > 0 ? "" : "no answer\n");
    return len > 0;
}

/* Whether the gate has answered. To settings that are wrong it says no, and goes on with those it
 * has. */
static bool reload(const struct sockaddr_un *gate)
{
    static const char command[] = "reload\n";
    const struct timeval limit = {.tv_sec = 60};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    bool is_answered = false;
    if (connect(fd, (const struct sockaddr *)gate, sizeof *gate) == 0 &&
        send(fd, command, sizeof command - 1, MSG_NOSIGNAL) == (ssize_t)sizeof command - 1)
        is_answered = pass_on_answer(fd);
    else
        fprintf(stderr, "cannot ask for a reload at %s: %s\n", gate->sun_path, strerror(errno));
    close(fd);
    return is_answered;
}

static void end(int number)
{
    (void)number;
    _exit(0);
}

int main(int argc, char **argv)
{
    struct sockaddr_un gate = {.sun_family = AF_UNIX};
    const char *interval_text = getenv("DTLSGATE_INTERVAL_S");
    unsigned long interval_s = interval_text != NULL ? strtoul(interval_text, NULL, 10) : 10;
    if (argc < 3 || strlen(argv[1]) >= sizeof gate.sun_path || interval_s == 0 ||
        interval_s > 86400) {
        fprintf(stderr, "usage: dtlsgate-reload-on-change CONTROL-SOCKET PATH...\n"
                        "DTLSGATE_INTERVAL_S: seconds from look to look, 1 to 86400\n");
        return 2;
    }
    memcpy(gate.sun_path, argv[1], strlen(argv[1]));
    char **paths = argv + 2;
    int count = argc - 2;
    size_t bytes = (size_t)count * sizeof(struct look);
    struct look *used = malloc(bytes), *before = malloc(bytes), *now = malloc(bytes);
    if (used == NULL || before == NULL || now == NULL)
        return 1;
    signal(SIGTERM, end); /* the first process of a container has no default action */
    signal(SIGINT, end);

    memset(used, 0,
           bytes); /* asks once at the start: files may have changed since the gate began */
    look_at(paths, count, before);
    for (;;) {
        sleep((unsigned)interval_s);
        look_at(paths, count, now);
        bool has_settled = memcmp(now, before, bytes) == 0;
        if (has_settled && memcmp(now, used, bytes) != 0 && reload(&gate))
            memcpy(used, now, bytes);
        memcpy(before, now, bytes);
    }
}
