//! One text, two servers: what each answers to the same calls, and where the answers differ.
//!
//! A [`Recording`] stands between a test and a client and keeps every call with its answer. What differs from run to run
//! (uids, versions, times, names that a server made) is taken out, and what is left of two recordings is [`compare`]d, field
//! by field. A [`Difference`] is mended, or it is [`Listed`] with its reason; a list that has become untrue fails as well.
//!
//! It deliberately judges no answer: what is right stands in the text itself.

mod difference;
mod listed;
mod plain;
mod record;

pub use difference::{Difference, compare};
pub use listed::{Listed, judge};
pub use record::{Exchange, Recording};
