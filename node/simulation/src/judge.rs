//! Who judges what the clients of a run saw.
//!
//! Nobody is believed alone. The members' own sequence of writes is replayed by rules of its own ([`sequence`]) and every write in it must
//! have exactly one author among the clients' requests and the leases; every answer must be what that sequence gives at the answer's
//! revision; and true time must agree with all of it. Then revisions are a linearization, and no search is needed.
//!
//! What this module deliberately does not do: look for another order where the revisions fail. They are part of what is promised.

mod lease;
mod linearizable;
mod sequence;
#[cfg(test)]
mod tests;
mod watch;

use crate::history::History;
use crate::world::checker::Checked;
use sequence::Sequence;

/// Clients see one store that does what etcd's does, in the order of true time.
pub(crate) const LINEARIZABLE: &str = "clients see one store, in the order of true time";
/// See [`watch`].
pub(crate) const WATCHED: &str =
    "watchers are told everything, in order, once, and whole revisions";
/// See [`lease`].
pub(crate) const LEASES: &str = "leases live as long as promised, and are seen to";

/// Reads everything.
///
/// # Errors
/// The first promise that was broken.
pub(crate) fn judge(history: &History) -> Checked {
    let sequence = Sequence::replay(history)?;
    linearizable::judge(history, &sequence)?;
    watch::judge(history, &sequence)?;
    lease::judge(history, &sequence)
}
