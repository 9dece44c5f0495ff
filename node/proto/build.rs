//! Compiles the .proto files in Rust, so that no machine needs `protoc`.

use std::path::Path;

use protox::prost::Message;
use protox::prost_reflect::prost_types::DescriptorProto;

/// Each service's file; what they import comes along.
const FILES: [&str; 10] = [
    "etcd/kv_service.proto",
    "etcd/watch.proto",
    "etcd/lease.proto",
    "etcd/cluster.proto",
    "etcd/maintenance.proto",
    "etcd/auth_service.proto",
    "etcd/lock.proto",
    "etcd/election.proto",
    "quorate/membership.proto",
    "quorate/peer.proto",
];

/// In the descriptors that the gateway reads, a field with a JSON name of its own has that name everywhere: etcd's `peerURLs` is
/// `peer_urls` for Rust alone.
fn name_as_etcd(message: &mut DescriptorProto) {
    for field in &mut message.field {
        if field.json_name() != camel_case(field.name()) {
            field.name.clone_from(&field.json_name);
        }
    }
    message.nested_type.iter_mut().for_each(name_as_etcd);
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        camel + &initial.to_ascii_uppercase() + rest
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=protos");
    let files = protox::compile(FILES, ["protos"])?;
    let mut named = files.clone();
    for file in &mut named.file {
        file.message_type.iter_mut().for_each(name_as_etcd);
    }
    let descriptors = Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(descriptors, named.encode_to_vec())?;
    tonic_prost_build::configure()
        // Keys, values and log entries stay slices of the buffer they arrived in.
        .bytes(".")
        .include_file("all.rs")
        .compile_fds(files)?;
    Ok(())
}
