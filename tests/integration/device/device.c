/* The main loop of the test device: one command a line, one answer a line. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device.h"

struct command {
    const char *name;
    void (*run)(struct device *device, const char *argument);
};

static const struct command commands[] = {
    {"handshake", command_handshake}, /* handshake MS: a new session from the same socket */
    {"keep", command_keep},           /* keep the session's ticket; prints its size */
    {"resume", command_resume},       /* resume MS: as handshake, with the ticket kept */
    {"continue", command_continue},   /* continue MS: go on with an unfinished handshake */
    {"send", command_send},           /* send HEX: one record of application data */
    {"recv", command_recv},           /* recv MS: one record, or "timeout", "closed", "failed" */
    {"burst", command_burst},         /* burst COUNT HEX: records that end in a number each */
    {"update", command_update},       /* send a KeyUpdate (1.3) */
    {"rebind", command_rebind},       /* rebind ADDR:PORT: goes on from a new socket; port 0: any */
    {"close", command_close},         /* send close_notify */
    {"alert", command_alert},         /* alert DESCRIPTION: send a fatal alert */
    {"forget", command_forget},       /* drop the session silently, as a reboot does */
    {"raw", command_raw},             /* raw HEX: one datagram as it is */
    {"rawrecv", command_rawrecv},     /* rawrecv MS: one datagram as it is */
};

static socklen_t address_bytes(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

int device_socket(const struct options *options, const struct sockaddr_storage *local)
{
    int fd = socket(options->gate.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        perror("device: socket");
        return -1;
    }
    if (local->ss_family != 0 &&
        bind(fd, (const struct sockaddr *)local, address_bytes(local)) != 0) {
        perror("device: bind");
        close(fd);
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&options->gate, address_bytes(&options->gate)) != 0) {
        perror("device: connect");
        close(fd);
        return -1;
    }
    return fd;
}

/* Prints the word and the socket's address. */
static bool print_local(const char *word, int fd)
{
    struct sockaddr_storage local;
    socklen_t length = sizeof local;
    char host[INET6_ADDRSTRLEN] = "";

    if (getsockname(fd, (struct sockaddr *)&local, &length) != 0) {
        perror("device: getsockname");
        return false;
    }
    if (local.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&local;

        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        printf("%s [%s]:%u\n", word, host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&local;

        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        printf("%s %s:%u\n", word, host, ntohs(four->sin_port));
    }
    return true;
}

void command_rebind(struct device *device, const char *argument)
{
    struct sockaddr_storage local;
    int fd = address_read(&local, argument) ? device_socket(device->options, &local) : -1;

    if (fd < 0) {
        puts("error cannot send from there");
        return;
    }
    close(device->fd);
    device->fd = fd;
    print_local("bound", fd);
}

static void run_command(struct device *device, char *line)
{
    char *argument = line + strcspn(line, " ");

    if (*argument != '\0') {
        *argument++ = '\0';
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, line) == 0) {
            commands[i].run(device, argument);
            return;
        }
    }
    printf("error unknown command %s\n", line);
}

int main(int argc, char **argv)
{
    struct options options;
    struct device device;
    char *line = NULL;
    size_t size = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (!options_read(&options, argc, argv)) {
        return 2;
    }
    if (options.flood_count > 0) {
        return flood_run(&options);
    }
    if (!device_open(&device, &options) || !print_local("ready", device.fd)) {
        return 1;
    }
    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "quit") == 0) {
            break;
        }
        run_command(&device, line);
    }
    free(line);
    device_close(&device);
    return 0;
}
