//! A Kubernetes small enough for one process: the API as a real cluster serves it, pods as local processes, faults at any call.
//!
//! For trying Quorate without a cluster, and for tests that need faults no real cluster can be asked for. It deliberately
//! is never more than that: no authentication, no extension point, no networking beyond loopback, and nothing that anybody
//! should run in production. What it copies and what it leaves out stands in `docs/decisions/0005-smallkube.md`.

#![allow(dead_code)] // what the agent needs, which lands next

mod api;
mod apply;
mod budgets;
mod built_in;
mod cluster;
mod faults;
mod garbage;
mod kinds;
mod object;
mod refusal;
mod schema;
mod selectors;
mod store;
mod verbs;

pub use api::Lost;
pub use cluster::{Options, Smallkube, StartError};
pub use faults::{Call, Effect, Fault, Faults, Record, Rule};
pub use refusal::Refusal;
pub use verbs::Clock;
