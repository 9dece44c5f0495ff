//! A Kubernetes small enough for one process: the API as a real cluster serves it, pods as local processes, faults at any call.
//!
//! For trying Quorate without a cluster, and for tests that need faults no real cluster can be asked for. It deliberately
//! is never more than that: no authentication, no extension point, no networking beyond loopback, and nothing that anybody
//! should run in production. What it copies and what it leaves out stands in `docs/decisions/0005-smallkube.md`.

mod agent;
mod api;
mod apply;
mod budgets;
mod built_in;
mod cluster;
mod events;
mod faults;
mod garbage;
mod hand;
mod kinds;
mod network;
mod nodes;
mod object;
mod refusal;
mod schedule;
mod schema;
mod selectors;
mod services;
mod store;
mod verbs;
mod volumes;

pub use agent::{
    Ending, Images, Launch, NoImage, NoOwnHosts, Pace, Probe, Processes, Running, Runtime, Signal,
    Simulated, own_hosts,
};
pub use api::Lost;
pub use cluster::{Options, Smallkube, StartError, kubeconfig};
pub use faults::{Call, Effect, Fault, Faults, Record, Rule};
pub use hand::Unknown;
pub use nodes::Power;
pub use refusal::Refusal;
pub use verbs::Clock;
