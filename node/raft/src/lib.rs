//! The consensus core: `step(Input)`, then `ready() -> Ready`. Pure: no clock, disk, network or
//! randomness of its own.

mod config;
mod configuration;
mod ids;
mod input;
mod message;
mod ready;
mod status;

pub use config::Config;
pub use configuration::Configuration;
pub use ids::{Index, PeerId, ReadId, Term, Ticket};
pub use input::{Input, Refused};
pub use message::{
    Body, Change, ChangeKind, Entry, HardState, Message, Payload, SnapshotMeta, VoteKind,
};
pub use ready::{Persist, Ready};
pub use status::{ProgressMode, ProgressStatus, Role, Status};
