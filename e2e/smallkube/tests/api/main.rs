//! The Kubernetes API as a client meets it, through the real `kube::Client`.
//!
//! Every test takes a client and a namespace of its own, so the same text runs against a real API server: set
//! `SMALLKUBE_TEST_REAL=1` and a `KUBECONFIG`. Tests of what only smallkube can do (faults) stand in `faults.rs` and always
//! run on it. It deliberately tests no controller that a bare API server lacks outside of `garbage.rs`.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by stopping

mod apply;
mod faults;
mod garbage;
mod objects;
mod schema;
mod setting;
mod tables;
mod watches;
