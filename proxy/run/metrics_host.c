#include "run/metrics_host.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* With room for an address of IPv6 and the name of an interface. */
enum { HOST_MAX = 128 };

static bool is_of_scrapers_and_probes(const char *path)
{
    return strcmp(path, "/metrics") == 0 || strcmp(path, "/healthz") == 0 ||
           strcmp(path, "/readyz") == 0;
}

static bool is_port(const char *text)
{
    return text[0] == '\0' ||
           (text[0] == ':' && strspn(text + 1, "0123456789") == strlen(text + 1));
}

static bool is_ipv4(const char *text)
{
    struct in_addr addr;
    return inet_pton(AF_INET, text, &addr) == 1;
}

/* Maybe with a zone, "fe80::1%eth0": some clients leave it there. */
static bool is_ipv6(char *text)
{
    struct in6_addr addr;
    text[strcspn(text, "%")] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1;
}

/* No page can have that name. */
static bool is_safe(const char *host)
{
    char name[HOST_MAX];
    bool has_brackets = host[0] == '[';
    const char *begin = has_brackets ? host + 1 : host;
    size_t len = strcspn(begin, has_brackets ? "]" : ":");
    const char *rest = begin + len;
    if (len >= sizeof(name) || (has_brackets && *rest++ != ']') || !is_port(rest))
        return false;
    memcpy(name, begin, len);
    name[len] = '\0';
    return has_brackets ? is_ipv6(name) : is_ipv4(name) || strcasecmp(name, "localhost") == 0;
}

const char *metrics_host_refusal(const char *path, const char *host)
{
    if (host == NULL || is_of_scrapers_and_probes(path) || is_safe(host))
        return NULL;
    return "not told under a name: a web page of somebody else could have it (DNS rebinding). Ask "
           "by the address, such as http://127.0.0.1:9684/, or by localhost; a program or a "
           "reverse proxy can send one of these as Host: docs/control.md, Over HTTP\n";
}
