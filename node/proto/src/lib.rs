//! The wire: etcd's v3 API, what it does not have, and our peers' own service, as messages and stubs generated from `protos/`.
//!
//! The .proto files are our own text with etcd's field numbers and names. All RPCs of etcd's six services, and of its two for locks and elections, are there,
//! served or not, so that an unserved one answers `Unimplemented` under its real name. URLs are `peer_urls` and
//! `client_urls` in Rust (`peerURLs` in etcd's JSON); every other field has etcd's name in snake case.
//!
//! What this package deliberately does not do: it holds no logic, no conversion and no error text; whoever needs one
//! has it where it is used.

/// Generated modules, nested as the protobuf packages are.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::use_self
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}

pub use generated::{authpb, etcdserverpb, mvccpb, v3electionpb, v3lockpb};

/// Changes of several members at once, for clients; see `protos/quorate/membership.proto`.
pub mod membership {
    pub use crate::generated::quorate::v1::*;
}

/// How members of one cluster talk with each other; see `protos/quorate/peer.proto`.
pub mod peer {
    pub use crate::generated::quorate::peer::v1::*;
}

/// All messages and services as an encoded `google.protobuf.FileDescriptorSet`, every field under the name that etcd's JSON has
/// for it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
