/* The command line of the test device. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

static const struct option long_options[] = {
    {"connect", required_argument, NULL, 'c'},
    {"bind", required_argument, NULL, 'b'},
    {"version", required_argument, NULL, 'v'},
    {"psk", required_argument, NULL, 'p'},
    {"cert", required_argument, NULL, 'C'},
    {"key", required_argument, NULL, 'K'},
    {"ca", required_argument, NULL, 'A'},
    {"ciphers", required_argument, NULL, 's'},
    {"sni", required_argument, NULL, 'n'},
    {"mtu", required_argument, NULL, 'm'},
    {"max-fragment", required_argument, NULL, 'M'},
    {"tickets", no_argument, NULL, 't'},
    {"cid", required_argument, NULL, 'I'},
    {"no-ems", no_argument, NULL, 'E'},
    {"no-key-share", no_argument, NULL, 'S'},
    {"classic-groups", no_argument, NULL, 'G'},
    {"flood", required_argument, NULL, 'f'},
    {"flood-sources", required_argument, NULL, 'F'},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "usage: device --connect ADDR:PORT [--bind ADDR:PORT] [--version 1.2|1.3|any]\n"
    "              [--psk IDENTITY:HEXKEY] [--cert FILE --key FILE] [--ca FILE]\n"
    "              [--ciphers LIST] [--sni NAME] [--mtu BYTES] [--max-fragment BYTES]\n"
    "              [--cid HEX|empty|none] [--tickets] [--no-ems] [--no-key-share]\n"
    "              [--classic-groups]\n"
    "       device --connect ADDR:PORT --flood COUNT [--flood-sources N]\n";

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

long hex_decode(const char *text, uint8_t *out, size_t size)
{
    size_t bytes = 0;

    while (*text != '\0') {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);

        if (low < 0 || bytes == size) {
            return -1;
        }
        out[bytes++] = (uint8_t)(high * 16 + low);
        text += 2;
    }
    return (long)bytes;
}

bool address_read(struct sockaddr_storage *out, const char *text)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(text, ':');
    size_t length;
    unsigned long port;

    if (colon == NULL || (length = (size_t)(colon - text)) >= sizeof host) {
        return false;
    }
    port = strtoul(colon + 1, NULL, 10);
    memcpy(host, text, length);
    host[length] = '\0';
    memset(out, 0, sizeof *out);
    if (host[0] == '[' && length > 2) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

        host[length - 1] = '\0';
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        return port <= UINT16_MAX && inet_pton(AF_INET6, host + 1, &six->sin6_addr) == 1;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)out;

    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    return port <= UINT16_MAX && inet_pton(AF_INET, host, &four->sin_addr) == 1;
}

static bool read_psk(struct options *options, const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t length;
    long bytes;

    if (colon == NULL || (length = (size_t)(colon - text)) > IDENTITY_MAX_BYTES) {
        return false;
    }
    memcpy(options->identity, text, length);
    options->identity[length] = '\0';
    bytes = hex_decode(colon + 1, options->key, sizeof options->key);
    options->key_bytes = bytes > 0 ? (size_t)bytes : 0;
    return bytes > 0;
}

static bool read_cid(struct options *options, const char *text)
{
    long bytes;

    options->cid_use = strcmp(text, "none") != 0;
    options->cid_bytes = 0;
    if (!options->cid_use || strcmp(text, "empty") == 0) {
        return true;
    }
    bytes = hex_decode(text, options->cid, sizeof options->cid);
    options->cid_bytes = bytes > 0 ? (size_t)bytes : 0;
    return bytes > 0;
}

static bool read_version(struct options *options, const char *text)
{
    if (strcmp(text, "1.2") == 0) {
        options->version = VERSION_12;
    } else if (strcmp(text, "1.3") == 0) {
        options->version = VERSION_13;
    } else if (strcmp(text, "any") == 0) {
        options->version = VERSION_ANY;
    } else {
        return false;
    }
    return true;
}

static bool read_option(struct options *options, int letter, const char *value)
{
    switch (letter) {
    case 'c': return address_read(&options->gate, value);
    case 'b': return address_read(&options->local, value);
    case 'v': return read_version(options, value);
    case 'p': return read_psk(options, value);
    case 'C': options->certificate = value; return true;
    case 'K': options->private_key = value; return true;
    case 'A': options->ca = value; return true;
    case 's': options->ciphers = value; return true;
    case 'n': options->sni = value; return true;
    case 'm':
        options->mtu_bytes = (unsigned)strtoul(value, NULL, 10);
        return options->mtu_bytes > 0;
    case 'M':
        options->max_fragment_bytes = (unsigned)strtoul(value, NULL, 10);
        return options->max_fragment_bytes > 0;
    case 't': return options->tickets = true;
    case 'I': return read_cid(options, value);
    case 'E': return options->no_extended_master_secret = true;
    case 'S': return options->no_key_share = true;
    case 'G': return options->classic_groups = true;
    case 'f': options->flood_count = strtoul(value, NULL, 10); return options->flood_count > 0;
    case 'F':
        options->flood_sources = (unsigned)strtoul(value, NULL, 10);
        return options->flood_sources > 0;
    default: return false;
    }
}

bool options_read(struct options *options, int argc, char **argv)
{
    int letter;

    memset(options, 0, sizeof *options);
    options->version = VERSION_12;
    options->flood_sources = 1;
    while ((letter = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (!read_option(options, letter, optarg)) {
            fprintf(stderr, "device: bad option: %s\n%s", argv[optind - 1], usage);
            return false;
        }
    }
    if (optind != argc || options->gate.ss_family == 0) {
        fputs(usage, stderr);
        return false;
    }
    return true;
}
