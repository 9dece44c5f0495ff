//! Pods on their nodes: scheduled, run, probed, restarted, ended; volumes, addresses, services, budgets.
//!
//! `simulated.rs` runs under a paused clock with pretended containers, `processes.rs` with real ones.
#![allow(clippy::unwrap_used)] // a test that cannot go on says so by stopping

mod processes;
mod setting;
mod simulated;
