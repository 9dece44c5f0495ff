//! The operator: observe, plan, act, publish.
//!
//! The decision itself is the package `plan`, which is pure; here is everything that touches the world.

pub mod clock;
pub mod config;
pub mod connect;
pub mod gate;
pub mod kubernetes;
pub mod lease;
pub mod metrics;
pub mod queue;
pub mod serve;
pub mod telemetry;
pub mod watch;

pub use connect::connect;
