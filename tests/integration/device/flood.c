/*
 * Flood mode of the test device: sends given datagrams as fast as one core can, round and round,
 * each source port in turn, and counts what comes back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device.h"

enum { TEMPLATES_MAX = 256, SOURCES_MAX = 64, BATCH = 64 };

struct flood {
    struct iovec templates[TEMPLATES_MAX]; /* heap copies, owned */
    size_t template_count;
    int sources[SOURCES_MAX];
    size_t source_count;
    unsigned long sent;
    unsigned long sent_bytes;
    unsigned long answers;
    unsigned long answer_bytes;
};

static bool read_templates(struct flood *flood)
{
    static uint8_t bytes[DATAGRAM_MAX_BYTES];
    char *line = NULL;
    size_t size = 0;
    bool ok = true;

    while (ok && getline(&line, &size, stdin) > 0) {
        struct iovec *template = &flood->templates[flood->template_count];
        long length;

        line[strcspn(line, "\n")] = '\0';
        length = hex_decode(line, bytes, sizeof bytes);
        ok = length >= 0 && flood->template_count < TEMPLATES_MAX;
        if (!ok) {
            fputs("device: flood: bad datagram, or too many of them\n", stderr);
            break;
        }
        template->iov_len = (size_t)length;
        template->iov_base = malloc((size_t)length + 1);
        ok = template->iov_base != NULL;
        if (ok) {
            memcpy(template->iov_base, bytes, (size_t)length);
            flood->template_count++;
        }
    }
    free(line);
    return ok && flood->template_count > 0;
}

static bool open_sources(struct flood *flood, const struct options *options)
{
    if (options->flood_sources > SOURCES_MAX) {
        fputs("device: flood: too many sources\n", stderr);
        return false;
    }
    while (flood->source_count < options->flood_sources) {
        int fd = device_socket(options, &options->local);

        if (fd < 0) {
            return false;
        }
        flood->sources[flood->source_count++] = fd;
    }
    return true;
}

/* Answers are thrown away at once, so that the gate never meets a full socket buffer. */
static void count_answers(struct flood *flood, int fd)
{
    static uint8_t bytes[DATAGRAM_MAX_BYTES];
    ssize_t length;

    while ((length = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0) {
        flood->answers++;
        flood->answer_bytes += (unsigned long)length;
    }
}

static bool send_batch(struct flood *flood, int fd, unsigned long wanted)
{
    struct mmsghdr messages[BATCH];
    unsigned count = wanted < BATCH ? (unsigned)wanted : BATCH;
    unsigned done = 0;

    memset(messages, 0, sizeof messages);
    for (unsigned i = 0; i < count; i++) {
        struct iovec *template = &flood->templates[(flood->sent + i) % flood->template_count];

        messages[i].msg_hdr.msg_iov = template;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while (done < count) {
        int sent = sendmmsg(fd, messages + done, count - done, 0);

        if (sent < 0 && errno != EINTR && errno != ECONNREFUSED && errno != ENOBUFS) {
            perror("device: sendmmsg");
            return false;
        }
        for (int i = 0; i < sent; i++) {
            flood->sent_bytes += messages[done + (unsigned)i].msg_len;
        }
        done += sent > 0 ? (unsigned)sent : 0;
    }
    flood->sent += count;
    return true;
}

static void flood_free(struct flood *flood)
{
    for (size_t i = 0; i < flood->template_count; i++) {
        free(flood->templates[i].iov_base);
    }
    for (size_t i = 0; i < flood->source_count; i++) {
        close(flood->sources[i]);
    }
}

int flood_run(const struct options *options)
{
    static struct flood flood;
    bool ok = read_templates(&flood) && open_sources(&flood, options);

    for (size_t turn = 0; ok && flood.sent < options->flood_count; turn++) {
        int fd = flood.sources[turn % flood.source_count];

        ok = send_batch(&flood, fd, options->flood_count - flood.sent);
        count_answers(&flood, fd);
    }
    for (size_t i = 0; i < flood.source_count; i++) {
        count_answers(&flood, flood.sources[i]);
    }
    printf("flood sent=%lu sent_bytes=%lu answers=%lu answer_bytes=%lu\n", flood.sent,
           flood.sent_bytes, flood.answers, flood.answer_bytes);
    flood_free(&flood);
    return ok ? 0 : 1;
}
