//! The lab: what the end-to-end tests, the demo and the benchmark are made of.
//!
//! A test starts a [`lab`] (a small Kubernetes, the operator, real member processes) or bare
//! [`members`], sends [`traffic`] at it, does harm, and then judges the recorded [`history`] with
//! [`linearizable`]. What smallkube copies is checked against a real [`control_plane`], call by call
//! ([`contract`]), and our node against a real etcd ([`differential`]). Everything waits through [`wait`]: on a condition, with a deadline, never
//! for a time.
//!
//! It holds no opinion of what is right beyond that: promises stand in `tests/`, one per file.

mod authority;
pub mod binaries;
pub mod cert_manager;
pub mod client;
pub mod contract;
pub mod control_plane;
pub mod device;
pub mod differential;
pub mod engine;
pub mod folder;
pub mod history;
pub mod kind;
pub mod lab;
pub mod linearizable;
pub mod members;
pub mod secured;
pub mod simulated;
pub mod tools;
pub mod traffic;
pub mod verdict;
pub mod wait;

/// How a line begins that a test prints for people: the rings show such lines below the test's own.
pub const FIGURE: &str = "figure: ";
