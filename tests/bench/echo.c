/* Plaintext UDP echo: the backend of the bench. Prints its port, then sends every datagram back
 * from the address it was sent to, a batch at a time, until a signal ends it. */
#include "batch.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

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
    batch_in_init(&in);
    batch_out_init(&out, fd);
    for (;;) {
        if (!batch_receive(&in, fd)) {
            continue;
        }
        for (unsigned i = 0; i < in.count; i++) {
            batch_add(&out, &in.from[i], (struct in_addr){INADDR_ANY}, in.vectors[i].iov_base,
                      in.messages[i].msg_len);
        }
        batch_flush(&out);
    }
}
