//! All services of the API by their descriptions: a request is named as in etcd's documentation, such as `KV.Range`.
//!
//! It deliberately has no list of its own: what `proto` describes can be called.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MethodDescriptor};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for files in [proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        pool.decode_file_descriptor_set(files)
            .expect("descriptions that were compiled can be read");
    }
    pool
});

/// The RPC that is called `SERVICE.METHOD`.
pub fn method(name: &str) -> Option<MethodDescriptor> {
    let (service, method) = name.split_once('.')?;
    let service = POOL.services().find(|it| it.name() == service)?;
    service.methods().find(|it| it.name() == method)
}

/// Whether several messages may come as the answer.
pub fn is_streaming(method: &MethodDescriptor) -> bool {
    method.is_server_streaming() || method.is_client_streaming()
}

/// The path of an RPC on the wire.
pub fn path(method: &MethodDescriptor) -> http::uri::PathAndQuery {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    path.parse().expect("names are fit for a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_service_and_name() {
        let range = method("KV.Range").unwrap();
        assert_eq!(path(&range), "/etcdserverpb.KV/Range");
        assert_eq!(range.input().name(), "RangeRequest");
        assert!(method("Health.Check").is_some());
        assert!(method("KV.Nothing").is_none());
    }
}
