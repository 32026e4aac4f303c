# The image: one static program and nothing else, no file system around it and no rights.
#
#   docker build -t strait --build-arg STRAIT_COMMIT="$(git rev-parse HEAD)" .
#   docker run -v ./strait.yaml:/etc/strait/strait.yaml:ro -p 15443:15443 strait
#
# A second image has the program with `strait demo`, `strait load` and `strait selftest`, which a gateway does not
# need: they hold a certificate authority.
#
#   docker build -t strait-tools --target tools .
#   docker run strait-tools demo
#
# .ci/run executes the RUN lines on what .dockerignore lets in, and then the program in an empty root.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The commit that `strait --version` names: the context has no repository.
ARG STRAIT_COMMIT=unknown
# The caches keep crates and their builds from one build to the next; the first one needs neither.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    .ci/build-static image

FROM build AS build-tools
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    .ci/build-static image-tools tools

FROM scratch AS tools
LABEL org.opencontainers.image.title="strait-tools" \
      org.opencontainers.image.description="strait with its demo, load tool and self-test" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build-tools /build/image-tools/strait /strait
USER 65432:65432
ENTRYPOINT ["/strait"]
CMD ["demo"]

# The last one is what `docker build` makes when nobody names a target.
FROM scratch
LABEL org.opencontainers.image.title="strait" \
      org.opencontainers.image.description="SNI-passthrough east-west gateway for Kubernetes" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /build/image/strait /strait
# A number, so that runAsNonRoot can be checked, and one of its own: what the kernel grants for pipes
# it grants per user and node, and 65532 or 1337 would share that with other images and sidecars.
USER 65432:65432
# Traffic, health, metrics. All above 1024: no capability is needed.
EXPOSE 15443 15021 15090
ENTRYPOINT ["/strait"]
CMD ["run"]
