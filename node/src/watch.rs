//! Watching: every change of a range of keys, from a revision on, to whoever asked, in order and without a gap.
//!
//! ```text
//!  client ─► api::watch ─► Stream ─ Ask ─► Hub (in the loop, beside the store) ─ Response ─► Outbox ─► Stream ─► client
//!                                           ▲ what was applied, and history
//! ```
//!
//! The [`Hub`] decides and is pure; the loop owns it and lets it see the store between two events, so that creating a watcher
//! is atomic with respect to applying. [`Watches`] is how the rest of the process reaches it: as a [`Stream`] of many
//! watchers, or as [`Follow`], the events of one range for a service of this process.
//!
//! Promises, in etcd's words (`tests` hold them against a naive model):
//! - *ordered*: a watcher's events come by revision, and within one in the order of its command;
//! - *unique*: no event comes twice;
//! - *reliable*: none is left out, unless the watcher is told that its history is compacted;
//! - *atomic*: the events of one revision come together;
//! - *resumable*: a new watcher from the revision after the last event goes on without a gap;
//! - *bookmarkable*: progress at a revision says that everything up to it has been delivered.
//!
//! What this module deliberately does not do: speak gRPC, check permissions, know time. The service does.

mod hub;
mod index;
mod intervals;
mod outbox;
mod request;
mod stream;
mod watcher;

#[cfg(test)]
mod tests;

pub use hub::{Figures, Hub, Outlet, WATCHERS_MAX};
pub(crate) use outbox::Outbox;
pub use request::{AUTO_ID, Ask, Create, Filter, KeyRange, NO_ID, Reason, StreamId, WatchId};
pub use request::{Body, Event, Response};
pub use stream::{Ended, Follow, Stream, Watches};
