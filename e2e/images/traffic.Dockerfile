# The lab's traffic program; nothing that a user runs. Built like operator/Dockerfile.
FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="quorate-lab-traffic" \
      org.opencontainers.image.description="Clients that record what they did, for the tests of Quorate" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/quorate/quorate"
COPY traffic /usr/local/bin/traffic
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/traffic"]
