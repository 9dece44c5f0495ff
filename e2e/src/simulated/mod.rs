//! A whole operator's world in one thread, without sockets, processes or waiting: for tests that visit every point in time.
//!
//! smallkube holds the objects, [`kubelet`] makes pods run, on `nodes` if a test wants them, [`etcd`] is a model of the members'
//! consensus behind the operator's `Members` port, `real` are members that run their own code there instead, [`crash`] stops an operator at any of its writes, and [`faults`] are what else
//! goes wrong. Time is a number that the world moves.
//!
//! With the model it deliberately is no proof about the member's own code; with real members it is one about their data, and not
//! about sockets: real processes have their own tests.

pub mod bug;
pub mod campaign;
mod cores;
pub mod crash;
mod deeds;
pub mod etcd;
pub mod faults;
pub mod kubelet;
mod nodes;
mod real;
mod snapshots;
pub mod stories;
pub mod story;
pub mod summary;
mod volumes;
pub mod world;

pub use bug::Bug;
pub use cores::side_by_side;
pub use crash::{Crash, When};
pub use etcd::Model;
pub use faults::Faults;
pub use real::Real;
pub use stories::stories;
pub use story::Story;
pub use summary::Summary;
pub use world::{ROOT_SECRET, Round, World, authentication};
