# The mercurio binary on Debian's glibc. Without arguments it is `serve`; a key has to be given
# (MERCURIO_JWT_SECRET_FILE or another of the settings).

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release -p mercurio

FROM debian:bookworm-slim
# For TLS to others, where no CA is named.
# The newest certificates are what is wanted, not a pinned version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home mercurio \
    && install -d -o mercurio -g mercurio -m 0700 /var/lib/mercurio
COPY --from=build /src/target/release/mercurio /usr/local/bin/mercurio
USER 10001:10001
WORKDIR /var/lib/mercurio
ENV MERCURIO_DATA_DIR=/var/lib/mercurio \
    MERCURIO_LOG_FORMAT=json \
    MERCURIO_GRPC_ADDR=0.0.0.0:50051 \
    MERCURIO_HTTP_ADDR=0.0.0.0:8000
VOLUME /var/lib/mercurio
EXPOSE 8000 50051
# The admin listener stays on loopback unless it is moved. bash, since there is no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["mercurio"]
CMD ["serve"]
