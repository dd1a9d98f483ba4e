/* The container's health check: asks /healthz of the metrics address in $DTLSGATE_METRICS
 * (IPv4:port, 127.0.0.1:9684 if unset). Exit status 0 if the gate answers 200, else 1. Stands alone
 * and is linked statically, so that the image needs neither a shell nor curl. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int parse_address(const char *text, struct sockaddr_in *address)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return 0;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    unsigned long port = strtoul(colon + 1, NULL, 10);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_port = htons((unsigned short)port);
    return port > 0 && port <= 65535 && inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

static int ask(const struct sockaddr_in *address)
{
    static const char request[] = "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n";
    static const char good[] = "HTTP/1.x 200";
    const struct timeval limit = {.tv_sec = 2};
    char answer[sizeof good] = "";
    size_t len = 0;

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1) {
        ssize_t n;
        while (len < sizeof good - 1 && (n = recv(fd, answer + len, sizeof good - 1 - len, 0)) > 0)
            len += (size_t)n;
    }
    close(fd);
    return strncmp(answer, "HTTP/1.", 7) == 0 && strcmp(answer + 8, " 200") == 0;
}

int main(void)
{
    struct sockaddr_in address;
    const char *text = getenv("DTLSGATE_METRICS");
    if (text == NULL || *text == '\0')
        text = "127.0.0.1:9684";
    if (!parse_address(text, &address)) {
        fprintf(stderr, "DTLSGATE_METRICS=%s is not an IPv4 address and a port, a.b.c.d:n\n", text);
        return 1;
    }
    if (!ask(&address)) {
        fprintf(stderr, "no good answer from http://%s/healthz\n", text);
        return 1;
    }
    return 0;
}
