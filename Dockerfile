# dtlsgate in a container:
#   docker build -t dtlsgate .
#   docker run --network host -v /etc/dtlsgate:/etc/dtlsgate:ro dtlsgate
# The gate's backends are on loopback, so it shares the network namespace of the CoAP server: the
# host's as above, or that of another container (--network container:NAME, or one pod).
# docs/install.md has more: other architectures, what is inside, Kubernetes.

# What everything is built from. To build the same image again, pin it:
#   --build-arg BASE_DIGEST="$(docker buildx imagetools inspect debian:bookworm-slim --format '{{.Manifest.Digest}}')"
ARG BASE_DIGEST=
FROM docker.io/library/debian:bookworm-slim${BASE_DIGEST:+@$BASE_DIGEST} AS build
WORKDIR /src
COPY scripts/install-packages scripts/
RUN scripts/install-packages build image
# wolfSSL by itself, which takes longest and changes seldom; its source is fetched unless it is here already.
COPY scripts/fetch-wolfssl scripts/pinned-source.sh scripts/
COPY scripts/wolfssl-patches/ scripts/wolfssl-patches/
COPY LICENSE buil[d]/wolfssl/wolfssl-*.tar.gz build/wolfssl/
RUN scripts/fetch-wolfssl
COPY . .
ARG COMMIT=
RUN make -j"$(nproc)" ${COMMIT:+COMMIT="$COMMIT"} \
 && make ${COMMIT:+COMMIT="$COMMIT"} install DESTDIR=/installed PREFIX=/usr \
 && strip --strip-debug /installed/usr/bin/dtlsgate \
 && for helper in healthcheck reload-on-change; do \
        gcc -O2 -Wall -Wextra -Werror -static -s -o "/installed/usr/bin/dtlsgate-$helper" "scripts/$helper.c" || exit; \
    done \
 && scripts/make-image-root /installed /image

FROM scratch
COPY --from=build /image/ /
ARG BASE_DIGEST
ARG COMMIT=
# Of the Makefile.
ARG VERSION=1.0.0
LABEL org.opencontainers.image.title="dtlsgate" \
      org.opencontainers.image.description="DTLS in front of a CoAP or LwM2M server that speaks plaintext" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.licenses="GPL-3.0-only" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.base.digest="$BASE_DIGEST"
USER 10001:10001
EXPOSE 5684/udp 9684/tcp
# Where the health check finds the metrics address; keep it in step with `metrics` in the configuration.
ENV DTLSGATE_METRICS=127.0.0.1:9684
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["/usr/bin/dtlsgate-healthcheck"]
# The keeper starts the gate, and again if it dies, with the sessions that it had.
ENTRYPOINT ["/usr/bin/dtlsgate", "--keeper"]
CMD ["-c", "/etc/dtlsgate/dtlsgate.ini"]
