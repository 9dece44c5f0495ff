//! The operator: observe, plan, act, publish.
//!
//! ```text
//! watch -> queue -> run --+--> controller::reconcile: observe -> plan::plan -> act -> publish
//!                         |
//! lease -> gate ----------+    (every write passes the gate)
//! ```
//!
//! The decision itself is the package `plan`, which is pure; here is all that touches the world. [`reconcile`] can be called
//! alone, with a [`Context`] around any client and any [`members::Members`].
//!
//! It deliberately keeps no cache and no memory of any cluster, and it never talks to a member but through etcd's API.

pub mod absences;
pub mod accounts;
pub mod act;
mod cert_manager;
pub mod certificates;
pub mod clock;
pub mod config;
pub mod connect;
pub mod context;
pub mod controller;
pub mod footing;
pub mod gate;
pub mod glance;
pub mod kubernetes;
pub mod lease;
pub mod members;
pub mod metrics;
mod nodes;
pub mod observe;
mod operations;
pub mod permissions;
pub mod process;
pub mod publish;
pub mod queue;
pub mod run;
pub mod serve;
mod snapshots;
mod sought;
pub mod telemetry;
pub mod watch;

pub use connect::connect;
pub use context::Context;
pub use controller::{ReconcileError, Requeue, reconcile};
