# Stock etcd for the lab, where its own image cannot be pulled; the binary lies where that one has it.
FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="etcd" \
      org.opencontainers.image.description="Stock etcd, packed by the lab of Quorate" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/etcd-io/etcd"
COPY etcd /usr/local/bin/etcd
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/etcd"]
