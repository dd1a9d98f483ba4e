# dtlsgate in a container:
#   docker build -t dtlsgate .
#   docker run --network host -v /etc/dtlsgate:/etc/dtlsgate:ro dtlsgate
# The gate's backends are on loopback, so it shares the network namespace of the CoAP server: the
# host's as above, or that of another container (--network container:NAME, or one pod).

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY scripts/install-packages scripts/
RUN scripts/install-packages build
COPY . .
ARG COMMIT=
RUN make -j"$(nproc)" ${COMMIT:+COMMIT="$COMMIT"} \
 && make ${COMMIT:+COMMIT="$COMMIT"} install DESTDIR=/out PREFIX=/usr \
 && gcc -O2 -Wall -Wextra -Werror -static -o /out/usr/bin/dtlsgate-healthcheck scripts/healthcheck.c \
 && strip --strip-debug /out/usr/bin/dtlsgate

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libev4 libinih1 libjansson4 libjemalloc2 libmicrohttpd12 libseccomp2 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin dtlsgate
COPY --from=build /out/ /
USER 10001:10001
EXPOSE 5684/udp 9684/tcp
# Where the health check finds the metrics address; keep it in step with `metrics` in the configuration.
ENV DTLSGATE_METRICS=127.0.0.1:9684
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["/usr/bin/dtlsgate-healthcheck"]
# The keeper starts the gate, and again if it dies, with the sessions that it had.
ENTRYPOINT ["/usr/bin/dtlsgate", "--keeper"]
CMD ["-c", "/etc/dtlsgate/dtlsgate.ini"]
