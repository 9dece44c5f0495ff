//! Compiles the .proto files in Rust, so that no machine needs `protoc`.

/// Each service's file; what they import comes along.
const FILES: [&str; 7] = [
    "etcd/kv_service.proto",
    "etcd/watch.proto",
    "etcd/lease.proto",
    "etcd/cluster.proto",
    "etcd/maintenance.proto",
    "etcd/auth_service.proto",
    "quorate/peer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=protos");
    let files = protox::compile(FILES, ["protos"])?;
    tonic_prost_build::configure()
        // Keys, values and log entries stay slices of the buffer they arrived in.
        .bytes(".")
        .include_file("all.rs")
        .compile_fds(files)?;
    Ok(())
}
