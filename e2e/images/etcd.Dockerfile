# Stock etcd for the lab, where its own image cannot be pulled; the binaries lie where that one has them.
FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="etcd" \
      org.opencontainers.image.description="Stock etcd, packed by the lab of Quorate" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/etcd-io/etcd"
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY etcd etcdutl /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/etcd"]
