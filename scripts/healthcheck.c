/* The container's health check: asks the metrics address in $DTLSGATE_METRICS (a.b.c.d:port or
 * [IPv6]:port, 127.0.0.1:9684 if unset) for /healthz, or for the path that is its argument. Exit
 * status 0 if the gate answers 200, else 1. Stands alone and is linked statically, so that the
 * image needs neither a shell nor curl. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

/* The size of the address, or 0 if the text is none. */
static socklen_t parse_address(const char *text, union address *address)
{
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return 0;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    bool is_ipv6 = text[0] == '[' && colon > text && colon[-1] == ']';
    size_t len = (size_t)(colon - text) - (is_ipv6 ? 2 : 0);
    if (*end != '\0' || port == 0 || port > 65535 || len >= sizeof host)
        return 0;
    memcpy(host, text + is_ipv6, len);
    host[len] = '\0';
    memset(address, 0, sizeof *address);
    if (is_ipv6) {
        address->ipv6.sin6_family = AF_INET6;
        address->ipv6.sin6_port = htons((unsigned short)port);
        return inet_pton(AF_INET6, host, &address->ipv6.sin6_addr) == 1 ? sizeof address->ipv6 : 0;
    }
    address->ipv4.sin_family = AF_INET;
    address->ipv4.sin_port = htons((unsigned short)port);
    return inet_pton(AF_INET, host, &address->ipv4.sin_addr) == 1 ? sizeof address->ipv4 : 0;
}

static bool ask(const union address *address, socklen_t size, const char *path)
{
    static const char good[] = "HTTP/1.x 200";
    const struct timeval limit = {.tv_sec = 2};
    char request[256], answer[sizeof good] = "";
    size_t len = 0;

    int n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
    int fd = socket(address->any.sa_family, SOCK_STREAM, 0);
    if (fd < 0 || n >= (int)sizeof request)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, &address->any, size) == 0 && send(fd, request, (size_t)n, MSG_NOSIGNAL) == n) {
        ssize_t got;
        while (len < sizeof good - 1 &&
               (got = recv(fd, answer + len, sizeof good - 1 - len, 0)) > 0)
            len += (size_t)got;
    }
    close(fd);
    return strncmp(answer, "HTTP/1.", 7) == 0 && strcmp(answer + 8, " 200") == 0;
}

int main(int argc, char **argv)
{
    union address address;
    const char *path = argc > 1 ? argv[1] : "/healthz";
    const char *text = getenv("DTLSGATE_METRICS");
    if (text == NULL || *text == '\0')
        text = "127.0.0.1:9684";
    socklen_t size = parse_address(text, &address);
    if (size == 0) {
        fprintf(stderr, "DTLSGATE_METRICS=%s is not an address and a port, a.b.c.d:n or [IPv6]:n\n",
                text);
        return 1;
    }
    if (!ask(&address, size, path)) {
        fprintf(stderr, "no good answer from http://%s%s\n", text, path);
        return 1;
    }
    return 0;
}
