//! A cluster of whole members in one thread, on a simulated network, disk and clock, drawn from one seed.
//!
//! The members run the code that `quorate-node` runs: its driver and replica, its log and checkpoints, its watches. What is
//! simulated is what lies outside of the process. Whatever is drawn, the same seed gives the same run, event for event.
//!
//! ```text
//!  seed ─► Profile ─► World ── agenda ─► Tick, Deliver, DiskDone, Request, Watch, Fault, Operator …
//!                       │ after every event: Checker (Raft's properties, digests, nothing said before it is durable)
//!                       └ at the end: faults stop, all come right, and the judges read what the clients saw
//! ```
//!
//! A [`Stage`] is the same for whoever brings an administrator of his own: members are founded, added, started, stopped and wiped from
//! outside, while clients go on.
//!
//! It deliberately knows no gRPC and no TLS: those have tests with real sockets.

mod bug;
mod clients;
mod clock;
pub mod disk;
pub mod history;
mod judge;
mod network;
mod profile;
mod run;
mod world;

pub use bug::Bug;
pub use run::{Run, Summary, Violation};
pub use world::stage::{Listed, Refused, Stage, State};
