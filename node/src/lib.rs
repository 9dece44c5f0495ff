//! A Quorate node: consensus, disk, peers and the etcd v3 API around one pure replica.
//!
//! What this package deliberately does not do: it never talks to Kubernetes. Whoever keeps members alive speaks to them
//! through their flags, their signals and the etcd API alone.

pub mod api;
pub mod auth;
pub mod bootstrap;
pub mod config;
pub mod convert;
pub mod driver;
pub mod event;
pub mod gateway;
pub mod handle;
pub mod health;
mod image;
pub mod metrics;
mod paths;
mod plain;
pub mod quota;
pub mod refusal;
pub mod replica;
pub mod resolve;
pub mod server;
pub mod snapshot;
pub mod status;
pub mod storage;
pub mod surface;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod turn;
mod vars;
pub mod version;
pub mod watch;
