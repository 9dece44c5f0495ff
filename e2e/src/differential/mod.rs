//! The contract with etcd: one text, a real etcd and ours, every answer compared field by field.
//!
//! A text ([`Text`]) is a file that a stranger can read: requests in protobuf's text format, below each the answer as a real
//! etcd gave it. A [`Run`] sends the requests to members with fresh data, over gRPC by the descriptions of all services
//! ([`services`]), and over HTTP/1.1. What differs from run to run by nature is taken out and named ([`plain`]); the rest is
//! compared by [`crate::contract`], which knows the differences that stay, each with its reason.
//!
//! Where an etcd can be had, it is asked too: a text that it does not answer as it stands in the file is not true any more.
//! `UPDATE_GOLDENFILES=1` writes down what it answers.//!
//! [`generate`] makes requests by a seed, and [`shrink`] makes a long list that shows a difference short.
//!
//! It deliberately has no opinion of its own: what etcd answers is right.

mod flags;
pub mod gateway;
pub mod generate;
pub mod http;
pub mod plain;
pub mod run;
pub mod services;
pub mod shrink;
pub mod text;
pub mod tls;
pub mod value;
mod watches;
pub mod wire;

use std::path::PathBuf;

pub use run::Run;
pub use text::Text;

use crate::tools::{self, Version};

/// The etcd whose answers are right: `E2E_ETCD`, or one of the version that the API is of.
///
/// # Errors
/// Why there is none, and the way to one.
pub fn etcd() -> Result<PathBuf, tools::Missing> {
    let since = Version {
        major: 3,
        minor: 7,
        patch: 0,
    };
    match std::env::var_os("E2E_ETCD") {
        Some(path) => Ok(path.into()),
        None => tools::find_since("etcd", since),
    }
}
