/* Plaintext UDP echo: the backend of the bench. Prints its port, then sends every datagram back
 * from the address it was sent to, a batch at a time, until a signal ends it. Those of numbered.h
 * it counts. */
#include "batch.h"
#include "numbered.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct counted {
    uint64_t run, datagrams;
};

static void count(struct counted *counted, uint8_t *payload, size_t size)
{
    struct numbered head;
    if (size < sizeof head) {
        return;
    }
    memcpy(&head, payload, sizeof head);
    if (head.mark != numbered_mark || head.run < counted->run) {
        return;
    }
    if (head.run > counted->run) {
        *counted = (struct counted){.run = head.run};
    }
    head.at_backend = ++counted->datagrams;
    memcpy(payload, &head, sizeof head);
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        fprintf(stderr, "usage: echo [PORT]   (on 127.0.0.1; default: a free port)\n");
        return 2;
    }
    uint16_t port = argc == 2 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0;
    int fd = batch_open((struct in_addr){htonl(INADDR_LOOPBACK)}, port, 0);
    printf("port=%u\n", batch_port(fd));
    fflush(stdout);

    struct batch_in in;
    struct batch_out out;
    struct counted counted = {0};
    batch_in_init(&in);
    batch_out_init(&out, fd);
    for (;;) {
        if (!batch_receive(&in, fd)) {
            continue;
        }
        for (unsigned i = 0; i < in.count; i++) {
            count(&counted, in.vectors[i].iov_base, in.messages[i].msg_len);
            batch_add(&out, &in.from[i], (struct in_addr){INADDR_ANY}, in.vectors[i].iov_base,
                      in.messages[i].msg_len);
        }
        batch_flush(&out);
    }
}
